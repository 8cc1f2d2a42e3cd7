//! One writer whose insertions are acknowledged when both of two members have them on their disks. Both are on one disk here, so
//! that their syncs are in each other's way: two machines do better.

use std::time::Instant;

use bson::rawdoc;
use tailwater::replication::WriteConcern;
use tailwater::{Collection, Store};

use super::{PATIENCE, follower, primary};
use crate::harness::{Latencies, Plan, Result, quantiles};
use crate::report::{Comparison, Unit};

pub(super) fn run(plan: &Plan) -> Result<Vec<Comparison>> {
    let count = plan.pick(2000, 500);
    let (here, there) = (plan.scratch()?, plan.scratch()?);
    let alone = plan.scratch()?;
    let single = Store::open(alone.path())?;
    let singly = single.collection("bench", "documents")?;
    let store = Store::open(here.path())?;
    let collection = store.collection("bench", "documents")?;
    let members = ["a", "b"];
    let serving = primary(&store, &members)?;
    let _following = follower(there.path(), "b", serving.address(), &members)?;
    let held = collection.insert_one(&rawdoc! { "_id": -1_i64 })?;
    serving.wait(held.op_id, WriteConcern::Majority, PATIENCE)?;
    let (mut local, mut shared) = (0, 0);
    let (limits, latencies) = plan.alternate(
        || inserted(&singly, count, &mut local, |_| Ok(())),
        || {
            inserted(&collection, count, &mut shared, |op_id| {
                Ok(serving.wait(op_id, WriteConcern::Majority, PATIENCE)?)
            })
        },
    )?;
    let name = "majority-of-two";
    Ok(vec![Comparison::new(
        name,
        Unit::Microseconds,
        quantiles(&limits, 0.5),
        quantiles(&latencies, 0.5),
    )])
}

fn inserted(
    collection: &Collection,
    count: usize,
    number: &mut i64,
    acknowledged: impl Fn(tailwater::OpId) -> Result<()>,
) -> Result<Latencies> {
    let mut latencies = Latencies::with_capacity(count);
    for _ in 0..count {
        *number += 1;
        let document = rawdoc! { "_id": *number, "name": "Ada Lovelace", "note": "x".repeat(120) };
        let start = Instant::now();
        let outcome = collection.insert_one(&document)?;
        acknowledged(outcome.op_id)?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

//! What three followers cost a writer that does not wait for them. On a machine with few processors this is what they take of
//! those, which on machines of their own they do not.

use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, rawdoc};
use tailwater::{Durability, Store};

use super::{PATIENCE, follower, primary};
use crate::harness::{Plan, Result};
use crate::report::{Comparison, Unit};

const BATCH: i64 = 100;

pub(super) fn run(plan: &Plan) -> Result<Vec<Comparison>> {
    let dirs = [
        plan.scratch()?,
        plan.scratch()?,
        plan.scratch()?,
        plan.scratch()?,
        plan.scratch()?,
    ];
    let alone = Store::open(dirs[0].path())?;
    let store = Store::open(dirs[1].path())?;
    let serving = primary(&store, &[])?;
    let followers = ["b", "c", "d"].iter().zip(&dirs[2..]);
    let followers: Result<Vec<_>> = followers
        .map(|(name, dir)| follower(dir.path(), name, serving.address(), &[]))
        .collect();
    let followers = followers?;
    let (mut local, mut shared) = (0, 0);
    let (limits, rates) = plan.alternate(
        || written(plan, &alone, &mut local),
        || {
            let rate = written(plan, &store, &mut shared)?;
            // The next round begins with followers that have all of this one.
            store.sync()?;
            for follower in &followers {
                follower.wait_for(store.log().watermarks().durable, PATIENCE)?;
            }
            Ok(rate)
        },
    )?;
    let name = "writers-three-followers";
    Ok(vec![Comparison::new(name, Unit::ThousandsPerSecond, limits, rates)])
}

/// Thousands of documents a second, in batches, at the pace that the store takes them.
fn written(plan: &Plan, store: &Store, number: &mut i64) -> Result<f64> {
    let collection = store
        .collection("bench", "documents")?
        .with_durability(Durability::Memory);
    let span = plan.pick(Duration::from_secs(2), Duration::from_millis(700));
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < span {
        let batch: Vec<RawDocumentBuf> = (0..BATCH)
            .map(|n| rawdoc! { "_id": *number + n, "name": "Ada Lovelace", "note": "x".repeat(120) })
            .collect();
        *number += BATCH;
        collection.insert_many(batch.iter().map(AsRef::as_ref))?;
        count += BATCH as f64;
    }
    Ok(count / start.elapsed().as_secs_f64() / 1e3)
}

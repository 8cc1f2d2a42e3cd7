//! A pipeline with one `$match` that no index helps, over a whole collection: of a thousand documents one matches.
//!
//! The limit is what the store is to reach. Beside it stands the bare engine, which reads every document in order and looks
//! at none.

use tailwater::Pipeline;
use tailwater::bson::rawdoc;

use super::bare::BARE;
use super::documents::GROUPS;
use super::filled;
use crate::harness::{Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, LIMIT, Series, TAILWATER, Unit};

/// What is to be reached, in millions a second.
const TARGET: f64 = 2.0;

pub(crate) fn all(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let documents = plan.pick(1_000_000, 200_000);
    let bare = filled::bare(&dir.path().join("bare"), documents, false)?;
    let store = filled::store(&dir.path().join("store"), documents)?;
    let collection = filled::collection(&store)?;
    let pipeline = Pipeline::parse(&[rawdoc! { "$match": { "n": 7 } }])?;
    let scan = || {
        let (time, count) = timed(|| bare.scan());
        expect(count?, documents)?;
        Ok(millions_per_second(documents, time))
    };
    let find = || {
        let (time, count) = timed(|| {
            let mut found = collection.aggregate(&pipeline)?;
            found.try_fold(0, |count, document| document.map(|_| count + 1))
        });
        expect(count?, documents / GROUPS)?;
        Ok(millions_per_second(documents, time))
    };
    // Once for the cache.
    scan()?;
    find()?;
    let (scans, finds) = plan.alternate(scan, find)?;
    let series = |engine, values| Series { engine, values };
    Ok(vec![Comparison {
        workload: "scan-match",
        unit: Unit::MillionsPerSecond,
        series: vec![
            series(LIMIT, vec![TARGET]),
            series(BARE, scans),
            series(TAILWATER, finds),
        ],
    }])
}

fn expect(count: u64, expected: u64) -> Result<()> {
    if count == expected {
        return Ok(());
    }
    Err(format!("{count} documents where {expected} were expected").into())
}

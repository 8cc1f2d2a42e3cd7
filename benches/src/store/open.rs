//! Opening a large store after a clean close, its files in the system's cache.
//!
//! Before, it is left alone for a while: what was inserted last is still to be merged in the engine, by threads of its own,
//! and an opening that is followed by a close at once would begin with that again each time.

use std::time::Duration;

use tailwater::Store;

use super::filled;
use crate::harness::{Plan, Result, timed};
use crate::report::{Comparison, Unit};

/// What is to be reached, in milliseconds.
const TARGET: f64 = 200.0;
/// How long the store is left alone before.
const REST: Duration = Duration::from_secs(10);

pub(crate) fn clean(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let documents = plan.pick(10_000_000, 1_000_000);
    let store = filled::store(dir.path(), documents)?;
    std::thread::sleep(plan.pick(REST, REST / 5));
    store.close()?;
    plan.settle()?;
    let mut openings = Vec::new();
    for _ in 0..plan.rounds {
        let (time, store) = timed(|| Store::open(dir.path()));
        let store = store?;
        openings.push(time.as_secs_f64() * 1e3);
        let count = filled::collection(&store)?.estimated_count()?;
        if count != documents {
            return Err(format!("{count} documents where {documents} were inserted").into());
        }
        store.close()?;
    }
    Ok(vec![Comparison::new(
        "open-10m",
        Unit::Milliseconds,
        vec![TARGET],
        openings,
    )])
}

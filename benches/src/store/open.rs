//! Opening a large store after a clean close, its files in the system's cache. Beside it stands the bare engine with the same
//! documents; the limit is what is to be reached.
//!
//! Before, it is left alone for a while: what was inserted last is still to be merged in the engine, by threads of its own,
//! and an opening that is followed by a close at once would begin with that again each time.

use std::time::Duration;

use tailwater::Store;

use super::bare::{BARE, Bare};
use super::filled;
use crate::harness::{Plan, Result, timed};
use crate::report::{Comparison, LIMIT, Series, TAILWATER, Unit};

/// What is to be reached, in milliseconds.
const TARGET: f64 = 200.0;
/// How long the store is left alone before.
const REST: Duration = Duration::from_secs(10);

pub(crate) fn clean(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let documents = plan.pick(10_000_000, 1_000_000);
    let (bare_dir, store_dir) = (dir.path().join("bare"), dir.path().join("store"));
    let bare = filled::bare(&bare_dir, documents, false)?;
    let store = filled::store(&store_dir, documents)?;
    std::thread::sleep(plan.pick(REST, REST / 5));
    drop(bare);
    store.close()?;
    plan.settle()?;
    let (mut bares, mut openings) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let (time, bare) = timed(|| Bare::open(&bare_dir));
        bares.push(time.as_secs_f64() * 1e3);
        bare?.by_id(0)?;
        let (time, store) = timed(|| Store::open(&store_dir));
        let store = store?;
        openings.push(time.as_secs_f64() * 1e3);
        let count = filled::collection(&store)?.estimated_count()?;
        if count != documents {
            return Err(format!("{count} documents where {documents} were inserted").into());
        }
        store.close()?;
    }
    let series = |engine, values| Series { engine, values };
    Ok(vec![Comparison {
        workload: "open-10m",
        unit: Unit::Milliseconds,
        series: vec![
            series(LIMIT, vec![TARGET]),
            series(BARE, bares),
            series(TAILWATER, openings),
        ],
    }])
}

//! Single documents at random: by `_id`, and by a secondary index. One thread; every document has been read before.
//!
//! The limit is what the store is to reach. Beside it stands the bare engine, which only gets the bytes, and for the index
//! looks for the entry first.

use std::hint::black_box;
use std::path::Path;

use tailwater::{IndexModel, Store};

use super::bare::{BARE, Bare};
use super::documents::{Filter, code};
use super::filled;
use crate::harness::{Dice, Plan, Result};
use crate::report::{Comparison, LIMIT, Series, TAILWATER, Unit};

/// What is to be reached, in thousands a second.
const BY_ID: f64 = 300.0;
const BY_INDEX: f64 = 150.0;

/// How documents are looked for.
struct Search {
    name: &'static str,
    target: f64,
    filter: fn() -> Filter,
    /// The value to look for, of a document's number.
    value: fn(u64) -> i64,
    bare: fn(&Bare, i64) -> Result<usize>,
    indexed: bool,
}

pub(crate) fn by_id(plan: &Plan) -> Result<Vec<Comparison>> {
    find(
        plan,
        &Search {
            name: "find-by-id",
            target: BY_ID,
            filter: Filter::by_id,
            value: u64::cast_signed,
            bare: Bare::by_id,
            indexed: false,
        },
    )
}

pub(crate) fn by_index(plan: &Plan) -> Result<Vec<Comparison>> {
    find(
        plan,
        &Search {
            name: "find-by-index",
            target: BY_INDEX,
            filter: Filter::by_code,
            value: code,
            bare: Bare::by_code,
            indexed: true,
        },
    )
}

fn find(plan: &Plan, search: &Search) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let documents = plan.pick(500_000, 100_000);
    let bare = filled::bare(&dir.path().join("bare"), documents, search.indexed)?;
    let store = store(&dir.path().join("store"), documents, search)?;
    let collection = filled::collection(&store)?;
    let mut filter = (search.filter)();
    let mut get = |number| (search.bare)(&bare, (search.value)(number)).map(drop);
    let mut find = |number| {
        let found = collection.find_one(filter.with((search.value)(number))?)?;
        black_box(found.ok_or("a document is missing")?);
        Ok(())
    };
    (0..documents).try_for_each(&mut get)?;
    (0..documents).try_for_each(&mut find)?;
    let (bares, finds) = plan.alternate(
        || at_random(plan, documents, &mut get),
        || at_random(plan, documents, &mut find),
    )?;
    let series = |engine, values| Series { engine, values };
    Ok(vec![Comparison {
        workload: search.name,
        unit: Unit::ThousandsPerSecond,
        series: vec![
            series(LIMIT, vec![search.target]),
            series(BARE, bares),
            series(TAILWATER, finds),
        ],
    }])
}

fn store(dir: &Path, documents: u64, search: &Search) -> Result<Store> {
    let store = filled::store(dir, documents)?;
    if !search.indexed {
        return Ok(store);
    }
    filled::collection(&store)?.create_index(&IndexModel::new("code", 1))?;
    store.close()?;
    Ok(Store::open(dir)?)
}

/// Thousands a second.
fn at_random(plan: &Plan, documents: u64, work: &mut impl FnMut(u64) -> Result<()>) -> Result<f64> {
    let mut dice = Dice::new();
    let rate = plan.millions_per_second(|| work(dice.below(documents)))?;
    Ok(rate * 1e3)
}

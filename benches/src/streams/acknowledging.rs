//! What an acknowledgement of a durable consumer costs: a small write, however much stands in its window.

use std::time::{Duration, Instant};

use bson::rawdoc;
use tailwater::{ConsumerOptions, Durability, Store, StoreOptions};

use crate::harness::{Histogram, Plan, Result};
use crate::report::{Comparison, Unit};

/// Events that the window holds.
const WINDOW: usize = 10_000;

/// An event that is taken and acknowledged, one after the other, p50, while thousands wait in the window behind it. The limit is
/// the replacement of a document of the size that the position has.
pub(super) fn one_by_one(plan: &Plan) -> Result<Vec<Comparison>> {
    let (replacing, acknowledging) = plan.alternate(|| replacing(plan), || acknowledging(plan))?;
    Ok(vec![Comparison::new(
        "consumer-ack",
        Unit::Microseconds,
        replacing,
        acknowledging,
    )])
}

fn open(plan: &Plan) -> Result<(tempfile::TempDir, Store)> {
    let dir = plan.scratch()?;
    let options = StoreOptions {
        durability: Durability::Memory,
        ..StoreOptions::default()
    };
    let store = Store::open_with(dir.path(), &options)?;
    Ok((dir, store))
}

fn replacing(plan: &Plan) -> Result<f64> {
    let (_dir, store) = open(plan)?;
    let positions = store.collection("shop", "positions")?;
    let position =
        |n: i64| rawdoc! { "_id": "billing", "position": "x".repeat(100), "opId": n, "scope": "y".repeat(100) };
    positions.insert_one(&position(0))?;
    let mut latencies = Histogram::new();
    for n in 0..plan.pick(20_000, 4_000) {
        let document = position(n);
        let begun = Instant::now();
        positions.replace_one(&rawdoc! { "_id": "billing" }, &document)?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies.quantile(0.5))
}

fn acknowledging(plan: &Plan) -> Result<f64> {
    let (_dir, store) = open(plan)?;
    let orders = store.collection("shop", "orders")?;
    let options = ConsumerOptions {
        window_events: WINDOW,
        ..ConsumerOptions::default()
    };
    let mut member = orders.watch().consumer("billing").options(options).join()?;
    let events = plan.pick(20_000, 4_000);
    let documents: Vec<_> = (0..events + WINDOW as i64).map(|n| rawdoc! { "_id": n }).collect();
    orders.insert_many(documents.iter().map(|document| &**document))?;
    store.sync()?;
    while store
        .consumers()?
        .iter()
        .any(|consumer| consumer.waiting < WINDOW as u64)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut latencies = Histogram::new();
    for _ in 0..events {
        let begun = Instant::now();
        let delivery = member.wait_next(None)?.ok_or("the consumer has ended")?;
        delivery.ack()?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies.quantile(0.5))
}

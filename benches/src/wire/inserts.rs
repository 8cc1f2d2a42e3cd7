//! Documents inserted through drivers: one by one, each waiting for its answer, and many at a time.

use super::drivers::{Driver, uri};
use super::echo::{Echo, Feed};
use super::server::Served;
use crate::harness::{Plan, Result, millions_per_second};
use crate::report::{Comparison, Unit};

/// Writes that are answered before a sync covers them.
const MEMORY: &str = "&w=1&journal=false";

pub(super) fn one_pymongo(plan: &Plan) -> Result<Vec<Comparison>> {
    one_by_one(plan, "insert-one-pymongo", Driver::Python, "")
}

pub(super) fn one_pymongo_memory(plan: &Plan) -> Result<Vec<Comparison>> {
    one_by_one(plan, "insert-one-pymongo-memory", Driver::Python, MEMORY)
}

pub(super) fn one_node(plan: &Plan) -> Result<Vec<Comparison>> {
    one_by_one(plan, "insert-one-node", Driver::Node, "")
}

pub(super) fn one_node_memory(plan: &Plan) -> Result<Vec<Comparison>> {
    one_by_one(plan, "insert-one-node-memory", Driver::Node, MEMORY)
}

fn one_by_one(plan: &Plan, name: &'static str, driver: Driver, options: &str) -> Result<Vec<Comparison>> {
    let count = plan.pick(20_000, 5_000);
    compare(plan, name, driver, "insert-one", options, count)
}

pub(super) fn many_rust(plan: &Plan) -> Result<Vec<Comparison>> {
    let count = plan.pick(500_000, 200_000);
    compare(plan, "insert-many-rust", Driver::Rust, "insert-many", "", count)
}

/// Thousands of documents a second that a task inserts.
fn compare(
    plan: &Plan,
    name: &'static str,
    driver: Driver,
    task: &str,
    options: &str,
    count: u64,
) -> Result<Vec<Comparison>> {
    let rate = |address| -> Result<f64> {
        let time = driver.time(plan, task, &uri(address, options), count)?;
        Ok(millions_per_second(count, time) * 1e3)
    };
    let (limits, servers) = plan.alternate(
        || rate(Echo::start(Feed::Silent)?.address),
        || rate(Served::start(plan)?.address),
    )?;
    Ok(vec![Comparison::new(name, Unit::ThousandsPerSecond, limits, servers)])
}

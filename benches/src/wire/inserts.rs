//! Documents inserted through drivers: one by one, each waiting for its answer, and many at a time.

use super::drivers::{Driver, uri};
use super::echo::{Echo, Feed};
use super::server::Served;
use crate::harness::{Plan, Result, millions_per_second};
use crate::report::{Comparison, Unit};

/// What a driver asks for, and what its server, or the echo, does before it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Promise {
    /// As drivers do by themselves: `w: "majority"`, for which a sync is waited for.
    Disk,
    /// What is answered before a sync covers it.
    Memory,
}

impl Promise {
    fn options(self) -> &'static str {
        match self {
            Promise::Disk => "",
            Promise::Memory => "&w=1&journal=false",
        }
    }

    fn echo(self, plan: &Plan) -> Result<Echo> {
        match self {
            Promise::Disk => Echo::durable(plan),
            Promise::Memory => Echo::start(Feed::Silent),
        }
    }
}

pub(super) fn one_pymongo(plan: &Plan) -> Result<Vec<Comparison>> {
    one_by_one(plan, "insert-one-pymongo", Driver::Python, Promise::Disk)
}

pub(super) fn one_pymongo_memory(plan: &Plan) -> Result<Vec<Comparison>> {
    one_by_one(plan, "insert-one-pymongo-memory", Driver::Python, Promise::Memory)
}

pub(super) fn one_node(plan: &Plan) -> Result<Vec<Comparison>> {
    one_by_one(plan, "insert-one-node", Driver::Node, Promise::Disk)
}

pub(super) fn one_node_memory(plan: &Plan) -> Result<Vec<Comparison>> {
    one_by_one(plan, "insert-one-node-memory", Driver::Node, Promise::Memory)
}

fn one_by_one(plan: &Plan, name: &'static str, driver: Driver, promise: Promise) -> Result<Vec<Comparison>> {
    let count = plan.pick(20_000, 5_000);
    compare(
        plan,
        name,
        (driver, "insert-one", promise),
        || promise.echo(plan),
        count,
    )
}

pub(super) fn many_rust(plan: &Plan) -> Result<Vec<Comparison>> {
    let count = plan.pick(500_000, 200_000);
    let task = (Driver::Rust, "insert-many", Promise::Disk);
    compare(plan, "insert-many-rust", task, || Echo::start(Feed::Silent), count)
}

/// Thousands of documents a second that a task inserts, beside an echo.
fn compare(
    plan: &Plan,
    name: &'static str,
    (driver, task, promise): (Driver, &str, Promise),
    echo: impl Fn() -> Result<Echo>,
    count: u64,
) -> Result<Vec<Comparison>> {
    let rate = |address| -> Result<f64> {
        let time = driver.time(plan, task, &uri(address, promise.options()), count)?;
        Ok(millions_per_second(count, time) * 1e3)
    };
    let (limits, servers) = plan.alternate(
        || {
            let echo = echo()?;
            rate(echo.address)
        },
        || {
            let served = Served::start(plan)?;
            rate(served.address)
        },
    )?;
    Ok(vec![Comparison::new(name, Unit::ThousandsPerSecond, limits, servers)])
}

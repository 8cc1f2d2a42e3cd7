//! Events of a change stream through a driver: inserts of documents of 200 bytes, written before, from a time on.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;

use super::drivers::{Driver, nanoseconds, uri};
use super::echo::{Echo, Feed};
use super::server::Served;
use crate::child::Child;
use crate::harness::{Plan, Result, millions_per_second};
use crate::report::{Comparison, Unit};

pub(super) fn node(plan: &Plan) -> Result<Vec<Comparison>> {
    compare(plan, "stream-node", Driver::Node)
}

pub(super) fn rust(plan: &Plan) -> Result<Vec<Comparison>> {
    compare(plan, "stream-rust", Driver::Rust)
}

fn compare(plan: &Plan, name: &'static str, driver: Driver) -> Result<Vec<Comparison>> {
    let count = plan.pick(500_000, 200_000);
    let rate = |address, fill: &dyn Fn(SocketAddr) -> Result<()>| -> Result<f64> {
        let mut command = driver.command(plan, "stream", &uri(address, ""), count);
        let mut child = Child::start(command.stdin(Stdio::piped()))?;
        fill(address)?;
        let mut begin = child.input().ok_or("a child without input")?;
        begin.write_all(b"begin\n")?;
        Ok(millions_per_second(count, nanoseconds(&child.rest()?)?) * 1e3)
    };
    let (limits, servers) = plan.alternate(
        || rate(Echo::start(Feed::Canned)?.address, &|_| Ok(())),
        || {
            let served = Served::start(plan)?;
            rate(served.address, &|address| {
                Driver::Rust
                    .time(plan, "insert-many", &uri(address, ""), count)
                    .map(drop)
            })
        },
    )?;
    Ok(vec![Comparison::new(name, Unit::ThousandsPerSecond, limits, servers)])
}

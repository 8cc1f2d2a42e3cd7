//! From before an insert through a driver until its event has come back through the same driver; one insert each millisecond.

use std::time::Duration;

use super::drivers::{Driver, uri};
use super::echo::{Echo, Feed};
use super::server::Served;
use crate::child::Child;
use crate::harness::{Latencies, Plan, Result, quantiles};
use crate::report::{Comparison, Unit};

pub(super) fn write_to_event(plan: &Plan) -> Result<Vec<Comparison>> {
    let count = plan.pick(10_000, 2_000);
    let latencies = |address| -> Result<Latencies> {
        let mut command = Driver::Rust.command(plan, "write-to-event", &uri(address, ""), count);
        let mut latencies = Latencies::with_capacity(count as usize);
        for line in Child::start(&mut command)?.rest()?.lines() {
            latencies.push(Duration::from_nanos(line.parse()?));
        }
        Ok(latencies)
    };
    let (limits, servers) = plan.alternate(
        || latencies(Echo::start(Feed::Inserted)?.address),
        || latencies(Served::start(plan)?.address),
    )?;
    let figures = |name, q| Comparison::new(name, Unit::Microseconds, quantiles(&limits, q), quantiles(&servers, q));
    Ok(vec![
        figures("write-to-event", 0.5),
        figures("write-to-event-p99", 0.99),
    ])
}

//! Suite `streams`: watches that share one reader of the log. Events are inserts of documents of twelve fields and about 300
//! bytes.
//!
//! The baseline of the workloads with many watches is what everybody does who has no index: every filter is evaluated on every
//! event.

mod acknowledging;
mod crowd;
mod events;
mod flow;
mod idle;
mod lagging;
mod latency;
mod together;

use crate::cli::Arguments;
use crate::guests::Nobody;
use crate::harness::Result;
use crate::suite::{self, Workload};

pub(crate) use idle::idle;

const WORKLOADS: [Workload; 13] = [
    Workload {
        names: &["watch-unfiltered"],
        limit: "a change stream with a cursor of its own, read in the same thread",
        long: false,
        run: flow::unfiltered,
    },
    Workload {
        names: &["watch-latency", "watch-latency-p99"],
        limit: "a parked thread unparked, p50 and p99",
        long: false,
        run: latency::write_to_hand,
    },
    Workload {
        names: &["watch-latency-durable", "watch-latency-durable-p99"],
        limit: "pwrite + fdatasync of the same bytes in a prepared file, then a parked thread unparked",
        long: false,
        run: latency::durable_write_to_hand,
    },
    Workload {
        names: &["watchers-10k", "watchers-10k-zipf", "watchers-10k-operation"],
        limit: "naive: every filter evaluated on every event",
        long: false,
        run: crowd::watchers_10k,
    },
    Workload {
        names: &["watchers-100k"],
        limit: "naive",
        long: false,
        run: crowd::watchers_100k,
    },
    Workload {
        names: &["watchers-1m", "watchers-1m-idle"],
        limit: "naive; for the memory of one that waits, 1 KiB",
        long: true,
        run: crowd::watchers_1m,
    },
    Workload {
        names: &["same-filter-100k"],
        limit: "naive",
        long: false,
        run: crowd::same_filter,
    },
    Workload {
        names: &["stalled-10k"],
        limit: "the writer's p99 with 100 live watches and none stalled",
        long: false,
        run: lagging::stalled,
    },
    Workload {
        names: &["churn"],
        limit: "a change stream with a cursor of its own, started and dropped",
        long: false,
        run: flow::churn,
    },
    Workload {
        names: &["growth"],
        limit: "1,000 watches",
        long: true,
        run: crowd::growth,
    },
    Workload {
        names: &["catch-up"],
        limit: "a cursor over the same entries",
        long: false,
        run: lagging::catch_up,
    },
    Workload {
        names: &["streams-1k"],
        limit: "p50 where each of the streams waits for the log by itself",
        long: false,
        run: together::write_to_one_of_many,
    },
    Workload {
        names: &["consumer-ack"],
        limit: "p50 of replacing a document of that size",
        long: false,
        run: acknowledging::one_by_one,
    },
];

/// Runs the suite, or those of its workloads that are named.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let remark =
        "events are appended with durability Memory and seen with read concern Local, unless a name says durable";
    suite::run("streams", &WORKLOADS, &[remark], arguments, &Nobody)
}

//! Suite `wire`: official drivers, each a process of its own, and `tailwater serve`, another.
//!
//! The limit of what goes through a driver is the same driver talking to an [echo of the protocol](echo), which does nothing but
//! answer: what is left is what the driver, the kernel and the protocol cost. The drivers come from their registries, pinned as
//! the tests have them; the first run installs and compiles them beside this program.

mod crowd;
mod drivers;
mod echo;
mod idle;
mod inserts;
mod latency;
mod server;
mod streams;

use crate::cli::Arguments;
use crate::guests::Nobody;
use crate::harness::Result;
use crate::suite::{self, Workload};

const ECHO: &str = "the same driver and an echo of the protocol";
const DURABLE: &str = "the same driver and an echo that writes and syncs what it is given before it answers";

const WORKLOADS: [Workload; 10] = [
    Workload {
        names: &["insert-one-pymongo"],
        limit: DURABLE,
        long: false,
        run: inserts::one_pymongo,
    },
    Workload {
        names: &["insert-one-pymongo-memory"],
        limit: ECHO,
        long: false,
        run: inserts::one_pymongo_memory,
    },
    Workload {
        names: &["insert-one-node"],
        limit: DURABLE,
        long: false,
        run: inserts::one_node,
    },
    Workload {
        names: &["insert-one-node-memory"],
        limit: ECHO,
        long: false,
        run: inserts::one_node_memory,
    },
    Workload {
        names: &["insert-many-rust"],
        limit: ECHO,
        long: false,
        run: inserts::many_rust,
    },
    Workload {
        names: &["stream-node"],
        limit: ECHO,
        long: false,
        run: streams::node,
    },
    Workload {
        names: &["stream-rust"],
        limit: ECHO,
        long: false,
        run: streams::rust,
    },
    Workload {
        names: &["write-to-event", "write-to-event-p99"],
        limit: "the same driver and an echo that gives what was inserted as an event, p50 and p99",
        long: false,
        run: latency::write_to_event,
    },
    Workload {
        names: &["sse-10k"],
        limit: "20 KiB",
        long: false,
        run: crowd::event_streams,
    },
    Workload {
        names: &["idle", "idle-cpu"],
        limit: "30 MiB; for the processor's time, a tick of 10 ms",
        long: false,
        run: idle::waiting,
    },
];

/// Runs the suite, or those of its workloads that are named.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let remark = "durability: Disk, which is what the server does unless it is told otherwise; *-memory: Memory (w: 1)";
    suite::run("wire", &WORKLOADS, &[remark], arguments, &Nobody)
}

//! Suite `log`: the oplog by itself, entries of 256 bytes.

pub(crate) mod append_disk;
mod append_memory;
mod frames;
mod killed;
mod lookup;
mod prepare;
mod roll;
mod scan;
mod tail_async;
pub(crate) mod tail_blocking;
mod tail_process;

use crate::cli::Arguments;
use crate::guests::Guests;
use crate::harness::Result;
use crate::suite::{self, Workload};

pub use frames::{PAYLOAD_BYTES, payload};
pub(crate) use killed::fill;
pub use killed::{GIBIBYTE, MORE, kill_a_writer};
pub use roll::QUANTILE as ROLL_QUANTILE;
pub(crate) use tail_process::{follow, listen};

const WORKLOADS: [Workload; 14] = [
    Workload {
        names: &["append-memory-1"],
        limit: "header and payload copied into prefaulted memory, CRC-32",
        long: false,
        run: append_memory::one,
    },
    Workload {
        names: &["append-memory-batch64"],
        limit: "as append-memory-1",
        long: false,
        run: append_memory::batches,
    },
    Workload {
        names: &["append-memory-2threads"],
        limit: "tailwater with one thread",
        long: false,
        run: append_memory::two_threads,
    },
    Workload {
        names: &["append-disk-1", "append-disk-1-p50", "append-disk-1-p99"],
        limit: "pwrite + fdatasync for each record, in a prepared file",
        long: false,
        run: append_disk::one_writer,
    },
    Workload {
        names: &["append-disk-64"],
        limit: "20 times tailwater with one writer",
        long: false,
        run: append_disk::many_writers,
    },
    Workload {
        names: &["scan-crc", "scan-verified"],
        limit: "the same frames in a mapped file, CRC-32 of each; for scan-verified, twice tailwater's scan-crc",
        long: false,
        run: scan::scans,
    },
    Workload {
        names: &["tail-blocking", "tail-blocking-p99"],
        limit: "a parked thread unparked, p50 and p99",
        long: false,
        run: tail_blocking::wake_ups,
    },
    Workload {
        names: &["tail-async", "tail-async-p99"],
        limit: "tokio's Notify on a current-thread runtime, p50 and p99",
        long: false,
        run: tail_async::wake_ups,
    },
    Workload {
        names: &["tail-process", "tail-process-p99"],
        limit: "a process that sleeps on a futex in memory that both have mapped, p50 and p99",
        long: false,
        run: tail_process::wake_ups,
    },
    Workload {
        names: &["lookup"],
        limit: "one dependent read at a random place in memory of the same size",
        long: false,
        run: lookup::random,
    },
    Workload {
        names: &["open-1g"],
        limit: "newest segment read and synced, CRC-32 of its frames",
        long: false,
        run: killed::open_1g,
    },
    Workload {
        names: &["open-10g"],
        limit: "as open-1g",
        long: true,
        run: killed::open_10g,
    },
    Workload {
        names: &["roll", "roll-max"],
        limit: "for p99.99, 1 ms; for the longest, frames copied into memory for as long",
        long: false,
        run: roll::pauses,
    },
    Workload {
        names: &["prepare", "prepare-p50", "prepare-p99"],
        limit: "a file that was only allocated; tailwater: filled with zeros; recycled: written once before",
        long: true,
        run: prepare::syncs,
    },
];

/// Runs the suite, or those of its workloads that are named.
pub(crate) fn run(arguments: &Arguments, guests: &dyn Guests) -> Result<()> {
    let remark = "durability: append-disk-* Disk, all others Memory";
    suite::run("log", &WORKLOADS, &[remark], arguments, guests)
}

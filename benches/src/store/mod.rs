//! Suite `store`: the document store, documents of about 200 bytes. Default options.

mod bare;
mod documents;
mod filled;
mod find;
mod insert_disk;
mod insert_memory;
pub(crate) mod memory;
mod open;
mod recover;
mod scan;

use crate::cli::Arguments;
use crate::guests::Nobody;
use crate::harness::Result;
use crate::suite::{self, Workload};

pub(crate) use insert_memory::insert;
pub(crate) use recover::feed;

const WORKLOADS: [Workload; 7] = [
    Workload {
        names: &["insert-many-memory", "insert-many-memory-own", "insert-many-memory-rss"],
        limit: "the same batches into the key-value engine alone; for the memory, in all and without mapped files, its cache",
        long: false,
        run: insert_memory::many,
    },
    Workload {
        names: &["insert-one-disk-64"],
        limit: "the same entries appended to the bare log",
        long: false,
        run: insert_disk::one,
    },
    Workload {
        names: &["find-by-id"],
        limit: "300 k/s, what is to be reached; fjall is a get of the bare engine",
        long: false,
        run: find::by_id,
    },
    Workload {
        names: &["find-by-index"],
        limit: "150 k/s, what is to be reached; fjall is a seek and a get of the bare engine",
        long: false,
        run: find::by_index,
    },
    Workload {
        names: &["scan-match"],
        limit: "2 M/s, what is to be reached; fjall is a scan of the bare engine",
        long: false,
        run: scan::all,
    },
    Workload {
        names: &["recover-1m", "recover-1m-as-killed"],
        limit: "5 s, what is to be reached",
        long: false,
        run: recover::recoveries,
    },
    Workload {
        names: &["open-10m"],
        limit: "200 ms, what is to be reached; a tenth of the documents with --quick",
        long: false,
        run: open::clean,
    },
];

/// Runs the suite, or those of its workloads that are named.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let remark = "durability: insert-one-disk-64 Disk, all others Memory; the cache has 256 MiB";
    suite::run("store", &WORKLOADS, &[remark], arguments, &Nobody)
}

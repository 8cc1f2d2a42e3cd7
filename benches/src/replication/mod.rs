//! Suite `replication`: a primary and its followers in one process, over loopback, documents of some 200 bytes.

mod catch_up;
mod copy_memory;
mod lag;
mod majority;
mod writers;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tailwater::Store;
use tailwater::replication::{Follower, Primary};

use crate::cli::Arguments;
use crate::guests::Nobody;
use crate::harness::Result;
use crate::suite::{self, Workload};

pub(crate) use copy_memory::copy;

/// Nothing takes so long that works.
const PATIENCE: Duration = Duration::from_secs(120);

const WORKLOADS: [Workload; 5] = [
    Workload {
        names: &["catch-up", "catch-up-applied", "catch-up-1k"],
        limit: "the same bytes through a loopback connection, or into a file with one sync: the slower of the two",
        long: false,
        run: catch_up::run,
    },
    Workload {
        names: &["lag-p99", "lag-durable-p99"],
        limit: "one sync of this disk, p99",
        long: false,
        run: lag::run,
    },
    Workload {
        names: &["majority-of-two"],
        limit: "an insertion that is durable on this disk alone, p50",
        long: false,
        run: majority::run,
    },
    Workload {
        names: &["writers-three-followers"],
        limit: "the same insertions in batches, without followers, on as many processors",
        long: false,
        run: writers::run,
    },
    Workload {
        names: &[
            "copy-memory-fetching",
            "copy-memory-fetching-rss",
            "copy-memory-open",
            "copy-memory-open-rss",
        ],
        limit: "cache_bytes and overlay_bytes_max of the follower's store together; what is fetched takes none of them",
        long: false,
        run: copy_memory::run,
    },
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    suite::run("replication", &WORKLOADS, &[], arguments, &Nobody)
}

fn primary(store: &Store, members: &[&str]) -> Result<Primary> {
    Ok(store.primary("a").members(members.iter().copied()).start()?)
}

fn follower(dir: &Path, name: &str, from: SocketAddr, members: &[&str]) -> Result<Follower> {
    let builder = Store::follower(dir, name, from.to_string());
    Ok(builder.members(members.iter().copied()).start()?)
}

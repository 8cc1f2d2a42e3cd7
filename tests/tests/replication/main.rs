//! Members as processes of their own, through the command line: killed at random, frozen and woken, behind links that are pulled or
//! slow, with a disk that is full, and what is on their disks afterwards.
//!
//! `TAILWATER_KILL_SECONDS=n` has the kills go on for so long.

mod follow;
mod kills;
mod links;
mod members;
#[path = "../../../oplog/tests/common/mount.rs"]
mod mount;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../../replication/tests/stores/proxy.rs"]
mod proxy;

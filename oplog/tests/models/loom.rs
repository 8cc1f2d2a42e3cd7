//! The smallest of the log's sources over loom's threads, locks and atomics: all schedules, and all that a weak memory may
//! do in them. `docs/durability.md` says what is covered.
#![allow(
    unused,
    unreachable_pub,
    missing_docs,
    reason = "sources as they are, and not all of them are used"
)]

#[path = "../../src/bell.rs"]
mod bell;
#[path = "../../src/boot.rs"]
mod boot;
#[path = "../../src/codec.rs"]
mod codec;
#[path = "../../src/disk.rs"]
mod disk;
#[path = "../../src/format.rs"]
mod format;
#[path = "../../src/frame.rs"]
mod frame;
#[path = "futex.rs"]
mod futex;
#[path = "../../src/group.rs"]
mod group;
#[path = "../../src/ids.rs"]
mod ids;
#[path = "loom/primitives.rs"]
mod primitives;
#[path = "loom/protocols.rs"]
mod protocols;
#[path = "../../src/region.rs"]
mod region;
#[path = "runner.rs"]
mod runner;
#[path = "../../src/tail.rs"]
mod tail;
#[path = "../../src/wakers.rs"]
mod wakers;

fn main() -> std::process::ExitCode {
    runner::run(protocols::MODELS)
}

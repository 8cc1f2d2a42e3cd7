//! The log's own sources over shuttle's threads, locks and atomics: random schedules of everything that threads of one
//! process do with each other. `docs/durability.md` says what is covered.
//!
//! All files are those of `src/`, except `primitives`. Shuttle's memory is sequentially consistent; `loom.rs` is about weaker
//! ones.
#![allow(
    unused,
    unreachable_pub,
    missing_docs,
    reason = "the crate as it is, and not all of it is used"
)]

#[path = "../../src/bell.rs"]
mod bell;
#[path = "../../src/boot.rs"]
mod boot;
#[path = "../../src/buffer.rs"]
mod buffer;
#[path = "../../src/chain.rs"]
mod chain;
#[path = "../../src/codec.rs"]
mod codec;
#[path = "../../src/courier.rs"]
mod courier;
#[path = "../../src/cursor.rs"]
mod cursor;
#[path = "../../src/cut.rs"]
mod cut;
#[path = "../../src/disk.rs"]
mod disk;
#[path = "../../src/entry.rs"]
mod entry;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/folders.rs"]
mod folders;
#[path = "../../src/format.rs"]
mod format;
#[path = "../../src/frame.rs"]
mod frame;
#[path = "../../src/frames.rs"]
mod frames;
#[path = "../../src/fresh.rs"]
mod fresh;
#[path = "futex.rs"]
mod futex;
#[path = "../../src/group.rs"]
mod group;
#[path = "../../src/ids.rs"]
mod ids;
#[path = "../../src/keeper.rs"]
mod keeper;
#[path = "shuttle/log.rs"]
mod log;
#[path = "../../src/member.rs"]
mod member;
#[path = "../../src/oplog.rs"]
mod oplog;
#[path = "../../src/options.rs"]
mod options;
#[path = "../../src/part_file.rs"]
mod part_file;
#[path = "../../src/poison.rs"]
mod poison;
#[path = "shuttle/primitives.rs"]
mod primitives;
#[path = "../../src/record_file.rs"]
mod record_file;
#[path = "../../src/recovery.rs"]
mod recovery;
#[path = "../../src/region.rs"]
mod region;
#[path = "../../src/repair.rs"]
mod repair;
#[path = "../../src/retention.rs"]
mod retention;
#[path = "../../src/role_file.rs"]
mod role_file;
#[path = "runner.rs"]
mod runner;
#[path = "../../src/segment.rs"]
mod segment;
#[path = "../../src/sim.rs"]
mod sim;
#[path = "../../src/slot_file.rs"]
mod slot_file;
#[path = "../../src/slots.rs"]
mod slots;
#[path = "../../src/stats.rs"]
mod stats;
#[path = "../../src/sync.rs"]
mod sync;
#[path = "../../src/tail.rs"]
mod tail;
#[path = "../../src/terms.rs"]
mod terms;
#[path = "../../src/verify.rs"]
mod verify;
#[path = "../../src/view.rs"]
mod view;
#[path = "../../src/wakers.rs"]
mod wakers;
#[path = "shuttle/words.rs"]
mod words;

// Where the sources' documentation expects them.
use oplog::Oplog;
use options::Options;
use view::{OplogView, ReadConcern};

use shuttle::scheduler::{PctScheduler, RandomScheduler};

/// Runs `model` in `runs` random schedules, and in as many of few preemptions (PCT).
fn check(runs: usize, model: fn()) {
    let runs = runner::scaled(runs);
    let mut config = shuttle::Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    let seed = runner::seed();
    shuttle::Runner::new(RandomScheduler::new_from_seed(seed, runs / 2), config.clone()).run(model);
    for depth in [2, 4] {
        shuttle::Runner::new(PctScheduler::new_from_seed(seed, depth, runs / 4), config.clone()).run(model);
    }
}

fn main() -> std::process::ExitCode {
    runner::run(&[words::MODELS, log::MODELS].concat())
}

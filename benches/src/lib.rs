//! Tailwater's measurements: each promise as a ratio to its *limit*, the same harness doing only the unavoidable work,
//! taken in the same run on the same machine.
//!
//! ```text
//! cargo run --release -p tailwater-benches -- log|match|replication|store|streams|wire [--json] [--quick] [--dir DIR] [WORKLOAD…]
//! ```
//!
//! `docs/performance.md` says what the workloads and their limits are. Numbers from two machines, or from two runs with
//! something else going on in between, are not comparable; ratios nearly are.
//!
//! This is a library so that `benches/peers` can measure other crates in the same run: it is the same program with
//! [`Guests`].

mod child;
pub mod cli;
pub mod guests;
pub mod harness;
pub mod log;
mod machine;
mod matching;
mod replication;
pub mod report;
mod store;
mod streams;
mod suite;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Arguments, Suite};
use crate::guests::Guests;

/// The whole program: reads the command line and measures what it asks for.
#[must_use]
pub fn main(guests: &dyn Guests) -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.suite {
        Suite::Log => log::run(&arguments, guests),
        Suite::Match => matching::run(&arguments),
        Suite::Replication => replication::run(&arguments),
        Suite::Store => store::run(&arguments),
        Suite::Streams => streams::run(&arguments),
        Suite::Wire => wire::run(&arguments),
        Suite::Fill => log::fill(&arguments, guests),
        Suite::Follow => log::follow(&arguments),
        Suite::Listen => log::listen(&arguments),
        Suite::Insert => store::insert(&arguments),
        Suite::Feed => store::feed(&arguments),
        Suite::Idle => streams::idle(&arguments),
        Suite::Copy => replication::copy(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

//! Tailwater's measurements: each promise as a ratio to its *limit*, the same harness doing only the unavoidable work,
//! taken in the same run on the same machine.
//!
//! ```text
//! cargo run --release -p tailwater-benches -- log [--json] [--quick] [--dir DIR] [WORKLOAD…]
//! ```
//!
//! `docs/performance.md` says what the workloads and their limits are. Numbers from two machines, or from two runs with
//! something else going on in between, are not comparable; ratios nearly are.

mod cli;
mod harness;
mod log;
mod machine;
mod report;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Arguments, Suite};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.suite {
        Suite::Log => log::run(&arguments),
        Suite::Fill => log::fill(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

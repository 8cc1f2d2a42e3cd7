//! The measurements of the log beside other crates that keep a log, or can be used as one, in the same run.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --target-dir target/peers -- log [--json] [--quick]
//! ```
//!
//! It is the program of `tailwater-benches` with guests; `docs/performance.md` says under "Peers" what is compared.

mod engines;
mod peer;
mod workloads;

use std::path::Path;
use std::process::ExitCode;

use tailwater_benches::guests::Guests;
use tailwater_benches::harness::{Plan, Result};
use tailwater_benches::report::Series;

use crate::peer::{Memory, Peer};

#[expect(clippy::print_stderr, reason = "the program's output")]
fn main() -> ExitCode {
    // One of them is configured by the environment, which a program without `unsafe` can only set for a child.
    match engines::walrus::with_environment() {
        Ok(Some(code)) => code,
        Ok(None) => tailwater_benches::main(&Peers),
        Err(error) => {
            eprintln!("tailwater-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All the others.
struct Peers;

impl Guests for Peers {
    fn head(&self) -> Vec<String> {
        let line = |peer: &&dyn Peer| {
            let memory = match peer.memory() {
                Memory::Kept => "",
                Memory::Lost => "append-memory-* DOES NOT survive kill -9; ",
                Memory::Absent => "no appends without a sync; ",
            };
            let disk = if peer.disk() {
                ""
            } else {
                "no appends that survive power loss; "
            };
            format!("{}: {memory}{disk}{}", peer.name(), peer.remarks())
        };
        engines::ALL.iter().map(line).collect()
    }

    fn measure(&self, plan: &Plan, workload: &str) -> Result<Vec<Series>> {
        workloads::measure(plan, workload)
    }

    fn fill(&self, engine: &str, dir: &Path, entries: u64, ready: &dyn Fn()) -> Result<()> {
        let peer = engines::ALL.iter().find(|peer| peer.name() == engine);
        let peer = peer.ok_or_else(|| format!("there is no engine \"{engine}\""))?;
        workloads::fill_until_killed(*peer, dir, entries, ready)
    }
}

//! What runs the models: as the usual harness does, one after the other.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A model and its name.
pub(crate) type Model = (&'static str, fn());

/// Runs the models that the arguments name a part of, or all.
#[expect(clippy::print_stdout, reason = "the report")]
pub(crate) fn run(models: &[Model]) -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, model) in models {
        if !filters.is_empty() && !filters.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let start = Instant::now();
        let outcome = if catch_unwind(model).is_ok() { "ok" } else { "FAILED" };
        if outcome != "ok" {
            failed.push(*name);
        }
        println!("model {name} ... {outcome} ({:.1} s)", start.elapsed().as_secs_f64());
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}. TAILWATER_SEED={} repeats it", failed.join(", "), seed());
    ExitCode::FAILURE
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// `runs`, or so many times as many as `TAILWATER_MODEL_RUNS` says.
pub(crate) fn scaled(runs: usize) -> usize {
    runs * variable("TAILWATER_MODEL_RUNS").unwrap_or(1) as usize
}

/// The seed of this run's random numbers.
pub(crate) fn seed() -> u64 {
    static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64)
    };
    *SEED.get_or_init(|| variable("TAILWATER_SEED").unwrap_or_else(now))
}

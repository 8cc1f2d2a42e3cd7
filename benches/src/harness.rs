//! What all workloads share: rounds, clocks, percentiles and directories.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Outcome of anything that can fail here; the run ends with the first failure.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Pause between workloads: a file system goes on freeing blocks for a while after files were removed.
const SETTLE: Duration = Duration::from_millis(500);

/// How much to measure, and where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
    /// Rounds of each measurement; limit and engine take turns, so that a drift of the machine meets both.
    pub(crate) rounds: usize,
    dir: PathBuf,
}

impl Plan {
    /// With the data in `dir`, or beside the running program: under cargo that is the target directory, on a disk, where
    /// the system's temporary directory may be memory.
    pub(crate) fn new(quick: bool, dir: Option<&Path>) -> Result<Plan> {
        let dir = match dir {
            Some(dir) => dir.to_path_buf(),
            None => {
                let program = std::env::current_exe()?;
                program.parent().unwrap_or(Path::new(".")).to_path_buf()
            }
        };
        Ok(Plan {
            quick,
            rounds: if quick { 3 } else { 5 },
            dir,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// `full`, or `quick` in a quick run.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Waits until the file system has nothing left to write from what went before.
    pub(crate) fn settle(&self) -> Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(std::fs::File::open(&self.dir)?)?;
        std::thread::sleep(SETTLE);
        Ok(())
    }

    /// A directory that is removed when the result is dropped.
    pub(crate) fn scratch(&self) -> Result<TempDir> {
        Ok(tempfile::Builder::new()
            .prefix("tailwater-bench-")
            .tempdir_in(&self.dir)?)
    }

    /// Runs both in turn, round after round.
    pub(crate) fn alternate<T>(
        &self,
        mut limit: impl FnMut() -> Result<T>,
        mut engine: impl FnMut() -> Result<T>,
    ) -> Result<(Vec<T>, Vec<T>)> {
        let (mut limits, mut engines) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            limits.push(limit()?);
            engines.push(engine()?);
        }
        Ok((limits, engines))
    }
}

/// How long `work` takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// Millions of `count` things per second.
pub(crate) fn millions_per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64() / 1e6
}

/// Latencies of one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    microseconds: Vec<f64>,
}

impl Latencies {
    pub(crate) fn with_capacity(count: usize) -> Latencies {
        Latencies {
            microseconds: Vec::with_capacity(count),
        }
    }

    pub(crate) fn push(&mut self, latency: Duration) {
        self.microseconds.push(latency.as_secs_f64() * 1e6);
    }

    pub(crate) fn len(&self) -> usize {
        self.microseconds.len()
    }

    /// The latency that the share `q` of all does not exceed.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.microseconds.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// The same quantile of every round.
pub(crate) fn quantiles(rounds: &[Latencies], q: f64) -> Vec<f64> {
    rounds.iter().map(|latencies| latencies.quantile(q)).collect()
}

/// A cheap source of numbers that look random (xorshift64*), the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Dice {
        Dice(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(number) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_name_a_measured_value() {
        let mut latencies = Latencies::with_capacity(100);
        for i in 1..=100 {
            latencies.push(Duration::from_micros(i));
        }
        assert_eq!((latencies.quantile(0.5), latencies.quantile(0.99)), (50.0, 99.0));
    }
}

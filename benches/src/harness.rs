//! What all workloads share: rounds, clocks, percentiles and directories.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;

/// Outcome of anything that can fail here; the run ends with the first failure.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Pause between workloads: a file system goes on freeing blocks for a while after files were removed.
const SETTLE: Duration = Duration::from_millis(500);

/// What the names of directories with data begin with; the number of the process follows.
const SCRATCH: &str = "tailwater-bench-";

/// How much to measure, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) quick: bool,
    /// Rounds of each measurement; limit and engine take turns, so that a drift of the machine meets both.
    pub rounds: usize,
    /// How large the state is that is copied, where that was said.
    pub(crate) state_bytes: Option<u64>,
    dir: PathBuf,
}

impl Plan {
    /// With the data in `dir`, or beside the running program: under cargo that is the target directory, on a disk, where
    /// the system's temporary directory may be memory.
    ///
    /// # Errors
    ///
    /// When the system does not say where the program is.
    pub fn new(quick: bool, dir: Option<&Path>) -> Result<Plan> {
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
            state_bytes: None,
            dir,
        })
    }

    /// Where the data goes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `full`, or `quick` in a quick run.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Waits until the file system has nothing left to write from what went before.
    ///
    /// # Errors
    ///
    /// When the directory cannot be opened or its file system not be synced.
    pub fn settle(&self) -> Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(std::fs::File::open(&self.dir)?)?;
        std::thread::sleep(SETTLE);
        Ok(())
    }

    /// A directory that is removed when the result is dropped.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<TempDir> {
        let prefix = format!("{SCRATCH}{}-", std::process::id());
        Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.dir)?)
    }

    /// Removes what interrupted runs have left: up to ten gigabytes, when somebody pressed Ctrl-C.
    pub(crate) fn sweep(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let owner = name
                .strip_prefix(SCRATCH)
                .and_then(|rest| rest.split('-').next())
                .and_then(|process| Pid::from_raw(process.parse().ok()?));
            if owner.is_some_and(|owner| test_kill_process(owner) == Err(Errno::SRCH)) {
                std::fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }

    /// Millions of times a second that `work` can be done, tried for a while.
    pub(crate) fn millions_per_second(&self, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        let span = self.pick(Duration::from_secs(1), Duration::from_millis(300));
        let start = Instant::now();
        let mut count = 0;
        while start.elapsed() < span {
            for _ in 0..100 {
                work()?;
            }
            count += 100;
        }
        Ok(millions_per_second(count, start.elapsed()))
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
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// Millions of `count` things per second.
#[must_use]
pub fn millions_per_second(count: u64, time: Duration) -> f64 {
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

    /// How many there are in a second, one after the other.
    pub(crate) fn per_second(&self) -> f64 {
        self.len() as f64 / self.microseconds.iter().sum::<f64>() * 1e6
    }

    /// The latency that the share `q` of all does not exceed.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.microseconds.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Latencies of a round that has too many to keep each: to within 2 %, and taking one costs a few instructions.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// How many there were in each bucket: one for each nanosecond up to 128, then 64 for each power of two.
    counts: Box<[u64]>,
    total: u64,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl Histogram {
    /// Bits of a latency that decide its bucket, besides its magnitude.
    const BITS: u32 = 6;
    const BUCKETS: usize = ((64 - Self::BITS as usize) << Self::BITS) + (1 << Self::BITS);

    /// With none.
    #[must_use]
    pub fn new() -> Histogram {
        Histogram {
            counts: vec![0; Self::BUCKETS].into(),
            total: 0,
            longest: 0,
        }
    }

    /// Takes one.
    #[inline]
    pub fn push(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[Self::bucket(nanos)] += 1;
        self.total += 1;
        self.longest = self.longest.max(nanos);
    }

    #[inline]
    fn bucket(nanos: u64) -> usize {
        let shift = (nanos | 1).ilog2().saturating_sub(Self::BITS);
        ((shift as usize) << Self::BITS) + (nanos >> shift) as usize
    }

    /// The longest latency that falls into a bucket.
    fn upper(bucket: usize) -> u64 {
        let shift = (bucket >> Self::BITS).saturating_sub(1);
        let low = bucket - (shift << Self::BITS);
        ((low as u64) << shift) + ((1 << shift) - 1)
    }

    /// Microseconds that the share `q` of all latencies does not exceed.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = (q * self.total as f64).ceil() as u64;
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(f64::NAN, |bucket| Self::upper(bucket).min(self.longest) as f64 / 1e3)
    }

    /// Microseconds that the longest took.
    pub(crate) fn longest(&self) -> f64 {
        self.longest as f64 / 1e3
    }
}

/// The same quantile of every round.
pub(crate) fn quantiles(rounds: &[Latencies], q: f64) -> Vec<f64> {
    rounds.iter().map(|latencies| latencies.quantile(q)).collect()
}

/// A cheap source of numbers that look random (xorshift64*), the same in every run.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Default for Dice {
    fn default() -> Dice {
        Dice(0x9e37_79b9_7f4a_7c15)
    }
}

impl Dice {
    /// The beginning of the sequence.
    #[must_use]
    pub fn new() -> Dice {
        Dice::default()
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
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

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        let mut last = None;
        for bucket in 0..Histogram::BUCKETS {
            let upper = Histogram::upper(bucket);
            assert_eq!(Histogram::bucket(upper), bucket);
            let lower = last.map_or(0, |last| last + 1);
            assert_eq!(Histogram::bucket(lower), bucket);
            assert!(upper - lower <= upper / 64, "{lower} to {upper}");
            last = Some(upper);
        }
        assert_eq!(last, Some(u64::MAX));
    }

    #[test]
    fn a_histogram_knows_the_few_long_ones() {
        let mut histogram = Histogram::new();
        for _ in 0..9_998 {
            histogram.push(Duration::from_nanos(100));
        }
        histogram.push(Duration::from_micros(10));
        histogram.push(Duration::from_millis(3));
        assert_eq!(histogram.quantile(0.999), 0.1);
        assert!((10.0..10.2).contains(&histogram.quantile(0.9999)));
        assert_eq!((histogram.quantile(1.0), histogram.longest()), (3000.0, 3000.0));
    }
}

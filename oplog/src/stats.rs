//! What a writer has done since it opened the log, in numbers that any metrics system can export.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::ids::{LogId, Term};
use crate::tail::Watermarks;

/// Buckets of a histogram: powers of two, enough for an hour in microseconds.
const BUCKETS: usize = 33;

const SLOW_SYNC: Duration = Duration::from_secs(1);

/// Whether a sync that took so long is worth a warning: writers wait for it.
pub(crate) fn is_slow(sync: Duration) -> bool {
    sync >= SLOW_SYNC
}

/// How often values of a magnitude were seen: bucket *i* counts the values from 2^(i-1) up to, and not with, 2^i; bucket 0
/// counts zeros.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Histogram {
    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Sum of the values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Upper bound (not included) and number of values of each bucket, smallest first, as far as any value was seen.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let used = self
            .buckets
            .iter()
            .rposition(|&count| count > 0)
            .map_or(0, |last| last + 1);
        (0..).map(|i| 1 << i).zip(self.buckets[..used].iter().copied())
    }

    /// An upper bound of the `q`-quantile, at most twice the value itself; 0 when nothing was seen.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = (self.count() as f64 * q.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.buckets().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, |(bound, _)| bound - 1)
    }
}

/// A histogram that is being counted.
#[derive(Debug)]
pub(crate) struct Counts {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Counts {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }
}

impl Counts {
    // Relaxed throughout: the numbers order nothing.

    /// Counts one value.
    pub(crate) fn add(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// As [`Counts::add`], for the only thread that adds: without locking the bus.
    #[inline]
    pub(crate) fn add_alone(&self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        let add = |cell: &AtomicU64, n| cell.store(cell.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        add(&self.buckets[bucket.min(BUCKETS - 1)], 1);
        add(&self.sum, value);
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What is counted while a log is open for writing.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Entries in each append. Counted under the append lock.
    pub(crate) batch_entries: Counts,
    /// Bytes of frames in each append. Counted under the append lock.
    pub(crate) append_bytes: Counts,
    /// Microseconds that each sync took.
    pub(crate) sync_micros: Counts,
    /// Entries that each sync made durable.
    pub(crate) sync_entries: Counts,
    pub(crate) rolls: AtomicU64,
}

/// A snapshot of a log that is open for writing; see [`Oplog::stats`](crate::Oplog::stats). Counts begin at zero with each
/// opening. Parts of one snapshot may be a moment apart.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Identity of the log.
    pub log_id: LogId,
    /// The term this writer writes in.
    pub term: Term,
    /// The watermarks.
    pub watermarks: Watermarks,
    /// Segments in the log, the newest among them.
    pub segments: u64,
    /// What the log takes on disk, in bytes: the lengths of all segment files together, the newest included, as
    /// [`Retention::max_bytes`](crate::Retention::max_bytes) counts them. A segment that is prepared, and the buffer, come on top;
    /// [`stat`](crate::stat()) has them.
    pub segment_bytes: u64,
    /// Entries in each append call: how large batches are. Its count is the number of calls, its sum the number of entries.
    pub batch_entries: Histogram,
    /// Bytes that each append call added to the log, frame headers and padding included.
    pub append_bytes: Histogram,
    /// How long each sync took, in microseconds, from moving what was in the log buffer to the end of `fdatasync`.
    pub sync_micros: Histogram,
    /// Entries that each sync made durable: how well writers share.
    pub sync_entries: Histogram,
    /// Segments begun since the log was opened.
    pub rolls: u64,
    /// Whether the log is poisoned and takes no more writes.
    pub poisoned: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_magnitude() {
        let counts = Counts::default();
        for value in [0, 1, 2, 3, 4, 1000] {
            counts.add(value);
        }
        counts.add_alone(1000);
        counts.add(u64::MAX);
        let histogram = counts.snapshot();
        assert_eq!(histogram.count(), 8);
        let buckets: Vec<_> = histogram.buckets().filter(|&(_, count)| count > 0).collect();
        assert_eq!(buckets, [(1, 1), (2, 1), (4, 2), (8, 1), (1024, 2), (1 << 32, 1)]);
        assert_eq!(histogram.quantile(0.5), 3);
        assert_eq!(histogram.quantile(0.75), 1023);
        assert_eq!(Counts::default().snapshot().quantile(0.5), 0);
    }

    #[test]
    fn a_sync_is_slow_from_a_second_on() {
        for (took, slow) in [
            (Duration::ZERO, false),
            (Duration::from_nanos(999_999_999), false),
            (Duration::from_secs(1), true),
            (Duration::MAX, true),
        ] {
            assert_eq!(is_slow(took), slow, "{took:?}");
        }
    }
}

//! How long a token is good: until the log removes the segment with its entry.
//!
//! An estimate, as the log is written at the present rate: retention looks at whole segments, and a slot that somebody holds keeps
//! them for longer.

use std::time::Duration;

use tailwater::OpId;
use tailwater::oplog::{Retention, Timestamp};

/// A segment, as far as retention looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) first: OpId,
    pub(super) file_bytes: u64,
    /// When its last entry was written, if it takes no more.
    pub(super) sealed_at: Option<Timestamp>,
}

/// What decides how long tokens are good.
#[derive(Clone, Debug)]
pub(super) struct Expiry {
    pub(super) retention: Retention,
    /// Oldest first.
    pub(super) extents: Vec<Extent>,
    /// The first entry that some slot holds.
    pub(super) held_from: Option<OpId>,
    /// Bytes that the log grows by each second.
    pub(super) bytes_per_second: f64,
    pub(super) now: Timestamp,
}

impl Expiry {
    /// How long a token at that entry is good; nothing when there is no end in sight.
    pub(super) fn of(&self, op_id: OpId) -> Option<Duration> {
        // That of a watch which began before anything was written needs the first entry.
        let op_id = op_id.max(OpId::FIRST);
        let behind = self.extents.partition_point(|extent| extent.first <= op_id);
        let Some(at) = behind.checked_sub(1) else {
            // Before the oldest entry, or a log without any.
            return self.extents.first().map(|_| Duration::ZERO);
        };
        let held = self.held_from.is_some_and(|held_from| held_from <= op_id);
        let kept = Retention {
            max_bytes: self.retention.max_bytes.filter(|_| !held),
            max_age: self.retention.max_age.filter(|_| !held),
            hard_max_bytes: self.retention.hard_max_bytes,
        };
        let by_bytes = [kept.max_bytes, kept.hard_max_bytes].into_iter().flatten().min();
        let ends = [
            by_bytes.and_then(|max| self.by_bytes(at, max)),
            kept.max_age.map(|age| self.by_age(at, age)),
        ];
        ends.into_iter().flatten().min()
    }

    /// Until so much was written behind the segment that it is too much.
    fn by_bytes(&self, at: usize, max: u64) -> Option<Duration> {
        if self.bytes_per_second <= 0.0 {
            return None;
        }
        let taken: u64 = self.extents[at..].iter().map(|extent| extent.file_bytes).sum();
        let seconds = max.saturating_sub(taken) as f64 / self.bytes_per_second;
        // Longer than a program runs is as good as for ever.
        (seconds < 1e9).then(|| Duration::from_secs_f64(seconds))
    }

    /// Until the segment's last entry has reached the age. One that still takes entries has not seen its last.
    fn by_age(&self, at: usize, age: Duration) -> Duration {
        let Some(last) = self.extents[at].sealed_at else {
            return age;
        };
        let old = Duration::from_nanos(self.now.as_nanos().saturating_sub(last.as_nanos()));
        age.saturating_sub(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry(retention: Retention) -> Expiry {
        let extent = |first, sealed_at: Option<u64>| Extent {
            first: OpId::new(first),
            file_bytes: 100,
            sealed_at: sealed_at.map(|seconds| Timestamp::from_nanos(seconds * 1_000_000_000)),
        };
        Expiry {
            retention,
            extents: vec![extent(11, Some(60)), extent(21, Some(90)), extent(31, None)],
            held_from: None,
            bytes_per_second: 10.0,
            now: Timestamp::from_nanos(100_000_000_000),
        }
    }

    fn seconds(expiry: &Expiry, op_id: u64) -> Option<u64> {
        expiry.of(OpId::new(op_id)).map(|left| left.as_secs())
    }

    #[test]
    fn a_token_is_good_until_its_segment_goes() {
        let all = expiry(Retention::default());
        assert_eq!([5, 11, 35].map(|op_id| seconds(&all, op_id)), [Some(0), None, None]);
        let by_bytes = expiry(Retention {
            max_bytes: Some(400),
            ..Retention::default()
        });
        let ends = [15, 21, 40].map(|op_id| seconds(&by_bytes, op_id));
        assert_eq!(ends, [Some(10), Some(20), Some(30)]);
        let by_age = expiry(Retention {
            max_age: Some(Duration::from_secs(50)),
            ..Retention::default()
        });
        let ends = [15, 21, 40].map(|op_id| seconds(&by_age, op_id));
        assert_eq!(ends, [Some(10), Some(40), Some(50)]);
    }

    #[test]
    fn what_a_slot_holds_goes_only_by_the_hard_limit() {
        let mut held = expiry(Retention {
            max_bytes: Some(300),
            hard_max_bytes: Some(1000),
            ..Retention::default()
        });
        held.held_from = Some(OpId::new(21));
        assert_eq!([15, 25].map(|op_id| seconds(&held, op_id)), [Some(0), Some(80)]);
        held.retention.hard_max_bytes = None;
        assert_eq!(seconds(&held, 25), None);
    }

    #[test]
    fn a_log_that_nobody_writes_keeps_what_it_has() {
        let mut quiet = expiry(Retention {
            max_bytes: Some(400),
            ..Retention::default()
        });
        quiet.bytes_per_second = 0.0;
        assert_eq!(seconds(&quiet, 15), None);
    }
}

//! Since when a follower has not been up to date, as far as it can know.
//!
//! The age of its newest entry is not it: a primary that was quiet for a night and then writes leaves nobody a night behind. So it
//! is remembered when a follower that had everything first heard of more. That it had everything it knows only from a
//! [`Status`](crate::decision::Status), which a primary sends when it has nothing to send; until then the age of the newest entry
//! is the best there is.

use std::time::{Duration, Instant};

use tailwater_oplog::OpId;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Currency {
    /// Whether it has had everything since it is connected.
    was_current: bool,
    /// When it heard of more than it had.
    since: Option<Instant>,
}

impl Currency {
    /// The primary has said that there is nothing beyond `newest`.
    pub(super) fn told(&mut self, newest: OpId, durable: OpId, now: Instant) {
        self.was_current |= newest <= durable;
        self.heard(newest, durable, now);
    }

    /// There is an entry `newest`.
    pub(super) fn heard(&mut self, newest: OpId, durable: OpId, now: Instant) {
        if newest <= durable {
            self.since = None;
        } else if self.was_current {
            self.since.get_or_insert(now);
        }
    }

    /// How long it has not been up to date, of at most `age`, which is that of the newest entry it has.
    pub(super) fn behind(&self, age: Duration, now: Instant) -> Duration {
        let known = self.since.map(|since| now.saturating_duration_since(since));
        known.map_or(age, |known| known.min(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_behind_since_it_heard_of_more_and_not_since_its_newest_entry() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let night = Duration::from_secs(30_000);
        let mut currency = Currency::default();
        // It has been away: what comes first says nothing of the rest.
        currency.heard(OpId::new(10), OpId::new(5), at(0));
        assert_eq!(currency.behind(night, at(1)), night);
        currency.heard(OpId::new(10), OpId::new(10), at(1));
        currency.heard(OpId::new(20), OpId::new(10), at(2));
        assert_eq!(
            currency.behind(night, at(3)),
            night,
            "nobody has said that there was no more"
        );
        currency.told(OpId::new(20), OpId::new(20), at(4));
        // Quiet for a night, and then an entry.
        currency.heard(OpId::new(21), OpId::new(20), at(30_000));
        currency.heard(OpId::new(22), OpId::new(20), at(30_001));
        assert_eq!(currency.behind(night, at(30_002)), Duration::from_secs(2));
        assert_eq!(
            currency.behind(Duration::from_secs(1), at(30_002)),
            Duration::from_secs(1)
        );
        currency.heard(OpId::new(22), OpId::new(22), at(30_003));
        currency.heard(OpId::new(23), OpId::new(22), at(30_004));
        assert_eq!(currency.behind(night, at(30_005)), Duration::from_secs(1));
    }
}

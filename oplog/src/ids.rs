//! The numbers a log is addressed with, each a type of its own so that an OpID can never be passed where a term is meant.

use std::fmt;

use bincode::{Decode, Encode};
use rustix::time::{ClockId, clock_gettime};

/// Position of one entry in the log: dense, counted from 1, never reused under the same term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct OpId(u64);

impl OpId {
    /// The position before the first entry: nothing has been written.
    pub const ZERO: OpId = OpId(0);
    /// The first entry a log ever holds.
    pub const FIRST: OpId = OpId(1);

    /// The OpID with this number.
    #[must_use]
    pub const fn new(number: u64) -> OpId {
        OpId(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The entry after this one; the largest number there is, which no log reaches, stays where it is.
    #[must_use]
    pub const fn next(self) -> OpId {
        // A frame may claim any watermark.
        OpId(self.0.saturating_add(1))
    }

    /// The entry before this one; [`OpId::ZERO`] stays where it is.
    #[must_use]
    pub const fn previous(self) -> OpId {
        OpId(self.0.saturating_sub(1))
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpId({})", self.0)
    }
}

/// One period of writing: grows with every writable open and every promotion, so that the same OpID written twice
/// (once lost with its machine's power, once again later) can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
pub struct Term(u32);

impl Term {
    /// The term with this number.
    #[must_use]
    pub const fn new(number: u32) -> Term {
        Term(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a log, made when its directory is initialised. Copies and followers share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(uuid::Uuid);

impl LogId {
    pub(crate) fn random() -> LogId {
        LogId(uuid::Uuid::new_v4())
    }

    /// The identity with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> LogId {
        LogId(uuid::Uuid::from_bytes(bytes))
    }

    /// Its sixteen bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({})", self.0)
    }
}

/// Nanoseconds since the Unix epoch, of a hybrid clock: the wall clock where that has moved on, otherwise the
/// predecessor's value plus one. It orders entries as their OpIDs do, whatever the wall clock does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Encode, Decode)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The timestamp so many nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Timestamp {
        Timestamp(nanos)
    }

    /// The wall clock's time. A clock before 1970 counts as 1970.
    #[must_use]
    pub fn now() -> Timestamp {
        #[cfg(test)]
        if let Some(now) = injected::now() {
            return now;
        }
        // Straight from the clock: every append pays for this call, and the way through `SystemTime` costs half as much again.
        let now = clock_gettime(ClockId::Realtime);
        // A clock before 1970 or after 2554 counts as 1970.
        let nanos = u64::try_from(now.tv_sec)
            .ok()
            .and_then(|s| s.checked_mul(1_000_000_000));
        Timestamp(nanos.map_or(0, |nanos| nanos + now.tv_nsec as u64))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, as BSON dates count.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        (self.0 / 1_000_000) as i64
    }

    /// The timestamp of an entry written at wall-clock time `now`, after one with the timestamp `self`. Behind the largest there
    /// is, which only a forged frame can carry, it is the same.
    #[must_use]
    pub(crate) fn successor(self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.max(self.0.saturating_add(1)))
    }
}

/// A wall clock that a test sets as it likes, for what its own thread does.
#[cfg(test)]
pub(crate) mod injected {
    use std::cell::Cell;

    use super::Timestamp;

    std::thread_local! {
        static NOW: Cell<Option<Timestamp>> = const { Cell::new(None) };
    }

    pub(super) fn now() -> Option<Timestamp> {
        NOW.get()
    }

    /// Has the clock stand at `now`, or go right again.
    pub(crate) fn set(now: Option<Timestamp>) {
        NOW.set(now);
    }
}

/// Sequence number of a segment: dense, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Sequence(pub(crate) u64);

impl Sequence {
    pub(crate) const FIRST: Sequence = Sequence(1);

    pub(crate) fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_grow_whatever_the_clock_does() {
        const YEARS: u64 = 10 * 365 * 86_400 * 1_000_000_000;
        let mut last = Timestamp(YEARS);
        // On, back, still, ten years ahead, and right again.
        for now in [YEARS + 5, YEARS - 9, YEARS - 9, 2 * YEARS, YEARS + 20, 0] {
            let next = last.successor(Timestamp(now));
            assert!(next > last && next.0 >= now, "{last:?}, {now}: {next:?}");
            last = next;
        }
        assert_eq!(last, Timestamp(2 * YEARS + 2));
        assert_eq!(Timestamp(u64::MAX).successor(Timestamp(5)), Timestamp(u64::MAX));
    }
}

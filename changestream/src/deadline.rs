//! Deadlines of waits, for every duration that a caller may name.

use std::time::{Duration, Instant};

/// Thirty years stand for whatever is longer: a sum of a time and [`Duration::MAX`] has no place in the clock.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The time that comes after a duration.
pub(crate) fn after(duration: Duration) -> Instant {
    Instant::now() + duration.min(FAR)
}

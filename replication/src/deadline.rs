//! Deadlines from timeouts that a caller has chosen, which may be "for ever".

use std::time::{Duration, Instant};

/// As good as for ever.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// So long from now, or a time that nobody lives to see.
pub(crate) fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_timeout_is_a_deadline() {
        for timeout in [Duration::ZERO, Duration::from_secs(60), Duration::MAX] {
            assert!(after(timeout) >= Instant::now() || timeout.is_zero());
        }
    }
}

//! What becomes of a follower, in the log of the program.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tailwater::replication::FollowerEvent;

/// How often it is said how far a copy has come.
const PACE: Duration = Duration::from_secs(10);

/// What keeps a follower from following, for the log: once as long as it is the same, as it is tried again and again. And how far
/// its copy has come, now and then.
#[derive(Default)]
pub(super) struct Troubles(Mutex<Said>);

#[derive(Default)]
struct Said {
    error: Option<String>,
    /// When it was last said how far a copy has come.
    copy: Option<Instant>,
}

impl Said {
    /// Whether to say how far a copy has come.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.copy.is_none_or(|last| now.duration_since(last) >= PACE);
        if is_due {
            self.copy = Some(now);
        }
        is_due
    }
}

impl Troubles {
    pub(super) fn log(&self, event: &FollowerEvent) {
        // Every change is one step.
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            FollowerEvent::Retrying { error: Some(error), .. } => {
                let text = error.to_string();
                if said.error.as_ref() != Some(&text) {
                    tracing::error!(error = text, "cannot follow; trying again");
                }
                said.error = Some(text);
            }
            FollowerEvent::Preparing { bytes, expected } if said.is_due(Instant::now()) => {
                tracing::info!(bytes, expected, "the primary makes a copy of its state");
            }
            FollowerEvent::Copying { bytes, total } if said.is_due(Instant::now()) || bytes == total => {
                tracing::info!(bytes, total, "fetching the copy");
            }
            FollowerEvent::Following { term, .. } => {
                tracing::info!(%term, "following");
                *said = Said::default();
            }
            FollowerEvent::RolledBack { last, file } => {
                tracing::warn!(%last, file = %file.display(), "entries that the primary does not have were written to a file and cut off");
            }
            FollowerEvent::Resyncing { .. } => {
                tracing::warn!("what is here is replaced by a copy of the primary's store");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_copy_has_come_is_said_at_once_and_then_every_ten_seconds() {
        let (mut said, begun) = (Said::default(), Instant::now());
        let due: Vec<u64> = (0..25)
            .filter(|&n| said.is_due(begun + Duration::from_secs(n)))
            .collect();
        assert_eq!(due, [0, 10, 20]);
    }
}

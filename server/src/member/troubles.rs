//! What becomes of a follower, in the log of the program.

use std::sync::{Mutex, PoisonError};

use tailwater::replication::FollowerEvent;

/// What keeps a follower from following, for the log: once as long as it is the same, as it is tried again and again.
#[derive(Default)]
pub(super) struct Troubles(Mutex<Option<String>>);

impl Troubles {
    pub(super) fn log(&self, event: &FollowerEvent) {
        // Every change is one step.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            FollowerEvent::Retrying { error: Some(error), .. } => {
                let text = error.to_string();
                if last.as_ref() != Some(&text) {
                    tracing::error!(error = text, "cannot follow; trying again");
                }
                *last = Some(text);
            }
            FollowerEvent::Following { term, .. } => {
                tracing::info!(%term, "following");
                *last = None;
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

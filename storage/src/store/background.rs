//! What a store does by itself beside applying: going on with index builds that an earlier process has begun, and deleting
//! documents whose time has come. Each in a thread that exists only when there is something to do.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::build::BUILD_AT_ONCE_MAX;
use super::{Handle, Store};
use crate::error::{Error, Result};
use crate::expire;

impl Store {
    /// Ends what builds an earlier process has left: small ones at once, others in a thread of their own.
    pub(super) fn resume_builds(&self) -> Result<()> {
        for (build, documents) in self.core().unfinished_builds() {
            tracing::info!(documents, "going on with an index build");
            let core = Arc::clone(self.core());
            let complete = move || match core.complete(&build) {
                Ok(_) => {}
                Err(error) if core.stopping.load(Ordering::SeqCst) => {
                    tracing::debug!(%error, "an index build was interrupted; it goes on with the next opening");
                }
                Err(error) => tracing::error!(%error, "an index build failed"),
            };
            if documents <= BUILD_AT_ONCE_MAX {
                complete();
            } else {
                self.handle.spawn("tailwater-index", complete)?;
            }
        }
        Ok(())
    }

    /// Starts the thread that deletes expired documents, if there is an index that asks for it and no such thread yet.
    pub(crate) fn ensure_expiry(&self) -> Result<()> {
        let core = self.core();
        if !expire::is_wanted(&core.catalog()) || self.handle.expiring.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let core = Arc::clone(core);
        self.handle.spawn("tailwater-ttl", move || expire::run(&core))
    }
}

impl Handle {
    pub(super) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let mut threads = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        // Of those that are over there is nothing to wait for.
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread.map_err(|source| Error::Thread {
            name: name.to_owned(),
            source: Arc::new(source),
        })?);
        Ok(())
    }

    /// Waits for the threads, which have been told to stop.
    pub(super) fn join_background(&self) {
        self.core.expiry.wake();
        self.core.backlog.wake();
        let threads = std::mem::take(&mut *self.background.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic over there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

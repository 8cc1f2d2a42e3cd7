//! Keeps the users and roles of a store that follows another as they are there: entries of the log that change them have them read
//! again. A user that was dropped on the primary is refused here as soon as that has come.
//!
//! On a primary nothing is done: whoever changes users there knows.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tailwater::{ChangeStream, INTERNAL_DATABASE, ReadConcern, Stopper, WatchError};

use crate::error::{ServerError, ServerResult};
use crate::server::{ServerHandle, Shared};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The thread that does so.
pub(crate) struct Keeper {
    stopper: Stopper,
    thread: JoinHandle<ServerResult<()>>,
}

impl Keeper {
    /// Begins, where the store follows another. When changes cannot be followed any more the server is stopped: it would let in who
    /// is a user no longer.
    pub(crate) fn start(shared: &Arc<Shared>, server: ServerHandle) -> ServerResult<Option<Keeper>> {
        if !shared.store.is_following() {
            return Ok(None);
        }
        let mut changes = watch(shared).map_err(|error| ServerError::Users(error.into()))?;
        let stopper = changes.stopper();
        // What has been changed since they were read.
        refresh(shared).map_err(ServerError::Users)?;
        let shared = Arc::clone(shared);
        let run = move || match keep(&shared, &mut changes) {
            Err(error) if !shared.store.log().is_closed() => {
                tracing::error!(%error, "changes of users cannot be followed: the server stops");
                server.stop();
                Err(ServerError::Users(error))
            }
            _ => Ok(()),
        };
        let thread = thread::Builder::new()
            .name("tailwater-users".into())
            .spawn(run)
            .map_err(ServerError::Thread)?;
        Ok(Some(Keeper { stopper, thread }))
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// What it had stopped the server for.
    pub(crate) fn stop(self) -> ServerResult<()> {
        self.stopper.stop();
        // A panic has been reported by the panic hook.
        self.thread.join().unwrap_or(Ok(()))
    }
}

fn watch(shared: &Shared) -> Result<ChangeStream, WatchError> {
    let watch = shared.store.watch_database(INTERNAL_DATABASE);
    watch.read_concern(ReadConcern::Local).start()
}

/// Until the server stops, or the store is closed.
fn keep(shared: &Shared, changes: &mut ChangeStream) -> Result<(), Failure> {
    while changes.wait_next(None)?.is_some() {
        // One look is enough for all that have come.
        while changes.next_if_any()?.is_some() {}
        refresh(shared)?;
    }
    Ok(())
}

/// Reads them again. Where that fails the users are those of before, of whom some may be users no longer.
fn refresh(shared: &Shared) -> Result<(), Failure> {
    // An entry is in the log before it is in the state.
    shared.store.finish_applying();
    Ok(shared.authority.refresh()?)
}

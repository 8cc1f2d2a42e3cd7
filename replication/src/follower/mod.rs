//! A follower: keeps a store that is the primary's, entry for entry.
//!
//! ```text
//!   no store ──► fetch a copy of the state ──► the log from there ──► open the store ──► live
//!                     ▲                                                     │
//!                     └── resync (if allowed) ◄── history lost ◄────────────┤
//!                                     cut back, with a rollback file ◄──────┘
//! ```
//!
//! Every step resumes where it stopped. What only passes (the network, a full disk, a primary that is not one at the moment) is
//! tried again, with pauses that grow; what does not is an error, and the follower stops.

mod attempt;
mod builder;
mod currency;
mod discard;
mod event;
mod fetch;
mod incoming;
mod progress;
mod relay;
mod replica;
mod rollback;
mod session;
mod shared;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tailwater_oplog::OpId;
use tailwater_storage::Store;

use self::progress::age_of_newest;
use self::replica::Replica;
pub(crate) use self::shared::Settings;
use crate::deadline::after;
use crate::error::{Error, Result};
use crate::token::{CausalToken, Stand};

pub(crate) use self::incoming::abandon as abandon_copy;

pub use self::builder::FollowerBuilder;
pub use self::event::FollowerEvent;
pub use self::progress::FollowerProgress;
pub use self::shared::FollowerStatus;

/// A store that follows another. Dropping it stops it and closes the store.
#[derive(Debug)]
pub struct Follower {
    settings: Arc<Settings>,
    dir: PathBuf,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Options for a follower in `dir`, called `name` among the members, of the primary at `from` (`HOST:PORT`).
    #[must_use]
    pub fn builder(dir: impl Into<PathBuf>, name: impl Into<String>, from: impl Into<String>) -> FollowerBuilder {
        FollowerBuilder::new(dir.into(), name.into(), from.into())
    }

    /// Directory of the store.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Where others can follow it, if [they can](FollowerBuilder::listen).
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.settings.relay.as_ref()?.address()
    }

    /// The socket at which others follow it: whoever becomes the primary after it and is to be followed there takes it over, so that
    /// nobody else has the address meanwhile ([`PrimaryBuilder::listener`](crate::PrimaryBuilder::listener)).
    #[must_use]
    pub fn listener(&self) -> Option<TcpListener> {
        self.settings.relay.as_ref()?.listener()
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> FollowerStatus {
        self.settings.lock().status.clone()
    }

    /// How far it has come, in numbers: bytes, entries and time.
    #[must_use]
    pub fn progress(&self) -> FollowerProgress {
        self.settings.progress(None)
    }

    /// The store, which answers reads and refuses writes; nothing while there is none, as during the first copy. Entries that
    /// are rolled back, and a new copy, close it: ask again then.
    #[must_use]
    pub fn store(&self) -> Option<Store> {
        self.settings.lock().store.clone()
    }

    /// Waits until the store holds entry `op_id`, durably, and returns it: "read what I wrote" on a follower.
    ///
    /// # Errors
    ///
    /// [`Error::NotYet`] after `timeout`; what ended the follower.
    pub fn wait_for(&self, op_id: OpId, timeout: Duration) -> Result<Store> {
        let until = after(timeout);
        let mut state = self.settings.lock();
        loop {
            if let Some(store) = state.store.clone().filter(|_| state.status.durable >= op_id) {
                drop(state);
                // Durable before it is applied, when much comes at once.
                let applied = store.await_applied(op_id, Some(until));
                state = self.settings.lock();
                // Looked at again under the lock that whoever has applied something takes behind that.
                if matches!(applied, Ok(true)) || store.applied() >= op_id {
                    return Ok(store);
                }
            }
            match &state.ended {
                Some(Err(error)) => return Err(error.clone()),
                Some(Ok(())) => return Err(Error::Stopped),
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waited = timeout;
                return Err(Error::NotYet { op_id, waited });
            }
            let waited = self.settings.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the store holds the entry that `token` names, durably, and returns it. While another entry stands there, which
    /// may be rolled back, it waits, too.
    ///
    /// # Errors
    ///
    /// [`Error::NotYet`] after `timeout`, or [`Error::OtherHistory`] when there is another entry then; [`Error::Forgotten`] when
    /// that cannot be told any more; what ended the follower.
    pub fn wait_for_token(&self, token: CausalToken, timeout: Duration) -> Result<Store> {
        let until = after(timeout);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let store = self.wait_for(token.op_id, left).map_err(|error| match error {
                Error::NotYet { .. } => token.not_yet(timeout),
                other => other,
            })?;
            let stand = match token.stand(&store) {
                // It has been closed meanwhile, to be cut back.
                Err(_) if store.log().is_closed() => Stand::NotYet,
                stand => stand?,
            };
            let state = self.settings.lock();
            let left = until.saturating_duration_since(Instant::now());
            match stand {
                Stand::Here => return Ok(store),
                Stand::Forgotten(oldest) => return Err(token.forgotten(oldest)),
                Stand::Other(found) if left.is_zero() => return Err(token.other(found)),
                Stand::NotYet if left.is_zero() => return Err(token.not_yet(timeout)),
                // What may change it is heard of at every heartbeat.
                _ => drop(
                    self.settings
                        .changed
                        .wait_timeout(state, left.min(self.settings.heartbeat)),
                ),
            }
        }
    }

    /// How far the newest entry here is behind the clock; nothing while there is no store, or nothing in it.
    #[must_use]
    pub fn lag(&self) -> Option<Duration> {
        age_of_newest(&self.store()?.log())
    }

    /// How it has ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Result<()>> {
        self.settings.lock().ended.clone()
    }

    /// Stops following, and waits for what was under way; called from [`FollowerBuilder::on_event`], it waits for nothing. The store
    /// stays open while somebody has it.
    pub fn stop(&self) {
        self.settings.lock().stopped = true;
        self.settings.changed.notify_all();
        self.settings.dial.end();
        if self.settings.is_telling() {
            return;
        }
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic over there has been reported by the panic hook.
            let _ = thread.join();
        }
        if let Some(relay) = &self.settings.relay {
            relay.show(None);
        }
    }

    /// Blocks until the follower ends by itself or is stopped.
    ///
    /// # Errors
    ///
    /// What made it give up.
    pub fn join(&self) -> Result<()> {
        let mut state = self.settings.lock();
        loop {
            if let Some(ended) = &state.ended {
                return ended.clone();
            }
            state = self
                .settings
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stops following and makes the store take writes, in a new term; give it to [`Primary::builder`](crate::Primary::builder)
    /// to have others follow it.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when there is no whole store yet; what ended the follower; the store's.
    pub fn promote(self) -> Result<Store> {
        self.stop();
        let store = self.store();
        match self.join() {
            Ok(()) => {}
            // It is promoted because the primary is gone; but what is wrong with the store itself is not passed over.
            Err(error) if error.is_passing() || matches!(error, Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let store = match store {
            Some(store) => store,
            // Stopped before it was opened.
            None if incoming::has_log(&self.dir) => match Replica::open(&self.dir, &self.settings.store)? {
                Replica::Store(store) => store,
                Replica::Log(..) => return Err(Error::Stopped),
            },
            None => return Err(Error::Stopped),
        };
        self.settings.identity.promote(&store)?;
        Ok(store)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

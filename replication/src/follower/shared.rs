//! What the threads of a follower share with those that look at it: what it goes by, and how it stands.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_oplog::OpId;
use tailwater_storage::{Store, StoreOptions};

use super::event::{FollowerEvent, Listener};
use super::relay::Relay;
use crate::dial::Dial;
use crate::error::Result;
use crate::identity::Identity;
use crate::link::Security;

/// How a follower stands.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FollowerStatus {
    /// The primary's address, while there is a connection.
    pub primary: Option<String>,
    /// The last entry that is durable here.
    pub durable: OpId,
    /// The newest entry that the primary has spoken of.
    pub newest: OpId,
    /// The last entry here that a majority holds.
    pub majority: OpId,
    /// Bytes of frames that have come since it was started.
    pub bytes: u64,
    /// When the primary was last heard.
    pub heard: Option<Instant>,
}

/// What a follower goes by, and what is known of it.
pub(super) struct Settings {
    pub(super) identity: Identity,
    pub(super) from: String,
    pub(super) security: Security,
    pub(super) heartbeat: Duration,
    pub(super) window_bytes: u64,
    pub(super) batch_bytes_max: usize,
    pub(super) rollback_bytes_max: u64,
    pub(super) resync: bool,
    pub(super) store: StoreOptions,
    pub(super) on_event: Option<Listener>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Its connection to the primary.
    pub(super) dial: Dial,
    /// Where it is followed itself.
    pub(super) relay: Option<Relay>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) status: FollowerStatus,
    pub(super) store: Option<Store>,
    pub(super) stopped: bool,
    pub(super) ended: Option<Result<()>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.identity.name)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: &FollowerEvent) {
        if let Some(on_event) = &self.on_event {
            on_event(event);
        }
    }

    pub(super) fn connected(&self, peer: &str) {
        self.lock().status.primary = Some(peer.to_owned());
    }

    /// A primary goes on here with entry `from`. What another one has spoken of may be no part of its log.
    pub(super) fn begins(&self, from: OpId) {
        self.lock().status.newest = from.previous();
    }

    pub(super) fn heard(&self, newest: OpId) {
        let mut state = self.lock();
        state.status.newest = state.status.newest.max(newest);
        state.status.heard = Some(Instant::now());
        drop(state);
        // Something may have been applied.
        self.changed.notify_all();
    }

    /// Whether that is news.
    pub(super) fn durable(&self, op_id: OpId) -> bool {
        let mut state = self.lock();
        let news = op_id > state.status.durable;
        state.status.durable = op_id;
        drop(state);
        self.changed.notify_all();
        news
    }

    pub(super) fn majority(&self, op_id: OpId) {
        self.lock().status.majority = op_id;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Shows a store that has been opened, or that there is none at the moment.
    pub(super) fn show(&self, store: Option<Store>) {
        if let Some(relay) = &self.relay {
            relay.show(store.as_ref());
        }
        self.lock().store = store;
        self.changed.notify_all();
    }

    /// Sleeps; whether to go on afterwards.
    pub(super) fn pause(&self, length: Duration) -> bool {
        let until = Instant::now() + length;
        let mut state = self.lock();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        false
    }
}

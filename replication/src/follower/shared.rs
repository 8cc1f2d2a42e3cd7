//! What the threads of a follower share with those that look at it: what it goes by, and how it stands.

use std::cell::RefCell;
use std::fmt;
use std::ptr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tailwater_oplog::OpId;
use tailwater_storage::{Selection, Store, StoreOptions};

use super::currency::Currency;
use super::event::{FollowerEvent, Listener};
use super::relay::Relay;
use crate::deadline::after;
use crate::decision::Apart;
use crate::dial::Dial;
use crate::error::Result;
use crate::identity::Identity;
use crate::link::Security;
use crate::primary::MemberStatus;
use crate::standing::Standings;

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
    /// Of the copy of the state that it fetches, the bytes that are here; 0 while it fetches none.
    pub copied_bytes: u64,
    /// All bytes of that copy.
    pub copy_bytes: u64,
    /// When the primary was last heard.
    pub heard: Option<Instant>,
}

thread_local! {
    /// Whose listeners this thread is in.
    static TELLING: RefCell<Vec<*const Settings>> = const { RefCell::new(Vec::new()) };
}

/// What a follower goes by, and what is known of it.
pub(crate) struct Settings {
    /// Itself, for the store to know whom to ask.
    pub(super) own: Weak<Settings>,
    pub(super) identity: Identity,
    pub(super) from: String,
    pub(super) security: Security,
    pub(super) heartbeat: Duration,
    pub(super) window_bytes: u64,
    pub(super) batch_bytes_max: usize,
    pub(super) rollback_bytes_max: u64,
    pub(super) lag_bytes_max: u64,
    pub(super) resync: bool,
    /// Which part of the primary's store is kept; nothing for all.
    pub(super) selection: Option<Selection>,
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
    pub(super) currency: Currency,
    pub(super) store: Option<Store>,
    /// Why what is here is being replaced, from when that is told until there is something else, or a primary goes on here.
    pub(super) resyncing: Option<Apart>,
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

/// A listener that returns.
struct Told;

impl Drop for Told {
    fn drop(&mut self) {
        TELLING.with_borrow_mut(Vec::pop);
    }
}

impl Settings {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: &FollowerEvent) {
        match event {
            FollowerEvent::Copying { bytes, total } => self.copied(*bytes, *total),
            // Whoever follows has no copy under way.
            FollowerEvent::Following { .. } => self.copied(0, 0),
            _ => {}
        }
        let Some(on_event) = &self.on_event else {
            return;
        };
        TELLING.with_borrow_mut(|telling| telling.push(self));
        // It may panic.
        let _told = Told;
        on_event(event);
    }

    /// Whether this thread is one of the follower's own, and tells of an event: then it cannot wait for the follower's threads.
    pub(super) fn is_telling(&self) -> bool {
        TELLING.with_borrow(|telling| telling.iter().any(|settings| ptr::eq(*settings, self)))
    }

    fn copied(&self, bytes: u64, total: u64) {
        let status = &mut self.lock().status;
        (status.copied_bytes, status.copy_bytes) = (bytes, total);
    }

    pub(super) fn connected(&self, peer: &str) {
        self.lock().status.primary = Some(peer.to_owned());
    }

    /// A primary goes on here with entry `from`. What another one has spoken of may be no part of its log.
    pub(super) fn begins(&self, from: OpId) {
        let mut state = self.lock();
        state.resyncing = None;
        state.status.newest = from.previous();
        state.currency = Currency::default();
    }

    /// The primary has said what there is, and has nothing to send.
    pub(super) fn told(&self, newest: OpId) {
        {
            let mut state = self.lock();
            let durable = state.status.durable;
            state.currency.told(newest, durable, Instant::now());
        }
        self.heard(newest);
    }

    pub(super) fn heard(&self, newest: OpId) {
        let mut state = self.lock();
        let (now, durable) = (Instant::now(), state.status.durable);
        state.status.newest = state.status.newest.max(newest);
        state.status.heard = Some(now);
        let newest = state.status.newest;
        state.currency.heard(newest, durable, now);
        drop(state);
        self.changed.notify_all();
    }

    /// Whether that is news.
    pub(super) fn durable(&self, op_id: OpId) -> bool {
        let mut state = self.lock();
        let op_id = if state.resyncing.is_none() { op_id } else { OpId::ZERO };
        let news = op_id > state.status.durable;
        state.status.durable = op_id;
        let newest = state.status.newest;
        state.currency.heard(newest, op_id, Instant::now());
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

    /// What is here is to be replaced; whether that is news. From now on who waits for an entry waits for the copy, or for a primary
    /// that goes on here: what is here has other entries, maybe.
    pub(super) fn resyncs(&self, apart: Apart) -> bool {
        let news = self.lock().resyncing.replace(apart) != Some(apart);
        self.durable(OpId::ZERO);
        news
    }

    /// There is something else in the place of what was here.
    pub(super) fn resynced(&self) {
        self.lock().resyncing = None;
    }

    /// Shows a store that has been opened, or that there is none at the moment.
    pub(super) fn show(&self, store: Option<Store>) {
        if let Some(relay) = &self.relay {
            relay.show(store.as_ref());
        }
        let opened = store.is_some();
        if let Some(store) = &store {
            Standings::is_kept_by(store, Weak::clone(&self.own));
        }
        self.lock().store = store;
        self.changed.notify_all();
        self.tell(match opened {
            true => &FollowerEvent::Opened,
            false => &FollowerEvent::Closed,
        });
    }

    /// Whether it follows no longer, and will not again.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.stopped || state.ended.is_some()
    }

    /// Who follows this one.
    pub(crate) fn followers(&self) -> Vec<MemberStatus> {
        let hub = self.relay.as_ref().and_then(Relay::hub);
        hub.map(|hub| hub.status().members).unwrap_or_default()
    }

    /// Sleeps; whether to go on afterwards.
    pub(super) fn pause(&self, length: Duration) -> bool {
        let until = after(length);
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

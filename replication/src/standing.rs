//! How a store's replication stands, asked of the store: who shows it need not be handed the primary or the follower.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tailwater_storage::{Acknowledge, Store};

use crate::decision::WriteConcern;
use crate::follower::{FollowerProgress, Settings};
use crate::primary::{Hub, MemberStatus, PrimaryStatus, acknowledgement_by};

/// How the replication of a store stands in this process.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Standing {
    /// Others follow it.
    Primary(PrimaryStatus),
    /// It follows another.
    Follower {
        /// How far it has come.
        progress: FollowerProgress,
        /// Who follows it in turn, or has.
        followers: Vec<MemberStatus>,
    },
}

/// What is kept beside a store. It keeps nothing alive.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    primary: Mutex<Weak<Hub>>,
    follower: Mutex<Weak<Settings>>,
    /// Held while a primary is started.
    starting: Mutex<()>,
}

impl Standings {
    /// The right to start a primary over the store: nobody else does until it is let go of. Nothing while there is one: two would
    /// each begin terms of their own in one log, and count majorities of what the other has written.
    pub(crate) fn begin_primary(&self) -> Option<MutexGuard<'_, ()>> {
        let alone = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        primary.is_none_or(|hub| !hub.is_primary()).then_some(alone)
    }

    pub(crate) fn is_served_by(store: &Store, hub: Weak<Hub>) {
        let kept = store.attached(Standings::default);
        *kept.primary.lock().unwrap_or_else(PoisonError::into_inner) = hub;
    }

    pub(crate) fn is_kept_by(store: &Store, follower: Weak<Settings>) {
        let kept = store.attached(Standings::default);
        *kept.follower.lock().unwrap_or_else(PoisonError::into_inner) = follower;
    }
}

/// What writes of a store wait for that a [`Primary`](crate::Primary) of this process serves, as
/// [`Primary::acknowledgement`](crate::Primary::acknowledgement). Nothing where none does, and for a majority where there is no
/// list of members that could have one: then what is durable here is all there is.
#[must_use]
pub fn acknowledgement(store: &Store, concern: WriteConcern, timeout: Duration) -> Option<Arc<dyn Acknowledge>> {
    let kept = store.attached(Standings::default);
    let hub = kept.primary.lock().unwrap_or_else(PoisonError::into_inner).upgrade()?;
    let can_be_told = hub.can_tell(concern);
    can_be_told.then(|| acknowledgement_by(hub, concern, timeout))
}

/// How the replication of a store stands: nothing while no [`Primary`](crate::Primary) and no [`Follower`](crate::Follower) of
/// this process has it. As [`Primary::status`](crate::Primary::status) and [`Follower::progress`](crate::Follower::progress).
#[must_use]
pub fn standing(store: &Store) -> Option<Standing> {
    let kept = store.attached(Standings::default);
    let primary = kept.primary.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    if let Some(hub) = primary.filter(|hub| hub.is_primary()) {
        return Some(Standing::Primary(hub.status()));
    }
    let follower = kept.follower.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    let settings = follower.filter(|settings| !settings.is_over())?;
    Some(Standing::Follower {
        progress: settings.progress(None),
        followers: settings.followers(),
    })
}

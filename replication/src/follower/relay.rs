//! A follower that is followed: its store is served to others, as it is.
//!
//! The address is bound once; what is served there comes and goes with the store, which is closed when it is cut back or replaced.
//! Who follows meanwhile is turned away by silence, and comes again.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tailwater_oplog::ReadConcern;
use tailwater_storage::Store;

use crate::decision::{LogName, MemberNumber, Primary as Decisions, PrimaryInput, Report};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::link::Security;
use crate::primary::{COPY_LAG_BYTES_MAX, Hub, LAG_BYTES_MAX, Service};
use crate::summary::history_of;

/// Where others follow a follower.
#[derive(Debug)]
pub(super) struct Relay {
    identity: Identity,
    listener: TcpListener,
    security: Security,
    heartbeat: Duration,
    service: Mutex<Option<Service>>,
}

impl Relay {
    /// Binds the address. Nothing is served yet.
    pub(super) fn bind(
        address: SocketAddr,
        identity: &Identity,
        security: &Security,
        heartbeat: Duration,
    ) -> Result<Relay> {
        security.check(address)?;
        let listener = TcpListener::bind(address).map_err(Error::network(address.to_string(), "listening"))?;
        Ok(Relay {
            identity: identity.clone(),
            listener,
            security: security.clone(),
            heartbeat,
            service: Mutex::default(),
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Service>> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves that store from here on, or nothing. What was served before is let go of.
    pub(super) fn show(&self, store: Option<&Store>) {
        // Without the lock: its threads may be asking for the hub.
        let before = self.lock().take();
        drop(before);
        let Some(store) = store else {
            return;
        };
        match self.serve(store) {
            Ok(service) => *self.lock() = Some(service),
            // The follower itself goes on.
            Err(error) => tracing::error!(%error, "a follower cannot be followed"),
        }
    }

    fn serve(&self, store: &Store) -> Result<Service> {
        let listening = Error::network("this member", "listening");
        let listener = self.listener.try_clone().map_err(listening)?;
        let log = store.log();
        let history = history_of(&log, LogName::from(log.log_id()))?;
        let durable = log.newest(ReadConcern::Durable);
        let Identity { member, members, .. } = self.identity.clone();
        let hub = Arc::new(Hub::new(
            store.clone(),
            Decisions::relay(member, members, history, durable),
        ));
        let lag_bytes_max = (LAG_BYTES_MAX, COPY_LAG_BYTES_MAX);
        Service::start(hub, listener, self.security.clone(), self.heartbeat, lag_bytes_max)
    }

    /// What is served now.
    pub(super) fn hub(&self) -> Option<Arc<Hub>> {
        self.lock().as_ref().map(|service| Arc::clone(&service.hub))
    }
}

/// What one connection to the primary passes on, in both directions.
#[derive(Debug)]
pub(super) struct Passing(Arc<Hub>);

impl Passing {
    pub(super) fn through(relay: &Relay) -> Option<Passing> {
        relay.hub().map(Passing)
    }

    /// To those that follow.
    pub(super) fn tell(&self, input: PrimaryInput) {
        self.0.told(input);
    }

    /// Has `say` report what those hold that follow, as it changes, until `ended` is set and [`Passing::end`] called.
    pub(super) fn report(&self, ended: &AtomicBool, say: impl Fn(Report) -> Result<()>) -> Result<()> {
        let mut known = BTreeMap::<MemberNumber, _>::new();
        while !ended.load(Ordering::SeqCst) && !self.0.is_stopped() {
            let held = self.0.held_beyond(&known, ended);
            for (member, op_id) in &held {
                if known.get(member) != Some(op_id) {
                    say(Report::Holds(*member, *op_id))?;
                }
            }
            known = held;
        }
        Ok(())
    }

    /// The connection is over.
    pub(super) fn end(&self) {
        self.0.told(PrimaryInput::FollowsNobody);
        self.0.nudge();
    }
}

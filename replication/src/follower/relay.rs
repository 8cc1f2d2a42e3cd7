//! A follower that is followed: its store is served to others, as it is.
//!
//! The address is bound once; what is served there comes and goes with the store, which is closed when it is cut back or replaced.
//! Who follows meanwhile is turned away by silence, and comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_oplog::ReadConcern;
use tailwater_storage::Store;

use crate::decision::{LogName, MemberNumber, Primary as Decisions, PrimaryInput, Report};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::link::Security;
use crate::primary::{Hub, Service};
use crate::summary::history_of;

/// Where others follow a follower.
#[derive(Debug)]
pub(super) struct Relay {
    identity: Identity,
    listener: TcpListener,
    security: Security,
    heartbeat: Duration,
    /// Bytes of log that are kept for a follower that is away, and for one that copies.
    caps: (u64, u64),
    service: Mutex<Option<Service>>,
}

impl Relay {
    /// Binds the address. Nothing is served yet.
    pub(super) fn bind(
        address: SocketAddr,
        identity: &Identity,
        security: &Security,
        heartbeat: Duration,
        caps: (u64, u64),
    ) -> Result<Relay> {
        security.check(address)?;
        let listener = TcpListener::bind(address).map_err(Error::network(address.to_string(), "listening"))?;
        Ok(Relay {
            identity: identity.clone(),
            listener,
            security: security.clone(),
            heartbeat,
            caps,
            service: Mutex::default(),
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// The socket, which stays bound with this one as well.
    pub(super) fn listener(&self) -> Option<TcpListener> {
        self.listener.try_clone().ok()
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
        let Identity { name, member, members } = self.identity.clone();
        let hub = Arc::new(Hub::new(
            store.clone(),
            Decisions::relay(member, members, history, durable).with_name(&name),
        ));
        Service::start(hub, listener, self.security.clone(), self.heartbeat, self.caps)
    }

    /// Serves that store again if that has failed.
    pub(super) fn mend(&self, store: &Store) {
        if self.hub().is_none_or(|hub| hub.is_stopped()) {
            self.show(Some(store));
        }
    }

    /// What is served now.
    pub(super) fn hub(&self) -> Option<Arc<Hub>> {
        self.lock().as_ref().map(|service| Arc::clone(&service.hub))
    }
}

/// What one connection to the primary passes on, in both directions.
#[derive(Debug)]
pub(super) struct Passing<'r> {
    relay: &'r Relay,
    /// What is served, which is another one after a failure.
    hub: Mutex<Arc<Hub>>,
    /// It is another one, or the connection is over.
    changed: Condvar,
}

impl<'r> Passing<'r> {
    pub(super) fn through(relay: &'r Relay) -> Option<Passing<'r>> {
        let (hub, changed) = (Mutex::new(relay.hub()?), Condvar::new());
        Some(Passing { relay, hub, changed })
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Hub>> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.lock())
    }

    /// To those that follow.
    pub(super) fn tell(&self, input: PrimaryInput) {
        self.hub().told(input);
    }

    /// Serves the store again if that has failed. What is told from then on, those are told who come again.
    pub(super) fn mend(&self, store: &Store) {
        if !self.hub().is_stopped() {
            return;
        }
        self.relay.mend(store);
        if let Some(hub) = self.relay.hub() {
            *self.lock() = hub;
            self.changed.notify_all();
        }
    }

    /// Has `say` report what those hold that follow, as it changes, until `ended` is set and [`Passing::end`] called. At every
    /// `heartbeat` it is said again: the primary takes nothing of whom it believes to be connected to itself.
    pub(super) fn report(
        &self,
        ended: &AtomicBool,
        heartbeat: Duration,
        say: impl Fn(Report) -> Result<()>,
    ) -> Result<()> {
        let mut known = BTreeMap::<MemberNumber, _>::new();
        let mut due = Instant::now() + heartbeat;
        while !ended.load(Ordering::SeqCst) {
            let hub = self.hub();
            let Some(held) = hub.held_beyond(&known, due, ended) else {
                // It has failed, and another one takes its place before long; or the connection is over.
                let is_over = |now: &mut Arc<Hub>| ended.load(Ordering::SeqCst) || !Arc::ptr_eq(now, &hub);
                let waited = self.changed.wait_while(self.lock(), |now| !is_over(now));
                drop(waited);
                continue;
            };
            let mut again = BTreeSet::new();
            if Instant::now() >= due {
                due = Instant::now() + heartbeat;
                again = hub.held_again();
            }
            for (member, op_id) in &held {
                if again.contains(member) || known.get(member) != Some(op_id) {
                    // Whom it has heard of it knows by name.
                    let name = hub.name_of(*member).unwrap_or_default();
                    say(Report::Holds(*member, name, *op_id))?;
                }
            }
            known = held;
        }
        Ok(())
    }

    /// The connection is over.
    pub(super) fn end(&self) {
        let hub = self.hub();
        hub.told(PrimaryInput::FollowsNobody);
        hub.nudge();
        // Whoever has looked before waits by now.
        drop(self.lock());
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tailwater_oplog::Member;
    use tailwater_storage::StoreOptions;

    use super::*;
    use crate::decision::{Hello, PeerId, number_of};

    fn relay() -> Relay {
        let identity = Identity::new("c", &[]).unwrap();
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let security = Security::Plaintext { anywhere: false };
        Relay::bind(
            anywhere,
            &identity,
            &security,
            Duration::from_secs(1),
            (1 << 20, 1 << 20),
        )
        .unwrap()
    }

    #[test]
    fn what_followers_hold_is_said_again_until_the_connection_ends() {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreOptions::default().open(dir.path()).unwrap();
        store.promote(Member::new(0).unwrap()).unwrap();
        store.sync().unwrap();
        let log = store.log();
        let history = history_of(&log, LogName::from(log.log_id())).unwrap();
        let mut decisions = Decisions::relay(Member::new(40).unwrap(), Vec::new(), history.clone(), history.last);
        let (member, holds) = (number_of("c", &[]), history.last);
        decisions.step(PrimaryInput::Follows(history.end().term));
        let hello = Hello {
            member,
            name: "c".into(),
            members: Vec::new(),
            promised: history.end().term,
            durable: holds,
            part: None,
            marks: Vec::new(),
            history,
        };
        decisions.step(PrimaryInput::Hello(PeerId(1), hello));
        let relay = relay();
        let hub = Mutex::new(Arc::new(Hub::new(store, decisions)));
        let changed = Condvar::new();
        let passing = Passing {
            relay: &relay,
            hub,
            changed,
        };
        let (ended, said) = (AtomicBool::new(false), RefCell::new(Vec::new()));
        let say = |report| {
            said.borrow_mut().push(report);
            ended.store(said.borrow().len() == 3, Ordering::SeqCst);
            Ok(())
        };
        passing.report(&ended, Duration::from_millis(1), say).unwrap();
        assert_eq!(
            said.into_inner(),
            std::array::from_fn::<_, 3, _>(|_| Report::Holds(member, "c".into(), holds))
        );
    }

    #[test]
    fn nobody_waits_for_a_heartbeat_when_the_connection_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreOptions::default().open(dir.path()).unwrap();
        let relay = relay();
        relay.mend(&store);
        let never = Duration::from_secs(3600);
        // Also when what was served has failed, and nothing has taken its place yet.
        for has_failed in [false, true] {
            let passing = Passing::through(&relay).unwrap();
            if has_failed {
                relay.hub().unwrap().fail(Error::Panicked);
            }
            for pause in 0..50 {
                let ended = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let reporting = scope.spawn(|| passing.report(&ended, never, |_| Ok(())));
                    // At some moment of what it does.
                    (0..pause * 10).for_each(|_| std::thread::yield_now());
                    ended.store(true, Ordering::SeqCst);
                    passing.end();
                    reporting.join().unwrap().unwrap();
                });
            }
        }
        relay.show(None);
    }

    #[test]
    fn a_relay_that_failed_serves_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreOptions::default().open(dir.path()).unwrap();
        let relay = relay();
        relay.mend(&store);
        let first = relay.hub().unwrap();
        relay.mend(&store);
        assert!(Arc::ptr_eq(&first, &relay.hub().unwrap()));
        let passing = Passing::through(&relay).unwrap();
        first.fail(Error::Panicked);
        // Within the connection to the primary, not only before the next one.
        passing.mend(&store);
        let second = relay.hub().unwrap();
        assert!(!second.is_stopped() && Arc::ptr_eq(&second, &passing.hub()));
        second.fail(Error::Panicked);
        relay.mend(&store);
        assert!(!relay.hub().unwrap().is_stopped());
        relay.show(None);
    }
}

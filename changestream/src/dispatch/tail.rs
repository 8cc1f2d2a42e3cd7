//! The shared tail: the log read once for all live watchers.
//!
//! # Joining without a gap
//!
//! Whoever leads (`helm.rs`) works in runs. At the beginning of a run it takes what is in the inbox and fixes the run's
//! *limit*, the last entry it will dispatch, both under the inbox's lock; then it applies what it took and dispatches up to
//! the limit. A watcher may be put into the inbox when it begins behind the limit. It is taken out before the next limit is fixed, so
//! before any entry behind the present one is dispatched: the first entry that concerns it is still to come. Entries in front of that
//! are passed over for it.
//!
//! Whoever begins now begins behind the newest entry, and no limit is beyond that: also when a watcher brings a token from
//! in front of it, such as of a watch with the other read concern. Who begins further back reads on a lap of its own
//! (`laps.rs`) until it is behind the limit.
//!
//! With no watchers the tail's thread sleeps and its limit means nothing: the next watcher says where it goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use tailwater_oplog::{Interrupt, OpId, OplogView, ReadConcern};

use crate::dispatch::arrivals::Arrivals;
use crate::dispatch::channel::{Channel, Position};
use crate::dispatch::helm::{self, Helm};
use crate::dispatch::laps::Laps;
use crate::dispatch::matching::Matching;
use crate::dispatch::runner::Runner;
use crate::dispatch::stats::DispatcherStats;
use crate::dispatch::worker::Worker;
use crate::error::Result;
use crate::primitives::{Condvar, Mutex, MutexGuard};
use crate::token::ResumeToken;

/// A watcher that begins at most so many entries behind the newest one may be where an idle tail goes on.
const NEAR: u64 = 4096;

/// The thread is woken for what is in the inbox when it is so much; else the next entry will do.
const INBOX_MAX: usize = 256;

pub(crate) enum Command {
    Join(Arc<Channel>, OpId),
    Leave(Arc<Channel>),
}

/// What is told to whoever leads, and who that is.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) commands: Vec<Command>,
    /// The last entry of the present run, or of the last one.
    pub(crate) limit: OpId,
    /// The thread has no watchers and waits for one.
    pub(crate) idle: bool,
    /// Ends the leader's wait for the log.
    pub(crate) asleep: Option<Interrupt>,
    pub(crate) stop: bool,
    pub(crate) helm: Helm,
    /// How often a receiver has taken the helm or left it alone.
    pub(crate) turns: u64,
    /// The thread does not look by itself whether the helm is left alone.
    pub(crate) dozes: bool,
    /// A watcher whose receiver would lead.
    pub(crate) asking: Option<Arc<Channel>>,
}

impl Inbox {
    /// Lets a watcher join that begins behind the limit; while there is none, it decides where that is, up to the newest
    /// entry.
    fn join(&mut self, channel: Arc<Channel>, from: OpId, newest: OpId) {
        if std::mem::take(&mut self.idle) {
            self.limit = from.previous().min(newest);
        }
        self.commands.push(Command::Join(channel, from));
    }

    pub(crate) fn has_join(&self) -> bool {
        self.commands.iter().any(|command| matches!(command, Command::Join(..)))
    }
}

/// What the threads, the channels and the handles of one tail share.
pub(crate) struct Shared {
    pub(crate) view: OplogView,
    pub(crate) concern: ReadConcern,
    pub(crate) position: Arc<Position>,
    pub(crate) laps: Laps,
    pub(crate) arrivals: Arrivals,
    inbox: Mutex<Inbox>,
    /// Told the thread.
    pub(crate) changed: Condvar,
    /// Whoever leads holds it.
    runner: Mutex<Runner>,
    /// Watchers at the tail, as of the last run.
    members: AtomicUsize,
    pub(crate) stats: Mutex<DispatcherStats>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("concern", &self.concern)
            .finish_non_exhaustive()
    }
}

/// A tail with its threads, which end with it.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) shared: Arc<Shared>,
    worker: Worker,
}

impl Tail {
    pub(crate) fn start(view: OplogView, concern: ReadConcern) -> Result<Tail> {
        let newest = view.newest(concern);
        let token = ResumeToken::without_entry(view.log_id(), newest);
        let inbox = Inbox {
            limit: newest,
            idle: true,
            ..Inbox::default()
        };
        let shared = Arc::new(Shared {
            view,
            concern,
            position: Arc::new(Position::new(token)),
            laps: Laps::default(),
            arrivals: Arrivals::default(),
            inbox: Mutex::new(inbox),
            changed: Condvar::new(),
            runner: Mutex::new(Runner::new(newest.next())),
            members: AtomicUsize::new(0),
            stats: Mutex::default(),
        });
        let thread = Arc::clone(&shared);
        let worker = Worker::spawn("tailwater-dispatch", move || helm::keep(&thread))?;
        Ok(Tail { shared, worker })
    }

    pub(crate) fn leave(&self, channel: &Arc<Channel>) {
        self.shared.leave(channel);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut inbox = self.shared.lock();
        inbox.stop = true;
        self.shared.wake(inbox, true);
        self.worker.join();
        self.shared.arrivals.stop(&self.shared);
        self.shared.laps.stop();
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a leader leads with. Nobody takes this lock while holding the inbox's.
    pub(crate) fn runner(&self) -> MutexGuard<'_, Runner> {
        self.runner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_members(&self, members: usize) {
        self.members.store(members, Ordering::Relaxed);
    }

    /// How many watchers were at the tail behind the last run. Only a hint.
    pub(crate) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    /// Wakes the thread, and the leader from its wait for the log only when that is `urgent`.
    fn wake(&self, mut inbox: MutexGuard<'_, Inbox>, urgent: bool) {
        let urgent = urgent || inbox.commands.len() >= INBOX_MAX;
        let asleep = if urgent { inbox.asleep.take() } else { None };
        drop(inbox);
        self.changed.notify_all();
        if let Some(interrupt) = asleep {
            self.view.interrupt(&interrupt);
        }
    }

    /// Lets a watcher begin behind the newest entry; returns which that is.
    pub(crate) fn join_now(&self, channel: &Arc<Channel>) -> OpId {
        let mut inbox = self.lock();
        let newest = self.view.newest(self.concern);
        channel.attach(&self.position);
        inbox.join(Arc::clone(channel), newest.next(), newest);
        self.wake(inbox, false);
        newest
    }

    /// Lets a stream join that has read everything in front of the entry `from`, unless more has been dispatched by now.
    pub(crate) fn join_behind(&self, channel: &Arc<Channel>, from: OpId) -> bool {
        let mut inbox = self.lock();
        let dispatched = match inbox.idle {
            true => self.position.token().op_id(),
            false => inbox.limit,
        };
        if inbox.stop || from <= dispatched {
            return false;
        }
        let newest = self.view.newest(self.concern);
        channel.attach(&self.position);
        inbox.join(Arc::clone(channel), from, newest);
        self.wake(inbox, false);
        true
    }

    /// Lets a watcher begin with the entry `from`.
    pub(crate) fn join_from(self: &Arc<Shared>, channel: Arc<Channel>, from: OpId) {
        let mut inbox = self.lock();
        if inbox.stop {
            // Nobody reads the inbox any more, and what is in it would keep all this.
            drop(inbox);
            return drop(channel);
        }
        let newest = self.view.newest(self.concern);
        let joins = match inbox.idle {
            // Not behind what was published: positions do not go back.
            true => from > self.position.token().op_id() && from.get().saturating_add(NEAR) >= newest.get(),
            false => from > inbox.limit,
        };
        if joins {
            channel.attach(&self.position);
            inbox.join(channel, from, newest);
            self.wake(inbox, false);
        } else {
            drop(inbox);
            self.hand_in(channel, from);
        }
    }

    /// How far a lap has to go before its watchers can join.
    pub(crate) fn frontier(&self) -> OpId {
        self.frontier_of(&self.lock())
    }

    fn frontier_of(&self, inbox: &Inbox) -> OpId {
        match inbox.idle {
            true => self.view.newest(self.concern),
            false => inbox.limit,
        }
    }

    /// Takes over the watchers of a lap whose next entry is `next`, if they can join.
    pub(crate) fn take_over(&self, matching: &mut Matching, next: OpId) -> bool {
        let mut inbox = self.lock();
        if inbox.stop {
            drop(inbox);
            drop(matching.take());
            return true;
        }
        if self.frontier_of(&inbox) >= next {
            return false;
        }
        let newest = self.view.newest(self.concern);
        for member in matching.take() {
            member.channel.attach(&self.position);
            inbox.join(member.channel, member.from.max(next), newest);
        }
        self.wake(inbox, false);
        true
    }

    /// Takes out a watcher that has ended.
    pub(crate) fn leave(&self, channel: &Arc<Channel>) {
        let mut inbox = self.lock();
        if !inbox.stop {
            inbox.commands.push(Command::Leave(Arc::clone(channel)));
            // The receiver that leads may be the one to learn that its watch has ended.
            let urgent = matches!(inbox.helm, Helm::Lent { leading: true });
            self.wake(inbox, urgent);
            if channel.awaited_entry.load(Ordering::Relaxed) {
                self.arrivals.leave(self);
            }
        }
    }

    /// Lets a watcher catch up from the entry `from` on.
    pub(crate) fn hand_in(self: &Arc<Shared>, channel: Arc<Channel>, from: OpId) {
        Laps::hand_in(self, channel, from);
    }
}

#[cfg(test)]
mod tests {
    use tailwater_oplog::Options;

    use super::*;
    use crate::options::Watch;
    use crate::scope::Scope;

    #[test]
    fn who_joins_a_tail_that_is_gone_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let log = Options::default().open(dir.path()).unwrap();
        let tail = Tail::start(log.view(), ReadConcern::Local).unwrap();
        let shared = Arc::clone(&tail.shared);
        let channel = || {
            let watch = Watch::new(log.view(), Scope::Everything);
            let plan = Arc::new(watch.compile().unwrap());
            let token = ResumeToken::without_entry(log.log_id(), OpId::ZERO);
            Arc::new(Channel::new(Arc::clone(&shared), plan, token, (8, usize::MAX)))
        };
        let (arriving, lapping) = (channel(), channel());
        let gone = [Arc::downgrade(&arriving), Arc::downgrade(&lapping)];
        let mut matching = Matching::default();
        matching.join(lapping, OpId::FIRST);
        drop(tail);
        // As threads do that have looked just before.
        shared.join_from(arriving, OpId::FIRST);
        assert!(shared.take_over(&mut matching, OpId::FIRST));
        assert!(gone.iter().all(|channel| channel.upgrade().is_none()));
        assert!(shared.lock().commands.is_empty());
    }
}

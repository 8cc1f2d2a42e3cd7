//! The shared tail: one thread that reads the log once for all live watchers.
//!
//! # Joining without a gap
//!
//! The thread works in runs. At the beginning of a run it takes what is in the inbox and fixes the run's *limit*, the last
//! entry it will dispatch, both under the inbox's lock; then it applies what it took and dispatches up to the limit. A
//! watcher may be put into the inbox when it begins behind the limit. It is taken out before the next limit is fixed, so
//! before any entry behind the present one is dispatched: the first entry that concerns it is still to come. Entries in front of that
//! are passed over for it.
//!
//! Whoever begins now begins behind the newest entry, and no limit is beyond that. Who begins further back reads on a lap
//! of its own (`laps.rs`) until it is behind the limit.
//!
//! With no watchers the thread sleeps and its limit means nothing: the next watcher says where it goes on.

use std::sync::{Arc, PoisonError};

use tailwater_oplog::{self as oplog, Cursor, Interrupt, OpId, OplogView, ReadConcern, WaitOutcome};

use crate::dispatch::channel::{Channel, Position};
use crate::dispatch::laps::Laps;
use crate::dispatch::matching::Matching;
use crate::dispatch::plans::Plans;
use crate::dispatch::stats::DispatcherStats;
use crate::dispatch::worker::Worker;
use crate::error::{Error, Result};
use crate::primitives::{Condvar, Mutex, MutexGuard};
use crate::token::{ResumeToken, TokenKind};

/// Entries of a run at most.
const RUN: u64 = 1024;

/// After so many entries receivers that wait are woken, though there is more to dispatch.
pub(crate) const RING_AFTER: u64 = 64;

/// A watcher that begins at most so many entries behind the newest one may be where an idle tail goes on.
const NEAR: u64 = 4096;

/// The thread is woken for what is in the inbox when it is so much; else the next entry will do.
const INBOX_MAX: usize = 256;

enum Command {
    Join(Arc<Channel>, OpId),
    Leave(Arc<Channel>),
}

#[derive(Default)]
struct Inbox {
    commands: Vec<Command>,
    /// The last entry of the present run, or of the last one.
    limit: OpId,
    /// The thread has no watchers and waits for one.
    idle: bool,
    /// Ends the thread's wait for the log.
    asleep: Option<Interrupt>,
    stop: bool,
}

impl Inbox {
    /// Lets a watcher join that begins behind the limit; while there is none, it decides where that is.
    fn join(&mut self, channel: Arc<Channel>, from: OpId) {
        if std::mem::take(&mut self.idle) {
            self.limit = from.previous();
        }
        self.commands.push(Command::Join(channel, from));
    }

    fn has_join(&self) -> bool {
        self.commands.iter().any(|command| matches!(command, Command::Join(..)))
    }
}

/// What the threads, the channels and the handles of one tail share.
pub(crate) struct Shared {
    pub(crate) view: OplogView,
    pub(crate) concern: ReadConcern,
    pub(crate) position: Arc<Position>,
    pub(crate) plans: Plans,
    pub(crate) laps: Laps,
    inbox: Mutex<Inbox>,
    changed: Condvar,
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
            plans: Plans::default(),
            laps: Laps::default(),
            inbox: Mutex::new(inbox),
            changed: Condvar::new(),
            stats: Mutex::default(),
        });
        let thread = Arc::clone(&shared);
        let worker = Worker::spawn("tailwater-dispatch", move || Runner::new(thread).run())?;
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
        self.shared.laps.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread, from its wait for the log only when that is `urgent`.
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
        inbox.join(Arc::clone(channel), newest.next());
        self.wake(inbox, false);
        newest
    }

    /// Lets a watcher begin with the entry `from`.
    pub(crate) fn join_from(self: &Arc<Shared>, channel: Arc<Channel>, from: OpId) {
        let mut inbox = self.lock();
        let joins = match inbox.idle {
            // Not behind what was published: positions do not go back.
            true => {
                from > self.position.token().op_id()
                    && from.get().saturating_add(NEAR) >= self.view.newest(self.concern).get()
            }
            false => from > inbox.limit,
        };
        if joins {
            channel.attach(&self.position);
            inbox.join(channel, from);
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
        if self.frontier_of(&inbox) >= next {
            return false;
        }
        for member in matching.take() {
            member.channel.attach(&self.position);
            inbox.join(member.channel, member.from.max(next));
        }
        self.wake(inbox, false);
        true
    }

    /// Takes out a watcher that has ended.
    pub(crate) fn leave(&self, channel: &Arc<Channel>) {
        let mut inbox = self.lock();
        if !inbox.stop {
            inbox.commands.push(Command::Leave(Arc::clone(channel)));
            self.wake(inbox, false);
        }
    }

    /// Lets a watcher catch up from the entry `from` on.
    pub(crate) fn hand_in(self: &Arc<Shared>, channel: Arc<Channel>, from: OpId) {
        Laps::hand_in(self, channel, from);
    }
}

/// The thread's own.
struct Runner {
    shared: Arc<Shared>,
    matching: Matching,
    cursor: Option<Cursor>,
    /// The entry that comes next.
    next: OpId,
    /// Of the last entry dispatched, until it is published.
    token: Option<ResumeToken>,
}

impl Runner {
    fn new(shared: Arc<Shared>) -> Runner {
        let next = shared.lock().limit.next();
        Runner {
            shared,
            matching: Matching::default(),
            cursor: None,
            next,
            token: None,
        }
    }

    fn run(mut self) {
        while let Some((commands, limit)) = self.begin() {
            for command in commands {
                match command {
                    Command::Join(channel, from) => self.matching.join(channel, from),
                    Command::Leave(channel) => self.matching.leave(&channel),
                }
            }
            if let Err(error) = self.dispatch(limit) {
                self.fail(&error, limit);
            }
            self.publish();
            if self.next > limit && !self.matching.is_empty() {
                self.sleep();
            }
        }
        // Whatever is still there holds this, and must not be held by it.
        self.shared.lock().commands.clear();
    }

    /// Waits while there are no watchers, then fixes the limit of a run. Nothing when the thread is to end.
    fn begin(&mut self) -> Option<(Vec<Command>, OpId)> {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.lock();
        while self.matching.is_empty() && !inbox.has_join() && !inbox.stop {
            inbox.commands.clear();
            inbox.idle = true;
            inbox = shared.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        if inbox.stop {
            return None;
        }
        let commands = std::mem::take(&mut inbox.commands);
        let mut skipped_to = None;
        if self.matching.is_empty() {
            // Nobody misses anything in front of where the first watcher begins.
            let begins = commands.iter().filter_map(|command| match command {
                Command::Join(_, from) => Some(*from),
                Command::Leave(_) => None,
            });
            self.next = begins.min().unwrap_or(self.next);
            skipped_to = Some(self.next);
        }
        let run_end = OpId::new(self.next.get().saturating_add(RUN - 1));
        let newest = shared.view.newest(shared.concern);
        // No run goes back behind what an earlier one has promised.
        inbox.limit = newest.min(run_end).max(self.next.previous());
        let limit = inbox.limit;
        drop(inbox);
        if let Some(next) = skipped_to
            && let Ok(entry) = shared.view.get(next.previous(), shared.concern)
        {
            // All who are attached begin here.
            let token = ResumeToken::at(shared.view.log_id(), &entry.entry(), TokenKind::Position);
            shared.position.raise(token);
        }
        Some((commands, limit))
    }

    fn dispatch(&mut self, limit: OpId) -> Result<()> {
        let mut unrung = 0;
        while self.next <= limit && !self.matching.is_empty() {
            let cursor = match &mut self.cursor {
                Some(cursor) if cursor.position() == self.next => cursor,
                stale => stale.insert(self.shared.view.cursor(self.next, self.shared.concern)?),
            };
            let Some(entry) = cursor.try_next()? else { break };
            self.matching.dispatch(&entry);
            self.next = entry.op_id().next();
            self.token = Some(ResumeToken::at(self.shared.view.log_id(), &entry, TokenKind::Position));
            unrung += 1;
            if unrung == RING_AFTER {
                unrung = 0;
                self.matching.ring();
            }
        }
        Ok(())
    }

    /// Tells every watcher that has lost something with the entry that cannot be read; the others find their place anew.
    fn fail(&mut self, error: &Error, limit: OpId) {
        for member in self.matching.take() {
            if member.from <= self.next {
                member.channel.fail(error.clone());
            } else {
                self.shared.hand_in(member.channel, member.from);
            }
        }
        self.cursor = None;
        self.next = limit.next();
    }

    fn publish(&mut self) {
        self.matching.ring();
        if let Some(token) = self.token.take() {
            self.shared.position.publish(token);
        }
        let mut stats = self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.position = self.next.previous();
        stats.live = self.matching.members();
        stats.distinct = self.matching.groups();
        stats.tail = self.matching.counts;
    }

    /// Waits for the next entry.
    fn sleep(&mut self) {
        let Shared { view, concern, .. } = &*self.shared;
        if view.newest(*concern) >= self.next {
            return;
        }
        let interrupt = Interrupt::new();
        {
            let mut inbox = self.shared.lock();
            if inbox.stop || !inbox.commands.is_empty() {
                return;
            }
            inbox.asleep = Some(interrupt.clone());
        }
        let outcome = view.wait(self.next, *concern, None, &interrupt);
        self.shared.lock().asleep = None;
        // What was released before the close is still to be dispatched.
        if outcome == WaitOutcome::Closed && view.newest(*concern) < self.next {
            for member in self.matching.take() {
                member.channel.fail(oplog::Error::Closed.into());
            }
        }
    }
}

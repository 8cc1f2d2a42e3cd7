//! Dispatching at the tail: what whoever leads does, the thread or a receiver (`helm.rs`).
//!
//! A leader works in runs. Each takes what is in the inbox and fixes the run's limit (`tail.rs` says why under one lock),
//! dispatches up to it, and publishes how far that is.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tailwater_oplog::{self as oplog, Cursor, Interrupt, OpId, WaitOutcome};

use crate::dispatch::channel::Channel;
use crate::dispatch::matching::Matching;
use crate::dispatch::tail::{Command, Inbox, Shared};
use crate::error::{Error, Result};
use crate::primitives::MutexGuard;
use crate::token::{ResumeToken, TokenKind};

/// After so many entries receivers that wait are woken, though there is more to dispatch.
pub(crate) const RING_AFTER: u64 = 64;

/// The watchers at the tail, and how far it has come.
#[derive(Debug)]
pub(crate) struct Runner {
    matching: Matching,
    cursor: Option<Cursor>,
    /// The entry that comes next.
    next: OpId,
    /// Of the last entry dispatched, until it is published.
    token: Option<ResumeToken>,
}

impl Runner {
    pub(crate) fn new(next: OpId) -> Runner {
        Runner {
            matching: Matching::default(),
            cursor: None,
            next,
            token: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.matching.is_empty()
    }

    /// Whether the watcher is the only one here.
    pub(crate) fn is_alone(&self, channel: &Arc<Channel>) -> bool {
        self.matching.is_alone(channel)
    }

    /// A run of so many entries at most; whether it has come to the end of the log.
    pub(crate) fn run(&mut self, shared: &Arc<Shared>, inbox: MutexGuard<'_, Inbox>, entries_max: u64) -> bool {
        let (commands, limit) = self.begin(shared, inbox, entries_max);
        for command in commands {
            match command {
                Command::Join(channel, from) => self.matching.join(channel, from),
                Command::Leave(channel) => self.matching.leave(&channel),
            }
        }
        if let Err(error) = self.dispatch(shared, limit) {
            self.fail(shared, &error, limit);
        }
        self.publish(shared);
        self.next > limit
    }

    /// Takes what is in the inbox and fixes the limit of a run.
    fn begin(
        &mut self,
        shared: &Arc<Shared>,
        mut inbox: MutexGuard<'_, Inbox>,
        entries_max: u64,
    ) -> (Vec<Command>, OpId) {
        let commands = std::mem::take(&mut inbox.commands);
        let mut skipped_to = None;
        let newest = shared.view.newest(shared.concern);
        if self.matching.is_empty() {
            // Nobody misses anything in front of where the first watcher begins. If that is further on than what can be read,
            // the entries in between are passed over for it one by one: others may begin with them.
            let begins = commands.iter().filter_map(|command| match command {
                Command::Join(_, from) => Some(*from),
                Command::Leave(_) => None,
            });
            self.next = begins.min().unwrap_or(self.next).min(newest.next());
            skipped_to = Some(self.next);
        }
        let run_end = OpId::new(self.next.get().saturating_add(entries_max - 1));
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
        (commands, limit)
    }

    fn dispatch(&mut self, shared: &Arc<Shared>, limit: OpId) -> Result<()> {
        let log_id = shared.view.log_id();
        let mut unrung = 0;
        while self.next <= limit && !self.matching.is_empty() {
            let cursor = match &mut self.cursor {
                Some(cursor) if cursor.position() == self.next => cursor,
                stale => stale.insert(shared.view.cursor(self.next, shared.concern)?),
            };
            let Some(entry) = cursor.try_next()? else { break };
            self.matching.dispatch(&entry);
            self.next = entry.op_id().next();
            self.token = Some(ResumeToken::at(log_id, &entry, TokenKind::Position));
            unrung += 1;
            if unrung == RING_AFTER {
                unrung = 0;
                self.matching.ring();
            }
        }
        Ok(())
    }

    /// Tells every watcher that has lost something with the entry that cannot be read; the others find their place anew.
    fn fail(&mut self, shared: &Arc<Shared>, error: &Error, limit: OpId) {
        for member in self.matching.take() {
            if member.from <= self.next {
                member.channel.fail(error.clone());
            } else {
                shared.hand_in(member.channel, member.from);
            }
        }
        self.cursor = None;
        self.next = limit.next();
    }

    fn publish(&mut self, shared: &Arc<Shared>) {
        self.matching.ring();
        if let Some(token) = self.token.take() {
            shared.position.publish(token);
        }
        shared.note_members(self.matching.members());
        let mut stats = shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.position = self.next.previous();
        stats.live = self.matching.members();
        stats.distinct = self.matching.groups();
        stats.tail = self.matching.counts;
    }

    /// Lends the helm to the only watcher's receiver if that has asked to lead; whom to tell.
    pub(crate) fn lend(&self, inbox: &mut Inbox) -> Option<Arc<Channel>> {
        let asking = inbox.asking.take().filter(|asking| self.matching.is_alone(asking))?;
        inbox.lend();
        Some(asking)
    }

    /// Waits for the next entry, for what is urgent, or until the deadline. With `offers`, it does not wait when the only
    /// watcher's receiver has asked to lead, but offers it the helm.
    pub(crate) fn sleep(&mut self, shared: &Arc<Shared>, deadline: Option<Instant>, offers: bool) {
        if shared.view.newest(shared.concern) >= self.next {
            return;
        }
        let interrupt = Interrupt::new();
        {
            let mut inbox = shared.lock();
            if inbox.stop || !inbox.commands.is_empty() {
                return;
            }
            if offers && let Some(asking) = self.lend(&mut inbox) {
                drop(inbox);
                return asking.offer_helm();
            }
            inbox.asleep = Some(interrupt.clone());
        }
        let outcome = shared.view.wait(self.next, shared.concern, deadline, &interrupt);
        shared.lock().asleep = None;
        // What was released before the close is still to be dispatched.
        if outcome == WaitOutcome::Closed && shared.view.newest(shared.concern) < self.next {
            for member in self.matching.take() {
                member.channel.fail(oplog::Error::Closed.into());
            }
        }
    }
}

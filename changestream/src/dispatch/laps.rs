//! Catching up: watchers behind the shared tail, on cursors of their own.
//!
//! A *lap* is a cursor with the watchers that have come to read near each other: they share its reads and are matched as on
//! the tail, by an index of their own. One thread moves all laps, each a stretch at a time. A watcher whose channel is full
//! leaves its lap as it leaves the tail; a lap that has come up to the tail hands its watchers over
//! ([`Shared::take_over`]).
//!
//! The thread begins with the first watcher that has to catch up, and sleeps while there is none.

use std::sync::{Arc, PoisonError};

use tailwater_oplog::{Cursor, OpId};

use crate::dispatch::channel::{Channel, Position};
use crate::dispatch::matching::Matching;
use crate::dispatch::stats::Counts;
use crate::dispatch::tail::{RING_AFTER, Shared};
use crate::dispatch::worker::Worker;
use crate::error::{Error, Result};
use crate::primitives::{Condvar, Mutex, MutexGuard};
use crate::token::{ResumeToken, TokenKind};

/// Entries that a lap reads before it is another one's turn.
const STRETCH: u64 = 4096;

/// A watcher joins a lap that is so many entries or less in front of where it begins.
const NEAR: u64 = 65_536;

#[derive(Debug, Default)]
struct Inbox {
    ready: Vec<(Arc<Channel>, OpId)>,
    worker: Option<Worker>,
    stop: bool,
}

/// Where watchers wait for the thread. See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Laps {
    inbox: Mutex<Inbox>,
    changed: Condvar,
}

impl Laps {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a watcher catch up from the entry `from` on.
    pub(crate) fn hand_in(shared: &Arc<Shared>, channel: Arc<Channel>, from: OpId) {
        let mut inbox = shared.laps.lock();
        if inbox.stop {
            return;
        }
        if inbox.worker.is_none() {
            let thread = Arc::clone(shared);
            match Worker::spawn("tailwater-catch-up", move || run(&thread)) {
                Ok(worker) => inbox.worker = Some(worker),
                Err(error) => {
                    drop(inbox);
                    return channel.fail(error);
                }
            }
        }
        inbox.ready.push((channel, from));
        drop(inbox);
        shared.laps.changed.notify_all();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        let mut inbox = self.lock();
        inbox.stop = true;
        let (worker, ready) = (inbox.worker.take(), std::mem::take(&mut inbox.ready));
        drop(inbox);
        drop(ready);
        self.changed.notify_all();
        if let Some(mut worker) = worker {
            worker.join();
        }
    }

    /// Watchers that have come since, waiting for some while there is nothing to do. Nothing when the thread is to end.
    fn wait(&self, busy: bool) -> Option<Vec<(Arc<Channel>, OpId)>> {
        let mut inbox = self.lock();
        while !busy && inbox.ready.is_empty() && !inbox.stop {
            inbox = self.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        (!inbox.stop).then(|| std::mem::take(&mut inbox.ready))
    }
}

/// The thread.
fn run(shared: &Arc<Shared>) {
    let mut laps: Vec<Lap> = Vec::new();
    let mut done = Counts::default();
    while let Some(ready) = shared.laps.wait(!laps.is_empty()) {
        for (channel, from) in ready {
            let near = |lap: &&mut Lap| lap.next <= from && from.get() - lap.next.get() <= NEAR;
            match laps.iter_mut().find(near) {
                Some(lap) => lap.join(channel, from),
                None => match Lap::begin(shared, from) {
                    Ok(mut lap) => {
                        lap.join(channel, from);
                        laps.push(lap);
                    }
                    Err(error) => channel.fail(error),
                },
            }
        }
        laps.retain_mut(|lap| {
            let goes_on = lap.advance(shared);
            done.add(std::mem::take(&mut lap.matching.counts));
            goes_on
        });
        let mut stats = shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.catching_up = laps.iter().map(|lap| lap.matching.members()).sum();
        stats.behind = done;
    }
}

struct Lap {
    matching: Matching,
    cursor: Cursor,
    /// The entry that comes next.
    next: OpId,
    position: Arc<Position>,
}

impl Lap {
    fn begin(shared: &Shared, from: OpId) -> Result<Lap> {
        let token = ResumeToken::without_entry(shared.view.log_id(), OpId::ZERO);
        Ok(Lap {
            matching: Matching::default(),
            cursor: shared.view.cursor(from, shared.concern)?,
            next: from,
            position: Arc::new(Position::new(token)),
        })
    }

    fn join(&mut self, channel: Arc<Channel>, from: OpId) {
        channel.attach(&self.position);
        self.matching.join(channel, from);
    }

    /// Reads a stretch; whether there is more to do.
    fn advance(&mut self, shared: &Arc<Shared>) -> bool {
        let stretch = OpId::new(self.next.get().saturating_add(STRETCH - 1));
        let frontier = shared.frontier();
        if let Err(error) = self.dispatch(frontier.min(stretch), shared) {
            self.fail(&error, shared);
        }
        self.matching.ring();
        if self.matching.is_empty() {
            return false;
        }
        self.next <= frontier || !shared.take_over(&mut self.matching, self.next)
    }

    fn dispatch(&mut self, limit: OpId, shared: &Shared) -> Result<()> {
        let mut token = None;
        let mut read = || -> Result<()> {
            let mut unrung = 0;
            while self.next <= limit && !self.matching.is_empty() {
                let Some(entry) = self.cursor.try_next()? else { break };
                self.matching.dispatch(&entry);
                self.next = entry.op_id().next();
                token = Some(ResumeToken::at(shared.view.log_id(), &entry, TokenKind::Position));
                unrung += 1;
                if unrung == RING_AFTER {
                    unrung = 0;
                    self.matching.ring();
                }
            }
            Ok(())
        };
        let read = read();
        if let Some(token) = token {
            self.position.publish(token);
        }
        read
    }

    /// As the tail does it: who has lost nothing goes on elsewhere.
    fn fail(&mut self, error: &Error, shared: &Arc<Shared>) {
        for member in self.matching.take() {
            if member.from <= self.next {
                member.channel.fail(error.clone());
            } else {
                shared.hand_in(member.channel, member.from);
            }
        }
    }
}

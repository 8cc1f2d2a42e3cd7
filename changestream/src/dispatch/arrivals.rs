//! Watchers whose token is of an entry that has not come to this log yet ([`Resumption`]).
//!
//! One thread waits for all of them. It begins with the first, sleeps while there is none, and looks once each time the log
//! moves. A watcher whose entry is here catches up from there like every other; one that cannot be resumed is told why.

use std::cell::OnceCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tailwater_oplog::{self as oplog, Error as LogError, Interrupt, OplogView, ReadConcern, WaitOutcome};

use crate::dispatch::channel::Channel;
use crate::dispatch::tail::Shared;
use crate::dispatch::worker::Worker;
use crate::error::Result;
use crate::primitives::{Condvar, Mutex, MutexGuard};
use crate::start::{Beginning, Resumption};

type Waiting = (Arc<Channel>, Resumption);

#[derive(Debug, Default)]
struct Inbox {
    come: Vec<Waiting>,
    /// Ends the thread's wait for the log; there while it waits, or is about to.
    asleep: Option<Interrupt>,
    worker: Option<Worker>,
    stop: bool,
}

/// Where watchers wait for the thread. See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    inbox: Mutex<Inbox>,
    changed: Condvar,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_in(shared: &Arc<Shared>, channel: Arc<Channel>, resumption: Resumption) -> Result<()> {
        let mut inbox = shared.arrivals.lock();
        if inbox.stop {
            return Ok(());
        }
        if inbox.worker.is_none() {
            let thread = Arc::clone(shared);
            inbox.worker = Some(Worker::spawn("tailwater-arrivals", move || run(&thread))?);
        }
        // Before it is known to anybody: whoever takes it away says so here.
        channel.awaited_entry.store(true, Ordering::Relaxed);
        inbox.come.push((channel, resumption));
        shared.arrivals.wake(inbox, shared);
        Ok(())
    }

    /// Has the thread look whether somebody has gone.
    pub(crate) fn leave(&self, shared: &Shared) {
        let inbox = self.lock();
        if inbox.asleep.is_some() {
            self.wake(inbox, shared);
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self, shared: &Shared) {
        let mut inbox = self.lock();
        inbox.stop = true;
        let (worker, come) = (inbox.worker.take(), std::mem::take(&mut inbox.come));
        self.wake(inbox, shared);
        drop(come);
        if let Some(mut worker) = worker {
            worker.join();
        }
    }

    fn wake(&self, mut inbox: MutexGuard<'_, Inbox>, shared: &Shared) {
        let asleep = inbox.asleep.take();
        drop(inbox);
        self.changed.notify_all();
        if let Some(interrupt) = asleep {
            shared.view.interrupt(&interrupt);
        }
    }

    /// Who has come since, and what ends a wait that follows; while nobody waits, not before somebody comes. Nothing when the
    /// thread is to end.
    fn next(&self, nobody: bool) -> Option<(Vec<Waiting>, Interrupt)> {
        let mut inbox = self.lock();
        inbox.asleep = None;
        while nobody && inbox.come.is_empty() && !inbox.stop {
            inbox = self.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        let interrupt = Interrupt::new();
        inbox.asleep = Some(interrupt.clone());
        (!inbox.stop).then(|| (std::mem::take(&mut inbox.come), interrupt))
    }
}

/// The thread.
fn run(shared: &Arc<Shared>) {
    let (view, concern) = (&shared.view, shared.concern);
    let mut waiting = Vec::new();
    while let Some((come, interrupt)) = shared.arrivals.next(waiting.is_empty()) {
        waiting.extend(come);
        let next = view.newest(concern).next();
        shared.settle(&mut waiting);
        if !waiting.is_empty() && view.wait(next, concern, None, &interrupt) == WaitOutcome::Closed {
            // What came before the close is still to be read.
            shared.settle(&mut waiting);
            for (channel, _) in waiting.drain(..) {
                channel.fail(LogError::Closed.into());
            }
        }
    }
}

/// Whether the log follows another, read from the disk once for all who ask in one look.
#[derive(Debug, Default)]
struct Role(OnceCell<Result<bool>>);

impl Role {
    fn following(&self, view: &OplogView) -> Result<bool> {
        self.0.get_or_init(|| still_following(view.is_following())).clone()
    }
}

/// A disk that cannot be read, as when there are no file descriptors left, says nothing of the entry: who has waited goes on
/// waiting, until the log moves again.
fn still_following(read: oplog::Result<bool>) -> Result<bool> {
    match read {
        Err(LogError::Io { .. }) => Ok(true),
        read => Ok(read?),
    }
}

impl Shared {
    /// Lets a watcher begin when its token's entry has come.
    pub(crate) fn begin_later(self: &Arc<Shared>, channel: Arc<Channel>, resumption: Resumption) -> Result<()> {
        Arrivals::hand_in(self, channel, resumption)
    }

    /// Lets those begin whose entry is here; the others stay.
    fn settle(self: &Arc<Shared>, waiting: &mut Vec<Waiting>) {
        let newest = self.view.newest(ReadConcern::Local);
        let role = Role::default();
        waiting.retain(|(channel, resumption)| {
            if channel.is_ended() {
                return false;
            }
            let begun = match resumption.look(newest, || role.following(&self.view)) {
                Ok(None) => return true,
                Ok(Some(beginning)) => self.begin(Arc::clone(channel), beginning),
                Err(error) => Err(error),
            };
            if let Err(error) = begun {
                channel.fail(error);
            }
            false
        });
    }

    /// Lets a watcher begin that has not been given to a reader yet.
    pub(crate) fn begin(self: &Arc<Shared>, channel: Arc<Channel>, beginning: Beginning) -> Result<()> {
        channel.go_on_inside(beginning.fragments);
        match beginning.ending {
            Some(entry) => channel.end_with(&entry.entry())?,
            None => self.join_from(channel, beginning.cursor.position()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_cannot_be_read_ends_no_wait() {
        let unreadable = LogError::Io {
            action: "open",
            path: "REPLICA".into(),
            source: Arc::new(std::io::Error::other("too many open files")),
        };
        assert!(still_following(Err(unreadable)).unwrap());
        assert!(!still_following(Ok(false)).unwrap());
        assert!(still_following(Err(LogError::Closed)).is_err());
    }
}

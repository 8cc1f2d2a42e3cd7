//! Closing a log: who does it, once, and in which order things end.
//!
//! A close waits for the log's threads and for whoever syncs. A waker of the program runs on such a thread, or on one that is
//! closing the log: what closes the log there, or drops its last handle, would wait for itself. So there the rest is left to a
//! thread that is started for it.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};

use super::Core;
use crate::buffer;
use crate::error::{Error, Result};
use crate::primitives::thread::{self, JoinHandle};
use crate::primitives::{Mutex, MutexGuard};
use crate::wakers::is_waking;

/// What the handles of a log share: it is closed when the last one is dropped.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) core: Arc<Core>,
    life: Mutex<Life>,
}

/// How far the log has come.
#[derive(Debug)]
enum Life {
    Open(Parts),
    /// A thread closes it that was started for that.
    Closing(JoinHandle<Result<()>>),
    Closed,
}

/// What ends with the log.
#[derive(Debug)]
struct Parts {
    threads: Vec<JoinHandle<()>>,
    /// The directory's, held until the log is closed.
    lock: Box<dyn LockGuard>,
}

pub(super) trait LockGuard: Send + Sync {}
impl<T: Any + Send + Sync + ?Sized> LockGuard for Box<T> {}
impl fmt::Debug for dyn LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}

impl Handle {
    pub(super) fn new(core: Arc<Core>, lock: Box<dyn LockGuard>) -> Handle {
        let threads = Vec::new();
        Handle {
            core,
            life: Mutex::new(Life::Open(Parts { threads, lock })),
        }
    }

    fn lock_life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one of the log's threads.
    pub(super) fn start(&self, name: &str, run: fn(&Core)) -> Result<()> {
        let Life::Open(parts) = &mut *self.lock_life() else {
            return Err(Error::Closed);
        };
        let core = Arc::clone(&self.core);
        let thread = named(name).spawn(move || run(&core));
        parts.threads.push(thread.map_err(self.no_thread())?);
        Ok(())
    }

    fn no_thread(&self) -> impl FnOnce(io::Error) -> Error {
        Error::io("start a thread for", self.core.disk().path())
    }

    /// See [`Oplog::close`](super::Oplog::close).
    pub(super) fn close(&self) -> Result<()> {
        if is_waking() {
            return match self.life.try_lock() {
                Ok(mut life) => self.begin_to_close(&mut life),
                Err(TryLockError::Poisoned(poisoned)) => self.begin_to_close(&mut poisoned.into_inner()),
                // This thread may be the one that is at it.
                Err(TryLockError::WouldBlock) => Ok(()),
            };
        }
        // Held to the end: who closes it a second time returns when it is closed.
        let mut life = self.lock_life();
        match std::mem::replace(&mut *life, Life::Closed) {
            Life::Open(parts) => parts.end(&self.core),
            // A panic has been reported by the panic hook.
            Life::Closing(thread) => thread.join().unwrap_or(Ok(())),
            Life::Closed => Ok(()),
        }
    }

    /// Has another thread close it.
    fn begin_to_close(&self, life: &mut Life) -> Result<()> {
        let parts = match std::mem::replace(life, Life::Closed) {
            Life::Open(parts) => parts,
            other => {
                *life = other;
                return Ok(());
            }
        };
        let core = Arc::clone(&self.core);
        // Where they can be taken back from when there is no thread.
        let place = Arc::new(Mutex::new(Some(parts)));
        let take = |place: &Mutex<Option<Parts>>| place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let taken = Arc::clone(&place);
        let started = named("tailwater-close").spawn(move || take(&taken).map_or(Ok(()), |parts| parts.end(&core)));
        match started {
            Ok(thread) => *life = Life::Closing(thread),
            Err(error) => {
                *life = take(&place).map_or(Life::Closed, Life::Open);
                return Err(self.no_thread()(error));
            }
        }
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the log");
        }
        // Threads that could not be ended go on, so the directory stays locked for as long as the process lives.
        if let open @ Life::Open(_) = std::mem::replace(&mut *self.lock_life(), Life::Closed) {
            std::mem::forget(open);
        }
    }
}

impl Parts {
    fn end(self, core: &Core) -> Result<()> {
        {
            // Under the append lock, so that an append either is part of the last sync or finds the log closed.
            let _appender = core.lock_appender();
            core.shared.closed.store(true, Ordering::SeqCst);
        }
        core.keeper.stop();
        core.tail().drain_bell.ring();
        core.syncer.stop(core);
        for thread in self.threads {
            // A panic of theirs has been reported by the panic hook; the log on disk is sound whatever they did.
            let _ = thread.join();
        }
        let result = core.syncer.finish(core);
        if let Err(error) = core.slots.save(core) {
            // As after a crash: they go back to what was written last.
            tracing::warn!(%error, "writing the positions of retention slots");
        }
        core.keeper.discard_spare(core);
        if result.is_ok() {
            buffer::remove(core.disk());
        }
        core.shared.freeze();
        core.tail().ring_all();
        core.wait_for_changes();
        drop(self.lock);
        result
    }
}

impl Core {
    /// Returns when nobody is changing the log's metadata any more. It has been closed, which everybody looks for under these
    /// locks, so nobody will: the directory may be given free.
    fn wait_for_changes(&self) {
        drop(self.slots.lock_open(self));
        drop(self.manifest.lock());
        drop(self.role.lock());
        drop(self.removing.lock());
    }
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

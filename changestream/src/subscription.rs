//! Delivery into a bounded channel: a handle that ends the watch when it is dropped, and a receiver.
//!
//! A full channel makes this watcher wait and nobody else: its place is in the log, so nothing is dropped and memory stays
//! bounded. A channel ends by `invalidate`, by its handle or receiver being dropped, or by a named error; never by silence.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::event::ChangeEvent;
use crate::stream::{ChangeStream, Stopper};
use crate::token::ResumeToken;

/// Why nothing was received.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecvError {
    /// The watch has ended and everything was received.
    #[error("the watch has ended")]
    Ended,
    /// Nothing came in time.
    #[error("no event in time")]
    Timeout,
    /// The watch failed; nothing comes after.
    #[error(transparent)]
    Failed(#[from] Error),
}

#[derive(Debug)]
struct Queue {
    events: VecDeque<(ChangeEvent, usize)>,
    /// Of the last event that was taken out; at first where the stream began.
    taken: ResumeToken,
    bytes: usize,
    failure: Option<Error>,
    ended: bool,
    /// The receiver is gone.
    abandoned: bool,
}

#[derive(Debug)]
struct Channel {
    queue: Mutex<Queue>,
    changed: Condvar,
    capacity: usize,
    capacity_bytes: usize,
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and puts the event in; whether anybody still wants events.
    fn send(&self, event: ChangeEvent, stopped: impl Fn() -> bool) -> bool {
        let bytes = event.entry_bytes();
        let mut queue = self.lock();
        let full = |queue: &Queue| {
            !queue.events.is_empty()
                && (queue.events.len() >= self.capacity || queue.bytes + bytes > self.capacity_bytes)
        };
        while full(&queue) && !queue.abandoned && !stopped() {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.abandoned || stopped() {
            return false;
        }
        queue.bytes += bytes;
        queue.events.push_back((event, bytes));
        drop(queue);
        self.changed.notify_all();
        true
    }

    fn end(&self, failure: Option<Error>) {
        let mut queue = self.lock();
        queue.ended = true;
        queue.failure = failure;
        drop(queue);
        self.changed.notify_all();
    }
}

pub(crate) fn subscribe(
    mut stream: ChangeStream,
    capacity: usize,
    capacity_bytes: usize,
) -> Result<(WatchHandle, Receiver)> {
    let (events, bytes, failure, ended, abandoned) = Default::default();
    let queue = Queue {
        events,
        taken: stream.resume_token(),
        bytes,
        failure,
        ended,
        abandoned,
    };
    let channel = Arc::new(Channel {
        queue: Mutex::new(queue),
        changed: Condvar::new(),
        capacity,
        capacity_bytes,
    });
    let stopper = stream.stopper();
    let sender = Arc::clone(&channel);
    let thread = std::thread::Builder::new()
        .name("tailwater-watch".into())
        .spawn(move || sender.end(pump(&mut stream, &sender)))
        .map_err(|source| tailwater_oplog::Error::Io {
            action: "start a thread for",
            path: "a watch".into(),
            source: Arc::new(source),
        })?;
    let handle = WatchHandle {
        stopper: stopper.clone(),
        channel: Arc::clone(&channel),
        thread: Some(thread),
    };
    Ok((handle, Receiver { channel, stopper }))
}

/// Moves events from the stream into the channel until one of them ends; returns why, if it failed.
fn pump(stream: &mut ChangeStream, channel: &Channel) -> Option<Error> {
    let stopper = stream.stopper();
    loop {
        match stream.wait_next(None) {
            Ok(Some(event)) => {
                if !channel.send(event, || stopper.is_stopped()) {
                    return None;
                }
            }
            Ok(None) if stream.is_ended() || stopper.is_stopped() => return None,
            Ok(None) => {}
            Err(e) => return Some(e),
        }
    }
}

/// Keeps a watch going. Dropping it ends the watch; what the channel holds by then can still be received.
#[derive(Debug)]
#[must_use = "dropping the handle ends the watch"]
pub struct WatchHandle {
    stopper: Stopper,
    channel: Arc<Channel>,
    thread: Option<JoinHandle<()>>,
}

impl WatchHandle {
    /// Ends the watch, as dropping the handle does.
    pub fn stop(self) {}

    /// Whether the watch has ended by itself.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.channel.lock().ended
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        self.stopper.stop();
        // Under the lock, so that a sender about to wait has either seen the stop or hears this.
        drop(self.channel.lock());
        self.channel.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic over there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// The receiving end of a watch.
#[derive(Debug)]
pub struct Receiver {
    channel: Arc<Channel>,
    stopper: Stopper,
}

impl Receiver {
    /// The next event, waiting for it.
    ///
    /// # Errors
    ///
    /// [`RecvError::Ended`], [`RecvError::Failed`].
    pub fn recv(&self) -> Result<ChangeEvent, RecvError> {
        self.receive(None)
    }

    /// The next event, waiting for it at most so long.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`]; [`RecvError::Timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<ChangeEvent, RecvError> {
        self.receive(Some(Instant::now() + timeout))
    }

    /// The next event if there is one by now.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn try_recv(&self) -> Result<Option<ChangeEvent>, RecvError> {
        match self.receive(Some(Instant::now())) {
            Err(RecvError::Timeout) => Ok(None),
            other => other.map(Some),
        }
    }

    /// An iterator that blocks for each event and ends with the watch.
    pub fn iter(&self) -> impl Iterator<Item = Result<ChangeEvent, RecvError>> + '_ {
        let mut failed = false;
        std::iter::from_fn(move || {
            let received = if failed { Err(RecvError::Ended) } else { self.recv() };
            failed = received.is_err();
            match received {
                Err(RecvError::Ended) => None,
                other => Some(other),
            }
        })
    }

    /// The token of the last event that was received, or of where the watch began; never of an event that still waits in the
    /// channel. A watch that goes on behind it gets what was not received.
    #[must_use]
    pub fn resume_token(&self) -> ResumeToken {
        self.channel.lock().taken
    }

    /// Events that wait in the channel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channel.lock().events.len()
    }

    /// Whether no event waits in the channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn receive(&self, deadline: Option<Instant>) -> Result<ChangeEvent, RecvError> {
        let mut queue = self.channel.lock();
        loop {
            if let Some((event, bytes)) = queue.events.pop_front() {
                queue.bytes -= bytes;
                queue.taken = event.resume_token();
                drop(queue);
                self.channel.changed.notify_all();
                return Ok(event);
            }
            if queue.ended {
                return Err(queue.failure.clone().map_or(RecvError::Ended, RecvError::Failed));
            }
            queue = match deadline {
                None => self.channel.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(RecvError::Timeout);
                    }
                    self.channel
                        .changed
                        .wait_timeout(queue, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.channel.lock().abandoned = true;
        self.channel.changed.notify_all();
        self.stopper.stop();
    }
}

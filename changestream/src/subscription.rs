//! A watch that is delivered into a bounded channel: a handle that ends it when it is dropped, and a receiver.
//!
//! A full channel makes this watcher wait and nobody else: its place is in the log, so nothing is dropped and memory stays
//! bounded. A channel ends by `invalidate`, by its handle or receiver being dropped, or by a named error; never by silence.
//!
//! Streams with a snapshot, live queries and durable consumers have the same two ends without a channel ([`stream`]).

mod stream;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::stream::FusedStream;

use crate::deadline::after;
use crate::dispatch::{Channel, Tail};
use crate::error::{Error, Result};
use crate::event::ChangeEvent;
use crate::token::ResumeToken;

pub(crate) use stream::{Stop, subscribe};
pub use stream::{StreamHandle, StreamReceiver, Subscribed};

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

/// Keeps a watch going. Dropping it ends the watch; what the channel holds by then can still be received.
#[derive(Debug)]
#[must_use = "dropping the handle ends the watch"]
pub struct WatchHandle {
    channel: Arc<Channel>,
    /// The last handle ends the threads, when no [`Dispatcher`](crate::Dispatcher) is left.
    tail: Arc<Tail>,
}

impl WatchHandle {
    pub(crate) fn new(channel: Arc<Channel>, tail: Arc<Tail>) -> WatchHandle {
        WatchHandle { channel, tail }
    }

    /// Ends the watch, as dropping the handle does.
    pub fn stop(self) {}

    /// Whether the watch has ended by itself.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.channel.is_ended()
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        if self.channel.end(false) {
            self.tail.leave(&self.channel);
        }
    }
}

/// The receiving end of a watch. It is also a [`futures::Stream`], which yields an error once and ends.
#[derive(Debug)]
pub struct Receiver {
    channel: Arc<Channel>,
}

impl Receiver {
    pub(crate) fn new(channel: Arc<Channel>) -> Receiver {
        Receiver { channel }
    }

    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// The next event, waiting for it.
    ///
    /// # Errors
    ///
    /// [`RecvError::Ended`], [`RecvError::Failed`]; each comes behind every event.
    pub fn recv(&self) -> Result<ChangeEvent, RecvError> {
        self.channel.receive(None)
    }

    /// The next event, waiting for it at most so long.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`]; [`RecvError::Timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<ChangeEvent, RecvError> {
        self.channel.receive(Some(after(timeout)))
    }

    /// The next event if there is one by now.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub fn try_recv(&self) -> Result<Option<ChangeEvent>, RecvError> {
        match self.channel.receive(Some(Instant::now())) {
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

    /// Where to go on: behind the last event that was received, and behind what was passed over since because it did not
    /// match, so that the token of a watcher that rarely matches stays fresh. Never behind an event that still waits in the
    /// channel: a watch that resumes here gets what was not received.
    #[must_use]
    pub fn resume_token(&self) -> ResumeToken {
        self.channel.resume_token()
    }

    /// Events that wait in the channel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channel.len()
    }

    /// Whether no event waits in the channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Stream for Receiver {
    type Item = Result<ChangeEvent>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.channel.poll(context)
    }
}

impl FusedStream for Receiver {
    fn is_terminated(&self) -> bool {
        self.channel.is_terminated()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.channel.end(true) {
            self.channel.shared.leave(&self.channel);
        }
    }
}

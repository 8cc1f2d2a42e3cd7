//! Handle and receiver for the streams that need the store: with a snapshot, of a live query, of a durable consumer.
//!
//! There is no channel between and no thread: the receiver reads the stream itself, when it is asked. What it has not asked for
//! is in the log, so a slow receiver loses nothing, holds up nobody and takes no memory.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::stream::FusedStream;

use super::RecvError;
use crate::deadline::after;
use crate::error::Result;
use crate::stream::Stopper;

mod sealed {
    use crate::consumer::Consumer;
    use crate::live::LiveStream;
    use crate::snapshot::SnapshotStream;

    pub trait Sealed {}
    impl Sealed for Consumer {}
    impl Sealed for LiveStream {}
    impl Sealed for SnapshotStream {}
}

/// What a [`StreamReceiver`] reads: a [`SnapshotStream`](crate::SnapshotStream), a [`LiveStream`](crate::LiveStream) or a
/// [`Consumer`](crate::Consumer).
pub trait Subscribed: Stream<Item = Result<Self::Event>> + Unpin + sealed::Sealed {
    /// What it yields.
    type Event;

    /// The next event, waiting for it: nothing when the time is up, the stream was stopped, or it has ended.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<Self::Event>>;

    /// Whether nothing more will come.
    fn is_ended(&self) -> bool;

    /// Lets go of what it keeps for a reader: its subscription was stopped.
    fn stopped(&mut self) {}
}

/// Ends a stream from elsewhere.
pub(crate) trait Stop: Send + Sync + Debug {
    fn stop(&self);
    fn is_stopped(&self) -> bool;
}

impl Stop for Stopper {
    fn stop(&self) {
        Stopper::stop(self);
    }

    fn is_stopped(&self) -> bool {
        Stopper::is_stopped(self)
    }
}

/// Keeps a subscription going. Dropping it ends the subscription, also while the receiver waits: nothing is received after.
#[derive(Debug)]
#[must_use = "dropping the handle ends the subscription"]
pub struct StreamHandle {
    stop: Arc<dyn Stop>,
}

impl StreamHandle {
    /// Ends the subscription, as dropping the handle does.
    pub fn stop(self) {}
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// The receiving end of a subscription. It is also a [`futures::Stream`], which yields an error once and ends.
#[derive(Debug)]
pub struct StreamReceiver<S> {
    stream: S,
    stop: Arc<dyn Stop>,
    /// As a stream, it has yielded its error.
    failed: bool,
}

/// The two ends of a stream.
pub(crate) fn subscribe<S: Subscribed>(stream: S, stop: impl Stop + 'static) -> (StreamHandle, StreamReceiver<S>) {
    let stop: Arc<dyn Stop> = Arc::new(stop);
    let handle = StreamHandle {
        stop: Arc::clone(&stop),
    };
    let failed = false;
    (handle, StreamReceiver { stream, stop, failed })
}

impl<S: Subscribed> StreamReceiver<S> {
    /// The next event, waiting for it.
    ///
    /// # Errors
    ///
    /// [`RecvError::Ended`]; [`RecvError::Failed`] with the error of the stream.
    pub fn recv(&mut self) -> Result<S::Event, RecvError> {
        self.receive(None)
    }

    /// The next event, waiting for it at most so long.
    ///
    /// # Errors
    ///
    /// As [`StreamReceiver::recv`]; [`RecvError::Timeout`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<S::Event, RecvError> {
        self.receive(Some(after(timeout)))
    }

    /// The next event if there is one by now.
    ///
    /// # Errors
    ///
    /// As [`StreamReceiver::recv`].
    pub fn try_recv(&mut self) -> Result<Option<S::Event>, RecvError> {
        match self.receive(Some(Instant::now())) {
            Err(RecvError::Timeout) => Ok(None),
            other => other.map(Some),
        }
    }

    /// An iterator that blocks for each event and ends with the subscription, or behind its first error.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<S::Event, RecvError>> + '_ {
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

    /// The stream that is received from; a snapshot's tells the token to go on with.
    #[must_use]
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// As [`StreamReceiver::stream`], to acknowledge with: [`Consumer::ack_through`](crate::Consumer::ack_through).
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    fn receive(&mut self, deadline: Option<Instant>) -> Result<S::Event, RecvError> {
        loop {
            if self.stop.is_stopped() {
                self.stream.stopped();
                return Err(RecvError::Ended);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if let Some(event) = self.stream.wait_next(left)? {
                return Ok(event);
            }
            if self.stream.is_ended() {
                return Err(RecvError::Ended);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) && !self.stop.is_stopped() {
                return Err(RecvError::Timeout);
            }
        }
    }
}

impl<S: Subscribed> Stream for StreamReceiver<S> {
    type Item = Result<S::Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_terminated() {
            if self.stop.is_stopped() {
                self.stream.stopped();
            }
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.stream).poll_next(context);
        self.failed = matches!(polled, Poll::Ready(Some(Err(_))));
        polled
    }
}

impl<S: Subscribed> FusedStream for StreamReceiver<S> {
    fn is_terminated(&self) -> bool {
        self.failed || self.stop.is_stopped() || self.stream.is_ended()
    }
}

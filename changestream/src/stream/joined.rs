//! A stream that has come to the end of the log, where others are: from there on the dispatcher tells it what is new.
//!
//! Streams that wait for the log each are woken by every entry and look at it each. Those of a dispatcher wait in a channel of
//! its tail instead, as subscriptions do: each entry is read once, filters that are the same are evaluated once, and nobody is
//! woken whom it does not concern (`dispatch.rs`). Which of the two a stream does cannot be seen from outside: events, tokens,
//! ends and errors are the same.
//!
//! A stream joins when it would wait and has read everything that could be dispatched. It leaves, and reads on by itself, with
//! the entry that did not fit into its channel, with the one that the dispatcher had an error for, which it then meets itself,
//! or when it is asked for what is there just now and the dispatcher has not got that far.

use std::sync::{Arc, PoisonError};

use tailwater_oplog::{Interrupt, OpId, OplogView};

use crate::dispatch::{Channel, Tail};
use crate::plan::Plan;
use crate::primitives::Mutex;
use crate::token::ResumeToken;

/// A stream's place at the tail. Dropping it leaves.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) channel: Arc<Channel>,
    /// The last one to hold it ends its threads.
    tail: Arc<Tail>,
    stopping: Stopping,
}

impl Joined {
    /// Lets a stream that stands behind `token` wait at the tail for the entry `next`; not if that has been dispatched.
    pub(crate) fn begin(
        tail: Arc<Tail>,
        (plan, stopping): (&Arc<Plan>, &Stopping),
        (token, next): (ResumeToken, OpId),
        capacity: (usize, usize),
    ) -> Option<Joined> {
        let channel = Channel::of_stream(Arc::clone(&tail.shared), Arc::clone(plan), token, capacity);
        let channel = Arc::new(channel);
        if !tail.shared.join_behind(&channel, next) {
            return None;
        }
        let stopping = stopping.clone();
        stopping.set_channel(Some(&channel));
        Some(Joined {
            channel,
            tail,
            stopping,
        })
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.stopping.set_channel(None);
        self.channel.end(true);
        // Also when it has left by itself: it may still have a seat.
        self.tail.leave(&self.channel);
    }
}

/// What ends the waits of a stream, wherever it waits.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    pub(crate) interrupt: Interrupt,
    channel: Arc<Mutex<Option<Arc<Channel>>>>,
}

impl Stopping {
    pub(crate) fn new() -> Stopping {
        Stopping {
            interrupt: Interrupt::new(),
            channel: Arc::default(),
        }
    }

    /// Where the stream waits from now on; nothing for the log.
    fn set_channel(&self, channel: Option<&Arc<Channel>>) {
        let mut waits_in = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        *waits_in = channel.cloned();
        // Whoever stops it from here on finds the channel.
        if let Some(channel) = channel.filter(|_| self.interrupt.is_raised()) {
            channel.stop();
        }
    }
}

/// Ends a blocking read; see [`ChangeStream::stopper`](crate::ChangeStream::stopper).
#[derive(Clone, Debug)]
pub struct Stopper {
    pub(crate) view: OplogView,
    pub(crate) stopping: Stopping,
}

impl Stopper {
    /// Ends the stream's present and future waits. What is there to be read can still be read.
    pub fn stop(&self) {
        self.view.interrupt(&self.stopping.interrupt);
        let channel = self
            .stopping
            .channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(channel) = channel {
            channel.stop();
        }
    }

    /// Whether it has been stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopping.interrupt.is_raised()
    }
}

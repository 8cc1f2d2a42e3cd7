//! A channel whose other end is a stream ([`Joined`](crate::stream::Joined)) that has come to the end of the log.
//!
//! It is as every other, but for three things. Parked it stays, and the stream reads on by a cursor of its own. A stream may take
//! itself out while the channel is empty. And its waits can be ended by a [`Stopper`](crate::Stopper), which leaves it where
//! it is.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use tailwater_oplog::OpId;

use crate::dispatch::channel::{Channel, Phase, Queue};
use crate::dispatch::tail::Shared;
use crate::event::ChangeEvent;
use crate::plan::Plan;
use crate::token::ResumeToken;

/// What a channel has for its stream.
#[derive(Debug)]
pub(crate) enum Streamed {
    Event(ChangeEvent),
    /// Nothing now.
    Nothing,
    /// What is watched has ended.
    Ended,
    /// Nothing any more. The stream goes on by itself behind its token, and finds there why.
    Left,
}

/// What came of asking a stream's channel for everything up to an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaving {
    /// There is something to take.
    HasEvents,
    /// There was nothing up to that entry.
    IsCurrent,
    /// That is not known here: the stream reads it by itself.
    Left,
}

impl Channel {
    /// The channel of a stream that stands behind `token`.
    pub(crate) fn of_stream(
        shared: Arc<Shared>,
        plan: Arc<Plan>,
        token: ResumeToken,
        capacity: (usize, usize),
    ) -> Channel {
        Channel {
            laps: false,
            ..Channel::new(shared, plan, token, capacity)
        }
    }

    fn streamed(&self, queue: &mut Queue) -> Streamed {
        match (self.take(queue), &queue.phase) {
            (Some(event), _) => Streamed::Event(event),
            (None, Phase::Ended) if queue.failure.is_none() && !queue.left => Streamed::Ended,
            (None, Phase::Parked(_) | Phase::Ended) => Streamed::Left,
            (None, Phase::Underway | Phase::Attached(_)) => Streamed::Nothing,
        }
    }

    /// What there is, waiting for it until the deadline, or for good without one. Nothing once it was stopped.
    pub(crate) fn wait_streamed(&self, deadline: Option<Instant>) -> Streamed {
        let mut queue = self.lock();
        loop {
            let streamed = self.streamed(&mut queue);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let waits = matches!(streamed, Streamed::Nothing) && !queue.stopped;
            if !waits || left.is_some_and(|left| left.is_zero()) {
                return streamed;
            }
            queue.waiting = true;
            queue = match left {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// As [`Channel::wait_streamed`], for a task: it is woken when there is something, unless that is so now.
    pub(crate) fn poll_streamed(&self, context: &mut Context<'_>) -> Streamed {
        let mut queue = self.lock();
        let streamed = self.streamed(&mut queue);
        let is_awaited = |waker: &Waker| waker.will_wake(context.waker());
        if matches!(streamed, Streamed::Nothing) && !queue.waker.as_ref().is_some_and(is_awaited) {
            queue.waker = Some(context.waker().clone());
        }
        streamed
    }

    /// Whether nothing comes any more, and everything was taken.
    pub(crate) fn is_exhausted(&self) -> bool {
        let queue = self.lock();
        queue.is_empty() && matches!(queue.phase, Phase::Ended)
    }

    /// Takes the channel from who delivers into it, when nothing is in it though something up to `newest` could still come.
    pub(crate) fn leave_before(&self, newest: OpId) -> Leaving {
        let mut queue = self.lock();
        let passed = self.passed(&queue);
        if !queue.is_empty() {
            return Leaving::HasEvents;
        }
        if passed.op_id() >= newest {
            return Leaving::IsCurrent;
        }
        queue.taken = passed;
        queue.phase = Phase::Ended;
        queue.left = true;
        Leaving::Left
    }

    /// Ends the stream's waits, present and future.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.stopped = true;
        self.wake(queue);
    }
}

//! What a program holds of a consumer: a member, and the events that were delivered to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::group::{Group, State};
use super::window::{EventId, Handed, MemberId};
use crate::error::{Error, Result};
use crate::event::ChangeEvent;

/// A member of a durable consumer. Dropping it hands over what it has and has not acknowledged.
#[derive(Debug)]
pub struct Consumer {
    group: Arc<Group>,
    id: MemberId,
}

impl Consumer {
    pub(super) fn new(group: Arc<Group>, id: MemberId) -> Consumer {
        Consumer { group, id }
    }

    /// The next event for this member, waiting for it: nothing when the time is up or the stream has ended.
    ///
    /// Events that it has and has not acknowledged yet do not keep it from getting the next ones. While it waits it counts as
    /// alive.
    ///
    /// # Errors
    ///
    /// [`Error::ConsumerLostHistory`], and what ends a [`ChangeStream`](crate::ChangeStream).
    pub fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<Delivery>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.group.lock();
        let outcome = loop {
            let now = Instant::now();
            state.window.see(self.id, now, true);
            if state.window.expire(now) {
                self.group.notify();
            }
            if let Some(handed) = state.window.take(self.id, now) {
                break Ok(Some(handed));
            }
            if let Some(failure) = &state.failure {
                break Err(failure.clone());
            }
            let over = deadline.is_some_and(|deadline| now >= deadline);
            if over || (state.ended && state.window.is_empty()) {
                break Ok(None);
            }
            let wake = [deadline, state.window.next_time()].into_iter().flatten().min();
            state = self.group.wait(state, wake);
        };
        state.window.see(self.id, Instant::now(), false);
        Ok(outcome?.map(|handed| self.delivery(handed)))
    }

    /// The next event for this member if there is one by now. What was written a moment ago may still be on its way to the
    /// consumer.
    ///
    /// # Errors
    ///
    /// As [`Consumer::wait_next`].
    pub fn next_if_any(&mut self) -> Result<Option<Delivery>> {
        self.wait_next(Some(Duration::ZERO))
    }

    /// Acknowledges that event and every earlier one that this member has.
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack`].
    pub fn ack_through(&mut self, last: &Delivery) -> Result<()> {
        let mut state = self.group.lock();
        last.check(&state)?;
        state.window.see(self.id, Instant::now(), false);
        let count = state.window.finish_through(self.id, last.id);
        self.settled(&mut state, count)
    }

    /// Says that the member is alive, though it takes its time: its lease begins anew.
    pub fn renew(&mut self) {
        self.group.lock().window.see(self.id, Instant::now(), false);
    }

    /// Whether the stream has ended, and everything of it is dealt with.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        let state = self.group.lock();
        state.ended && state.window.is_empty()
    }

    fn delivery(&self, handed: Handed) -> Delivery {
        Delivery {
            group: Arc::clone(&self.group),
            member: self.id,
            id: handed.id,
            number: handed.delivery,
            event: handed.event,
            failures: handed.failures,
        }
    }

    fn settled(&self, state: &mut State, count: u64) -> Result<()> {
        let saved = self.group.acknowledge(state, count);
        self.group.notify();
        saved
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.group.leave(self.id);
    }
}

/// An event that was delivered to a member. It is delivered again unless it is acknowledged, here or with
/// [`Consumer::ack_through`]; dropping it says nothing.
#[derive(Debug)]
pub struct Delivery {
    group: Arc<Group>,
    member: MemberId,
    id: EventId,
    number: u64,
    event: ChangeEvent,
    failures: u32,
}

impl Delivery {
    /// The event.
    #[must_use]
    pub fn event(&self) -> &ChangeEvent {
        &self.event
    }

    /// How often it has failed before.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the event is not this member's any more, and is delivered again.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.check(&self.group.lock()).is_err()
    }

    /// Says that the event is dealt with. When this returns that is written down: it survives the death of the process, and
    /// power loss from the next sync of the log on.
    ///
    /// # Errors
    ///
    /// [`Error::DeliveryRevoked`] when the event is not this member's any more. [`Error::Store`], [`Error::Log`]: the event is
    /// not delivered again by this process, but may be by the next.
    pub fn ack(&self) -> Result<()> {
        let mut state = self.group.lock();
        self.check(&state)?;
        state.window.see(self.member, Instant::now(), false);
        let count = state.window.finish(self.id);
        let saved = self.group.acknowledge(&mut state, count);
        self.group.notify();
        saved
    }

    /// Says that the event could not be dealt with. It is delivered again after
    /// [`retry_delay`](crate::ConsumerOptions::retry_delay), and then the later ones of its document, which are taken back
    /// now; after [`max_failures`](crate::ConsumerOptions::max_failures) it goes to the dead letters instead, with the error.
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack`]; then the event is delivered again.
    pub fn fail(&self, error: impl AsRef<str>) -> Result<()> {
        let mut state = self.group.lock();
        self.check(&state)?;
        state.window.see(self.member, Instant::now(), false);
        let outcome = self.group.fail(&mut state, self.id, error.as_ref());
        self.group.notify();
        outcome
    }

    fn check(&self, state: &State) -> Result<()> {
        if state.window.stands(self.id, self.number) {
            return Ok(());
        }
        Err(Error::DeliveryRevoked { op_id: self.id.op_id })
    }
}

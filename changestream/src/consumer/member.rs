//! What a program holds of a consumer: a member, and the events that were delivered to it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use tailwater_oplog::OpId;

use super::group::{Group, State};
use super::registry::ConsumerGroups;
use super::window::{EventId, Handed, MemberId};
use crate::deadline::after;
use crate::document_store::Put;
use crate::error::{Error, Result};
use crate::event::ChangeEvent;
use crate::subscription::{Stop, Subscribed};

/// A member of a durable consumer. Dropping it hands over what it has and has not acknowledged.
///
/// It is also a [`futures::Stream`] of deliveries, which yields an error once and ends. A task that waits for the next one counts
/// as alive until the member is read or dropped.
#[derive(Debug)]
pub struct Consumer {
    group: Arc<Group>,
    id: MemberId,
    /// Its handle was dropped: nothing more is delivered.
    stopped: Arc<AtomicBool>,
    /// A stream has yielded its error.
    failed: bool,
}

impl Consumer {
    pub(super) fn new(group: Arc<Group>, id: MemberId) -> Consumer {
        Consumer {
            group,
            id,
            stopped: Arc::default(),
            failed: false,
        }
    }

    /// Wakes all who wait, to look again.
    pub(super) fn notify(&self) {
        self.group.notify();
    }

    /// Ends its deliveries from elsewhere.
    pub(super) fn stop(&self) -> StopMember {
        StopMember {
            group: Arc::clone(&self.group),
            stopped: Arc::clone(&self.stopped),
        }
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
        let deadline = timeout.map(after);
        let mut state = self.group.lock();
        let (outcome, tells) = loop {
            let now = Instant::now();
            let comes_back = !state.window.has(self.id);
            let tells = state.window.see(self.id, now, false);
            if comes_back || state.window.expire(now, Some(self.id)) {
                drop(state);
                self.group.notify();
                state = self.group.lock();
                continue;
            }
            if let Some(outcome) = self.look(&mut state, now) {
                break (outcome, tells);
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                break (Ok(None), tells);
            }
            state.window.see(self.id, now, true);
            let wake = [deadline, state.window.next_time(now)].into_iter().flatten().min();
            state = self.group.wait(state, wake);
        };
        drop(state);
        if tells {
            self.group.notify();
        }
        Ok(outcome?.map(|handed| self.delivery(handed)))
    }

    /// What there is for this member: an event, the end, a failure; or nothing yet.
    fn look(&self, state: &mut State, now: Instant) -> Option<Result<Option<Handed>>> {
        if self.stopped.load(Ordering::Relaxed) {
            return Some(Ok(None));
        }
        if let Some(handed) = state.window.take(self.id, now) {
            return Some(Ok(Some(handed)));
        }
        if let Some(failure) = &state.failure {
            return Some(Err(failure.clone()));
        }
        (state.ended && state.window.is_empty()).then_some(Ok(None))
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
        let saved = self.group.acknowledge(&mut state, count);
        drop(state);
        self.group.notify();
        saved
    }

    /// Says that the member is alive, though it takes its time: its lease begins anew.
    pub fn renew(&mut self) {
        let tells = self.group.lock().window.see(self.id, Instant::now(), false);
        if tells {
            self.group.notify();
        }
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
}

impl Stream for Consumer {
    type Item = Result<Delivery>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        let member = self.get_mut();
        if member.failed {
            return Poll::Ready(None);
        }
        // Before the look: what comes behind it wakes the task.
        let asked = member.group.wake_later(context.waker());
        let now = Instant::now();
        let mut state = member.group.lock();
        // Before the look: one that has lost its place has nothing to look for.
        let comes_back = !state.window.has(member.id);
        let mut tells = state.window.see(member.id, now, false);
        let outcome = match asked {
            Ok(()) => member.look(&mut state, now),
            Err(error) => Some(Err(error)),
        };
        if outcome.is_none() {
            state.window.see(member.id, now, true);
            tells = comes_back;
        }
        drop(state);
        if tells {
            member.group.notify();
        }
        let Some(outcome) = outcome else { return Poll::Pending };
        member.failed = outcome.is_err();
        let delivery = outcome.map(|handed| handed.map(|handed| member.delivery(handed)));
        Poll::Ready(delivery.transpose())
    }
}

impl Subscribed for Consumer {
    type Event = Delivery;

    fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<Delivery>> {
        Consumer::wait_next(self, timeout)
    }

    fn is_ended(&self) -> bool {
        Consumer::is_ended(self)
    }
}

/// See [`Consumer::stop`].
#[derive(Debug)]
pub(super) struct StopMember {
    group: Arc<Group>,
    stopped: Arc<AtomicBool>,
}

impl Stop for StopMember {
    fn stop(&self) {
        // Under the lock under which members look, so that none goes to sleep in between.
        let state = self.group.lock();
        self.stopped.store(true, Ordering::Relaxed);
        drop(state);
        self.group.notify();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
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
        drop(state);
        self.group.notify();
        saved
    }

    /// Says that the event is dealt with, in one atomic step with what dealing with it writes into the same store: `write` is
    /// given the consumer's record as it is to be then, and must write it together with that. What that returns with the OpID
    /// of the step is returned. This is what a store's façade makes an acknowledgement within a transaction of.
    ///
    /// Other members, and the reading of events, wait while `write` runs. It must not use this consumer.
    ///
    /// # Errors
    ///
    /// [`Error::DeliveryRevoked`], and those of `write`. Then the event is the member's as before.
    pub fn ack_with<T, E: From<Error>>(
        &self,
        write: impl FnOnce(Put<'_>) -> std::result::Result<(T, OpId), E>,
    ) -> std::result::Result<T, E> {
        let mut state = self.group.lock();
        self.check(&state)?;
        state.window.see(self.member, Instant::now(), false);
        let written = self.group.acknowledge_with(&mut state, self.id, write);
        drop(state);
        self.group.notify();
        written
    }

    /// Whether it was delivered to a consumer of the store that has these groups.
    #[must_use]
    pub fn is_of(&self, groups: &ConsumerGroups) -> bool {
        self.group.is_of(groups)
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
        drop(state);
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

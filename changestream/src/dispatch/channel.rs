//! The bounded queue between the dispatcher and one watcher.
//!
//! **Invariant.** At any moment one of three holds, under the queue's lock: somebody delivers into the channel or has been
//! given it to do so ([`Phase::Attached`], [`Phase::Underway`]); nobody does, and it is known with which entry delivery goes
//! on ([`Phase::Parked`]); or nothing comes any more ([`Phase::Ended`]). A full queue turns the first into the second *at the entry that did not fit*, and the
//! receiver, when it has taken half of what there was, turns the second into the first by handing the channel to the
//! catch-up thread. So no entry is passed over and none comes twice.
//!
//! The lock is a leaf: whoever holds it takes no other but that of a [`Position`].

mod streamed;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tailwater_oplog::{Entry, OpId, Timestamp};

use crate::dispatch::helm;
use crate::dispatch::tail::Shared;
use crate::error::Error;
use crate::event::{ChangeEvent, Fragments};
use crate::plan::{Plan, Verdict};
use crate::primitives::{Condvar, Mutex, MutexGuard};
use crate::subscription::RecvError;
use crate::token::{ResumeToken, TokenKind};

pub(crate) use streamed::{Leaving, Streamed};

/// The events of a queue lie in so many segments of the log at the most. Each is kept mapped, also when it has been trimmed,
/// and a queue of small events that seldom match could hold on to any number of them.
const SEGMENTS_MAX: u64 = 16;

/// Up to this many empty places are kept in a queue that has run empty.
const PLACES_KEPT: usize = 16;

/// How far a reader of the log has dispatched: everything up to the token's entry has been put into every channel that is
/// attached to it. Watchers read it when they are asked for their token, so keeping it current costs one store for all.
#[derive(Debug)]
pub(crate) struct Position(Mutex<ResumeToken>);

impl Position {
    pub(crate) fn new(token: ResumeToken) -> Position {
        Position(Mutex::new(token))
    }

    pub(crate) fn publish(&self, token: ResumeToken) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Publishes a token if it is further on.
    pub(crate) fn raise(&self, token: ResumeToken) {
        let mut published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if token.op_id() > published.op_id() {
            *published = token;
        }
    }

    pub(crate) fn token(&self) -> ResumeToken {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who delivers into a channel.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nobody yet: it is on its way to a reader.
    Underway,
    /// The reader at this position.
    Attached(Arc<Position>),
    /// Nobody; delivery goes on with this entry.
    Parked(OpId),
    /// Nobody any more.
    Ended,
}

#[derive(Debug)]
struct Queue {
    events: VecDeque<ChangeEvent>,
    /// What is left of an event that is received in fragments; it comes before `events`.
    fragments: Option<Box<Fragments>>,
    /// Of the entries of both.
    bytes: usize,
    /// The oldest segment that an event keeps mapped, or one that none does any more.
    held_from: u64,
    /// Stands behind the last event that was taken out, or behind what was passed over since.
    taken: ResumeToken,
    phase: Phase,
    /// Why it ended, when it failed; told after the events.
    failure: Option<Box<Error>>,
    /// A stream yields its failure once.
    failure_told: bool,
    /// A thread waits for an event or the end.
    waiting: bool,
    /// The receiver may lead at the tail now (`helm.rs`).
    helm_offered: bool,
    /// Nobody is to wait for it any more.
    stopped: bool,
    /// Its stream has taken itself out.
    left: bool,
    waker: Option<Waker>,
}

/// What became of an event that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offer {
    Taken,
    /// It did not fit: the channel is parked at its entry.
    Full,
    /// Nobody wants it.
    Gone,
}

/// The channel of one watcher. See the module documentation.
#[derive(Debug)]
pub(crate) struct Channel {
    queue: Mutex<Queue>,
    changed: Condvar,
    capacity: usize,
    capacity_bytes: usize,
    /// Once parked it catches up on a lap; that of a stream does not, which reads on by itself.
    laps: bool,
    /// It has waited for the entry of its token to come (`arrivals.rs`).
    pub(crate) awaited_entry: AtomicBool,
    pub(crate) plan: Arc<Plan>,
    /// Entries from before are passed over.
    pub(crate) not_before: Timestamp,
    /// Where in its group the member stands; only the reader it is attached to writes it, so that leaving finds it.
    pub(crate) seat: AtomicU64,
    pub(crate) shared: Arc<Shared>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.fragments.is_none()
    }

    /// Whether it would keep too many segments mapped with one more event.
    fn holds_too_much_with(&mut self, event: &ChangeEvent) -> bool {
        let Some(newest) = event.segment() else { return false };
        if newest.saturating_sub(self.held_from) < SEGMENTS_MAX {
            return false;
        }
        // Events have been taken out since that was noted.
        self.held_from = self.events.iter().find_map(ChangeEvent::segment).unwrap_or(newest);
        newest.saturating_sub(self.held_from) >= SEGMENTS_MAX
    }

    /// Whether there is room again for many more events.
    fn has_room_again(&self, capacity: usize, capacity_bytes: usize) -> bool {
        let segment = |event: Option<&ChangeEvent>| event.and_then(ChangeEvent::segment);
        let (oldest, newest) = (segment(self.events.front()), segment(self.events.back()));
        let segments = oldest.zip(newest).map_or(0, |(oldest, newest)| newest - oldest);
        self.events.len() <= capacity / 2 && self.bytes <= capacity_bytes / 2 && segments < SEGMENTS_MAX / 2
    }

    fn next(&mut self) -> Option<ChangeEvent> {
        let Some(fragments) = &mut self.fragments else {
            let event = self.events.pop_front()?;
            self.fragments = event.fragments_behind(0).map(Box::new);
            return match self.fragments {
                Some(_) => self.next(),
                None => {
                    self.bytes -= event.entry_bytes();
                    Some(event)
                }
            };
        };
        let fragment = fragments.next();
        if fragments.left() == 0 {
            self.bytes -= fragments.entry_bytes();
            self.fragments = None;
        }
        fragment
    }
}

impl Channel {
    pub(crate) fn new(
        shared: Arc<Shared>,
        plan: Arc<Plan>,
        token: ResumeToken,
        (capacity, capacity_bytes): (usize, usize),
    ) -> Channel {
        let queue = Queue {
            events: VecDeque::new(),
            fragments: None,
            bytes: 0,
            held_from: 0,
            taken: token,
            phase: Phase::Underway,
            failure: None,
            failure_told: false,
            waiting: false,
            helm_offered: false,
            stopped: false,
            left: false,
            waker: None,
        };
        Channel {
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            capacity,
            capacity_bytes,
            laps: true,
            awaited_entry: AtomicBool::new(false),
            plan,
            not_before: token.start_time().unwrap_or_default(),
            seat: AtomicU64::new(u64::MAX),
            shared,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in what is left of the event that the watcher goes on inside of, before anything else.
    pub(crate) fn go_on_inside(&self, fragments: Option<Fragments>) {
        let Some(fragments) = fragments.filter(|fragments| fragments.left() > 0) else {
            return;
        };
        let mut queue = self.lock();
        queue.bytes = fragments.entry_bytes();
        queue.fragments = Some(Box::new(fragments));
        self.wake(queue);
    }

    /// Whether the watcher has to do with the entry: it was not written before the time it begins with.
    pub(crate) fn is_due(&self, entry: &Entry<'_>) -> bool {
        entry.timestamp() >= self.not_before
    }

    /// Puts an event in if it fits. A receiver that waits is put on `bells`, to be woken by [`Channel::ring`].
    pub(crate) fn offer(self: &Arc<Channel>, event: &ChangeEvent, bells: &mut Vec<Arc<Channel>>) -> Offer {
        let bytes = event.entry_bytes();
        let mut queue = self.lock();
        if matches!(queue.phase, Phase::Ended) {
            return Offer::Gone;
        }
        let full = queue.events.len() >= self.capacity
            || queue.bytes.saturating_add(bytes) > self.capacity_bytes
            || queue.holds_too_much_with(event);
        if full && !queue.events.is_empty() {
            queue.phase = Phase::Parked(event.op_id());
            return Offer::Full;
        }
        if queue.is_empty() {
            // While events wait the token stands still; not further back than it has stood.
            queue.taken = self.passed(&queue);
        }
        queue.bytes += bytes;
        queue.events.push_back(event.clone());
        if queue.waiting || queue.waker.is_some() {
            drop(queue);
            bells.push(Arc::clone(self));
        }
        Offer::Taken
    }

    /// Ends the channel behind the event of an entry that ended what it watches, which the watcher has had already.
    pub(crate) fn end_with(&self, entry: &Entry<'_>) -> crate::error::Result<()> {
        let event = match self.plan.judge_invalidate(entry)? {
            Verdict::Passed => None,
            Verdict::Event(operation, shape) => {
                let event = ChangeEvent::new(entry.share(), operation, self.plan.log_id, self.plan.images);
                Some(event.shaped(shape))
            }
        };
        self.invalidate(event, self.token_behind(entry));
        Ok(())
    }

    /// Ends the channel by what it watches having ended, with the `invalidate` event if that is wanted. It fits always, so
    /// that an end is never half delivered: a queue may exceed its capacity by this one event.
    pub(crate) fn invalidate(&self, event: Option<ChangeEvent>, token: ResumeToken) {
        let mut queue = self.lock();
        if matches!(queue.phase, Phase::Ended) {
            return;
        }
        match event {
            Some(event) => {
                queue.bytes += event.entry_bytes();
                queue.events.push_back(event);
            }
            // The stream has passed it over: a stream that goes on behind it does not meet the end again.
            None if queue.is_empty() => queue.taken = token,
            None => {}
        }
        queue.phase = Phase::Ended;
        self.wake(queue);
    }

    /// Ends the channel with an error, which comes behind the events that are in it.
    pub(crate) fn fail(&self, error: Error) {
        let mut queue = self.lock();
        if matches!(queue.phase, Phase::Ended) {
            return;
        }
        queue.failure = Some(Box::new(error));
        queue.phase = Phase::Ended;
        self.wake(queue);
    }

    /// Ends the channel because the watcher goes away; whether it was not over yet. What is in it can still be received,
    /// unless the receiver is the one to go.
    pub(crate) fn end(&self, by_receiver: bool) -> bool {
        let mut queue = self.lock();
        let was_running = !matches!(queue.phase, Phase::Ended);
        queue.phase = Phase::Ended;
        let dropped = by_receiver.then(|| (std::mem::take(&mut queue.events), queue.fragments.take()));
        self.wake(queue);
        drop(dropped);
        was_running
    }

    /// Gives the channel to a reader, which has passed over no entry that concerns the watcher.
    pub(crate) fn attach(&self, position: &Arc<Position>) {
        let mut queue = self.lock();
        let passed = self.passed(&queue);
        queue.taken = passed;
        if !matches!(queue.phase, Phase::Ended) {
            queue.phase = Phase::Attached(Arc::clone(position));
        }
    }

    pub(crate) fn begin_at(&self, token: ResumeToken) {
        self.lock().taken = token;
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.lock().phase, Phase::Ended)
    }

    pub(crate) fn len(&self) -> usize {
        let queue = self.lock();
        queue.events.len() + queue.fragments.as_ref().map_or(0, |fragments| fragments.left())
    }

    /// The token of the last event that was taken out; or, with no event in the channel, of how far the log has been looked
    /// at for it.
    pub(crate) fn resume_token(&self) -> ResumeToken {
        let queue = self.lock();
        self.passed(&queue)
    }

    fn passed(&self, queue: &Queue) -> ResumeToken {
        // Whoever delivers needs the queue's lock for it, and publishes after having delivered: what the position says has
        // been dispatched was put in before this look, and taken out again.
        match &queue.phase {
            Phase::Attached(position) if queue.is_empty() => {
                let position = position.token();
                if position.op_id() <= queue.taken.op_id() {
                    queue.taken
                } else if position.timestamp() < self.not_before {
                    position.starting_at(self.not_before)
                } else {
                    position
                }
            }
            _ => queue.taken,
        }
    }

    /// Takes out the next event; with nothing there, waits until the deadline, or for good without one. The receiver of the
    /// only watcher leads at the tail meanwhile.
    pub(crate) fn receive(self: &Arc<Channel>, deadline: Option<Instant>) -> Result<ChangeEvent, RecvError> {
        let mut queue = self.lock();
        let mut may_lead = true;
        loop {
            if let Some(event) = self.take(&mut queue) {
                self.taken(queue);
                return Ok(event);
            }
            if matches!(queue.phase, Phase::Ended) {
                let failure = queue.failure.as_deref().cloned();
                return Err(failure.map_or(RecvError::Ended, RecvError::Failed));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let waits = left.is_none_or(|left| !left.is_zero());
            if may_lead && self.is_at_tail(&queue) {
                queue.helm_offered = false;
                drop(queue);
                may_lead = helm::lead_for(&self.shared, self, deadline, waits) && waits;
                queue = self.lock();
                // Something may have come while the lock was not held.
                continue;
            }
            if !waits {
                return Err(RecvError::Timeout);
            }
            if std::mem::take(&mut queue.helm_offered) {
                may_lead = true;
                continue;
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

    /// Whether the shared tail delivers into the channel.
    fn is_at_tail(&self, queue: &Queue) -> bool {
        matches!(&queue.phase, Phase::Attached(position) if Arc::ptr_eq(position, &self.shared.position))
    }

    /// Whether there is something for the receiver.
    pub(crate) fn has_news(&self) -> bool {
        let queue = self.lock();
        !queue.is_empty() || matches!(queue.phase, Phase::Ended)
    }

    /// Whether a thread waits for something to come.
    pub(crate) fn is_awaited(&self) -> bool {
        self.lock().waiting
    }

    /// Tells the receiver, which has asked for it, that it may lead.
    pub(crate) fn offer_helm(&self) {
        let mut queue = self.lock();
        queue.helm_offered = true;
        self.wake(queue);
    }

    /// As [`Channel::receive`], for a task.
    pub(crate) fn poll(self: &Arc<Channel>, context: &mut Context<'_>) -> Poll<Option<Result<ChangeEvent, Error>>> {
        let mut queue = self.lock();
        if let Some(event) = self.take(&mut queue) {
            self.taken(queue);
            return Poll::Ready(Some(Ok(event)));
        }
        if matches!(queue.phase, Phase::Ended) {
            let told = std::mem::replace(&mut queue.failure_told, true);
            let failure = queue.failure.as_deref().filter(|_| !told).cloned();
            return Poll::Ready(failure.map(Err));
        }
        if !queue
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            queue.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Whether a stream over the channel has come to its end.
    pub(crate) fn is_terminated(&self) -> bool {
        let queue = self.lock();
        matches!(queue.phase, Phase::Ended) && queue.is_empty() && (queue.failure.is_none() || queue.failure_told)
    }

    fn take(&self, queue: &mut Queue) -> Option<ChangeEvent> {
        let event = queue.next()?;
        queue.taken = event.resume_token();
        if queue.events.is_empty() && queue.events.capacity() > PLACES_KEPT {
            queue.events = VecDeque::new();
        }
        Some(event)
    }

    /// After an event was taken out: a parked channel with room goes on.
    fn taken(self: &Arc<Channel>, mut queue: MutexGuard<'_, Queue>) {
        if let Phase::Parked(from) = queue.phase
            && self.laps
            && queue.has_room_again(self.capacity, self.capacity_bytes)
        {
            queue.phase = Phase::Underway;
            drop(queue);
            self.shared.hand_in(Arc::clone(self), from);
        }
    }

    /// Wakes who was put on the list of bells.
    pub(crate) fn ring(&self) {
        self.wake(self.lock());
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let (waiting, waker) = (std::mem::take(&mut queue.waiting), queue.waker.take());
        drop(queue);
        if waiting {
            self.changed.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The token behind the `invalidate` of an entry.
    pub(crate) fn token_behind(&self, entry: &Entry<'_>) -> ResumeToken {
        ResumeToken::at(self.plan.log_id, entry, TokenKind::Invalidate)
    }

    pub(crate) fn sit(&self, seat: u64) {
        self.seat.store(seat, Ordering::Relaxed);
    }

    pub(crate) fn seated(&self) -> u64 {
        self.seat.load(Ordering::Relaxed)
    }
}

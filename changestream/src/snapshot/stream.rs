//! The stream: a snapshot's documents, then the changes behind it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use futures::Stream;
use tailwater_matcher::encode_key;
use tailwater_oplog::OpId;

use super::event::{SnapshotDocument, SnapshotEvent};
use super::token::{Place, SnapshotToken};
use crate::deadline::after;
use crate::document_store::{Hold, StateCollection, StoreDocuments, StoreState};
use crate::error::Result;
use crate::event::ChangeEvent;
use crate::step::{self, STEPS_PER_POLL, Step};
use crate::stream::{ChangeStream, Stopper};
use crate::subscription::Subscribed;

/// Changes are looked for in so many entries in a step.
const ENTRIES_PER_STEP: u64 = 64;

/// What is held moves on after so many entries.
const ENTRIES_PER_HOLD: u64 = 1024;

/// How far a stream has got. The variants are in the order in which they happen.
enum Phase {
    /// Resumed: what has been delivered is brought up to the state that is read next.
    CatchingUp(Box<dyn StoreState>),
    /// The state is read.
    Reading(Reading),
    /// The changes behind it.
    Following,
}

struct Reading {
    state: Box<dyn StoreState>,
    collections: VecDeque<StateCollection>,
    scan: Option<(Arc<StateCollection>, StoreDocuments)>,
}

/// A stream that begins with a snapshot; see [`Watch::with_snapshot`](crate::Watch::with_snapshot).
///
/// It is read as a [`ChangeStream`] is: as a [`futures::Stream`], with [`SnapshotStream::next_if_any`], or blocking with
/// [`SnapshotStream::wait_next`]. Reading a snapshot waits for the disk, also as a [`futures::Stream`].
///
/// An error leaves it where it was, except that as a [`futures::Stream`] it ends.
pub struct SnapshotStream {
    changes: ChangeStream,
    phase: Phase,
    /// Up to where the snapshot has been delivered.
    place: Arc<Place>,
    token: SnapshotToken,
    /// Keeps the changes in the log until the stream has come to its end once: when the last document is read, it is as far
    /// behind as it will ever be.
    hold: Option<Hold>,
    /// Where that begins.
    held_from: OpId,
    begins_anew: bool,
    failed: bool,
}

impl fmt::Debug for SnapshotStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::CatchingUp(_) => "catching up",
            Phase::Reading(_) => "reading",
            Phase::Following => "following",
        };
        f.debug_struct("SnapshotStream")
            .field("phase", &phase)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl SnapshotStream {
    /// Of the changes behind the token's position. With a state, what the token's place leaves of it comes first.
    pub(super) fn new(
        changes: ChangeStream,
        state: Option<Box<dyn StoreState>>,
        place: Arc<Place>,
        hold: Option<Hold>,
    ) -> SnapshotStream {
        let token = match &state {
            Some(_) => SnapshotToken::inside(changes.resume_token(), Arc::clone(&place)),
            None => changes.resume_token().into(),
        };
        let held_from = changes.position();
        SnapshotStream {
            changes,
            phase: state.map_or(Phase::Following, Phase::CatchingUp),
            place,
            token,
            hold,
            held_from,
            begins_anew: false,
            failed: false,
        }
    }

    pub(super) fn beginning_anew(self) -> SnapshotStream {
        SnapshotStream {
            begins_anew: true,
            ..self
        }
    }

    /// Whether it was to be resumed, and begins with a snapshot of now because what it needed was gone: see
    /// [`SnapshotWatch::anew_if_lost`](crate::SnapshotWatch::anew_if_lost).
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        self.begins_anew
    }

    /// The token to go on from later; it stands behind the last event, or behind what was passed over since.
    #[must_use]
    pub fn resume_token(&self) -> &SnapshotToken {
        &self.token
    }

    /// Whether the whole snapshot has been delivered, and what comes are changes behind it.
    #[must_use]
    pub fn is_snapshot_delivered(&self) -> bool {
        matches!(self.phase, Phase::Following)
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.failed || (self.is_snapshot_delivered() && self.changes.is_ended())
    }

    /// Ends a blocking read from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.changes.stopper()
    }

    /// The next event if there is one by now.
    ///
    /// # Errors
    ///
    /// As [`ChangeStream::next_if_any`]; [`Error::Store`](crate::Error::Store).
    pub fn next_if_any(&mut self) -> Result<Option<SnapshotEvent>> {
        step::until_event(|| self.step())
    }

    /// The next event, waiting for it: nothing when the time is up, the stream was stopped, or it has ended.
    ///
    /// # Errors
    ///
    /// As [`SnapshotStream::next_if_any`], and [`Closed`](tailwater_oplog::Error::Closed).
    pub fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<SnapshotEvent>> {
        let deadline = timeout.map(after);
        while !self.is_snapshot_delivered() {
            for _ in 0..STEPS_PER_POLL {
                match self.step()? {
                    Step::Event(event) => return Ok(Some(event)),
                    // Changes are waited for, below.
                    Step::More if self.is_snapshot_delivered() => break,
                    Step::More => {}
                    Step::Nothing => return Ok(None),
                }
            }
            if self.changes.is_interrupted() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.let_go();
                return Ok(None);
            }
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // What comes next is there already, or the log has been read to its end.
        self.let_go();
        let event = self.changes.wait_next(left);
        self.token = self.changes.resume_token().into();
        self.let_go();
        Ok(event?.map(|event| self.plain(event)))
    }

    /// The next document of a snapshot that was not resumed; nothing when all have been delivered.
    pub(crate) fn next_document(&mut self) -> Result<Option<SnapshotDocument>> {
        while !self.is_snapshot_delivered() {
            // Nothing was delivered that a change could be to.
            if let Step::Event(SnapshotEvent::Document(document)) = self.step()? {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    fn step(&mut self) -> Result<Step<SnapshotEvent>> {
        match &self.phase {
            Phase::CatchingUp(state) => {
                let until = state.as_of();
                self.catch_up(until)
            }
            Phase::Reading(_) => self.read(),
            Phase::Following => {
                let event = self.changes.next_if_any();
                self.token = self.changes.resume_token().into();
                self.let_go();
                Ok(event?.map_or(Step::Nothing, |event| Step::Event(self.plain(event))))
            }
        }
    }

    fn plain(&self, event: ChangeEvent) -> SnapshotEvent {
        SnapshotEvent::Change(event, self.token.clone())
    }

    /// Changes up to `until` to documents that have been delivered. The others are in the state as they are by then.
    fn catch_up(&mut self, until: OpId) -> Result<Step<SnapshotEvent>> {
        let step = OpId::new(self.changes.position().get().saturating_add(ENTRIES_PER_STEP - 1));
        let event = self.changes.next_through(until.min(step))?;
        self.token = SnapshotToken::inside(self.changes.resume_token(), Arc::clone(&self.place));
        if self.changes.is_ended() {
            // What was watched is gone, and with it the rest of the snapshot.
            self.finish();
        }
        if let Some(event) = event {
            let delivered = self.concerns_delivered(&event);
            return Ok(match delivered {
                true => Step::Event(self.plain(event)),
                false => Step::More,
            });
        }
        if self.changes.is_ended() {
            return Ok(Step::Nothing);
        }
        if self.changes.position() <= until {
            return Ok(match self.changes.is_readable() {
                true => Step::More,
                false => Step::Nothing,
            });
        }
        self.move_hold();
        let Phase::CatchingUp(state) = std::mem::replace(&mut self.phase, Phase::Following) else {
            return Ok(Step::More);
        };
        let mut collections = state.collections();
        let scope = &self.changes.plan().scope;
        collections.retain(|c| scope.includes_name(&c.database, &c.name) && c.uuid >= self.place.collection);
        self.phase = Phase::Reading(Reading {
            state,
            collections: collections.into(),
            scan: None,
        });
        Ok(Step::More)
    }

    /// Whether a change is one to a document that the snapshot has delivered. Changes that concern no document always are.
    fn concerns_delivered(&self, event: &ChangeEvent) -> bool {
        let Some(key) = event.document_key() else { return true };
        let Ok(Some(id)) = key.get("_id") else { return true };
        let place = Place {
            collection: event.collection_id(),
            key: key_bytes(id),
        };
        place <= *self.place
    }

    fn read(&mut self) -> Result<Step<SnapshotEvent>> {
        let Phase::Reading(reading) = &mut self.phase else {
            return Ok(Step::More);
        };
        let Some((collection, scan)) = &mut reading.scan else {
            let Some(collection) = reading.collections.pop_front() else {
                self.finish();
                return Ok(Step::More);
            };
            let after = (collection.uuid == self.place.collection).then_some(self.place.key.as_slice());
            let scan = reading.state.scan(&collection.uuid, after);
            reading.scan = Some((Arc::new(collection), scan));
            return Ok(Step::More);
        };
        let Some(document) = scan.next() else {
            reading.scan = None;
            return Ok(Step::More);
        };
        let collection = Arc::clone(collection);
        let selected = document.and_then(|document| self.select(&collection, document));
        if selected.is_err()
            && let Phase::Reading(reading) = &mut self.phase
        {
            // From the same document again, if it is tried again.
            reading.collections.push_front(StateCollection::clone(&collection));
            reading.scan = None;
        }
        selected
    }

    fn select(&mut self, collection: &Arc<StateCollection>, document: RawDocumentBuf) -> Result<Step<SnapshotEvent>> {
        let key = document.get("_id").ok().flatten().map(key_bytes).unwrap_or_default();
        let place = Arc::new(Place {
            collection: collection.uuid,
            key,
        });
        let token = SnapshotToken::inside(self.changes.resume_token(), Arc::clone(&place));
        let event = SnapshotDocument::select(self.changes.plan(), collection, document, token.clone())?;
        self.place = place;
        self.token = token;
        Ok(event.map_or(Step::More, |event| Step::Event(SnapshotEvent::Document(event))))
    }

    /// Lets go of the state.
    fn finish(&mut self) {
        self.phase = Phase::Following;
        self.token = self.changes.resume_token().into();
        self.let_go();
    }

    /// Lets go of the log up to where the changes are read, and of all of it once there is nothing more to read, or nobody to
    /// read it: from there on the stream keeps its place in the log as every other does.
    fn let_go(&mut self) {
        if self.hold.is_none() {
            return;
        }
        let is_over = self.failed || self.changes.is_interrupted() || self.changes.is_ended();
        if is_over || self.is_snapshot_delivered() && !self.changes.is_readable() {
            self.hold = None;
        } else if self.changes.position().get() >= self.held_from.get().saturating_add(ENTRIES_PER_HOLD) {
            self.move_hold();
        }
    }

    fn move_hold(&mut self) {
        self.held_from = self.changes.position();
        if let Some(hold) = &self.hold
            && let Err(error) = hold.advance(self.held_from)
        {
            // Lost by its cap, or dropped by hand. If history is gone with it, the changes say so.
            tracing::debug!(%error, "moving the retention slot of a snapshot");
            self.hold = None;
        }
    }
}

fn key_bytes(id: bson::RawBsonRef<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    encode_key(id, &mut key);
    key
}

impl Subscribed for SnapshotStream {
    type Event = SnapshotEvent;

    fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<SnapshotEvent>> {
        SnapshotStream::wait_next(self, timeout)
    }

    fn is_ended(&self) -> bool {
        SnapshotStream::is_ended(self)
    }

    fn stopped(&mut self) {
        self.let_go();
    }
}

impl Stream for SnapshotStream {
    type Item = Result<SnapshotEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut steps = 0;
        while !self.is_snapshot_delivered() {
            if self.failed || self.changes.is_interrupted() {
                self.let_go();
                return Poll::Ready(None);
            }
            if steps == STEPS_PER_POLL {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            steps += 1;
            match self.step() {
                Ok(Step::Event(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(Step::More) => {}
                Ok(Step::Nothing) => return Poll::Ready(None),
                Err(error) => {
                    self.failed = true;
                    self.let_go();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        let polled = Pin::new(&mut self.changes).poll_next(context);
        self.token = self.changes.resume_token().into();
        self.let_go();
        polled.map_ok(|event| self.plain(event))
    }
}

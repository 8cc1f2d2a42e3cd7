//! The stream itself: a cursor that turns entries into events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::stream::FusedStream;
use tailwater_oplog::{Cursor, Interrupt, OpId, OplogView, ReadConcern, SharedEntry, Timestamp, WaitOutcome};

use crate::deadline::after;
use crate::error::Result;
use crate::event::{ChangeEvent, Fragments, OperationType};
use crate::plan::{Plan, Verdict};
use crate::start::{Beginning, Begins, Resumption};
use crate::token::{ResumeToken, TokenKind};

/// How many entries a stream looks at before it lets other tasks run, and notices that it was stopped or the time is up.
const ENTRIES_PER_POLL: u32 = 4096;

/// How far a stream has got.
#[derive(Debug)]
enum State {
    /// The entry that it goes on behind has not come to this log yet. The cursor waits for whatever comes next.
    Awaiting(Box<Resumption>),
    /// It follows the log.
    Running,
    /// What it watched ended with this entry; the `invalidate` event comes next.
    Ending(SharedEntry),
    /// Nothing more comes.
    Ended,
}

impl State {
    /// How a stream begins.
    fn of(beginning: Beginning) -> (Cursor, Option<Fragments>, State) {
        let state = beginning.ending.map_or(State::Running, State::Ending);
        (beginning.cursor, beginning.fragments, state)
    }
}

/// A change stream: every event of its scope that passes its filter, in the order of the log, from its starting point on.
///
/// The same stream is read in whichever way suits: as a [`futures::Stream`], with [`ChangeStream::next_if_any`], or
/// blocking with [`ChangeStream::wait_next`] and [`ChangeStream::blocking_iter`].
///
/// # Falling behind
///
/// A stream that is not read costs nothing and loses nothing: its place is a position in the log. Only a trim can take
/// entries away from it; then it fails with [`HistoryLost`](tailwater_oplog::Error::HistoryLost).
///
/// # Ending
///
/// When what it watches is dropped or renamed, the stream delivers `invalidate` and ends. When the log is closed by its
/// writer in the same process, it fails with [`Closed`](tailwater_oplog::Error::Closed) and ends. Every other error leaves it
/// where it was, so that [`ChangeStream::next_if_any`] and [`ChangeStream::wait_next`] meet it again when they are called
/// again. As a [`futures::Stream`] and in [`ChangeStream::blocking_iter`], which are read to their end, it yields an error
/// once and ends; [`ChangeStream::resume_token`] is good as ever to start anew.
#[derive(Debug)]
pub struct ChangeStream {
    view: OplogView,
    cursor: Cursor,
    plan: Arc<Plan>,
    /// Entries from before are passed over.
    not_before: Timestamp,
    token: ResumeToken,
    /// What is still to come of the event that was delivered last.
    fragments: Option<Fragments>,
    state: State,
    interrupt: Interrupt,
}

impl ChangeStream {
    pub(crate) fn new(view: OplogView, concern: ReadConcern, plan: Arc<Plan>, begins: Begins) -> Result<ChangeStream> {
        let token = begins.token();
        let (cursor, fragments, state) = match begins {
            Begins::Here(beginning) => State::of(beginning),
            Begins::Later(resumption) => {
                let cursor = view.cursor(view.newest(concern).next(), concern)?;
                (cursor, None, State::Awaiting(Box::new(resumption)))
            }
        };
        Ok(ChangeStream {
            view,
            cursor,
            plan,
            not_before: token.start_time().unwrap_or_default(),
            token,
            fragments,
            state,
            interrupt: Interrupt::new(),
        })
    }

    /// The token to go on from later. It stands behind the last event delivered, or behind what was passed over since
    /// because it did not match; so a stream that rarely matches keeps a fresh token.
    #[must_use]
    pub fn resume_token(&self) -> ResumeToken {
        self.token
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The next event if there is one by now.
    ///
    /// # Errors
    ///
    /// [`Error::NoPreImage`](crate::Error::NoPreImage), [`Error::NoPostImage`](crate::Error::NoPostImage),
    /// [`Error::Evaluate`](crate::Error::Evaluate), [`Error::TokenModified`](crate::Error::TokenModified),
    /// [`Error::EventTooLarge`](crate::Error::EventTooLarge), [`Error::FieldTooLarge`](crate::Error::FieldTooLarge), and the
    /// log's errors. The stream stays where it is.
    pub fn next_if_any(&mut self) -> Result<Option<ChangeEvent>> {
        Ok(self.advance(u32::MAX)?.flatten())
    }

    /// The next event of an entry up to `last`. Without one, [`ChangeStream::position`] says whether all of them have been
    /// looked at, or not all can be read yet.
    pub(crate) fn next_through(&mut self, last: OpId) -> Result<Option<ChangeEvent>> {
        let unfinished = |stream: &ChangeStream| stream.fragments.is_some() || matches!(stream.state, State::Ending(_));
        while self.cursor.position() <= last || unfinished(self) {
            match self.advance(1)? {
                Some(None) => break,
                Some(event) => return Ok(event),
                None => {}
            }
        }
        Ok(None)
    }

    /// The entry that is looked at next.
    pub(crate) fn position(&self) -> OpId {
        self.cursor.position()
    }

    /// Whether that entry can be read by now.
    pub(crate) fn is_readable(&self) -> bool {
        self.cursor.position() <= self.view.newest(self.cursor.concern())
    }

    /// The same stream, which ends when `other` is stopped.
    pub(crate) fn stopped_with(self, other: &ChangeStream) -> ChangeStream {
        ChangeStream {
            interrupt: other.interrupt.clone(),
            ..self
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Looks at up to `budget` entries: an event, the end of what there is (`Some(None)`), or the budget is used up (`None`).
    fn advance(&mut self, mut budget: u32) -> Result<Option<Option<ChangeEvent>>> {
        loop {
            match self.fragments.as_mut().map(Iterator::next) {
                None => {}
                Some(None) => self.fragments = None,
                Some(Some(fragment)) => {
                    self.token = fragment.resume_token();
                    return Ok(Some(Some(fragment)));
                }
            }
            match &self.state {
                State::Running => {}
                State::Awaiting(resumption) => {
                    // Whatever comes behind what is looked at here ends the wait.
                    let (concern, next) = (self.cursor.concern(), self.view.newest(self.cursor.concern()).next());
                    let begun =
                        resumption.look(self.view.newest(ReadConcern::Local), || Ok(self.view.is_following()?))?;
                    let Some(beginning) = begun else {
                        self.cursor = self.view.cursor(next, concern)?;
                        return Ok(Some(None));
                    };
                    (self.cursor, self.fragments, self.state) = State::of(beginning);
                    continue;
                }
                State::Ended => return Ok(Some(None)),
                State::Ending(entry) => {
                    let entry = entry.clone();
                    let verdict = self.plan.judge_invalidate(&entry.entry())?;
                    self.state = State::Ended;
                    let event = self.event(entry, OperationType::Invalidate);
                    self.token = event.resume_token();
                    return Ok(Some(match verdict {
                        Verdict::Passed => None,
                        Verdict::Event(_, shaped) => Some(event.shaped(shaped)),
                    }));
                }
            }
            if budget == 0 {
                return Ok(None);
            }
            budget -= 1;
            let position = self.cursor.position();
            let Some(entry) = self.cursor.try_next()? else {
                return Ok(Some(None));
            };
            let early = entry.timestamp() < self.not_before;
            let judged = match early {
                true => Ok((Verdict::Passed, false)),
                false => self.plan.judge(&entry),
            };
            let (verdict, ends) = match judged {
                Ok(judged) => judged,
                Err(e) => {
                    self.cursor = self.view.cursor(position, self.cursor.concern())?;
                    return Err(e);
                }
            };
            let shared = (ends || matches!(verdict, Verdict::Event(..))).then(|| entry.share());
            let kind = match shared {
                Some(_) if ends => TokenKind::Ending,
                Some(_) => TokenKind::Event,
                None => TokenKind::Position,
            };
            self.token = ResumeToken::at(self.plan.log_id, &entry, kind);
            if early {
                self.token = self.token.starting_at(self.not_before);
            }
            let Some(shared) = shared else { continue };
            if ends {
                self.state = State::Ending(shared.clone());
            }
            let Verdict::Event(operation, shape) = verdict else {
                continue;
            };
            let event = self.event(shared, operation).shaped(shape);
            self.fragments = event.fragments_behind(0);
            if self.fragments.is_none() {
                return Ok(Some(Some(event)));
            }
        }
    }

    fn event(&self, entry: SharedEntry, operation: OperationType) -> ChangeEvent {
        ChangeEvent::new(entry, operation, self.plan.log_id, self.plan.images)
    }

    /// The next event, waiting for it: nothing when the time is up, the stream was interrupted, or it has ended.
    ///
    /// # Errors
    ///
    /// As [`ChangeStream::next_if_any`]; [`Closed`](tailwater_oplog::Error::Closed).
    pub fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<ChangeEvent>> {
        let deadline = timeout.map(after);
        loop {
            match self.advance(ENTRIES_PER_POLL)? {
                Some(event) if event.is_some() || self.is_ended() => return Ok(event),
                Some(_) => {}
                None if self.is_interrupted() || deadline.is_some_and(|d| Instant::now() >= d) => return Ok(None),
                None => continue,
            }
            match self.cursor.wait(deadline, &self.interrupt) {
                WaitOutcome::Ready => {}
                WaitOutcome::TimedOut | WaitOutcome::Interrupted => return Ok(None),
                WaitOutcome::Closed => {
                    // What was released before the close is still there to read.
                    let event = self.next_if_any()?;
                    if event.is_some() {
                        return Ok(event);
                    }
                    self.state = State::Ended;
                    return Err(tailwater_oplog::Error::Closed.into());
                }
            }
        }
    }

    /// Blocks until the log has more to look at, which need not be an event for this stream; whether it has.
    #[must_use]
    pub fn wait_ready(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.map(after);
        self.cursor.wait(deadline, &self.interrupt) == WaitOutcome::Ready
    }

    /// Waits for the entry at which another cursor stands, until the deadline, or until this stream is stopped.
    pub(crate) fn wait_with(&self, cursor: &Cursor, deadline: Option<Instant>) -> WaitOutcome {
        cursor.wait(deadline, &self.interrupt)
    }

    /// An iterator that blocks for each event and ends with the stream, or behind its first error, which ends the stream.
    pub fn blocking_iter(&mut self) -> BlockingIter<'_> {
        BlockingIter { stream: self }
    }

    /// Ends a blocking read from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            view: self.view.clone(),
            interrupt: self.interrupt.clone(),
        }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_raised()
    }
}

impl Stream for ChangeStream {
    type Item = Result<ChangeEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.advance(ENTRIES_PER_POLL) {
                Err(e) => {
                    // Whoever reads to the end would read the same error forever.
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(e)));
                }
                Ok(Some(Some(event))) => return Poll::Ready(Some(Ok(event))),
                Ok(Some(None)) if self.is_ended() || self.is_interrupted() => return Poll::Ready(None),
                Ok(Some(None)) => {}
                Ok(None) if self.is_interrupted() => return Poll::Ready(None),
                Ok(None) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            match self.cursor.poll_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(e)) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(e.into())));
                }
            }
        }
    }
}

impl FusedStream for ChangeStream {
    fn is_terminated(&self) -> bool {
        self.is_ended()
    }
}

/// Blocks for each event; see [`ChangeStream::blocking_iter`].
#[derive(Debug)]
pub struct BlockingIter<'a> {
    stream: &'a mut ChangeStream,
}

impl Iterator for BlockingIter<'_> {
    type Item = Result<ChangeEvent>;

    fn next(&mut self) -> Option<Result<ChangeEvent>> {
        if self.stream.is_ended() {
            return None;
        }
        let next = self.stream.wait_next(None);
        if next.is_err() {
            self.stream.state = State::Ended;
        }
        next.transpose()
    }
}

/// Ends a blocking read; see [`ChangeStream::stopper`].
#[derive(Clone, Debug)]
pub struct Stopper {
    view: OplogView,
    interrupt: Interrupt,
}

impl Stopper {
    /// Ends the stream's present and future waits. What is there to be read can still be read.
    pub fn stop(&self) {
        self.view.interrupt(&self.interrupt);
    }

    /// Whether it has been stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.interrupt.is_raised()
    }
}

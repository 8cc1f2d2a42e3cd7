//! The stream itself: a cursor that turns entries into events, and at the end of the log, where others wait too, a place among
//! them (`joined.rs`).

mod joined;
mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tailwater_oplog::{Cursor, OpId, OplogView, ReadConcern, SharedEntry, Timestamp, WaitOutcome};

use crate::deadline::after;
use crate::dispatch::{Crowd, Leaving, Streamed};
use crate::error::Result;
use crate::event::{ChangeEvent, Fragments, OperationType};
use crate::plan::{Plan, Verdict};
use crate::start::{Beginning, Begins, Resumption, Start};
use crate::token::{ResumeToken, TokenKind};

pub use joined::Stopper;
use joined::{Joined, Stopping};
pub use reading::BlockingIter;

/// How many entries a stream looks at before it lets other tasks run, and notices that it was stopped or the time is up.
const ENTRIES_PER_POLL: u32 = 4096;

/// How far a stream has got.
#[derive(Debug)]
enum State {
    /// The entry that it goes on behind has not come to this log yet. The cursor waits for whatever comes next.
    Awaiting(Box<Resumption>),
    /// It follows the log.
    Running,
    /// It has come to the end of the log, and is told what follows.
    Joined(Joined),
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
    stopping: Stopping,
    /// The others of its dispatcher; without one it reads alone.
    crowd: Option<Crowd>,
}

impl ChangeStream {
    pub(crate) fn new(
        view: OplogView,
        concern: ReadConcern,
        plan: Arc<Plan>,
        begins: Begins,
        crowd: Option<Crowd>,
    ) -> Result<ChangeStream> {
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
            stopping: Stopping::new(),
            crowd,
        })
    }

    /// The token to go on from later. It stands behind the last event delivered, or behind what was passed over since
    /// because it did not match; so a stream that rarely matches keeps a fresh token.
    #[must_use]
    pub fn resume_token(&self) -> ResumeToken {
        match &self.state {
            State::Joined(joined) => joined.channel.resume_token(),
            _ => self.token,
        }
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
        let newest = self.view.newest(self.cursor.concern());
        loop {
            if let Some(event) = self.next_at_hand()? {
                return Ok(Some(event));
            }
            match self.leaves_before(newest)? {
                Leaving::HasEvents => {}
                Leaving::IsCurrent => return Ok(None),
                Leaving::Left => return Ok(self.advance(u32::MAX)?.flatten()),
            }
        }
    }

    /// The next event, as long as it takes little to find it: that which has been found for the stream already, or, where it
    /// reads the log alone, one among the next few thousand entries. What else is there by now comes with a later call. For who
    /// fills a batch behind a first event that was waited for.
    ///
    /// # Errors
    ///
    /// As [`ChangeStream::next_if_any`].
    pub fn next_at_hand(&mut self) -> Result<Option<ChangeEvent>> {
        if let State::Joined(joined) = &self.state {
            let streamed = joined.channel.wait_streamed(Some(Instant::now()));
            if let Some(event) = self.told(streamed)? {
                return Ok(Some(event));
            }
        }
        match self.state {
            State::Joined(_) => Ok(None),
            _ => Ok(self.advance(ENTRIES_PER_POLL)?.flatten()),
        }
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
        match &self.state {
            State::Joined(joined) => joined.channel.resume_token().op_id().next(),
            _ => self.cursor.position(),
        }
    }

    /// Whether that entry can be read by now.
    pub(crate) fn is_readable(&self) -> bool {
        self.position() <= self.view.newest(self.cursor.concern())
    }

    /// The same stream, which ends when `other` is stopped.
    pub(crate) fn stopped_with(self, other: &ChangeStream) -> ChangeStream {
        ChangeStream {
            stopping: other.stopping.clone(),
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
                // It is told what comes, and reads nothing.
                State::Joined(_) => return Ok(Some(None)),
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

    /// The next event, waiting for it: nothing when the time is up, the stream was interrupted, or it has ended. What was there
    /// before the call comes in any case.
    ///
    /// # Errors
    ///
    /// As [`ChangeStream::next_if_any`]; [`Closed`](tailwater_oplog::Error::Closed).
    pub fn wait_next(&mut self, timeout: Option<Duration>) -> Result<Option<ChangeEvent>> {
        let deadline = timeout.map(after);
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let newest = self.view.newest(self.cursor.concern());
        loop {
            if let State::Joined(joined) = &self.state {
                let streamed = joined.channel.wait_streamed(deadline);
                let nothing = matches!(streamed, Streamed::Nothing);
                if let Some(event) = self.told(streamed)? {
                    return Ok(Some(event));
                }
                match nothing.then(|| self.leaves_before(newest)).transpose()? {
                    Some(Leaving::HasEvents) => continue,
                    Some(Leaving::IsCurrent) => return Ok(None),
                    Some(Leaving::Left) | None => {}
                }
            }
            match self.advance(ENTRIES_PER_POLL)? {
                Some(event) if event.is_some() || self.is_ended() => return Ok(event),
                Some(_) if !is_over() && self.joins() => continue,
                Some(_) => {}
                None if self.is_interrupted() || is_over() => return Ok(None),
                None => continue,
            }
            match self.cursor.wait(deadline, &self.stopping.interrupt) {
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

    /// Has the dispatcher tell it what comes next, if there are others and nothing is left to read; whether it does.
    fn joins(&mut self) -> bool {
        let (Some(crowd), State::Running) = (&self.crowd, &self.state) else {
            return false;
        };
        if self.view.is_closed() || self.is_interrupted() {
            return false;
        }
        let tail = crowd.tail(self.cursor.concern());
        let joined = tail.and_then(|tail| {
            let behind = (self.token, self.cursor.position());
            Joined::begin(tail, (&self.plan, &self.stopping), behind, crowd.capacity)
        });
        match joined {
            Some(joined) => self.state = State::Joined(joined),
            None => return false,
        }
        true
    }

    /// Takes what the dispatcher has told: an event, or, without one, where that leaves the stream.
    fn told(&mut self, streamed: Streamed) -> Result<Option<ChangeEvent>> {
        match streamed {
            Streamed::Nothing => {}
            Streamed::Ended if self.resume_token().kind() == TokenKind::Invalidate => {
                self.token = self.resume_token();
                self.state = State::Ended;
            }
            // How it has ended was not wanted, and its token does not stand behind it.
            Streamed::Ended | Streamed::Left => self.reads_alone()?,
            Streamed::Event(event) => {
                let is_last = event.resume_token().kind() == TokenKind::Invalidate;
                if is_last && matches!(&self.state, State::Joined(joined) if joined.channel.is_exhausted()) {
                    self.token = self.resume_token();
                    self.state = State::Ended;
                }
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Lets a stream that is told what comes read by itself, if it has not been told of everything up to `newest`.
    fn leaves_before(&mut self, newest: OpId) -> Result<Leaving> {
        let State::Joined(joined) = &self.state else {
            return Ok(Leaving::Left);
        };
        let leaving = joined.channel.leave_before(newest);
        if leaving == Leaving::Left {
            self.reads_alone()?;
        }
        Ok(leaving)
    }

    /// Whether a stream that was stopped has nothing left of what is there.
    fn ends_before_newest(&mut self) -> Result<bool> {
        let newest = self.view.newest(self.cursor.concern());
        Ok(self.leaves_before(newest)? == Leaving::IsCurrent)
    }

    /// Goes on behind its token with the cursor of its own.
    fn reads_alone(&mut self) -> Result<()> {
        let token = self.resume_token();
        let begins = Start::AfterAny(token).find(&self.view, self.cursor.concern(), &self.plan)?;
        self.token = token;
        match begins {
            Begins::Here(beginning) => (self.cursor, self.fragments, self.state) = State::of(beginning),
            Begins::Later(resumption) => self.state = State::Awaiting(Box::new(resumption)),
        }
        Ok(())
    }

    /// Blocks until the log has more to look at, which need not be an event for this stream; whether it has.
    #[must_use]
    pub fn wait_ready(&self, timeout: Option<Duration>) -> bool {
        let (deadline, concern) = (timeout.map(after), self.cursor.concern());
        self.view
            .wait(self.position(), concern, deadline, &self.stopping.interrupt)
            == WaitOutcome::Ready
    }

    /// Waits for the entry at which another cursor stands, until the deadline, or until this stream is stopped.
    pub(crate) fn wait_with(&self, cursor: &Cursor, deadline: Option<Instant>) -> WaitOutcome {
        cursor.wait(deadline, &self.stopping.interrupt)
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
            stopping: self.stopping.clone(),
        }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.stopping.interrupt.is_raised()
    }
}

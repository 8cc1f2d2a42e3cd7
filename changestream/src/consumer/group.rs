//! What the members of a consumer share, the thread that reads for them, and the writing down of how far they are.
//!
//! The thread moves events from the stream into the [`Window`], waits while that is full, and sleeps while the log has
//! nothing. Members take from the window. Everything is under one lock, also the write of a position: positions are written in
//! the order in which they are reached.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Instant;

use bson::{DateTime, RawDocument};
use tailwater_oplog::{Error as LogError, OpId, OplogView, ReadConcern};

use super::member::Consumer;
use super::options::{ConsumerOptions, LostHistory};
use super::record::{self, CONSUMERS, Record};
use super::registry::{ConsumerGroups, Turn};
use super::slot;
use super::status::dead_letter;
use super::window::{EventId, MemberId, Window};
use crate::deadline::after;
use crate::document_store::{DocumentStore, INTERNAL_DATABASE, Put};
use crate::error::{Error, Result};
use crate::options::Watch;
use crate::stream::{ChangeStream, Stopper};

/// A position that moves because nothing matches is written down after so many entries.
const QUIET_ENTRIES: u64 = 4096;
/// How many entries the thread looks at before it notes how far it is.
const ENTRIES_PER_STEP: u64 = 1024;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    /// What its members' watches say, all the same.
    selection: String,
    entries_per_look: u64,
    options: ConsumerOptions,
    store: Arc<dyn DocumentStore>,
    view: OplogView,
    stopper: Stopper,
    state: Mutex<State>,
    changed: Condvar,
    /// Tasks that wait. The lock is a leaf.
    tasks: Mutex<Vec<Waker>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Wakes tasks when a time has come. Only there once a task has waited: threads wait with a time of their own.
    clock: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) window: Window,
    pub(super) record: Record,
    /// As it was when the first member joined: what was done and had failed before.
    before: Record,
    next_member: MemberId,
    /// How many members the program holds, also those that lost their place by being silent.
    held: u64,
    /// Why the thread has ended, if it failed.
    pub(super) failure: Option<Error>,
    /// Whether the stream has ended by itself.
    pub(super) ended: bool,
    closing: bool,
    /// Where a position that was written down by an entry that may not be durable yet has the slot: it follows when it is.
    unsettled: Option<(OpId, OpId)>,
}

/// Joins the consumer whose turn it is, and makes it if need be.
pub(super) fn join(turn: &Turn<'_>, watch: Watch, options: ConsumerOptions) -> Result<Joined> {
    let name = turn.name();
    if let Some(group) = turn.group() {
        if group.selection != watch.selection() {
            let what = "has members that watch otherwise".to_owned();
            let name = name.to_owned();
            return Err(Error::ConsumerMismatch { name, what });
        }
        return Ok(Joined(group.enter()));
    }
    let store = Arc::clone(watch.store().ok_or(Error::NoStore)?);
    let group = Group::open(&store, watch, name, options)?;
    turn.insert(Arc::clone(&group));
    Ok(Joined(group.enter()))
}

/// A member that has come, of which the others are still to be told: the work is divided anew.
#[must_use]
pub(super) struct Joined(Consumer);

impl Joined {
    /// Tells the others. Not in the consumer's turn: who is woken may ask for it.
    pub(super) fn told(self) -> Consumer {
        self.0.notify();
        self.0
    }
}

/// That a name stays with its scope.
pub(super) fn check_scope(record: &Record, watch: &Watch) -> Result<()> {
    if record.scope == watch.scope().to_string() {
        return Ok(());
    }
    let (name, what) = (record.name.clone(), format!("watches {}", record.scope));
    Err(Error::ConsumerMismatch { name, what })
}

/// What the thread remembers of positions that move because nothing matches.
#[derive(Debug, Default)]
struct Quiet {
    /// Where it was looked last whether the slot is near its cap.
    looked_at: OpId,
    /// Writing one down has failed, and that was told.
    failing: bool,
}

impl Group {
    /// Finds or makes what the store keeps of the consumer, and starts the thread.
    fn open(store: &Arc<dyn DocumentStore>, watch: Watch, name: &str, options: ConsumerOptions) -> Result<Arc<Group>> {
        // A position that this log has not come to is nothing to write down.
        let watch = watch.at_once();
        let (selection, view) = (watch.selection(), watch.view().clone());
        let found = record::of(&**store, name)?;
        let is_new = found.is_none();
        let (stream, record) = match found {
            Some(record) => {
                check_scope(&record, &watch)?;
                resume(&**store, &watch, record, &options)?
            }
            None => {
                let scope = watch.scope().to_string();
                let stream = watch.start()?;
                let record = Record::new(name, &scope, stream.resume_token());
                (stream, record)
            }
        };
        let mut state = State {
            window: Window::new(
                record.position,
                options.partitions,
                options.window_events,
                options.window_bytes,
                options.lease,
            ),
            before: record.clone(),
            record,
            next_member: 0,
            held: 0,
            failure: None,
            ended: false,
            closing: false,
            unsettled: None,
        };
        let held = slot::hold(&**store, name, stream.resume_token(), options.max_lag_bytes);
        held.map_err(|error| lost(error, name))?;
        if is_new {
            put(&**store, &mut state, None, None)?;
        }
        let group = Arc::new(Group {
            name: name.to_owned(),
            selection,
            entries_per_look: slot::entries_per_look(options.max_lag_bytes),
            options,
            store: Arc::clone(store),
            view,
            stopper: stream.stopper(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            tasks: Mutex::default(),
            thread: Mutex::default(),
            clock: Mutex::default(),
        });
        let reader = Arc::clone(&group);
        let thread = spawn("tailwater-consumer", move || reader.read(stream))?;
        *group.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(group)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Option<Instant>) -> MutexGuard<'a, State> {
        let Some(deadline) = deadline else {
            return self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout(state, left);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Wakes whoever waits, to look again. Without the lock of the state: a task may go on at once, and look.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.into_iter().for_each(Waker::wake);
    }

    /// Has a task woken when there may be something for it. What has come before, it must look for itself.
    pub(super) fn wake_later(self: &Arc<Group>, waker: &Waker) -> Result<()> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if !tasks.iter().any(|task| task.will_wake(waker)) {
            tasks.push(waker.clone());
        }
        drop(tasks);
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if clock.is_none() {
            let group = Arc::clone(self);
            *clock = Some(spawn("tailwater-consumer-clock", move || group.tick())?);
        }
        Ok(())
    }

    /// The clock's thread.
    fn tick(&self) {
        let mut state = self.lock();
        let mut next = None;
        while !state.closing {
            let now = Instant::now();
            let expired = state.window.expire(now, None);
            if expired || next.is_some_and(|time| time <= now) {
                next = None;
                drop(state);
                self.notify();
                state = self.lock();
                continue;
            }
            next = state.window.next_time(now);
            state = self.wait(state, next);
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Has nothing written down for it any more if it has failed, and says whether it has. Its members are still told of the failure,
    /// and what they have not acknowledged comes again to whoever joins.
    pub(super) fn give_up_if_failed(&self) -> bool {
        let mut state = self.lock();
        let failed = state.failure.is_some();
        state.closing |= failed;
        drop(state);
        if failed {
            self.notify();
        }
        failed
    }

    fn enter(self: &Arc<Group>) -> Consumer {
        let mut state = self.lock();
        let member = state.next_member;
        state.next_member += 1;
        state.held += 1;
        state.window.join(member, Instant::now());
        drop(state);
        Consumer::new(Arc::clone(self), member)
    }

    /// Takes back what a member has; the last one ends the thread.
    pub(super) fn leave(self: &Arc<Group>, member: MemberId) {
        let groups = self.store.groups();
        // Who would join now waits, and finds all of it written down. A thread in a turn of this name has no member of it.
        let turn = groups.turn(&self.name).ok();
        let mut state = self.lock();
        state.window.leave(member);
        state.held -= 1;
        let last = state.held == 0;
        if last && !state.closing {
            self.settle(&mut state);
            // Who comes again finds what was passed over because it did not match, though there was too little of it to be
            // written down as it went by.
            if state.window.low(None).op_id() > state.record.position.op_id()
                && let Err(error) = put(&*self.store, &mut state, None, None)
            {
                tracing::debug!(consumer = self.name, %error, "writing down where a consumer is that its last member leaves");
            }
            // Nothing is written down from here on.
            state.closing = true;
        }
        drop(state);
        if last {
            groups.remove(self);
        }
        // Wakers and threads go on without it: they may ask for a turn.
        drop(turn);
        self.notify();
        if !last {
            return;
        }
        self.stopper.stop();
        for thread in [&self.thread, &self.clock] {
            let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A waker may drop anything, also on these threads.
            if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
                // A panic over there has been reported by the panic hook.
                let _ = thread.join();
            }
        }
    }

    /// Marks events as acknowledged, and writes that down.
    pub(super) fn acknowledge(&self, state: &mut State, count: u64) -> Result<()> {
        state.record.acknowledged += count;
        state.record.last_activity = DateTime::now();
        self.save(state, None, None)
    }

    /// Has `write` write down that an event is acknowledged, with whatever else it writes, and then marks it.
    pub(super) fn acknowledge_with<T, E: From<Error>>(
        &self,
        state: &mut State,
        id: EventId,
        write: impl FnOnce(Put<'_>) -> std::result::Result<(T, OpId), E>,
    ) -> std::result::Result<T, E> {
        state.check_open()?;
        self.settle(state);
        // In a copy: if nothing is written nothing has happened.
        let mut record = state.record.clone();
        record.acknowledged += 1;
        record.last_activity = DateTime::now();
        record.note(&state.window, &state.before, Some(id));
        let (value, written) = write(record_put(&record.to_document()))?;
        state.window.finish(id);
        state.note_written(record, written);
        Ok(value)
    }

    pub(super) fn is_of(&self, groups: &ConsumerGroups) -> bool {
        std::ptr::eq(self.store.groups(), groups)
    }

    /// Writes down how far the window is, as if `also` were done, in one step with `letter`.
    fn save(&self, state: &mut State, also: Option<EventId>, letter: Option<&RawDocument>) -> Result<()> {
        state.check_open()?;
        let (database, collection) = &self.options.dead_letters;
        let letter = letter.map(|document| Put {
            database,
            collection,
            document,
        });
        self.settle(state);
        put(&*self.store, state, also, letter)
    }

    /// Has the slot follow a position that has become durable: it moves on only over what a crash, also of the machine, will not
    /// ask for again.
    fn settle(&self, state: &mut State) {
        let durable = self.view.watermarks().durable;
        if let Some((_, from)) = state.unsettled.take_if(|(written, _)| *written <= durable)
            && let Err(error) = slot::advance(&*self.store, &self.name, from, self.options.max_lag_bytes)
        {
            // What it held is gone: the stream says so when it meets the gap.
            tracing::debug!(consumer = self.name, %error, "moving the retention slot of a consumer");
        }
    }

    /// Counts a failure. The event is delivered again later, or goes to the dead letters.
    pub(super) fn fail(&self, state: &mut State, id: EventId, error: &str) -> Result<()> {
        state.record.last_activity = DateTime::now();
        let Some((failures, event)) = state.window.count_failure(id) else {
            return Ok(());
        };
        state.record.note_error(error);
        let retry_at = Some(after(self.options.retry_delay));
        if self.options.max_failures.is_none_or(|max| failures < max) {
            state.window.retry(id, retry_at);
            return self.save(state, None, None);
        }
        state.record.dead_lettered += 1;
        let letter = |whole| dead_letter(&self.name, &event, error, failures, whole);
        let mut outcome = self.save(state, Some(id), Some(&letter(true)));
        if let Err(Error::Store(_)) = outcome {
            // The event may be too large or too deep to be a field of a document. Then its summary has to do.
            outcome = self.save(state, Some(id), Some(&letter(false)));
        }
        if outcome.is_err() {
            state.record.dead_lettered -= 1;
            state.window.retry(id, retry_at);
            return outcome;
        }
        tracing::warn!(consumer = self.name, op_id = %id.op_id, failures, error, "an event is a dead letter");
        state.window.finish(id);
        Ok(())
    }

    /// The thread.
    fn read(&self, mut stream: ChangeStream) {
        let outcome = self.read_on(&mut stream);
        let mut state = self.lock();
        match outcome {
            Ok(()) => state.ended = stream.is_ended(),
            Err(error) => state.failure = Some(lost(error, &self.name)),
        }
        drop(state);
        self.notify();
    }

    fn read_on(&self, stream: &mut ChangeStream) -> Result<()> {
        let mut quiet = Quiet::default();
        loop {
            let mut state = self.lock();
            while !state.window.has_room() && !state.closing {
                state = self.wait(state, None);
            }
            if state.closing {
                return Ok(());
            }
            drop(state);
            let last = OpId::new(stream.position().get() + ENTRIES_PER_STEP);
            let event = stream.next_through(last)?;
            let found = event.is_some();
            let mut state = self.lock();
            if let Some(event) = event {
                let id = EventId::of(&event);
                let (failures, done) = (state.before.failures_of(id), state.before.has_done(id));
                state.window.push(event, failures, done);
            }
            state.window.note_read(stream.resume_token());
            self.keep_up(state, &mut quiet);
            if found {
                self.notify();
            }
            if stream.is_ended() || stream.is_interrupted() {
                return Ok(());
            }
            if !found && !stream.is_readable() && !stream.wait_ready(None) && !stream.is_readable() {
                return match stream.is_interrupted() {
                    true => Ok(()),
                    false => Err(LogError::Closed.into()),
                };
            }
        }
    }

    /// Writes a position down that has moved because nothing matched, when it has moved far, or the slot comes near its cap. If that
    /// fails the next entry is another occasion: the members' own steps say what is wrong with the store.
    fn keep_up(&self, mut state: MutexGuard<'_, State>, quiet: &mut Quiet) {
        let (low, saved) = (state.window.low(None).op_id(), state.record.position.op_id());
        let moved = low.get().saturating_sub(saved.get());
        // What is written down is an entry itself. A look goes through all slots of the log.
        let looks = moved > 1 && low.get() >= quiet.looked_at.get().saturating_add(self.entries_per_look);
        if looks {
            quiet.looked_at = low;
        }
        let near = looks && slot::is_near_cap(&*self.store, &self.name);
        if state.closing || !(near || moved >= QUIET_ENTRIES) {
            return;
        }
        let mut kept_up = self.save(&mut state, None, None);
        drop(state);
        if near && kept_up.is_ok() {
            // The slot follows what is durable, and must not wait for that.
            kept_up = self.store.state(ReadConcern::Durable).map(drop);
            self.settle(&mut self.lock());
        }
        if let Err(error) = &kept_up
            && !quiet.failing
        {
            tracing::warn!(consumer = self.name, %error, "writing down where a quiet consumer is");
        }
        quiet.failing = kept_up.is_err();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    let failed = |source| LogError::Io {
        action: "start a thread for",
        path: "a consumer".into(),
        source: Arc::new(source),
    };
    Ok(spawned.map_err(failed)?)
}

/// Starts the stream of a consumer that is there.
fn resume(
    store: &dyn DocumentStore,
    watch: &Watch,
    mut record: Record,
    options: &ConsumerOptions,
) -> Result<(ChangeStream, Record)> {
    let again = watch.clone().without_start();
    let error = match again.clone().start_after(record.position).start() {
        Ok(stream) => return Ok((stream, record)),
        Err(error) => error,
    };
    let Error::Log(LogError::HistoryLost { requested, oldest }) = error else {
        return Err(error);
    };
    let stream = match options.lost_history {
        LostHistory::Fail => return Err(lost(error, &record.name)),
        LostHistory::SkipToOldest => again.start_at_oldest().start()?,
        LostHistory::SkipToNewest => again.start()?,
    };
    tracing::warn!(consumer = record.name, %requested, %oldest, "a consumer skips history that is gone");
    record.position = stream.resume_token();
    put_record(store, &record)?;
    Ok((stream, record))
}

/// Writes a record down.
pub(super) fn put_record(store: &dyn DocumentStore, record: &Record) -> Result<()> {
    store.put(&[record_put(&record.to_document())]).map(drop)
}

fn put(store: &dyn DocumentStore, state: &mut State, also: Option<EventId>, letter: Option<Put<'_>>) -> Result<()> {
    let mut record = state.record.clone();
    record.note(&state.window, &state.before, also);
    let document = record.to_document();
    let put = record_put(&document);
    let written = match letter {
        Some(letter) => store.put(&[letter, put])?,
        None => store.put(&[put])?,
    };
    state.note_written(record, written);
    Ok(())
}

impl State {
    /// Refuses to write anything down once others may.
    fn check_open(&self) -> Result<()> {
        match &self.failure {
            _ if !self.closing => Ok(()),
            Some(failure) => Err(failure.clone()),
            None => Err(LogError::Closed.into()),
        }
    }

    /// Notes that a record was written down, by that entry.
    fn note_written(&mut self, record: Record, written: OpId) {
        let from = slot::needed_from(record.position);
        self.record = record;
        self.unsettled.get_or_insert((written, from));
    }
}

/// The writing down of a record.
fn record_put(document: &RawDocument) -> Put<'_> {
    Put {
        database: INTERNAL_DATABASE,
        collection: CONSUMERS,
        document,
    }
}

/// The log's error, as the consumer's.
fn lost(error: Error, name: &str) -> Error {
    match error {
        Error::Log(LogError::HistoryLost { requested, oldest }) => Error::ConsumerLostHistory {
            name: name.to_owned(),
            requested,
            oldest,
        },
        error => error,
    }
}

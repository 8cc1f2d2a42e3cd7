//! One connection to the primary: a thread that reads and appends, one that syncs and reports, and one that says at every
//! heartbeat that this member is there, however long the other two wait for the disk.
//!
//! While more comes, the second one syncs what the first has appended, and the first goes on meanwhile. When there is nothing to
//! go on with, the first syncs and reports itself: somebody may wait for just that entry, and to wake the other thread would take
//! a good part of what a sync takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_oplog::{Error as LogError, OpId, OplogView};
use tailwater_storage::{Error as StoreError, Selection};

use super::event::FollowerEvent;
use super::incoming::abandon;
use super::relay::Passing;
use super::replica::{Fit, Replica};
use super::shared::Settings;
use crate::decision::{
    Apart, Course, Follower as Decisions, FollowerInput, FollowerOutput, LogName, PrimaryInput, Report, Retry, Run,
};
use crate::error::{Error, Result};
use crate::heartbeat;
use crate::link::{self, Inbound, Outbound};
use crate::standby;
use crate::summary::{history_of, marks_of};
use crate::wire::Message;

/// Why a connection ended that had not failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Entries behind this one are to be cut.
    Cut(OpId),
    /// The newest segment, which is empty, is not the primary's.
    Aside,
    /// What is here has to be replaced.
    Resync(Apart),
    /// The primary is not one to follow now.
    Retry(Retry),
    /// The log has come as far as the state.
    StoreDue,
    /// The follower was told to stop.
    Stopped,
}

/// What the two threads share.
struct Session<'a> {
    replica: &'a Replica,
    settings: &'a Settings,
    decisions: Mutex<Decisions>,
    out: Mutex<Outbound>,
    ended: AtomicBool,
    unsynced: Unsynced,
    /// Held while the primary is told what is durable, so that it never hears of less afterwards.
    reporting: Mutex<()>,
    /// What is passed on to those that follow this one, and from them.
    passing: Option<Passing<'a>>,
}

/// Whether the thread that syncs has something to do.
#[derive(Debug, Default)]
struct Unsynced {
    waits: Mutex<bool>,
    changed: Condvar,
}

impl Unsynced {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the other thread look.
    fn hand_over(&self) {
        *self.lock() = true;
        self.changed.notify_one();
    }

    /// Waits until there is something, for so long at most.
    fn wait(&self, length: Duration) {
        let waited = self.changed.wait_timeout_while(self.lock(), length, |waits| !*waits);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// Follows over one connection until it ends.
pub(super) fn run(replica: &Replica, settings: &Settings) -> Result<Ending> {
    let log = replica.view();
    let history = history_of(&log, LogName::from(log.log_id()))?;
    let marks = settings.selection.is_none().then(|| marks_of(&log, &history));
    let identity = &settings.identity;
    let decisions = Decisions::new(
        identity.member,
        identity.name.clone(),
        identity.members.clone(),
        history,
        replica.promised(),
        settings.window_bytes,
    )
    .with_part(settings.selection.as_ref().map(Selection::to_bytes))
    .with_marks(marks.unwrap_or_default());
    let decisions = match replica.confirmed() {
        Some(confirmed) => decisions.with_confirmed(confirmed),
        None => decisions,
    };
    // Before it is introduced: what is in the log is on the disk.
    replica.sync()?;
    let stream = settings.dial.connect(&settings.from, &settings.security)?;
    let (inbound, outbound, _hangup) = link::open(stream, settings.heartbeat, settings.batch_bytes_max)?;
    settings.connected(inbound.peer());
    let session = Session {
        replica,
        settings,
        decisions: Mutex::new(decisions),
        out: Mutex::new(outbound),
        ended: AtomicBool::new(false),
        unsynced: Unsynced::default(),
        reporting: Mutex::default(),
        passing: settings.relay.as_ref().and_then(Passing::through),
    };
    let ending = session.run(&log, inbound);
    settings.dial.over();
    ending
}

impl Session<'_> {
    fn run(&self, log: &OplogView, inbound: Inbound) -> Result<Ending> {
        if let Some(ending) = self.carry_out(self.step(FollowerInput::Connected))? {
            return Ok(ending);
        }
        // Whatever the other two threads wait for.
        let beat = || self.say(&Message::Report(Report::Alive));
        heartbeat::during(self.settings.heartbeat, beat, || self.read_and_sync(log, inbound))
    }

    fn read_and_sync(&self, log: &OplogView, inbound: Inbound) -> Result<Ending> {
        std::thread::scope(|scope| {
            let over = Over { session: self };
            let syncing = std::thread::Builder::new().name("tailwater-ack".into());
            let syncing = syncing.spawn_scoped(scope, || self.sync_and_report(log));
            let syncing = syncing.map_err(Error::network("this member", "starting a thread"))?;
            let relaying = std::thread::Builder::new().name("tailwater-relay".into());
            if let Err(error) = relaying.spawn_scoped(scope, || self.report_followers()) {
                tracing::warn!(%error, "what followers of this one hold is not reported");
            }
            let ending = self.read(log, inbound);
            drop(over);
            let synced = syncing.join().unwrap_or(Err(Error::Panicked));
            match ending {
                // The reader only saw the connection end; the other thread knows why.
                Err(Error::Network { .. }) if synced.is_err() => synced.map(|()| Ending::Stopped),
                ending => ending,
            }
        })
    }

    fn step(&self, input: FollowerInput) -> Vec<FollowerOutput> {
        let mut decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        decisions.step(input)
    }

    fn say(&self, message: &Message) -> Result<()> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write(message)
    }

    /// Does what was decided, but for appending, for which the caller has the frames; says how the connection ends, if it does.
    fn carry_out(&self, outputs: Vec<FollowerOutput>) -> Result<Option<Ending>> {
        for output in outputs {
            match output {
                FollowerOutput::Hello(hello) => self.say(&Message::Hello(hello))?,
                FollowerOutput::Report(report) => self.say(&Message::Report(report))?,
                FollowerOutput::Promise(term) => self.replica.promise(term)?,
                FollowerOutput::Append(_) => {}
                FollowerOutput::Confirmed(op_id) => self.replica.set_confirmed(op_id),
                FollowerOutput::Cut(last) => return Ok(Some(Ending::Cut(last))),
                FollowerOutput::Resync(apart) => return Ok(Some(Ending::Resync(apart))),
                FollowerOutput::Retry(why) => return Ok(Some(Ending::Retry(why))),
                FollowerOutput::Stop(refusal) => return Err(Error::Refused { refusal }),
                FollowerOutput::Majority(op_id) => {
                    self.replica.set_majority(Some(op_id));
                    self.settings.majority(op_id);
                    if let Some(passing) = &self.passing {
                        passing.tell(PrimaryInput::Majority(op_id));
                    }
                }
            }
        }
        Ok(None)
    }

    fn read(&self, log: &OplogView, mut inbound: Inbound) -> Result<Ending> {
        let mut consumed = 0;
        loop {
            let input = match inbound.read() {
                Ok(message) => message,
                Err(_) if self.settings.is_stopped() => return Ok(Ending::Stopped),
                Err(error) => return Err(error),
            };
            let term = match &input {
                Message::Welcome(welcome) => Some(welcome.term),
                Message::Run(run, _) => Some(run.term),
                Message::Status(status) => Some(status.term),
                _ => None,
            };
            let ending = match input {
                Message::Welcome(welcome) => {
                    if let Course::Continue(from) = welcome.course {
                        let term = welcome.term;
                        self.settings.begins(from);
                        self.abandon_copy();
                        self.settings.tell(&FollowerEvent::Following { term, from });
                    }
                    self.carry_out(self.step(FollowerInput::Welcome(welcome)))?
                }
                Message::Refuse(refusal) => self.carry_out(self.step(FollowerInput::Refused(refusal)))?,
                Message::Segment(segment) if self.follows() => {
                    let fit = self.replica.begin_segment(&segment.into());
                    match fit.map_err(|error| self.refused(error))? {
                        Fit::Here => None,
                        Fit::Aside => Some(Ending::Aside),
                        Fit::Nowhere => Some(Ending::Resync(Apart::Unrelated)),
                    }
                }
                Message::Run(run, frames) => {
                    let ending = self.append(run, &frames)?;
                    consumed += frames.len() as u64;
                    if ending.is_none() {
                        // The primary is not told of each run: it knows of room for seven eighths of the window at least.
                        if consumed >= self.settings.window_bytes / 8 {
                            self.carry_out(self.step(FollowerInput::Consumed(consumed)))?;
                            consumed = 0;
                        }
                        match inbound.has_more() {
                            true => self.unsynced.hand_over(),
                            false => self.sync(log)?,
                        }
                    }
                    ending
                }
                Message::Status(status) => {
                    self.settings.told(status.newest);
                    self.carry_out(self.step(FollowerInput::Status(status)))?
                }
                Message::Needs(needs) if self.follows() => {
                    // What is on the way to a store cannot be promoted.
                    if let Some(store) = self.replica.store() {
                        // A slot cannot begin behind what is durable, and it is said once where others need it to.
                        self.sync(log)?;
                        let (own, lag_bytes_max) = (&self.settings.identity.name, self.settings.lag_bytes_max);
                        standby::keep(store, own, &needs, lag_bytes_max);
                    }
                    None
                }
                Message::Taken(taken) if self.follows() => {
                    if let Some(passing) = &self.passing {
                        passing.tell(PrimaryInput::Taken(taken.member, taken.name));
                    }
                    None
                }
                _ => return Err(inbound.unexpected()),
            };
            if let Some(ending) = ending {
                return Ok(ending);
            }
            if let (Some(passing), Some(term)) = (&self.passing, term.filter(|_| self.follows())) {
                passing.tell(PrimaryInput::Follows(term));
            }
            if self.replica.is_store_due() {
                return Ok(Ending::StoreDue);
            }
        }
    }

    /// What is here goes on: a part of a copy that was to replace it is not needed any more.
    fn abandon_copy(&self) {
        if let Some(store) = self.replica.store()
            && let Some(dir) = store.log().path().parent()
            && let Err(error) = abandon(dir)
        {
            tracing::warn!(%error, "a copy that is not needed any more");
        }
    }

    /// Whether the primary has let this follower on.
    fn follows(&self) -> bool {
        self.decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_following()
    }

    /// What the log did not take, because it was damaged on the way or does not belong here, may come right the next time.
    fn refused(&self, error: Error) -> Error {
        match error {
            Error::Log(LogError::ForeignFrames { expected, what })
            | Error::Store(StoreError::Log(LogError::ForeignFrames { expected, what })) => Error::BadFrames {
                from: self.settings.from.clone(),
                expected,
                what,
            },
            other => other,
        }
    }

    /// Appends and applies the entries of a run; says how the connection ends, if it does.
    fn append(&self, run: Run, frames: &[u8]) -> Result<Option<Ending>> {
        let outputs = self.step(FollowerInput::Run(run));
        let appends = outputs.contains(&FollowerOutput::Append(run));
        if let Some(ending) = self.carry_out(outputs)? {
            return Ok(Some(ending));
        }
        if !appends {
            return Ok(None);
        }
        // First what there is, then what is here: nobody finds more here than there.
        self.settings.heard(run.last);
        let appended = self.replica.append(frames).map_err(|error| self.refused(error))?;
        self.settings.received(frames.len());
        let mut decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        // A run is of one term.
        decisions.appended(appended.term, run.first, appended.timestamp, run.last);
        drop(decisions);
        Ok(None)
    }

    /// Makes what was appended durable, and says so.
    fn sync(&self, log: &OplogView) -> Result<()> {
        let marks = log.watermarks();
        if marks.appended > marks.durable {
            self.replica.sync()?;
        }
        let _alone = self.reporting.lock().unwrap_or_else(PoisonError::into_inner);
        let durable = log.watermarks().durable;
        if self.settings.durable(durable) {
            self.carry_out(self.step(FollowerInput::Durable(durable)))?;
        }
        Ok(())
    }

    /// Does so whenever the reader hands that over.
    fn sync_and_report(&self, log: &OplogView) -> Result<()> {
        // Whatever ends it: the reader must not wait for what will not come.
        let _over = HangUp(self.settings);
        self.sync_until_ended(log)
    }

    /// Tells the primary what those hold that follow this one.
    fn report_followers(&self) {
        let Some(passing) = &self.passing else {
            return;
        };
        let reported = passing.report(&self.ended, self.settings.heartbeat, |report| {
            self.say(&Message::Report(report))
        });
        if reported.is_err() {
            // The reader must not wait for what will not come.
            self.settings.dial.hang_up();
        }
    }

    fn sync_until_ended(&self, log: &OplogView) -> Result<()> {
        let mut told: Option<Instant> = None;
        while !self.ended.load(Ordering::SeqCst) && !log.is_closed() {
            if let Some(store) = self.replica.store() {
                // What is applied in the background fails there.
                store.check_writing()?;
            }
            self.sync(log)?;
            let now = Instant::now();
            if told.is_none_or(|told| now - told >= self.settings.heartbeat) && self.follows() {
                told = Some(now);
                let progress = self.settings.progress(Some(log));
                self.settings.tell(&FollowerEvent::Progress(progress));
                if let (Some(passing), Some(store)) = (&self.passing, self.replica.store()) {
                    passing.mend(store);
                }
            }
            self.unsynced.wait(self.settings.heartbeat);
        }
        Ok(())
    }
}

/// Ends the session when it is dropped: the thread that syncs is waited for, whatever becomes of the one that reads.
struct Over<'a> {
    session: &'a Session<'a>,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.session.ended.store(true, Ordering::SeqCst);
        if let Some(passing) = &self.session.passing {
            passing.end();
        }
        self.session.unsynced.hand_over();
        self.session.settings.dial.hang_up();
    }
}

/// Ends the connection when it is dropped.
struct HangUp<'a>(&'a Settings);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        self.0.dial.hang_up();
    }
}

//! Change streams against a reference that decodes everything: whatever a watcher asks, wherever it joins, however it
//! reads and how often it comes back with a token, it gets the events of the reference, in its order, with its tokens. The
//! writer goes away in order or dies, the log is trimmed under those who have not read it, and they are told.
//!
//! A schedule is made from a seed, which a failure names. `TAILWATER_SEEDS=17..18` runs one, `0..10000` many.

mod common;

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::reference::{Dice, Named, Question, Reference, Seen, Written};
use common::{PATIENCE, copy_log, open};
use futures::{FutureExt, StreamExt};
use tailwater_changestream::{
    ChangeEvent, ChangeStream, Dispatcher, Error, Receiver, RecvError, ResumeToken, TokenKind, Watch, WatchHandle,
};
use tailwater_oplog::{self as oplog, OpId, Oplog, OplogView, ReadConcern};

/// How a watcher reads.
enum Reader {
    Stream(ChangeStream),
    /// Polled, as a task would.
    Polled(ChangeStream),
    Channel {
        receiver: Receiver,
        /// Held for its drop.
        _handle: WatchHandle,
    },
}

/// What reading once came to.
enum Outcome {
    Event(ChangeEvent),
    Nothing,
    Ended,
    Closed,
    /// The watch is told that the log was trimmed in front of where it stands.
    HistoryLost,
    /// It is told why it fails.
    Failed(Seen),
}

impl Outcome {
    fn of(error: &Error) -> Outcome {
        match error {
            Error::Log(oplog::Error::Closed) => Outcome::Closed,
            Error::Log(oplog::Error::HistoryLost { .. }) => Outcome::HistoryLost,
            error => match Seen::of_error(error) {
                Some(seen) => Outcome::Failed(seen),
                None => panic!("{error}"),
            },
        }
    }
}

/// How a watcher waits.
#[derive(Clone, Copy, PartialEq)]
enum Patience {
    /// Not at all.
    None,
    /// For a moment: in vain, most likely, and beside others from then on.
    Brief,
    /// Where more must come.
    Long,
}

/// The log was closed.
#[derive(PartialEq, Debug)]
struct Closed;

impl Reader {
    fn start(dice: &mut Dice, watch: Watch) -> Result<Reader, Error> {
        Ok(match dice.roll(3) {
            0 => Reader::Stream(watch.start()?),
            1 => Reader::Polled(watch.start()?),
            _ => {
                let (_handle, receiver) = watch.subscribe()?;
                Reader::Channel { receiver, _handle }
            }
        })
    }

    fn read(&mut self, patience: Patience) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let result = match self {
            Reader::Stream(stream) => match patience {
                Patience::None => stream.next_if_any(),
                Patience::Brief => stream.wait_next(Some(Duration::from_micros(50))),
                Patience::Long => stream.wait_next(Some(PATIENCE)),
            },
            Reader::Polled(stream) => loop {
                match stream.next().now_or_never() {
                    Some(next) => break next.transpose(),
                    None if patience == Patience::Long && Instant::now() < deadline => std::thread::yield_now(),
                    None => break Ok(None),
                }
            },
            Reader::Channel { receiver, .. } => {
                let received = match patience {
                    Patience::Long => receiver.recv_timeout(PATIENCE).map(Some),
                    _ => receiver.try_recv(),
                };
                return match received {
                    Ok(event) => event.map_or(Outcome::Nothing, Outcome::Event),
                    Err(RecvError::Ended) => Outcome::Ended,
                    Err(RecvError::Timeout) => Outcome::Nothing,
                    Err(RecvError::Failed(error)) => Outcome::of(&error),
                };
            }
        };
        match result {
            Ok(Some(event)) => Outcome::Event(event),
            Ok(None) if self.is_ended() => Outcome::Ended,
            Ok(None) => Outcome::Nothing,
            Err(error) => Outcome::of(&error),
        }
    }

    fn is_ended(&self) -> bool {
        match self {
            Reader::Stream(stream) | Reader::Polled(stream) => stream.is_ended(),
            Reader::Channel { .. } => false,
        }
    }

    /// Where it stands.
    fn token(&self) -> ResumeToken {
        match self {
            Reader::Stream(stream) | Reader::Polled(stream) => stream.resume_token(),
            Reader::Channel { receiver, .. } => receiver.resume_token(),
        }
    }
}

struct Watcher {
    question: Question,
    /// Reads the log as another process does.
    elsewhere: bool,
    reader: Reader,
    /// Where to go on from: the last event's token, or the one it began with.
    token: ResumeToken,
    /// First entry that concerns it.
    from: usize,
    seen: Vec<Seen>,
}

impl Watcher {
    /// Whether it has met what it fails at.
    fn has_failed(&self) -> bool {
        self.seen.last().is_some_and(Seen::is_failure)
    }
}

/// A log, everything written into it, and its watchers.
struct Schedule {
    dice: Dice,
    dir: tempfile::TempDir,
    log: Oplog,
    /// Of the process that writes, and of another one.
    dispatchers: [Dispatcher; 2],
    entries: Vec<Written>,
    watchers: Vec<Watcher>,
}

fn dispatchers(dir: &Path, log: &Oplog) -> [Dispatcher; 2] {
    [log.view(), OplogView::open(dir).unwrap()].map(Dispatcher::new)
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        Schedule {
            dice: Dice(seed),
            dispatchers: dispatchers(dir.path(), &log),
            dir,
            log,
            entries: Vec::new(),
            watchers: Vec::new(),
        }
    }

    fn run(&mut self) {
        for _ in 0..120 {
            match self.dice.roll(100) {
                0..45 => self.write(),
                45..49 => self.log.sync(self.log.watermarks().appended).unwrap(),
                49..51 => self.trim(),
                51..60 if self.watchers.len() < 8 => self.join(),
                60..62 => self.reopen(),
                62..63 => self.crash(),
                63..70 => self.with_watcher(Schedule::resume),
                _ => self.with_watcher(|schedule, watcher| {
                    for _ in 0..schedule.dice.roll(8) {
                        let patience = match schedule.dice.once_in(4) {
                            true => Patience::Brief,
                            false => Patience::None,
                        };
                        schedule.read(watcher, patience).unwrap();
                    }
                }),
            }
        }
        self.log.sync(self.log.watermarks().appended).unwrap();
        for watcher in std::mem::take(&mut self.watchers) {
            self.finish(watcher);
        }
    }

    fn with_watcher(&mut self, act: impl FnOnce(&mut Schedule, &mut Watcher)) {
        if self.watchers.is_empty() {
            return;
        }
        let index = self.dice.roll(self.watchers.len());
        let mut watcher = self.watchers.swap_remove(index);
        act(self, &mut watcher);
        self.watchers.push(watcher);
    }

    /// Writes one entry or a batch.
    fn write(&mut self) {
        let mut batch = Written::batch(&mut self.dice);
        Written::append(&self.log, &mut batch);
        self.entries.append(&mut batch);
    }

    /// Forgets what is older than some entry, whoever has not read it.
    fn trim(&mut self) {
        self.log.sync(self.log.watermarks().appended).unwrap();
        let behind = self.dice.roll(30) as u64;
        let before = self.log.watermarks().durable.get().saturating_sub(behind);
        self.log.trim(OpId::new(before.max(1))).unwrap();
    }

    /// The first entry that is still there.
    fn oldest(&self) -> usize {
        let oldest = self.log.watermarks().oldest;
        self.entries.partition_point(|entry| entry.op_id < oldest)
    }

    fn watch(&self, question: &Question, elsewhere: bool) -> Watch {
        question.watch(|scope| self.dispatchers[usize::from(elsewhere)].watch(scope))
    }

    fn join(&mut self) {
        let question = Question::random(&mut self.dice);
        // Now is behind what has been released: for this reader too everything written so far is past.
        self.log.sync(self.log.watermarks().appended).unwrap();
        let elsewhere = self.dice.once_in(3);
        let watch = self.watch(&question, elsewhere);
        let oldest = self.oldest();
        let (watch, from) = match self.dice.roll(3) {
            0 => (watch.start_at_oldest(), oldest),
            1 if oldest < self.entries.len() => {
                let index = oldest + self.dice.roll(self.entries.len() - oldest);
                let nanos = self.entries[index].timestamp.as_nanos();
                let time = bson::Timestamp {
                    time: (nanos / 1_000_000_000) as u32,
                    increment: (nanos % 1_000_000_000) as u32 + 1,
                };
                // Members of a batch share their time.
                let from = self.entries.partition_point(|entry| entry.timestamp.as_nanos() < nanos);
                (watch.start_at_operation_time(time), from)
            }
            _ => (watch, self.entries.len()),
        };
        // A channel has no token before its first event.
        let token = watch.clone().start().unwrap().resume_token();
        let reader = Reader::start(&mut self.dice, watch).unwrap();
        let seen = Vec::new();
        self.watchers.push(Watcher {
            question,
            elsewhere,
            reader,
            token,
            from,
            seen,
        });
    }

    /// Goes away, and comes back with a token.
    fn resume(&mut self, watcher: &mut Watcher) {
        if watcher.has_failed() {
            return;
        }
        let last = match self.dice.once_in(2) {
            true => watcher.reader.token(),
            false => watcher.token,
        };
        let token: ResumeToken = last.to_string().parse().unwrap();
        let watch = self.watch(&watcher.question, watcher.elsewhere);
        let watch = match token.kind() {
            TokenKind::Invalidate => watch.start_after(token),
            _ if self.dice.once_in(2) => watch.start_after(token),
            _ => watch.resume_after(token),
        };
        match Reader::start(&mut self.dice, watch) {
            Ok(reader) => watcher.reader = reader,
            Err(Error::Log(oplog::Error::HistoryLost { .. })) => self.begin_anew(watcher, token),
            Err(error) => panic!("{error}"),
        }
    }

    /// What comes next for a watcher that stands behind `token` was trimmed, and it has been told. It begins with what is left.
    fn begin_anew(&mut self, watcher: &mut Watcher, token: ResumeToken) {
        let oldest = self.log.watermarks().oldest;
        let is_ending = token.kind() == TokenKind::Ending && token.op_id() < oldest;
        assert!(
            is_ending || token.op_id().next() < oldest,
            "{token:?} has lost nothing: {oldest}"
        );
        self.check(watcher, self.entries.len());
        let watch = self.watch(&watcher.question, watcher.elsewhere).start_at_oldest();
        watcher.from = self.oldest();
        watcher.seen.clear();
        watcher.token = watch.clone().start().unwrap().resume_token();
        watcher.reader = Reader::start(&mut self.dice, watch).unwrap();
    }

    /// That what it has seen so far is what the reference says, as far as it goes.
    fn check(&self, watcher: &Watcher, entries: usize) -> usize {
        let reference = Reference {
            entries: &self.entries,
            log_id: self.log.log_id(),
        };
        let expected = reference.answer(&watcher.question, watcher.from..entries);
        for (i, (seen, expected)) in watcher.seen.iter().zip(&expected).enumerate() {
            assert_eq!(seen, expected, "event {i} of {:?}", watcher.question);
        }
        let more = watcher.seen.get(expected.len());
        assert_eq!(more, None, "more than there is: {:?}", watcher.question);
        expected.len()
    }

    /// Reads once; whether something came of it, and an error only when the log is closed.
    fn read(&mut self, watcher: &mut Watcher, patience: Patience) -> Result<bool, Closed> {
        if watcher.has_failed() {
            return Ok(false);
        }
        match watcher.reader.read(patience) {
            Outcome::Event(event) => {
                watcher.token = event.resume_token();
                watcher.seen.push(Seen::new(&event));
            }
            Outcome::Nothing => return Ok(false),
            Outcome::Closed => return Err(Closed),
            Outcome::Failed(seen) => watcher.seen.push(seen),
            Outcome::HistoryLost => self.begin_anew(watcher, watcher.reader.token()),
            Outcome::Ended => {
                // The event that ended it may have been hidden by the pipeline.
                watcher.token = watcher.reader.token();
                let watch = self
                    .watch(&watcher.question, watcher.elsewhere)
                    .start_after(watcher.token);
                match watch.start() {
                    Ok(stream) => watcher.reader = Reader::Stream(stream),
                    Err(Error::Log(oplog::Error::HistoryLost { .. })) => self.begin_anew(watcher, watcher.token),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        Ok(true)
    }

    /// The writer goes and comes back. In its own process every stream ends, after what was released.
    fn reopen(&mut self) {
        self.log.clone().close().unwrap();
        let mut watchers = std::mem::take(&mut self.watchers);
        for watcher in watchers.iter_mut().filter(|watcher| !watcher.elsewhere) {
            while !watcher.has_failed() && self.read(watcher, Patience::Long) != Err(Closed) {}
        }
        self.log = open(self.dir.path());
        self.dispatchers = dispatchers(self.dir.path(), &self.log);
        for watcher in &mut watchers {
            self.resume(watcher);
        }
        self.watchers = watchers;
    }

    /// The writer dies, and what goes on is what the disk has: whatever was durable, and perhaps some more.
    fn crash(&mut self) {
        let durable = self.log.watermarks().durable;
        let left = tempfile::tempdir().unwrap();
        copy_log(self.dir.path(), left.path());
        let log = open(left.path());
        let newest = log.view().newest(ReadConcern::Local);
        assert!(newest >= durable, "{durable} was durable, {newest} is left");
        self.entries.retain(|entry| entry.op_id <= newest);
        let mut watchers = std::mem::take(&mut self.watchers);
        // Who does not wait for the disk may have seen what is gone now. Its token says so.
        watchers.retain(|watcher| {
            let token = watcher.token;
            let is_there = token.op_id() <= newest && watcher.reader.token().op_id() <= newest;
            if !is_there {
                assert_eq!(
                    watcher.question.concern,
                    ReadConcern::Local,
                    "{token:?} was not durable"
                );
                let watch = Watch::new(log.view(), watcher.question.scope.clone()).start_after(watcher.reader.token());
                let refused = watch.start();
                assert!(matches!(refused, Err(Error::TokenAheadOfLog { .. })), "{refused:?}");
            }
            is_there
        });
        self.dispatchers = dispatchers(left.path(), &log);
        self.log = log;
        self.dir = left;
        for watcher in &mut watchers {
            self.resume(watcher);
        }
        self.watchers = watchers;
    }

    fn finish(&mut self, mut watcher: Watcher) {
        loop {
            let expected = self.check(&watcher, self.entries.len());
            let before = watcher.seen.len();
            if before == expected {
                break;
            }
            assert!(
                self.read(&mut watcher, Patience::Long).unwrap(),
                "nothing comes after {before}: {:?}",
                watcher.question
            );
        }
        // A watcher whose token has come to the end of the log has been told everything.
        let last = self.entries.last().map(|entry| entry.op_id);
        let deadline = Instant::now() + PATIENCE;
        while !watcher.has_failed() {
            let at_end = last.is_none_or(|last| watcher.reader.token().op_id() >= last);
            if !self.read(&mut watcher, Patience::None).unwrap() && at_end {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "the token stands still: {:?}",
                watcher.question
            );
            std::thread::yield_now();
        }
        self.check(&watcher, self.entries.len());
    }
}

/// Schedules that run beside one another.
const SCHEDULES_AT_ONCE: usize = 6;

/// The next seed, if one is left.
fn next(left: &Mutex<Range<u64>>) -> Option<u64> {
    left.lock().ok()?.next()
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("TAILWATER_SEEDS") else {
        return 0..600;
    };
    let (from, to) = text.split_once("..").expect("TAILWATER_SEEDS is FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn every_watcher_gets_what_the_reference_says() {
    // They wait for the disk most of the time: several at once.
    let left = Mutex::new(seeds());
    std::thread::scope(|scope| {
        for _ in 0..SCHEDULES_AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = next(&left) {
                    let _named = Named(seed);
                    Schedule::new(seed).run();
                }
            });
        }
    });
}

//! Change streams against a reference that decodes everything: whatever a watcher asks, wherever it joins, however it
//! reads and how often it comes back with a token, it gets the events of the reference, in its order, with its tokens.
//!
//! A schedule is made from a seed, which a failure names. `TAILWATER_SEEDS=17..18` runs one, `0..10000` many.

mod common;

use std::ops::Range;

use common::reference::{Dice, Named, Question, Reference, Seen, Written};
use common::{PATIENCE, open};
use futures::{FutureExt, StreamExt};
use tailwater_changestream::{
    ChangeEvent, ChangeStream, Error, Receiver, RecvError, ResumeToken, TokenKind, Watch, WatchHandle,
};
use tailwater_oplog::{self as oplog, Oplog, OplogView};

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
}

/// The log was closed.
#[derive(PartialEq, Debug)]
struct Closed;

impl Reader {
    fn start(dice: &mut Dice, watch: Watch) -> Reader {
        match dice.roll(3) {
            0 => Reader::Stream(watch.start().unwrap()),
            1 => Reader::Polled(watch.start().unwrap()),
            _ => {
                let watch = watch.channel_capacity(1 + dice.roll(3), 10_000);
                let (_handle, receiver) = watch.subscribe().unwrap();
                Reader::Channel { receiver, _handle }
            }
        }
    }

    /// Reads what is there; `patiently` waits for it, where more must come.
    fn read(&mut self, patiently: bool) -> Outcome {
        let result = match self {
            Reader::Stream(stream) if patiently => stream.wait_next(Some(PATIENCE)),
            Reader::Stream(stream) => stream.next_if_any(),
            Reader::Polled(stream) => match stream.next().now_or_never() {
                Some(next) => next.transpose(),
                None => Ok(None),
            },
            Reader::Channel { receiver, .. } => {
                let received = match patiently {
                    true => receiver.recv_timeout(PATIENCE).map(Some),
                    false => receiver.try_recv(),
                };
                return match received {
                    Ok(event) => event.map_or(Outcome::Nothing, Outcome::Event),
                    Err(RecvError::Ended) => Outcome::Ended,
                    Err(RecvError::Timeout) => Outcome::Nothing,
                    Err(RecvError::Failed(Error::Log(oplog::Error::Closed))) => Outcome::Closed,
                    Err(RecvError::Failed(error)) => panic!("{error}"),
                };
            }
        };
        match result {
            Ok(Some(event)) => Outcome::Event(event),
            Ok(None) if self.is_ended() => Outcome::Ended,
            Ok(None) => Outcome::Nothing,
            Err(Error::Log(oplog::Error::Closed)) => Outcome::Closed,
            Err(error) => panic!("{error}"),
        }
    }

    fn is_ended(&self) -> bool {
        match self {
            Reader::Stream(stream) | Reader::Polled(stream) => stream.is_ended(),
            Reader::Channel { .. } => false,
        }
    }

    /// The stream's own token, where it is at hand.
    fn token(&self) -> Option<ResumeToken> {
        match self {
            Reader::Stream(stream) | Reader::Polled(stream) => Some(stream.resume_token()),
            Reader::Channel { .. } => None,
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

/// A log, everything written into it, and its watchers.
struct Schedule {
    dice: Dice,
    dir: tempfile::TempDir,
    log: Oplog,
    entries: Vec<Written>,
    watchers: Vec<Watcher>,
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        Schedule {
            dice: Dice(seed),
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
                45..50 => self.log.sync(self.log.watermarks().appended).unwrap(),
                50..60 if self.watchers.len() < 8 => self.join(),
                60..62 => self.reopen(),
                62..70 => self.with_watcher(Schedule::resume),
                _ => self.with_watcher(|schedule, watcher| {
                    for _ in 0..schedule.dice.roll(8) {
                        schedule.read(watcher, false).unwrap();
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

    fn view(&self, elsewhere: bool) -> OplogView {
        match elsewhere {
            true => OplogView::open(self.dir.path()).unwrap(),
            false => self.log.view(),
        }
    }

    fn join(&mut self) {
        let question = Question::random(&mut self.dice);
        // Now is behind what has been released: for this reader too everything written so far is past.
        self.log.sync(self.log.watermarks().appended).unwrap();
        let elsewhere = self.dice.once_in(3);
        let view = self.view(elsewhere);
        let watch = question.watch(|scope| Watch::new(view, scope));
        let (watch, from) = match self.dice.roll(3) {
            0 => (watch.start_at_oldest(), 0),
            1 if !self.entries.is_empty() => {
                let index = self.dice.roll(self.entries.len());
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
        let reader = Reader::start(&mut self.dice, watch);
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
        let last = watcher
            .reader
            .token()
            .filter(|_| self.dice.once_in(2))
            .unwrap_or(watcher.token);
        let token: ResumeToken = last.to_string().parse().unwrap();
        let watch = watcher
            .question
            .watch(|scope| Watch::new(self.view(watcher.elsewhere), scope));
        let watch = match token.kind() {
            TokenKind::Invalidate => watch.start_after(token),
            _ if self.dice.once_in(2) => watch.start_after(token),
            _ => watch.resume_after(token),
        };
        watcher.reader = Reader::start(&mut self.dice, watch);
    }

    /// Reads once; whether something came of it, and an error only when the log is closed.
    fn read(&self, watcher: &mut Watcher, patiently: bool) -> Result<bool, Closed> {
        match watcher.reader.read(patiently) {
            Outcome::Event(event) => {
                watcher.token = event.resume_token();
                watcher.seen.push(Seen::new(&event));
            }
            Outcome::Nothing => return Ok(false),
            Outcome::Closed => return Err(Closed),
            Outcome::Ended => {
                // The event that ended it may have been hidden by the pipeline: only a stream has the token behind that.
                watcher.token = watcher.reader.token().unwrap_or(watcher.token);
                let watch = watcher
                    .question
                    .watch(|scope| Watch::new(self.view(watcher.elsewhere), scope));
                watcher.reader = Reader::Stream(watch.start_after(watcher.token).start().unwrap());
            }
        }
        Ok(true)
    }

    /// The writer goes and comes back. In its own process every stream ends, after what was released.
    fn reopen(&mut self) {
        self.log.clone().close().unwrap();
        let mut watchers = std::mem::take(&mut self.watchers);
        for watcher in watchers.iter_mut().filter(|watcher| !watcher.elsewhere) {
            while self.read(watcher, true) != Err(Closed) {}
        }
        self.log = open(self.dir.path());
        for watcher in watchers.iter_mut().filter(|watcher| !watcher.elsewhere) {
            self.resume(watcher);
        }
        self.watchers = watchers;
    }

    fn finish(&mut self, mut watcher: Watcher) {
        let log_id = self.log.log_id();
        let reference = Reference {
            entries: &self.entries,
            log_id,
        };
        let expected = reference.answer(&watcher.question, watcher.from..self.entries.len());
        // Polling does not wait, and has nothing to wait for: everything has been released.
        while watcher.seen.len() < expected.len() {
            let before = watcher.seen.len();
            assert!(
                self.read(&mut watcher, true).unwrap(),
                "nothing comes after {before}: {:?}",
                watcher.question
            );
        }
        for (i, (seen, expected)) in watcher.seen.iter().zip(&expected).enumerate() {
            assert_eq!(seen, expected, "event {i} of {:?}", watcher.question);
        }
        while self.read(&mut watcher, false).unwrap() {}
        assert_eq!(
            watcher.seen.len(),
            expected.len(),
            "more than there is: {:?}",
            watcher.question
        );
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("TAILWATER_SEEDS") else {
        return 0..200;
    };
    let (from, to) = text.split_once("..").expect("TAILWATER_SEEDS is FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn every_watcher_gets_what_the_reference_says() {
    for seed in seeds() {
        let _named = Named(seed);
        Schedule::new(seed).run();
    }
}

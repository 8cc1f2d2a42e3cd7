//! A shared dispatcher against the reference: random watches that come and go, receive slowly or not at all for a while and
//! resume, under a writer that batches, on a log that is trimmed and reopened. Everyone gets the events of the reference, in
//! its order, with its tokens.
//!
//! A round is made from a seed, which a failure names. `TAILWATER_SEEDS=17..18` runs one, `0..10000` many. Many rounds
//! share a log, because making one costs more than a round.

use crate::common;

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bson::Bson;
use common::PATIENCE;
use common::reference::{Dice, Named, Question, Reference, Seen, Written};
use tailwater_changestream::{
    Dispatcher, Error, Receiver, RecvError, ResumeToken, Scope, TokenKind, Watch, WatchHandle,
};
use tailwater_oplog::{self as oplog, Oplog, ReadConcern};

/// Rounds on one log.
const ROUNDS: u64 = 100;

/// A log on which nothing is released that nobody has synced.
fn open(dir: &Path) -> Oplog {
    let options = oplog::Options {
        segment_bytes: 1 << 20,
        sync_interval: Duration::from_secs(24 * 3600),
        ..oplog::Options::default()
    };
    options.open(dir).unwrap()
}

struct Watcher {
    question: Question,
    subscription: (WatchHandle, Receiver),
    /// First entry of the round that concerns it.
    from: usize,
    token: ResumeToken,
    seen: Vec<Seen>,
}

impl Watcher {
    /// Whether it has met what it fails at.
    fn has_failed(&self) -> bool {
        self.seen.last().is_some_and(Seen::is_failure)
    }
}

/// What receiving once came to.
#[derive(PartialEq, Debug)]
enum Outcome {
    Event,
    Nothing,
    Closed,
}

struct Round<'a> {
    dice: Dice,
    dir: &'a Path,
    log: &'a mut Oplog,
    dispatcher: &'a mut Dispatcher,
    entries: Vec<Written>,
    /// Of the last entry before the round.
    start: ResumeToken,
    watchers: Vec<Watcher>,
}

impl Round<'_> {
    fn run(mut self) {
        for _ in 0..40 {
            match self.dice.roll(100) {
                0..40 => self.write(),
                40..45 => self.sync(),
                45..60 => self.join(),
                60..65 => self.with_watcher(|_, watcher| {
                    // Whoever leaves is forgotten, with what it has in its channel.
                    drop(watcher);
                    None
                }),
                65..72 => self.with_watcher(|round, mut watcher| {
                    round.resume(&mut watcher);
                    Some(watcher)
                }),
                _ => self.with_watcher(|round, mut watcher| {
                    for _ in 0..round.dice.roll(8) {
                        round.receive(&mut watcher, false);
                    }
                    Some(watcher)
                }),
            }
        }
        if self.dice.once_in(25) {
            self.reopen();
        }
        self.sync();
        for watcher in std::mem::take(&mut self.watchers) {
            self.finish(watcher);
        }
    }

    fn with_watcher(&mut self, act: impl FnOnce(&mut Self, Watcher) -> Option<Watcher>) {
        if self.watchers.is_empty() {
            return;
        }
        let index = self.dice.roll(self.watchers.len());
        let watcher = self.watchers.swap_remove(index);
        let kept = act(self, watcher);
        self.watchers.extend(kept);
    }

    fn write(&mut self) {
        let mut batch = Written::batch(&mut self.dice);
        for written in &mut batch {
            // Long documents are for the logs that roll within a round.
            if let Some(document) = &mut written.document
                && let Some(Bson::String(pad)) = document.get_mut("pad")
            {
                pad.truncate(1000);
            }
        }
        Written::append(self.log, &mut batch);
        self.entries.append(&mut batch);
    }

    fn sync(&self) {
        self.log.sync(self.log.watermarks().appended).unwrap();
    }

    /// The token of a watch that sees entries at once.
    fn newest(&self) -> ResumeToken {
        let watch = Watch::new(self.log.view(), Scope::Everything).read_concern(ReadConcern::Local);
        watch.start().unwrap().resume_token()
    }

    fn watch(&self, question: &Question) -> Watch {
        question.watch(|scope| self.dispatcher.watch(scope))
    }

    fn subscribe(&self, watch: Watch) -> (WatchHandle, Receiver) {
        watch.subscribe().unwrap()
    }

    fn join(&mut self) {
        // Half of them ask what somebody else asks.
        let question = match self.watchers.as_slice() {
            [] => Question::random(&mut self.dice),
            _ if self.dice.once_in(2) => Question::random(&mut self.dice),
            others => others[self.dice.roll(others.len())].question.clone(),
        };
        let watch = self.watch(&question);
        let (watch, from) = match self.dice.roll(4) {
            0 => (watch.resume_after(self.start), Some(0)),
            // With a token of somebody who has seen everything, also what has not been released.
            1 => (watch.resume_after(self.newest()), Some(self.entries.len())),
            _ => (watch, None),
        };
        let subscription = self.subscribe(watch);
        let token = subscription.1.resume_token();
        // Now is behind what can be seen.
        let passed = |entry: &Written| entry.op_id <= token.op_id();
        let from = from.unwrap_or_else(|| self.entries.partition_point(passed));
        let seen = Vec::new();
        self.watchers.push(Watcher {
            question,
            subscription,
            from,
            token,
            seen,
        });
    }

    /// Goes away, and comes back with its last token or the one it has been brought to since.
    fn resume(&mut self, watcher: &mut Watcher) {
        if watcher.has_failed() {
            return;
        }
        let token = match self.dice.once_in(2) {
            true => watcher.subscription.1.resume_token(),
            false => watcher.token,
        };
        let token: ResumeToken = token.to_string().parse().unwrap();
        let watch = self.watch(&watcher.question);
        let watch = match token.kind() {
            TokenKind::Invalidate => watch.start_after(token),
            _ => watch.resume_after(token),
        };
        watcher.subscription = self.subscribe(watch);
    }

    fn receive(&mut self, watcher: &mut Watcher, patiently: bool) -> Outcome {
        if watcher.has_failed() {
            return Outcome::Nothing;
        }
        let receiver = &watcher.subscription.1;
        let received = match patiently {
            true => receiver.recv_timeout(PATIENCE).map(Some),
            false => receiver.try_recv(),
        };
        match received {
            Ok(Some(event)) => {
                watcher.token = event.resume_token();
                watcher.seen.push(Seen::new(&event));
                Outcome::Event
            }
            Ok(None) | Err(RecvError::Timeout) => Outcome::Nothing,
            Err(RecvError::Failed(Error::Log(oplog::Error::Closed))) => Outcome::Closed,
            Err(RecvError::Failed(error)) if Seen::of_error(&error).is_some() => {
                watcher.seen.extend(Seen::of_error(&error));
                Outcome::Event
            }
            Err(RecvError::Ended) => {
                // Behind the end, which its pipeline may have hidden.
                watcher.token = receiver.resume_token();
                let watch = self.watch(&watcher.question).start_after(watcher.token);
                watcher.subscription = self.subscribe(watch);
                Outcome::Event
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The writer goes and comes back. Every watch ends, after what was released.
    fn reopen(&mut self) {
        self.log.clone().close().unwrap();
        let mut watchers = std::mem::take(&mut self.watchers);
        for watcher in &mut watchers {
            while !watcher.has_failed() && self.receive(watcher, true) != Outcome::Closed {}
        }
        *self.log = open(self.dir);
        *self.dispatcher = Dispatcher::new(self.log.view());
        for watcher in &mut watchers {
            self.resume(watcher);
        }
        self.watchers = watchers;
    }

    fn finish(&mut self, mut watcher: Watcher) {
        let entries = std::mem::take(&mut self.entries);
        let reference = Reference {
            entries: &entries,
            log_id: self.log.log_id(),
        };
        let expected = reference.answer(&watcher.question, watcher.from..entries.len());
        while watcher.seen.len() < expected.len() {
            let outcome = self.receive(&mut watcher, true);
            assert_eq!(
                outcome,
                Outcome::Event,
                "{} of {} events: {:?}",
                watcher.seen.len(),
                expected.len(),
                watcher.question
            );
        }
        for (i, (seen, expected)) in watcher.seen.iter().zip(&expected).enumerate() {
            assert_eq!(seen, expected, "event {i} of {:?}", watcher.question);
        }
        // A watch whose token has come to the end of the log has been told everything.
        let last = entries.last().map(|entry| entry.op_id);
        common::eventually("the token stands still", || {
            assert!(
                watcher.seen.len() == expected.len(),
                "more than there is: {:?}",
                watcher.question
            );
            let stands_behind = |last| watcher.subscription.1.resume_token().op_id() >= last;
            let at_end = watcher.has_failed() || last.is_none_or(stands_behind);
            at_end && self.receive(&mut watcher, false) == Outcome::Nothing || {
                self.receive(&mut watcher, false);
                false
            }
        });
        self.entries = entries;
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("TAILWATER_SEEDS") else {
        return 0..2000;
    };
    let (from, to) = text.split_once("..").expect("TAILWATER_SEEDS is FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn every_watcher_of_a_dispatcher_gets_what_the_reference_says() {
    let seeds = seeds();
    for first in seeds.clone().step_by(ROUNDS as usize) {
        let dir = common::temporary();
        let mut log = open(dir.path());
        let mut dispatcher = Dispatcher::new(log.view());
        for seed in first..(first + ROUNDS).min(seeds.end) {
            let _named = Named(seed);
            log.sync(log.watermarks().appended).unwrap();
            // Nobody needs what was before.
            log.trim(log.watermarks().durable).unwrap();
            let start = Watch::new(log.view(), Scope::Everything);
            let start = start.start().unwrap().resume_token();
            Round {
                dice: Dice(seed),
                dir: dir.path(),
                log: &mut log,
                dispatcher: &mut dispatcher,
                entries: Vec::new(),
                start,
                watchers: Vec::new(),
            }
            .run();
        }
    }
}

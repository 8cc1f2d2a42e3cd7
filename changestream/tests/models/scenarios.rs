//! What the threads of the model do, and what must hold.
//!
//! No time passes here: whoever sleeps is woken, or the model stands still, which shuttle reports.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bson::rawdoc;
use futures::StreamExt;
use log::entry::{EntryKind, StoreEntry};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};

use crate::dispatch::Dispatcher;
use crate::event::ChangeEvent;
use crate::options::Watch;
use crate::primitives::thread::{self, JoinHandle};
use crate::runner::{self, Model};
use crate::scope::Scope;
use crate::subscription::{Receiver, RecvError, WatchHandle};
use crate::token::{ResumeToken, TokenKind};
use crate::{OpId, OplogView, ReadConcern};

/// Entries of the log; each is an insert with its OpID as `_id`.
const ENTRIES: u64 = 6;

static LOG: OnceLock<log::Oplog> = OnceLock::new();

pub(crate) const MODELS: &[Model] = &[
    ("a_watch_that_parks_gets_everything_once", || {
        check(2000, a_watch_that_parks_gets_everything_once);
    }),
    ("watches_come_and_go_beside_one_another", || {
        check(2000, watches_come_and_go_beside_one_another);
    }),
    ("a_watch_that_resumes_in_the_past_catches_up", || {
        check(2000, a_watch_that_resumes_in_the_past_catches_up);
    }),
    ("a_watch_that_resumes_ahead_takes_nothing_from_who_begins_now", || {
        check(2000, a_watch_that_resumes_ahead_takes_nothing_from_who_begins_now);
    }),
    ("a_watch_that_resumes_in_front_of_the_log_waits_for_its_entry", || {
        check(2000, a_watch_that_resumes_in_front_of_the_log_waits_for_its_entry);
    }),
    ("streams_wait_together", || check(2000, streams_wait_together)),
    ("a_task_is_woken", || check(2000, a_task_is_woken)),
    ("a_close_ends_every_receiver_behind_its_events", || {
        check(2000, a_close_ends_every_receiver_behind_its_events);
    }),
    ("whoever_leaves_leaves_nothing_behind", || {
        check(2000, whoever_leaves_leaves_nothing_behind);
    }),
];

/// Writes the log that all models read.
pub(crate) fn write_log(dir: &Path) {
    let options = log::Options {
        segment_bytes: 1 << 20,
        ..log::Options::default()
    };
    let log = options.open(dir).unwrap();
    for id in 1..=ENTRIES {
        let mut payload = Vec::new();
        StoreEntry {
            database: "shop",
            collection: "orders",
            collection_id: [7; 16],
            document: Some(&rawdoc! { "_id": id as i64 }),
            ..StoreEntry::default()
        }
        .encode(&mut payload);
        log.append(EntryKind::Insert.number(), &payload, log::Durability::Disk)
            .unwrap();
    }
    LOG.set(log).unwrap();
}

/// Runs `model` in `runs` random schedules, and in as many of few preemptions (PCT).
fn check(runs: usize, model: fn()) {
    let runs = runner::scaled(runs);
    let mut config = shuttle::Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    let seed = runner::seed();
    shuttle::Runner::new(RandomScheduler::new_from_seed(seed, runs / 2), config.clone()).run(model);
    for depth in [2, 4] {
        shuttle::Runner::new(PctScheduler::new_from_seed(seed, depth, runs / 4), config.clone()).run(model);
    }
}

fn view() -> OplogView {
    OplogView::new(LOG.get().unwrap().view())
}

fn orders(dispatcher: &Dispatcher) -> Watch {
    dispatcher.watch(Scope::Database("shop".into()))
}

/// Makes entries visible, one after the other.
fn write(view: &OplogView, count: u64) -> JoinHandle<()> {
    let view = view.clone();
    thread::spawn(move || {
        for _ in 0..count {
            view.append();
        }
    })
}

fn ids(events: &[ChangeEvent]) -> Vec<u64> {
    events.iter().map(|event| event.op_id().get()).collect()
}

/// Receives the events of these entries, in order.
fn receive(receiver: &Receiver, expected: RangeInclusive<u64>) {
    for id in expected {
        let event = receiver.recv().unwrap();
        assert_eq!(event.op_id(), OpId::new(id));
        assert!(receiver.resume_token().op_id() >= event.op_id());
    }
}

fn a_watch_that_parks_gets_everything_once() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    for capacity in [1, 2] {
        let newest = view.newest(ReadConcern::Durable).get();
        let (handle, receiver) = orders(&dispatcher)
            .channel_capacity(capacity, usize::MAX)
            .subscribe()
            .unwrap();
        let writer = write(&view, 3);
        receive(&receiver, newest + 1..=newest + 3);
        assert!(receiver.try_recv().unwrap().is_none());
        assert_eq!(receiver.resume_token().op_id(), OpId::new(newest + 3));
        writer.join().unwrap();
        drop(handle);
    }
}

fn watches_come_and_go_beside_one_another() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    let (_handle, quick) = orders(&dispatcher).subscribe().unwrap();
    let writer = write(&view, 4);
    let others: Vec<_> = [1, 3]
        .into_iter()
        .map(|capacity| {
            let dispatcher = dispatcher.clone();
            thread::spawn(move || {
                let watch = orders(&dispatcher).channel_capacity(capacity, usize::MAX);
                let (handle, receiver) = watch.subscribe().unwrap();
                let begin = receiver.resume_token().op_id().get();
                // It stays for two events at most, and goes while more are on their way.
                let end = (begin + 2).min(4);
                receive(&receiver, begin + 1..=end);
                drop(receiver);
                drop(handle);
            })
        })
        .collect();
    receive(&quick, 1..=4);
    writer.join().unwrap();
    for other in others {
        other.join().unwrap();
    }
}

fn a_watch_that_resumes_in_the_past_catches_up() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    let (_handle, live) = orders(&dispatcher).subscribe().unwrap();
    let writer = write(&view, 2);
    receive(&live, 1..=1);
    let token = live.resume_token();
    let late = {
        let dispatcher = dispatcher.clone();
        thread::spawn(move || {
            let watch = orders(&dispatcher).resume_after(token).channel_capacity(1, usize::MAX);
            let (_handle, receiver) = watch.subscribe().unwrap();
            receive(&receiver, token.op_id().get() + 1..=5);
        })
    };
    let more = write(&view, 3);
    receive(&live, 2..=5);
    for thread in [late, writer, more] {
        thread.join().unwrap();
    }
}

fn a_watch_that_resumes_ahead_takes_nothing_from_who_begins_now() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    for _ in 0..2 {
        view.append_unsynced();
    }
    // As a watch that does not wait for the disk has it.
    let entry = view.get(OpId::new(2), ReadConcern::Local).unwrap();
    let token = ResumeToken::at(view.log_id(), &entry.entry(), TokenKind::Event);
    let ahead = {
        let dispatcher = dispatcher.clone();
        thread::spawn(move || {
            let watch = orders(&dispatcher).resume_after(token).channel_capacity(1, usize::MAX);
            let (_handle, receiver) = watch.subscribe().unwrap();
            receive(&receiver, 3..=4);
        })
    };
    let (_handle, now) = orders(&dispatcher).subscribe().unwrap();
    // The first of them releases what was appended before.
    let writer = write(&view, 2);
    receive(&now, 1..=4);
    for thread in [ahead, writer] {
        thread.join().unwrap();
    }
}

fn a_watch_that_resumes_in_front_of_the_log_waits_for_its_entry() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    let watch = |entry| {
        let entry = view.get(OpId::new(entry), ReadConcern::Local).unwrap();
        let token = ResumeToken::at(view.log_id(), &entry.entry(), TokenKind::Event);
        orders(&dispatcher).resume_after(token).channel_capacity(1, usize::MAX)
    };
    // One goes while it waits.
    let (left, waiting) = watch(5).subscribe().unwrap();
    let (_handle, first) = watch(1).subscribe().unwrap();
    let (_other, second) = watch(2).subscribe().unwrap();
    let writer = write(&view, 4);
    let leaving = thread::spawn(move || {
        left.stop();
        assert!(matches!(waiting.recv(), Err(RecvError::Ended)));
    });
    let later = thread::spawn(move || receive(&second, 3..=4));
    receive(&first, 2..=4);
    for thread in [writer, leaving, later] {
        thread.join().unwrap();
    }
    let (_last, never) = watch(5).subscribe().unwrap();
    view.close();
    match never.recv() {
        Err(RecvError::Failed(crate::error::Error::Log(log::Error::Closed))) => {}
        other => panic!("{other:?}"),
    }
}

fn streams_wait_together() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    let streams = [1, 2, 9].map(|capacity| {
        orders(&dispatcher)
            .channel_capacity(capacity, usize::MAX)
            .start()
            .unwrap()
    });
    let writer = write(&view, 4);
    let [mut slow, mut quick, mut stopped] = streams;
    let stopper = stopped.stopper();
    let reading = thread::spawn(move || {
        for id in 1..=4 {
            // Now and then it asks what is there, which takes it out of its place.
            let event = match slow.next_if_any().unwrap() {
                Some(event) => event,
                None => slow.wait_next(None).unwrap().unwrap(),
            };
            assert_eq!(event.op_id(), OpId::new(id));
            assert_eq!(slow.resume_token(), event.resume_token());
        }
        assert!(slow.next_if_any().unwrap().is_none());
    });
    let waiting = thread::spawn(move || {
        let mut seen = 0;
        while let Some(event) = stopped.wait_next(None).unwrap() {
            seen += 1;
            assert_eq!(event.op_id(), OpId::new(seen));
        }
    });
    for id in 1..=4 {
        let event = quick.wait_next(None).unwrap().unwrap();
        assert_eq!(event.op_id(), OpId::new(id));
    }
    stopper.stop();
    for thread in [writer, reading, waiting] {
        thread.join().unwrap();
    }
}

fn a_task_is_woken() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    let (_handle, receiver) = orders(&dispatcher).channel_capacity(1, usize::MAX).subscribe().unwrap();
    let writer = write(&view, 3);
    let events: Vec<_> = block_on(receiver.take(3).map(Result::unwrap).collect());
    assert_eq!(ids(&events), [1, 2, 3]);
    writer.join().unwrap();
}

fn a_close_ends_every_receiver_behind_its_events() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    let receivers: Vec<_> = [1, 10]
        .into_iter()
        .map(|capacity| {
            orders(&dispatcher)
                .channel_capacity(capacity, usize::MAX)
                .subscribe()
                .unwrap()
        })
        .collect();
    let closing = view.clone();
    let writer = thread::spawn(move || {
        for _ in 0..2 {
            closing.append();
        }
        closing.close();
    });
    for (_handle, receiver) in receivers {
        receive(&receiver, 1..=2);
        match receiver.recv() {
            Err(RecvError::Failed(crate::error::Error::Log(log::Error::Closed))) => {}
            other => panic!("{other:?}"),
        }
    }
    writer.join().unwrap();
}

fn whoever_leaves_leaves_nothing_behind() {
    let view = view();
    let dispatcher = Dispatcher::new(view.clone());
    let (handle, receiver) = orders(&dispatcher).channel_capacity(1, usize::MAX).subscribe().unwrap();
    let writer = write(&view, 3);
    // Its receiver is asleep, parked, or on its way back.
    let waiting = thread::spawn(move || {
        let mut received = 0;
        loop {
            match receiver.recv() {
                Ok(event) => {
                    received += 1;
                    assert_eq!(event.op_id(), OpId::new(received));
                }
                Err(RecvError::Ended) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
    });
    handle.stop();
    waiting.join().unwrap();
    writer.join().unwrap();
    // The threads end with the last of these; a model that stands still has one that does not.
    drop(dispatcher);
}

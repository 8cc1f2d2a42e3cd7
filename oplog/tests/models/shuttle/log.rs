//! A whole log on the simulated disk: threads that append, sync, read, wait and close.
//!
//! The sync interval never passes here: whoever sleeps is woken in time or the model stands still, which shuttle reports.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Tally, Ordering};
use std::time::Duration;

use shuttle::future::block_on;

use crate::error::Error;
use crate::ids::OpId;
use crate::options::Durability;
use crate::primitives::thread::{self, JoinHandle};
use crate::runner::Model;
use crate::sim::SimDisk;
use crate::view::{Interrupt, WaitOutcome};
use crate::{Oplog, OplogView, Options, ReadConcern, check};

pub(crate) const MODELS: &[Model] = &[
    ("every_writer_is_served", || check(8000, every_writer_is_served)),
    ("every_writer_that_gathers_is_served", || {
        check(4000, every_writer_that_gathers_is_served);
    }),
    ("threads_and_tasks_that_wait_for_durability_are_served", || {
        check(5000, threads_and_tasks_that_wait_for_durability_are_served);
    }),
    ("readers_follow_across_rolls", || {
        check(4000, readers_follow_across_rolls);
    }),
    ("a_reader_beside_the_writer_is_heard", || {
        check(5000, a_reader_beside_the_writer_is_heard);
    }),
    ("a_close_ends_every_wait", || check(5000, a_close_ends_every_wait)),
    ("a_failed_sync_ends_every_wait", || {
        check(5000, a_failed_sync_ends_every_wait);
    }),
    ("after_a_close_nothing_moves_any_more", || {
        check(3000, after_a_close_nothing_moves_any_more);
    }),
];

const KIND: u8 = 128;

fn options(group_delay: u64) -> Options {
    Options {
        segment_bytes: 16 << 10,
        sync_interval: Duration::from_secs(3600),
        group_delay: Duration::from_micros(group_delay),
        ..Options::default()
    }
}

fn open(disk: &SimDisk, group_delay: u64) -> Oplog {
    Oplog::on(Box::new(disk.clone()), &options(group_delay)).unwrap()
}

fn spawn<T: Send + 'static>(log: &Oplog, act: impl FnOnce(&Oplog) -> T + Send + 'static) -> JoinHandle<T> {
    let log = log.clone();
    thread::spawn(move || act(&log))
}

/// Everything that power loss leaves of `disk` if it leaves nothing that was not synced.
fn durable_payloads(disk: &SimDisk) -> HashSet<Vec<u8>> {
    let view = OplogView::on(Box::new(disk.crash_to_durable())).unwrap();
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let mut found = HashSet::new();
    while let Some(entry) = cursor.try_next().unwrap() {
        assert!(found.insert(entry.payload().to_vec()), "an entry twice");
    }
    found
}

fn group(delay: u64) {
    let disk = SimDisk::new();
    let log = open(&disk, delay);
    let writers: Vec<_> = (0..3u8)
        .map(|writer| {
            spawn(&log, move |log| {
                for i in 0..2 {
                    let outcome = log.append(KIND, &[writer, i], Durability::Disk).unwrap();
                    assert!(log.watermarks().durable >= outcome.last);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(durable_payloads(&disk).len(), 6);
}

fn every_writer_is_served() {
    group(0);
}

fn every_writer_that_gathers_is_served() {
    group(5);
}

fn threads_and_tasks_that_wait_for_durability_are_served() {
    let disk = SimDisk::new();
    let log = open(&disk, 0);
    let threads: Vec<_> = (0..3u8)
        .map(|n| {
            spawn(&log, move |log| {
                let op_id = log.append(KIND, &[n], Durability::Memory).unwrap().last;
                match n {
                    0 => log.sync(op_id).unwrap(),
                    1 => block_on(log.durable(op_id)).unwrap(),
                    _ => {
                        let view = log.view();
                        block_on(log.durable(op_id)).unwrap();
                        let found = view.wait(op_id, ReadConcern::Durable, None, &Interrupt::new());
                        assert_eq!(found, WaitOutcome::Ready);
                    }
                }
                assert!(log.watermarks().durable >= op_id);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(durable_payloads(&disk).len(), 3);
}

/// The entry after `i`: some in the buffer, some past it, a few to a segment.
fn payload(i: u8) -> Vec<u8> {
    let bytes = [1000, 2500, 3700, 4500, 40][usize::from(i) % 5];
    vec![i; bytes]
}

const ENTRIES: u8 = 10;

fn follow(log: &Oplog, concern: ReadConcern) {
    let mut cursor = log.view().cursor_from_oldest(concern);
    for i in 0..ENTRIES {
        while cursor.position().get() <= u64::from(i) + 1 {
            match cursor.try_next().unwrap() {
                Some(entry) => {
                    assert_eq!(entry.op_id().get(), u64::from(i) + 1);
                    assert!(entry.payload() == payload(i), "torn");
                    break;
                }
                None => assert_eq!(cursor.wait(None, &Interrupt::new()), WaitOutcome::Ready),
            }
        }
    }
}

fn readers_follow_across_rolls() {
    let disk = SimDisk::new();
    let log = open(&disk, 0);
    let readers =
        [ReadConcern::Local, ReadConcern::Durable].map(|concern| spawn(&log, move |log| follow(log, concern)));
    for i in 0..ENTRIES {
        let durability = if i % 4 == 3 {
            Durability::Disk
        } else {
            Durability::Memory
        };
        log.append(KIND, &payload(i), durability).unwrap();
    }
    log.sync(log.watermarks().appended).unwrap();
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(durable_payloads(&disk).len(), usize::from(ENTRIES));
}

/// A reader of another process sees the tail page only, and has the writer move what it waits for.
fn a_reader_beside_the_writer_is_heard() {
    let disk = SimDisk::new();
    let log = open(&disk, 0);
    let reader = spawn(&log, |log| {
        let shared = log.view().shared;
        let tail = shared.any_tail().unwrap();
        for wanted in (1..=3).map(OpId::new) {
            tail.appended_bell.wait_until(None, || {
                let ready = tail.appended() >= wanted;
                if !ready && tail.accepted() >= wanted {
                    tail.want(wanted);
                }
                ready
            });
        }
    });
    for i in 0..3 {
        log.append(KIND, &[i], Durability::Memory).unwrap();
    }
    reader.join().unwrap();
}

fn a_close_ends_every_wait() {
    let disk = SimDisk::new();
    let log = open(&disk, 0);
    let view = log.view();
    let acknowledged = Arc::new(Tally::new(0));
    let far = OpId::new(1000);
    let writers: Vec<_> = (0..2u8)
        .map(|writer| {
            let acknowledged = Arc::clone(&acknowledged);
            spawn(&log, move |log| {
                for i in 0..3 {
                    match log.append(KIND, &[writer, i], Durability::Disk) {
                        Ok(outcome) => acknowledged.fetch_max(outcome.last.get(), Ordering::SeqCst),
                        Err(Error::Closed) => return,
                        Err(error) => panic!("{error}"),
                    };
                }
            })
        })
        .collect();
    let waiters = [ReadConcern::Local, ReadConcern::Durable].map(|concern| {
        let view = view.clone();
        thread::spawn(move || {
            let outcome = view.wait(far, concern, None, &Interrupt::new());
            assert_eq!(outcome, WaitOutcome::Closed);
        })
    });
    let task = spawn(&log, |log| {
        if let Ok(outcome) = log.append(KIND, b"task", Durability::Memory) {
            match block_on(log.durable(outcome.last)) {
                Ok(()) | Err(Error::Closed) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    log.close().unwrap();
    for thread in writers.into_iter().chain(waiters).chain([task]) {
        thread.join().unwrap();
    }
    let newest = view.newest(ReadConcern::Durable);
    assert!(newest.get() >= acknowledged.load(Ordering::SeqCst));
    // Everything accepted before the close is in its last sync.
    assert_eq!(newest, view.watermarks().appended);
    assert_eq!(durable_payloads(&disk).len() as u64, newest.get());
}

fn a_failed_sync_ends_every_wait() {
    let disk = SimDisk::new();
    let log = open(&disk, 0);
    disk.fail_sync(1, false);
    let writers: Vec<_> = (0..3u8)
        .map(|writer| {
            spawn(&log, move |log| {
                let mut served = Vec::new();
                for i in 0..2 {
                    match log.append(KIND, &[writer, i], Durability::Disk) {
                        Ok(_) => served.push(vec![writer, i]),
                        Err(Error::Poisoned { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                served
            })
        })
        .collect();
    let served: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    let found = durable_payloads(&disk);
    assert!(
        served.iter().all(|payload| found.contains(payload)),
        "acknowledged and lost"
    );
}

/// The tail page may be another writer's by then.
fn after_a_close_nothing_moves_any_more() {
    let disk = SimDisk::new();
    let log = open(&disk, 0);
    let last = log.append(KIND, b"held", Durability::Disk).unwrap().last;
    log.set_majority(Some(OpId::ZERO));
    let view = log.view();
    let late = spawn(&log, move |log| log.set_majority(Some(last)));
    log.close().unwrap();
    let tail = view.shared.any_tail().unwrap();
    let seen = (tail.majority(), tail.watermarks());
    late.join().unwrap();
    assert_eq!((tail.majority(), tail.watermarks()), seen);
}

//! What other threads get in while a thread that syncs for all is between two of its steps.

use std::time::Duration;

use super::SimDisk;
use crate::error::{Error, Result};
use crate::ids::OpId;
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::view::ReadConcern;

const KIND: u8 = 200;
/// Bytes of a large entry.
const LARGE: usize = 1400;
/// Large entries in a segment.
const FIT: u64 = 11;

fn open(disk: &SimDisk) -> Result<Oplog> {
    let options = Options {
        // So long that the next one begins close behind it in the buffer, and the thread that drains has nothing to do.
        segment_bytes: 20 << 10,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    Oplog::on(Box::new(disk.clone()), &options)
}

fn append(log: &Oplog, bytes: usize) -> Result<OpId> {
    let appended = log.append(KIND, &vec![7; bytes], Durability::Memory);
    appended.map(|outcome| outcome.last)
}

/// With as many entries as fit, but for some small ones.
fn filled(disk: &SimDisk) -> Oplog {
    let log = open(disk).unwrap();
    for _ in 0..FIT {
        append(&log, LARGE).unwrap();
    }
    log.sync(OpId::new(FIT)).unwrap();
    log
}

/// The segment's last frame is appended, and the log rolls, behind what the leader moves out of the buffer. The leader syncs
/// that segment without it; the next one must sync it again.
#[test]
fn a_segment_that_fills_up_while_a_leader_drains_is_synced_as_a_whole() {
    let disk = SimDisk::new();
    let log = filled(&disk);
    let drained = append(&log, 1).unwrap();
    disk.behind_write({
        let log = log.clone();
        move || {
            append(&log, 1).unwrap();
            append(&log, LARGE).unwrap();
        }
    });
    log.sync(drained).unwrap();
    let last = OpId::new(FIT + 3);
    assert_eq!((log.watermarks().durable, log.stats().rolls), (drained, 1));
    log.sync(last).unwrap();

    let after = open(&disk.crash_to_durable()).unwrap();
    assert_eq!(after.watermarks().appended, last);
    let mut cursor = after.view().cursor_from_oldest(ReadConcern::Local);
    while cursor.try_next().unwrap().is_some() {}
    assert_eq!(cursor.position(), last.next());
}

/// The kernel tells of it once, and told the housekeeping thread.
#[test]
fn a_failed_sync_of_the_directory_is_not_forgotten_because_another_thread_was_told() {
    let disk = SimDisk::new();
    let log = filled(&disk);
    append(&log, LARGE).unwrap();
    // The new segment's name is not durable yet. What prepares the one behind it is the first to be told.
    disk.fail_sync_directory(0);
    let untold = (0..2 * FIT).all(|_| append(&log, LARGE).is_ok());
    assert!(!untold);
    let appended = log.watermarks().appended;
    assert!(matches!(log.sync(appended), Err(Error::Poisoned { .. })));
    assert_eq!(log.watermarks().durable, OpId::new(FIT));
}

/// A slot is due as well, for which the end of the log is looked up: it has to wait.
#[test]
fn who_is_served_does_not_wait_for_the_segment_that_another_thread_needs() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    disk.hold("prepare");
    let mut last = OpId::ZERO;
    for _ in 0..FIT {
        last = append(&log, LARGE).unwrap();
    }
    let rolling = std::thread::spawn({
        let log = log.clone();
        move || append(&log, LARGE).unwrap()
    });
    while !log.core().keeper.is_spare_awaited() {
        std::thread::yield_now();
    }
    log.sync(last).unwrap();
    assert_eq!(log.watermarks().durable, last);
    disk.release();
    let next = rolling.join().unwrap();
    log.sync(next).unwrap();
    log.close().unwrap();
    let proven = open(&disk.crash_to_durable()).unwrap();
    assert_eq!(proven.watermarks().durable, next);
}

/// A trim writes the manifest, and holds its lock for as long as the disk takes.
#[test]
fn frames_of_a_term_that_is_known_do_not_wait_for_a_trim() {
    let disk = SimDisk::new();
    let primary = filled(&disk);
    for _ in 0..FIT {
        append(&primary, LARGE).unwrap();
    }
    primary.close().unwrap();
    let copy = disk.crash_to_durable();
    let primary = open(&disk).unwrap();
    let options = Options {
        segment_bytes: 20 << 10,
        sync_interval: Duration::from_secs(3600),
        follow: true,
        ..Options::default()
    };
    let follower = Oplog::on(Box::new(copy.clone()), &options).unwrap();
    let hand_over = || {
        let last = append(&primary, 1).unwrap();
        primary.sync(last).unwrap();
        let frames = primary.view().frames(last, 1 << 20, ReadConcern::Durable).unwrap();
        follower.append_frames(frames.unwrap().bytes()).unwrap()
    };
    let first = hand_over();
    assert_eq!(first.term, primary.term());
    copy.hold("replace MANIFEST");
    let trimming = std::thread::spawn({
        let (follower, last) = (follower.clone(), first.first.previous());
        move || follower.trim(last).unwrap()
    });
    copy.await_arrival();
    assert_eq!(hand_over().first, first.last.next());
    copy.release();
    assert!(trimming.join().unwrap() > OpId::FIRST);
    follower.close().unwrap();
}

#[test]
fn a_segment_that_could_not_be_mapped_once_is_prepared_again() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    disk.fail_open(0);
    // The append that needs it may come when it has been tried again.
    let failed: Vec<_> = (0..2 * FIT).filter_map(|_| append(&log, LARGE).err()).collect();
    assert!(matches!(&failed[..], [] | [Error::Io { .. }]), "{failed:?}");
    assert_eq!(log.stats().rolls, 1);
    log.close().unwrap();
}

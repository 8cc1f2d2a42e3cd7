//! What a log does though nobody waits for it: at rest and at its close it has on disk what tells damage to its newest entry
//! from a torn tail, and what an open has left to the first sync is synced at once.

use std::time::Duration;

use super::SimDisk;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::FRAMES_START;
use crate::frame::HEADER_BYTES;
use crate::ids::OpId;
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::primitives::Instant;
use crate::view::{Interrupt, ReadConcern, WaitOutcome};

const PAYLOAD: [u8; 500] = [7; 500];
/// A sync interval that never passes here.
const NEVER: Duration = Duration::from_secs(3600);
/// So long a busy machine may take for what needs a millisecond.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many looks, a millisecond apart at least, that only what never comes is missed.
const LOOKS_MAX: usize = 60_000;

fn open(disk: &SimDisk, sync_interval: Duration) -> Result<Oplog> {
    let options = Options {
        segment_bytes: 16 << 10,
        sync_interval,
        ..Options::default()
    };
    Oplog::on(Box::new(disk.clone()), &options)
}

/// Whether a log whose power is lost now, and whose one entry is damaged then, misses that entry. If not, it has cut it off.
fn is_proven(disk: &SimDisk) -> bool {
    let crashed = disk.crash_to_durable();
    let names = crashed.names().unwrap();
    let segment = names.iter().find(|name| name.ends_with(".seg")).unwrap();
    crashed.edit(segment, |bytes| bytes[FRAMES_START + HEADER_BYTES] ^= 1);
    let log = open(&crashed, NEVER).unwrap();
    match log.view().get(OpId::FIRST, ReadConcern::Durable) {
        Ok(entry) => panic!("{entry:?}"),
        Err(Error::Corrupt { expected, .. }) => {
            assert_eq!((expected, log.watermarks().durable), (OpId::FIRST, OpId::FIRST));
            true
        }
        Err(_) => {
            assert_eq!(log.watermarks().appended, OpId::ZERO);
            false
        }
    }
}

#[test]
fn a_log_at_rest_has_proven_its_newest_entry_on_disk() {
    let disk = SimDisk::new();
    let log = open(&disk, Duration::from_millis(1)).unwrap();
    log.append(200, &PAYLOAD, Durability::Disk).unwrap();
    let looked = |_| {
        std::thread::sleep(Duration::from_millis(1));
        is_proven(&disk)
    };
    assert!((0..LOOKS_MAX).any(looked), "never proven");
}

/// Whether entry `op_id` becomes durable though nobody asks for it.
fn becomes_durable(log: &Oplog, op_id: OpId) -> bool {
    let deadline = Some(Instant::now() + PATIENCE);
    let interrupt = Interrupt::new();
    log.view().wait(op_id, ReadConcern::Durable, deadline, &interrupt) == WaitOutcome::Ready
}

#[test]
fn with_a_pace_entries_become_durable_sooner_than_the_interval_says() {
    let log = open(&SimDisk::new(), NEVER).unwrap();
    log.append(200, &PAYLOAD, Durability::Memory).unwrap();
    log.set_sync_pace(Some(Duration::from_millis(1)));
    // The first may be waited for already, the second is not.
    assert!(
        becomes_durable(&log, OpId::FIRST),
        "the pace is asked for while the log waits"
    );
    log.append(200, &PAYLOAD, Durability::Memory).unwrap();
    assert!(becomes_durable(&log, OpId::new(2)));
    log.set_sync_pace(None);
    log.append(200, &PAYLOAD, Durability::Disk).unwrap();
    log.close().unwrap();
}

/// As without one.
#[test]
fn a_log_with_a_pace_comes_to_rest() {
    let disk = SimDisk::new();
    let log = open(&disk, Duration::from_millis(20)).unwrap();
    log.set_sync_pace(Some(Duration::from_millis(1)));
    log.append(200, &PAYLOAD, Durability::Disk).unwrap();
    let looked = |_| {
        std::thread::sleep(Duration::from_millis(1));
        is_proven(&disk)
    };
    assert!((0..LOOKS_MAX).any(looked), "never proven");
}

#[test]
fn a_closed_log_has_proven_its_newest_entry_on_disk() {
    let disk = SimDisk::new();
    let log = open(&disk, NEVER).unwrap();
    log.append(200, &PAYLOAD, Durability::Disk).unwrap();
    assert!(!is_proven(&disk), "what a close is for");
    log.close().unwrap();
    assert!(is_proven(&disk));
}

/// More than an open waits for.
#[test]
fn what_an_open_leaves_unsynced_becomes_durable_by_itself() {
    let disk = SimDisk::new();
    let log = open(&disk, NEVER).unwrap();
    for _ in 0..4 {
        log.append(200, &PAYLOAD, Durability::Memory).unwrap();
    }
    let killed = disk.kill();
    drop(log);
    let log = open(&killed, NEVER).unwrap();
    assert!(becomes_durable(&log, OpId::new(4)));
    let crashed = killed.crash_to_durable();
    drop(log);
    assert_eq!(open(&crashed, NEVER).unwrap().watermarks().appended, OpId::new(4));
}

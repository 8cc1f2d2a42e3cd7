//! What slots cannot hold, who else reads them, and that removing never holds an append up, on the simulated disk.

use std::sync::Arc;
use std::time::Duration;

use super::{File, SimDisk};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::VERSION;
use crate::frame::crc32;
use crate::ids::OpId;
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::repair::{Keep, apply_on, plan_on};
use crate::retention::Retention;
use crate::slot_file::{OWNER, RETENTION};
use crate::slots::{RetentionSlot, SlotOptions, SlotState};
use crate::verify::{Finding, verify_on};
use crate::view::OplogView;

const KIND: u8 = 200;
const SEGMENT: u64 = 16 << 10;
/// Entries in a segment.
const FIT: u64 = 8;
const WIDE: SlotOptions = SlotOptions {
    max_lag_bytes: u64::MAX,
};

fn open(disk: &SimDisk, retention: Retention) -> Result<Oplog> {
    let options = Options {
        segment_bytes: SEGMENT,
        sync_interval: Duration::from_secs(3600),
        retention,
        ..Options::default()
    };
    Oplog::on(Box::new(disk.clone()), &options)
}

fn hard(segments: u64) -> Retention {
    Retention {
        hard_max_bytes: Some(segments * SEGMENT),
        ..Retention::default()
    }
}

/// Appends `count` entries, of which the last is synced, and lets retention do its work.
fn fill(log: &Oplog, count: u64) -> OpId {
    let mut last = OpId::ZERO;
    for _ in 0..count {
        last = log.append(KIND, &[7; 1400], Durability::Memory).unwrap().last;
    }
    log.sync(last).unwrap();
    log.core().retain().unwrap();
    last
}

fn slot(log: &Oplog, name: &str) -> RetentionSlot {
    log.slots().into_iter().find(|slot| slot.name == name).unwrap()
}

fn segments(log: &Oplog) -> usize {
    log.view().shared.chain.load().links().len()
}

/// Ends the housekeeping thread, which comes round, and writes positions, when it likes; and the one that removes files.
fn end_housekeeping(log: &Oplog) {
    // Each of the log's threads holds one for as long as it runs.
    let holders = Arc::strong_count(log.core());
    log.core().keeper.stop();
    while Arc::strong_count(log.core()) > holders - 2 {
        std::thread::yield_now();
    }
}

fn replace(disk: &SimDisk, name: &str, bytes: Vec<u8>) {
    *disk.state().file(name).unwrap() = File::new(bytes.clone(), bytes);
}

#[test]
fn at_the_hard_limit_slots_without_a_cap_lose_by_name() {
    let disk = SimDisk::new();
    let log = open(&disk, hard(4)).unwrap();
    log.slot_create("dead", OpId::FIRST, WIDE).unwrap();
    log.slot_create("alive", OpId::FIRST, WIDE).unwrap();
    let last = fill(&log, 3 * FIT);
    assert_eq!(slot(&log, "dead").state, SlotState::Active);
    assert_eq!(
        log.watermarks().oldest,
        OpId::FIRST,
        "below the limit all of it is kept"
    );
    log.slot_advance("alive", last.next(), Durability::Memory).unwrap();
    let last = fill(&log, 3 * FIT);
    assert_eq!(
        (slot(&log, "dead").state, slot(&log, "alive").state),
        (SlotState::Lost, SlotState::Active)
    );
    for _ in 0..5 {
        log.slot_advance("alive", log.watermarks().durable.next(), Durability::Memory)
            .unwrap();
        fill(&log, 2 * FIT);
        assert!(segments(&log) <= 4, "{} segments", segments(&log));
    }
    assert!(log.watermarks().oldest > last);
    assert!(matches!(
        log.slot_advance("dead", last, Durability::Memory),
        Err(Error::SlotLost { name, .. }) if name == "dead"
    ));
}

#[test]
fn the_owner_never_loses_and_nobody_else_has_its_name() {
    let disk = SimDisk::new();
    let log = open(&disk, hard(2)).unwrap();
    log.hold_from(OpId::FIRST).unwrap();
    let last = fill(&log, 6 * FIT);
    assert_eq!(
        (slot(&log, OWNER).state, log.watermarks().oldest),
        (SlotState::Active, OpId::FIRST)
    );
    for refused in [
        log.slot_create(OWNER, last, WIDE),
        log.slot_advance(OWNER, last, Durability::Disk).map(drop),
        log.slot_drop(OWNER),
        log.slot_create("tailwater.another", last, WIDE),
    ] {
        assert!(matches!(refused, Err(Error::InvalidSlotName { .. })), "{refused:?}");
    }
    log.close().unwrap();
    // It comes back from power loss, and can be set back as long as the entries are there: with a limit that could be any
    // moment.
    let log = open(&disk, Retention::default()).unwrap();
    log.hold_from(last).unwrap();
    log.hold_from(OpId::new(3 * FIT)).unwrap();
    let crashed = disk.crash_to_durable();
    drop(log);
    let log = open(&crashed, hard(2)).unwrap();
    assert_eq!(slot(&log, OWNER).position, OpId::new(3 * FIT));
    fill(&log, 1);
    let oldest = log.watermarks().oldest;
    assert!(oldest > OpId::FIRST && oldest <= OpId::new(3 * FIT));
    assert!(matches!(
        log.hold_from(oldest.previous()),
        Err(Error::HistoryLost { .. })
    ));
    assert!(matches!(log.hold_from(OpId::new(1000)), Err(Error::Ahead { .. })));
    // What is held is looked at again when it is let go, and when the policy changes.
    log.hold_from(log.watermarks().durable.next()).unwrap();
    log.set_retention(hard(0));
    fill(&log, 1);
    assert!(segments(&log) <= 2);
}

#[test]
fn an_append_that_needs_a_segment_does_not_wait_for_files_that_go() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    let last = fill(&log, 12 * FIT);
    log.close().unwrap();
    disk.hold("remove");
    let log = open(&disk, hard(0)).unwrap();
    disk.await_arrival();
    // More go meanwhile.
    let mut newest = last;
    while newest.get() < last.get() + 4 * FIT {
        newest = log.append(KIND, &[7; 1400], Durability::Disk).unwrap().last;
        log.core().retain().unwrap();
    }
    assert!(log.watermarks().oldest > last);
    disk.release();
    let left = || {
        disk.names()
            .unwrap()
            .iter()
            .filter(|name| name.ends_with(".seg"))
            .count()
    };
    while left() > segments(&log) {
        std::thread::yield_now();
    }
    log.close().unwrap();
    assert!(verify_on(&disk).unwrap().is_sound());
}

#[test]
fn readers_see_the_slots_as_they_are_written() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    let last = fill(&log, 4 * FIT);
    let view = || OplogView::on(Box::new(disk.clone())).unwrap();
    assert!(view().slots().unwrap().is_empty());
    let cap = SlotOptions { max_lag_bytes: 7 << 30 };
    log.slot_create("a", OpId::new(FIT + 2), cap).unwrap();
    log.slot_create("b", last.next(), WIDE).unwrap();
    assert_eq!(view().slots().unwrap(), log.slots());
    end_housekeeping(&log);
    let before = log.slots();
    log.slot_advance("b", last.next(), Durability::Memory).unwrap();
    log.slot_advance("a", last, Durability::Memory).unwrap();
    assert_eq!(view().slots().unwrap(), before, "not written yet");
    log.slot_advance("a", last, Durability::Disk).unwrap();
    assert_eq!(view().slots().unwrap(), log.slots());
    let slots = log.slots();
    assert_eq!((slots[0].lag_entries, slots[1].lag_bytes), (1, 0));
    log.close().unwrap();
    assert_eq!(view().slots().unwrap(), slots);
}

/// Also when the housekeeping thread has not been round yet.
#[test]
fn a_trim_finds_the_slots_that_lag_too_much() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    let last = fill(&log, 4 * FIT);
    log.slot_create("far", OpId::new(2), SlotOptions { max_lag_bytes: 7 })
        .unwrap();
    log.slot_create("near", last, SlotOptions { max_lag_bytes: 7 }).unwrap();
    let oldest = log.trim(last).unwrap();
    assert!(oldest > OpId::new(2 * FIT) && oldest == log.watermarks().oldest);
    assert_eq!(slot(&log, "far").state, SlotState::Lost);
    assert_eq!(slot(&log, "near").state, SlotState::Active);
}

#[test]
fn damaged_slots_are_found_by_verify_and_set_aside_by_a_repair() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    let last = fill(&log, 3 * FIT);
    log.slot_create("one", OpId::new(2), WIDE).unwrap();
    log.close().unwrap();
    let mut bytes = disk.read(RETENTION).unwrap().unwrap();
    bytes[50] ^= 1;
    replace(&disk, RETENTION, bytes.clone());
    let of_the_file = |error: &Error| matches!(error, Error::DamagedMetadata { path, .. } if path.ends_with(RETENTION));
    let report = verify_on(&disk).unwrap();
    assert!(matches!(&report.findings[..], [Finding::Damage(error)] if of_the_file(error)));
    assert!(!report.is_sound());
    assert_eq!(report.newest, last);
    let view = OplogView::on(Box::new(disk.clone())).unwrap();
    assert!(of_the_file(&view.slots().unwrap_err()));

    let plan = plan_on(&disk, Keep::Prefix).unwrap();
    assert_eq!(
        plan.changes
            .iter()
            .map(|change| change.name.as_str())
            .collect::<Vec<_>>(),
        [RETENTION]
    );
    assert!(plan.losses.is_empty());
    let folder = apply_on(&disk, &plan).unwrap().folder.unwrap();
    let kept = folder.file_name().unwrap().to_str().unwrap().to_owned() + "/" + RETENTION;
    assert_eq!(disk.read(&kept).unwrap(), Some(bytes));
    assert!(verify_on(&disk).unwrap().is_sound());
    let log = open(&disk, Retention::default()).unwrap();
    assert_eq!((log.slots().len(), log.watermarks().durable), (0, last));
}

/// Its fields are not known here, so it is longer or shorter than this release's, and not damaged.
#[test]
fn slots_of_a_newer_release_are_named_as_such_however_long_they_are() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    log.slot_create("one", OpId::FIRST, WIDE).unwrap();
    log.close().unwrap();
    for length in [4u32, 28, 500] {
        let mut bytes = b"TAILWRET".to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(VERSION + 1).to_le_bytes());
        bytes.resize(16 + length as usize, 9);
        let crc = crc32(0, &bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        replace(&disk, RETENTION, bytes);
        let view = OplogView::on(Box::new(disk.clone())).unwrap();
        for refused in [
            open(&disk, Retention::default()).map(drop),
            view.slots().map(drop),
            verify_on(&disk).map(drop),
            plan_on(&disk, Keep::Prefix).map(drop),
        ] {
            assert!(
                matches!(&refused, Err(Error::NewerFormat { path, found: 2, .. }) if path.ends_with(RETENTION)),
                "{length}: {refused:?}"
            );
        }
    }
}

/// What is removed is many files; the locks that others need are held only for what is written first.
#[test]
fn an_append_that_needs_a_segment_does_not_wait_for_an_explicit_trim() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    let last = fill(&log, 4 * FIT);
    log.slot_create("a", last, WIDE).unwrap();
    disk.hold("remove");
    let trimming = std::thread::spawn({
        let log = log.clone();
        move || log.trim(last).unwrap()
    });
    disk.await_arrival();
    // Each of them needs the housekeeping thread, which writes the slots after each segment.
    fill(&log, 4 * FIT);
    log.slot_create("b", last, WIDE).unwrap();
    disk.release();
    assert!(trimming.join().unwrap() > OpId::new(FIT));
}

#[test]
fn a_file_that_has_vanished_or_cannot_be_removed_does_not_keep_the_others() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    let last = fill(&log, 5 * FIT);
    let files = || {
        let names = disk.names().unwrap();
        names
            .into_iter()
            .filter(|name| name.ends_with(".seg"))
            .collect::<Vec<_>>()
    };
    let before = files();
    disk.remove(&before[0]).unwrap();
    disk.fail_remove(0, false);
    assert!(matches!(log.trim(last), Err(Error::Io { .. })));
    // Of the log they are gone, all but one from the disk, too.
    let kept = log.watermarks().oldest;
    assert!(kept > OpId::new(2 * FIT));
    assert!(files().contains(&before[1]) && !files().contains(&before[2]));
    let more = fill(&log, 2 * FIT);
    assert!(log.trim(more).unwrap() > kept);
    assert!(!files().contains(&before[1]), "tried again");
    log.close().unwrap();
    assert!(open(&disk, Retention::default()).is_ok());
}

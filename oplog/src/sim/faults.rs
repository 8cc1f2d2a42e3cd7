//! Single faults on the simulated disk: what a failed sync, a full disk and a failed rename do to a log.

use std::sync::mpsc;
use std::time::Duration;

use rustix::io::Errno;

use super::{Rng, SimDisk};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{
    BUFFER, FRAMES_START, MANIFEST, Manifest, RECORD_BYTES, SLOT_OFFSETS, TAIL, TRAILER_BYTES, encode_checked,
};
use crate::frame::{crc32, frame_bytes};
use crate::ids::{OpId, Sequence, Timestamp};
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::segment::Segment;
use crate::view::{OplogView, ReadConcern, read_manifest};

const KIND: u8 = 200;

fn open(disk: &SimDisk) -> Result<Oplog> {
    let options = Options {
        segment_bytes: 16 << 10,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    Oplog::on(Box::new(disk.clone()), &options)
}

fn append(log: &Oplog, durability: Durability) -> Result<OpId> {
    let next = log.watermarks().appended.next();
    log.append(KIND, &payload(next), durability).map(|outcome| outcome.last)
}

fn payload(op_id: OpId) -> Vec<u8> {
    vec![op_id.get() as u8; 500]
}

/// Appends in memory until the next append needs a new segment.
fn fill_segment(disk: &SimDisk, log: &Oplog) {
    disk.fill_up(0, true);
    while append(log, Durability::Memory).is_ok() {}
}

fn check(log: &Oplog, last: OpId) {
    let view = log.view();
    assert_eq!(view.newest(ReadConcern::Local), last);
    let mut cursor = view.cursor_from_oldest(ReadConcern::Local);
    while let Some(entry) = cursor.try_next().unwrap() {
        assert_eq!(entry.payload(), payload(entry.op_id()));
    }
    assert_eq!(cursor.position(), last.next());
}

#[test]
fn a_failed_sync_poisons_the_log_and_reads_go_on() {
    for for_ever in [false, true] {
        let disk = SimDisk::new();
        let log = open(&disk).unwrap();
        let durable = append(&log, Durability::Disk).unwrap();
        disk.fail_sync(0, for_ever);
        assert!(matches!(append(&log, Durability::Disk), Err(Error::Poisoned { durable: d, .. }) if d == durable));

        // The disk would sync again, and say that all is well.
        let appended = log.watermarks().appended;
        assert_eq!(appended, durable.next());
        assert!(matches!(log.sync(appended), Err(Error::Poisoned { .. })));
        assert!(matches!(append(&log, Durability::Memory), Err(Error::Poisoned { .. })));
        assert!(matches!(append(&log, Durability::Disk), Err(Error::Poisoned { .. })));
        assert!(matches!(log.trim(appended), Err(Error::Poisoned { .. })));
        log.sync(durable).unwrap();
        assert_eq!(log.watermarks().durable, durable);
        check(&log, appended);

        let crashed = disk.crash_to_durable();
        assert!(matches!(log.close(), Err(Error::Poisoned { .. })));
        check(&open(&crashed).unwrap(), durable);
    }
}

/// Whoever exports them may be a task.
#[test]
fn statistics_touch_no_file() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    // Before the housekeeping thread has come round, lengths are looked up.
    assert_eq!(log.stats().segment_bytes, 16 << 10);
    while log.stats().rolls < 2 {
        let next = log.view().newest(ReadConcern::Local).next();
        log.append(KIND, &payload(next), Durability::Memory).unwrap();
    }
    let appended = log.view().newest(ReadConcern::Local);
    disk.fail_operation(0, true, Errno::IO);
    let stats = log.stats();
    assert!(!disk.has_operation_failed());
    assert_eq!(
        (stats.watermarks.appended, stats.segment_bytes),
        (appended, 3 * (16 << 10))
    );
}

#[tokio::test]
async fn an_async_waiter_is_told_of_a_failed_sync() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    let last = append(&log, Durability::Memory).unwrap();
    disk.fail_sync(0, false);
    let waited = log.durable(last).await;
    assert!(matches!(waited, Err(Error::Poisoned { .. })), "{waited:?}");
}

/// After a failed sync the kernel takes the pages for clean: they read as new, the disk has the old bytes, and syncing
/// again does nothing. A log reopened on such pages must not call them durable before it has written them once more.
#[test]
fn entries_of_a_failed_sync_are_written_again_when_the_log_is_reopened() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    append(&log, Durability::Disk).unwrap();
    disk.fail_sync(0, false);
    append(&log, Durability::Disk).unwrap_err();
    log.close().unwrap_err();

    let log = open(&disk).unwrap();
    let found = log.watermarks().durable;
    check(&log, found);
    let crashed = disk.crash_to_durable();
    drop(log);
    check(&open(&crashed).unwrap(), found);
}

#[test]
fn a_failed_sync_of_recovery_is_not_forgotten_by_the_next() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    append(&log, Durability::Disk).unwrap();
    append(&log, Durability::Memory).unwrap();
    let disk = disk.kill();
    drop(log);
    disk.fail_sync(0, false);
    assert!(matches!(open(&disk), Err(Error::Io { action: "sync", .. })));

    let log = open(&disk).unwrap();
    let found = log.watermarks().durable;
    assert_eq!(found, OpId::new(2));
    let crashed = disk.crash_to_durable();
    drop(log);
    check(&open(&crashed).unwrap(), found);
}

/// Three entries that are in the log buffer and in no segment, when the writer is killed.
fn killed_with_entries_in_the_buffer() -> SimDisk {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    append(&log, Durability::Disk).unwrap();
    for n in 2..=4 {
        log.append(KIND, &payload(OpId::new(n)), Durability::Memory).unwrap();
    }
    let killed = disk.kill();
    drop(log);
    killed
}

#[test]
fn entries_that_a_killed_writer_left_in_the_buffer_are_moved_by_the_next() {
    let disk = killed_with_entries_in_the_buffer();
    let view = OplogView::on(Box::new(disk.clone())).unwrap();
    assert_eq!(
        view.newest(ReadConcern::Local),
        OpId::new(1),
        "readers do not look into the buffer"
    );
    let log = open(&disk).unwrap();
    check(&log, OpId::new(4));
    log.sync(OpId::new(4)).unwrap();
    let crashed = disk.crash_to_durable();
    log.close().unwrap();
    assert!(
        !disk.names().unwrap().contains(&BUFFER.to_owned()),
        "nothing is left to move"
    );
    check(&open(&crashed).unwrap(), OpId::new(4));
}

#[test]
fn a_damaged_buffer_is_corruption_as_long_as_what_was_in_it_is_missed() {
    for entry in 2..=4u64 {
        let disk = killed_with_entries_in_the_buffer();
        let frame = FRAMES_START + FRAMES_START % 8192 + (entry as usize - 1) * frame_bytes(500);
        disk.edit(BUFFER, |bytes| bytes[frame + 100] ^= 1);
        let refused = open(&disk).unwrap_err();
        assert!(
            matches!(&refused, Error::Corrupt { expected, durable, .. } if expected.get() == entry && durable.get() == 4),
            "{refused:?}"
        );
        // Without its tail page the log claims nothing that only memory held.
        disk.remove(TAIL).unwrap();
        check(&open(&disk).unwrap(), OpId::new(entry - 1));
    }
}

#[test]
fn a_tail_page_or_a_buffer_that_vanished_is_missed_if_it_said_or_held_anything() {
    for (vanished, found) in [(&[TAIL][..], Some(4)), (&[BUFFER], None), (&[TAIL, BUFFER], Some(1))] {
        let disk = killed_with_entries_in_the_buffer();
        for name in vanished {
            disk.remove(name).unwrap();
        }
        match (open(&disk), found) {
            (Ok(log), Some(last)) => check(&log, OpId::new(last)),
            (Err(Error::Corrupt { expected, .. }), None) => assert_eq!(expected, OpId::new(2)),
            (opened, _) => panic!("{vanished:?}: {opened:?}"),
        }
    }
}

#[test]
fn a_failed_write_poisons_the_log_and_nothing_accepted_is_lost() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    let durable = append(&log, Durability::Disk).unwrap();
    disk.fail_write(0, true);
    let next = durable.next();
    let accepted = log.append(KIND, &payload(next), Durability::Memory).unwrap().last;
    assert!(matches!(log.sync(accepted), Err(Error::Poisoned { durable: d, .. }) if d == durable));
    assert!(matches!(
        log.append(KIND, &payload(next.next()), Durability::Memory),
        Err(Error::Poisoned { .. })
    ));
    check(&log, durable);
    let killed = disk.kill();
    log.close().unwrap_err();
    check(&open(&killed).unwrap(), accepted);
    disk.heal();
    check(&open(&disk).unwrap(), accepted);
}

#[test]
fn a_full_disk_fails_the_append_that_needs_a_segment_and_nothing_else() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    fill_segment(&disk, &log);
    let full = log.watermarks().appended;
    for _ in 0..3 {
        assert!(matches!(
            append(&log, Durability::Memory),
            Err(Error::StorageFull { .. })
        ));
        check(&log, full);
    }
    // What still fits is taken, and all of it can be made durable.
    let last = log.append(KIND, &[], Durability::Disk).unwrap().last;
    assert_eq!(last, full.next());
    assert!(
        disk.names().unwrap().iter().all(|name| !name.ends_with(".spare")),
        "{disk:?}"
    );

    disk.heal_space();
    let last = log.append(KIND, &payload(last.next()), Durability::Disk).unwrap().last;
    assert_eq!(log.watermarks().durable, last);
    let crashed = disk.crash_to_durable();
    drop(log);
    let log = open(&crashed).unwrap();
    assert_eq!(log.watermarks().durable, last);
    assert_eq!(
        log.view().get(last, ReadConcern::Durable).unwrap().payload(),
        payload(last)
    );
}

#[test]
fn a_failed_rename_fails_one_append_and_the_next_works() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    fill_segment(&disk, &log);
    disk.heal_space();
    disk.fail_rename();
    assert!(matches!(
        append(&log, Durability::Memory),
        Err(Error::Io { action: "rename", .. })
    ));
    let last = append(&log, Durability::Disk).unwrap();
    check(&log, last);
    let crashed = disk.crash_to_durable();
    drop(log);
    check(&open(&crashed).unwrap(), last);
}

#[test]
fn a_trim_that_power_loss_interrupts_never_leaves_a_manifest_without_its_segment() {
    for operation in 0..8 {
        for seed in 0..20 {
            let disk = SimDisk::new();
            let log = open(&disk).unwrap();
            fill_segment(&disk, &log);
            log.sync(log.watermarks().appended).unwrap();
            disk.heal_space();
            // The new segment's name is not durable yet; everything before it is, and may be trimmed.
            let last = append(&log, Durability::Memory).unwrap();
            disk.lose_power_after(operation, seed);
            let trimmed = log.trim(last);
            let Some(crashed) = disk.after_power_loss() else {
                assert_eq!(trimmed.unwrap(), last);
                continue;
            };
            drop(log);
            let log = open(&crashed).unwrap_or_else(|e| panic!("operation {operation}, seed {seed}: {e:?}"));
            assert!(log.watermarks().appended >= last.previous());
        }
    }
}

/// A directory may keep the name of a segment and lose that of its predecessor, as long as neither has been synced.
#[test]
fn power_loss_after_many_rolls_without_a_sync_leaves_no_gap_in_the_names() {
    for seed in 0..50 {
        let disk = SimDisk::new();
        let log = open(&disk).unwrap();
        while disk
            .names()
            .unwrap()
            .iter()
            .filter(|name| name.ends_with(".seg"))
            .count()
            < 5
        {
            append(&log, Durability::Memory).unwrap();
        }
        let crashed = disk.crash(&mut Rng::new(seed));
        drop(log);
        open(&crashed).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
    }
}

#[test]
fn a_manifest_of_another_log_deletes_nothing() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    append(&log, Durability::Disk).unwrap();
    log.close().unwrap();
    let own = read_manifest(&disk).unwrap();
    let other = Manifest {
        log_id: [7; 16],
        first_sequence: 9,
        first_op_id: 900,
        ..own.clone()
    };
    disk.replace(MANIFEST, &encode_checked(&other, 0)).unwrap();
    assert!(matches!(open(&disk), Err(Error::MissingSegment { sequence: 9, .. })));
    disk.replace(MANIFEST, &encode_checked(&own, 0)).unwrap();
    check(&open(&disk).unwrap(), OpId::new(1));
}

/// "Restore it from a copy", says the error about a damaged manifest; the copy may be old.
#[test]
fn a_manifest_of_an_earlier_term_does_not_make_terms_go_back() {
    let disk = SimDisk::new();
    let mut old = None;
    for _ in 0..5 {
        let log = open(&disk).unwrap();
        old.get_or_insert_with(|| read_manifest(&disk).unwrap());
        append(&log, Durability::Disk).unwrap();
        log.close().unwrap();
    }
    disk.replace(MANIFEST, &encode_checked(&old.unwrap(), 0)).unwrap();
    let log = open(&disk).unwrap();
    let term = log.term();
    let last = append(&log, Durability::Disk).unwrap();
    assert!(term > log.view().get(last.previous(), ReadConcern::Durable).unwrap().term());
    let crashed = disk.crash_to_durable();
    drop(log);
    check(&open(&crashed).unwrap(), last);
}

/// The clock may have been set back while the log was closed, and the search for the end may begin behind the last entry.
#[test]
fn timestamps_grow_across_a_reopening_whatever_the_clock_says() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    append(&log, Durability::Disk).unwrap();
    log.close().unwrap();

    // As if the entry had been written ten years from now.
    let future = Timestamp::now().as_nanos() + 10 * 365 * 86_400 * 1_000_000_000;
    disk.edit("0000000001-00000000000000000001.seg", |bytes| {
        let seed = u32::from_le_bytes(bytes[44..48].try_into().unwrap());
        bytes[FRAMES_START + 24..FRAMES_START + 32].copy_from_slice(&future.to_le_bytes());
        let crc = crc32(seed, &bytes[FRAMES_START + 4..FRAMES_START + frame_bytes(500)]);
        bytes[FRAMES_START..FRAMES_START + 4].copy_from_slice(&crc.to_le_bytes());
    });
    for _ in 0..3 {
        let log = open(&disk).unwrap();
        let before = log
            .view()
            .get(log.watermarks().appended, ReadConcern::Durable)
            .unwrap()
            .timestamp();
        assert!(before.as_nanos() >= future);
        let outcome = log
            .append(KIND, &payload(log.watermarks().appended.next()), Durability::Memory)
            .unwrap();
        assert!(outcome.timestamp > before);
        log.close().unwrap();
    }

    // The same when the newest segment is empty, and its predecessor sealed.
    let log = open(&disk).unwrap();
    fill_segment(&disk, &log);
    disk.heal_space();
    let last = log.watermarks().appended;
    let before = log.view().get(last, ReadConcern::Local).unwrap().timestamp();
    append(&log, Durability::Disk).unwrap();
    log.close().unwrap();
    let name = format!("0000000002-{:020}.seg", last.next().get());
    disk.edit(&name, |bytes| {
        bytes[SLOT_OFFSETS[0]..SLOT_OFFSETS[0] + RECORD_BYTES].fill(0);
        bytes[SLOT_OFFSETS[1]..SLOT_OFFSETS[1] + RECORD_BYTES].fill(0);
        bytes[FRAMES_START..].fill(0);
    });
    // Power loss, so that the tail page says nothing about the entry.
    let log = open(&disk.crash_to_durable()).unwrap();
    assert_eq!(log.watermarks().appended, last);
    assert!(log.append(KIND, &[], Durability::Memory).unwrap().timestamp > before);
}

/// However long it takes: nothing is acknowledged by time.
#[test]
fn a_sync_that_does_not_end_holds_durable_appends_and_bounds_the_others() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    disk.meanwhile(move || {
        started.send(()).unwrap();
        released.recv().unwrap();
    });
    // Not even a spare: as where each of the disk's syncs takes so long.
    disk.fill_up(0, true);
    std::thread::scope(|scope| {
        let (log, disk) = (&log, &disk);
        scope.spawn(move || {
            has_started.recv().unwrap();
            // It comes too late for this sync, and waits for the next.
            let waiting = scope.spawn(|| log.append(KIND, &payload(OpId::new(2)), Durability::Disk));
            while log.watermarks().appended < OpId::new(2) {
                std::thread::yield_now();
            }
            while append(log, Durability::Memory).is_ok() {}
            let marks = log.watermarks();
            // As much as the segment takes, and no more.
            assert!((20..33).contains(&marks.appended.get()), "{marks:?}");
            check(log, marks.appended);
            assert_eq!((marks.durable, marks.released), (OpId::ZERO, OpId::ZERO));
            assert_eq!(log.stats().sync_micros.count(), 0);
            assert!(!waiting.is_finished());
            release.send(()).unwrap();
            assert_eq!(waiting.join().unwrap().unwrap().last, OpId::new(2));
            check(&open(&disk.crash_to_durable()).unwrap(), log.watermarks().durable);
        });
        // This thread owns the disk: its sync is the one that waits.
        assert_eq!(append(log, Durability::Disk).unwrap(), OpId::FIRST);
    });
    let marks = log.watermarks();
    assert_eq!(marks.durable, marks.appended);
    let stats = log.stats();
    let counted = (stats.sync_entries.sum(), stats.sync_micros.count());
    assert_eq!(counted, (marks.durable.get(), 2));
}

/// In a map, where the search looks for the end, each of these would be a SIGBUS.
#[test]
fn a_place_that_cannot_be_read_is_an_error_of_the_open_that_looks_at_it() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    fill_segment(&disk, &log);
    disk.heal_space();
    let full = log.watermarks().appended;
    let last = append(&log, Durability::Disk).unwrap();
    log.close().unwrap();
    let sealed = "0000000001-00000000000000000001.seg".to_owned();
    let newest = format!("0000000002-{:020}.seg", full.next().get());
    let length = 16 << 10;
    let places = [
        ("header", &newest, 0..8),
        ("header", &sealed, 600..608),
        ("last frame", &newest, FRAMES_START..FRAMES_START + 8),
        ("behind the frames", &newest, length - 300..length - 292),
        ("trailer", &sealed, length - 8..length),
        ("index", &sealed, length - TRAILER_BYTES - 4..length - TRAILER_BYTES),
    ];
    for (what, name, range) in places {
        disk.fail_reads(name, range.clone());
        // After a crash of the machine a reader looks for the end as well.
        let rebooted = disk.crash_to_durable();
        rebooted.fail_reads(name, range);
        let refused = [open(&disk).map(drop), OplogView::on(Box::new(rebooted)).map(drop)];
        for refused in refused {
            assert!(
                matches!(&refused, Err(Error::Io { action: "read", path, .. }) if path.ends_with(name)),
                "{what} of {name}: {refused:?}"
            );
        }
    }
    // Frames of a sealed segment are not looked at by an open, but by `verify` before it maps them.
    disk.fail_reads(&sealed, FRAMES_START + 100..FRAMES_START + 108);
    let log = open(&disk).unwrap();
    let segment = Segment::open(&disk, log.log_id(), Sequence::FIRST, OpId::FIRST, false).unwrap();
    let refused = segment.probe(0..segment.length());
    assert!(matches!(refused, Err(Error::Io { action: "read", .. })), "{refused:?}");
    log.close().unwrap();
    disk.heal();
    check(&open(&disk).unwrap(), last);
}

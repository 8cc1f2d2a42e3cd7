//! The surroundings at their worst: a disk that is really full, a directory that cannot be written, readers and copies
//! that come while segments are made and removed.
//!
//! The first two need a file system of their own; see `common/mount.rs`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tailwater_oplog::{Durability, Error, ErrorKind, OpId, Oplog, OplogView, Options, ReadConcern, verify};

mod common;
#[path = "common/mount.rs"]
mod mount;

use common::picture;
use mount::{BTRFS, EXT4, on_loop, on_tmpfs, run};

const KIND: u8 = 200;

fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    }
}

fn payload(op_id: u64, bytes: usize) -> Vec<u8> {
    let mut payload = op_id.to_le_bytes().to_vec();
    payload.resize(bytes, op_id as u8);
    payload
}

fn append(log: &Oplog, bytes: usize, durability: Durability) -> Result<u64, Error> {
    let next = log.watermarks().appended.next().get();
    log.append(KIND, &payload(next, bytes), durability)
        .map(|outcome| outcome.last.get())
}

fn read(view: &OplogView, concern: ReadConcern, bytes: usize) -> Result<u64, Error> {
    let mut cursor = view.cursor_from_oldest(concern);
    while let Some(entry) = cursor.try_next()? {
        assert!(
            entry.payload() == payload(entry.op_id().get(), bytes),
            "entry {}",
            entry.op_id()
        );
    }
    Ok(cursor.position().previous().get())
}

#[test]
fn a_full_disk_is_an_error_and_writing_resumes_when_there_is_space() {
    on_tmpfs(
        "a_full_disk_is_an_error_and_writing_resumes_when_there_is_space",
        "6m",
        full_disk,
    );
}

/// There, an allocation that fails may keep what it has found, and names take blocks of their own.
#[test]
fn a_full_ext4_is_an_error_and_writing_resumes_when_there_is_space() {
    on_loop(
        "a_full_ext4_is_an_error_and_writing_resumes_when_there_is_space",
        EXT4,
        12,
        full_disk,
    );
}

/// There, what is written over goes elsewhere, and space that a file has does not help it. A write that finds none poisons the log;
/// a store into a map would end the process, so what is stored into is made without copy on write.
#[test]
fn a_full_btrfs_ends_no_process_and_takes_nothing_that_was_acknowledged() {
    on_loop(
        "a_full_btrfs_ends_no_process_and_takes_nothing_that_was_acknowledged",
        BTRFS,
        120,
        full_btrfs,
    );
}

fn full_btrfs(mount: &Path) {
    const BYTES: usize = 3_000;
    let dir = mount.join("log");
    let mut durable = 0;
    for round in 0..3 {
        let log = options().open(&dir).unwrap();
        durable = append(&log, BYTES, Durability::Disk).unwrap();
        // What the file system has left, in pieces, so that it has written what it has taken.
        let filler = fs::File::create(mount.join("filler")).unwrap();
        let mut at = 0;
        while std::os::unix::fs::FileExt::write_at(&filler, &[round; 65_536], at).is_ok_and(|n| n == 65_536) {
            at += 65_536;
        }
        let _ = filler.sync_all();
        for n in 0..4_000 {
            let durability = match n % 100 {
                99 => Durability::Disk,
                _ => Durability::Memory,
            };
            match append(&log, BYTES, durability) {
                Ok(last) if matches!(durability, Durability::Disk) => durable = last,
                Ok(_) => {}
                Err(Error::StorageFull { .. } | Error::Poisoned { .. } | Error::Io { .. }) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(read(&log.view(), ReadConcern::Durable, BYTES).unwrap() >= durable);
        drop(log);
        drop(filler);
        fs::remove_file(mount.join("filler")).unwrap();
        run("sync", &["-f", mount.to_str().unwrap()]).unwrap();
    }
    let log = options().open(&dir).unwrap();
    assert!(read(&log.view(), ReadConcern::Durable, BYTES).unwrap() >= durable);
    log.close().unwrap();
    assert!(verify(&dir).unwrap().findings.is_empty());
}

fn full_disk(mount: &Path) {
    let filler = mount.join("filler");
    fs::write(&filler, vec![1; 1_500_000]).unwrap();
    let dir = mount.join("log");
    let log = options().open(&dir).unwrap();
    let fill = || loop {
        if let Err(error) = append(&log, 50_000, Durability::Memory) {
            break error;
        }
    };
    for _ in 0..3 {
        let error = fill();
        assert!(
            matches!(&error, Error::StorageFull { path, bytes: 1_048_576, .. } if *path == dir),
            "{error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::Environment);
    }
    let last = log.watermarks().appended;
    assert!(last.get() > 50, "{last}");
    // What is there can be read, and made durable.
    assert_eq!(read(&log.view(), ReadConcern::Local, 50_000).unwrap(), last.get());
    log.sync(last).unwrap();
    assert_eq!(
        read(&OplogView::open(&dir).unwrap(), ReadConcern::Durable, 50_000).unwrap(),
        last.get()
    );
    // What could not be allocated whole does not stay behind.
    let spares = fs::read_dir(&dir)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "spare"));
    assert_eq!(spares.count(), 0);

    fs::remove_file(&filler).unwrap();
    assert_eq!(append(&log, 50_000, Durability::Disk).unwrap(), last.next().get());
    let error = fill();
    assert!(matches!(error, Error::StorageFull { .. }), "{error:?}");
    let last = log.watermarks().appended;
    log.close().unwrap();

    // Opening writes a manifest. Without even that much space it fails by name, and works afterwards.
    let full = fs::File::create(mount.join("rest")).unwrap();
    let mut pieces = 0u64;
    while std::os::unix::fs::FileExt::write_at(&full, &[1; 4096], pieces * 4096).is_ok_and(|n| n == 4096) {
        pieces += 1;
    }
    let error = options().open(&dir).unwrap_err();
    assert!(
        matches!(&error, Error::Io { .. } | Error::StorageFull { .. }) && error.kind() == ErrorKind::Environment,
        "{error:?}"
    );
    drop(full);
    fs::remove_file(mount.join("rest")).unwrap();
    let log = options().open(&dir).unwrap();
    assert_eq!(read(&log.view(), ReadConcern::Durable, 50_000).unwrap(), last.get());
    let oldest = log.trim(last).unwrap();
    assert!(oldest > OpId::FIRST);
    append(&log, 50_000, Durability::Disk).unwrap();
    log.close().unwrap();
    assert!(verify(&dir).unwrap().findings.is_empty());
}

#[test]
fn a_read_only_file_system_can_be_read_and_not_written() {
    on_tmpfs("a_read_only_file_system_can_be_read_and_not_written", "8m", |mount| {
        let dir = mount.join("log");
        let log = options().open(&dir).unwrap();
        for _ in 0..100 {
            append(&log, 20_000, Durability::Memory).unwrap();
        }
        log.close().unwrap();
        // Once with the tail page of this boot, once without, and once without even the lock file.
        for missing in [None, Some("TAIL"), Some("LOCK")] {
            if let Some(name) = missing {
                fs::remove_file(dir.join(name)).unwrap();
            }
            let before = picture(&dir);
            run("mount", &["-o", "remount,bind,ro", mount.to_str().unwrap()]).unwrap();
            let error = options().open(&dir).unwrap_err();
            assert!(
                matches!(&error, Error::Io { path, .. } if path.starts_with(&dir)),
                "{error:?}"
            );
            assert_eq!(error.kind(), ErrorKind::Environment);
            assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");

            let view = OplogView::open(&dir).unwrap();
            assert_eq!(read(&view, ReadConcern::Durable, 20_000).unwrap(), 100);
            assert!(verify(&dir).unwrap().findings.is_empty());
            // A reader that cannot ring still ends its waits.
            let soon = Some(std::time::Instant::now() + Duration::from_millis(5));
            let _ = view.wait(
                OpId::new(101),
                ReadConcern::Durable,
                soon,
                &tailwater_oplog::Interrupt::new(),
            );
            assert!(picture(&dir) == before, "a reader has changed something");
            drop(view);
            run("mount", &["-o", "remount,bind,rw", mount.to_str().unwrap()]).unwrap();
        }
    });
}

#[test]
fn a_reader_changes_nothing_in_a_directory_it_could_write() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    let log = options().open(&dir).unwrap();
    for _ in 0..100 {
        append(&log, 20_000, Durability::Memory).unwrap();
    }
    log.close().unwrap();
    fs::remove_file(dir.join("TAIL")).unwrap();
    let before = picture(&dir);
    assert_eq!(
        read(&OplogView::open(&dir).unwrap(), ReadConcern::Durable, 20_000).unwrap(),
        100
    );
    verify(&dir).unwrap();
    assert!(picture(&dir) == before);
}

/// Writes, rolls and trims until told to stop, while the test does something else to the same directory.
fn busy_log(test: impl FnOnce(&Path)) {
    let temporary = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let dir = temporary.path().join("log");
    let log = options().open(&dir).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let last = append(&log, 100_000, Durability::Disk).unwrap();
                if last > 30 {
                    log.trim(OpId::new(last - 25)).unwrap();
                }
            }
        });
        let stop_at_end = StopAtEnd(&stop);
        test(&dir);
        drop(stop_at_end);
    });
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_and_verify_come_while_segments_are_rolled_and_trimmed() {
    busy_log(|dir| {
        for round in 0..1_500 {
            let view = OplogView::open(dir).unwrap_or_else(|e| panic!("round {round}: {e:?}"));
            match read(&view, ReadConcern::Durable, 100_000) {
                Ok(_) | Err(Error::HistoryLost { .. }) => {}
                Err(error) => panic!("round {round}: {error:?}"),
            }
            if round % 10 == 0 {
                let report = verify(dir).unwrap_or_else(|e| panic!("round {round}: {e:?}"));
                assert!(report.is_sound(), "round {round}: {:?}", report.findings);
            }
        }
    });
}

/// `cp` of a live log is not a snapshot: it may have a newer segment without an older one's end. What it must not do is
/// yield wrong entries, or fewer without saying so.
#[test]
fn a_copy_made_under_load_reads_right_or_is_refused_by_name() {
    // Whether a copy comes between two rolls is luck: it goes on until some have, but not for ever.
    let (enough, rounds_min, rounds_max) = (3, 40, 4_000);
    let (mut opened, mut sound) = (0, 0);
    busy_log(|dir| {
        for round in 0..rounds_max {
            if round >= rounds_min && opened >= enough && sound > 0 {
                break;
            }
            let copy = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
            for file in fs::read_dir(dir).unwrap() {
                let file = file.unwrap();
                // A file may be gone since the directory was read.
                let _ = fs::copy(file.path(), copy.path().join(file.file_name()));
            }
            let report = verify(copy.path());
            match options().open(copy.path()) {
                Ok(log) => {
                    let last = read(&log.view(), ReadConcern::Durable, 100_000);
                    if report.is_ok_and(|report| report.is_sound()) {
                        assert_eq!(last.unwrap(), log.watermarks().durable.get(), "round {round}");
                        sound += 1;
                    }
                    opened += 1;
                }
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Environment),
                    "round {round}: {error:?}"
                ),
            }
        }
    });
    assert!(
        opened >= enough && sound > 0,
        "{opened} copies could be opened, {sound} of them were sound"
    );
}

/// Where the kernel says which boot of the machine this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const WITHOUT_BOOT_ID: &str = "TAILWATER_WITHOUT_BOOT_ID";

/// As in a sandbox that has no `/proc`: what is in the tail page may be from before a power loss.
#[test]
#[expect(clippy::print_stderr, reason = "says what was not checked, and why")]
fn without_a_boot_id_nobody_writes_and_no_tail_page_counts() {
    let name = "without_a_boot_id_nobody_writes_and_no_tail_page_counts";
    if let Some(dir) = std::env::var_os(WITHOUT_BOOT_ID) {
        let dir = Path::new(&dir);
        let error = options().open(dir).unwrap_err();
        assert!(
            matches!(&error, Error::NoBootId { path, .. } if path == Path::new(BOOT_ID)),
            "{error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::Environment);
        let view = OplogView::open(dir).unwrap();
        assert_eq!(view.newest(ReadConcern::Durable), OpId::new(3), "what is whole");
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    let log = options().open(&dir).unwrap();
    for _ in 0..3 {
        append(&log, 100, Durability::Disk).unwrap();
    }
    // A live page would hide these: they are in the segment, and not durable.
    log.close().unwrap();
    let tail = dir.join("TAIL");
    let mut page = fs::read(&tail).unwrap();
    // Durable and released, see docs/oplog-format.md.
    for at in [576, 640] {
        page[at..at + 8].copy_from_slice(&1u64.to_le_bytes());
    }
    let file = fs::OpenOptions::new().write(true).open(&tail).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &page, 0).unwrap();
    let live = OplogView::open(&dir).unwrap();
    assert_eq!(live.newest(ReadConcern::Durable), OpId::FIRST, "the page counts here");

    let empty = temporary.path().join("empty");
    fs::write(&empty, "").unwrap();
    let inside = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args([
            "-rm",
            "sh",
            "-c",
            &format!("mount --bind \"$0\" {BOOT_ID} && {command}"),
        ]);
        unshare.arg(&empty).arg(std::env::current_exe().unwrap());
        unshare.env(WITHOUT_BOOT_ID, &dir).output().unwrap()
    };
    if !inside("true").status.success() {
        eprintln!("{name} HAS CHECKED NOTHING: unshare -rm is not permitted");
        return;
    }
    let output = inside(&format!("exec \"$1\" --exact {name}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

//! What readers and logs that do nothing cost in memory of their own, in bytes counted by the allocator. Their maps are the
//! file cache's, shared by all who map the same file, and not counted.

use std::time::Duration;

use allocation_counter::measure;
use tailwater_oplog::{Cursor, Durability, OpId, Oplog, OplogView, Options, ReadConcern};
use tempfile::TempDir;

const KIND: u8 = 200;
const READERS: u64 = 1_000;
/// For a thousand readers together.
const READERS_BYTES_MAX: i64 = 10 << 20;
/// For a log that nobody reads or writes; most of it is the index of the largest below, 4 bytes for every eighth entry.
const IDLE_BYTES_MAX: i64 = 68 << 10;

fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    }
}

/// A log with four entries for each reader.
fn log(options: &Options) -> (TempDir, Oplog) {
    let dir = tempfile::tempdir().unwrap();
    let log = options.open(dir.path()).unwrap();
    for n in 0..4 * READERS {
        log.append(KIND, &[n as u8; 4_000], Durability::Memory).unwrap();
    }
    log.sync(OpId::new(4 * READERS)).unwrap();
    (dir, log)
}

/// Bytes that stay allocated by `act`, on this thread.
fn kept(act: impl FnOnce()) -> i64 {
    measure(act).bytes_current
}

/// Opens a thousand readers, each of which has read the entry at a place of its own.
fn readers(view: &OplogView) -> Vec<Cursor> {
    let open = |n| {
        let mut cursor = view.cursor(OpId::new(1 + 4 * n), ReadConcern::Durable).unwrap();
        assert!(cursor.try_next().unwrap().is_some());
        cursor
    };
    (0..READERS).map(open).collect()
}

/// In sixteen segments, and in one of the usual length, of which none is sealed.
#[test]
fn a_thousand_readers_of_one_log_cost_less_than_ten_mebibytes() {
    for options in [options(), Options::default()] {
        read_by_a_thousand(&options);
    }
}

fn read_by_a_thousand(options: &Options) {
    let (dir, log) = log(options);
    for (whose, view) in [
        ("the writer's process", log.view()),
        ("another", OplogView::open(dir.path()).unwrap()),
    ] {
        let mut all = Vec::new();
        let bytes = kept(|| all = readers(&view));
        assert!((1..READERS_BYTES_MAX).contains(&bytes), "{bytes} bytes in {whose}");
        // Reading on costs nothing more.
        let more = kept(|| {
            for cursor in &mut all {
                for _ in 0..3 {
                    assert!(cursor.try_next().unwrap().is_some());
                }
            }
        });
        assert!(more < READERS_BYTES_MAX - bytes, "{more} bytes more in {whose}");
        // Each looks entries up besides, here and there.
        let more = kept(|| {
            for n in (0..4 * READERS).map(|n| n * 7 % (4 * READERS)) {
                assert!(view.get(OpId::new(1 + n), ReadConcern::Durable).is_ok());
            }
        });
        assert!(more < READERS_BYTES_MAX - bytes, "{more} bytes for look-ups in {whose}");
    }
}

/// They follow the log, and what they read last is still in its buffer: a short entry, one of some pages, a long one.
#[test]
fn a_thousand_readers_at_the_tail_cost_less_than_ten_mebibytes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 64 << 20,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    let log = options.open(dir.path()).unwrap();
    log.append(KIND, &[0], Durability::Memory).unwrap();
    let view = log.view();
    let mut all = Vec::new();
    let bytes = kept(|| {
        all.extend((0..READERS).map(|_| view.cursor(OpId::FIRST, ReadConcern::Local).unwrap()));
        for length in [300, 5_000, 15_000, 400_000, 300] {
            let last = log.append(KIND, &vec![7; length], Durability::Memory).unwrap().last;
            for cursor in &mut all {
                while cursor.try_next().unwrap().is_some() {}
                assert_eq!(cursor.position(), last.next());
            }
        }
    });
    assert!((1..READERS_BYTES_MAX).contains(&bytes), "{bytes} bytes");
    // Each is as large at rest whatever it has read last.
    for length in [5_000, 15_000, 400_000] {
        log.append(KIND, &vec![7; length], Durability::Memory).unwrap();
        let more = kept(|| {
            for cursor in &mut all {
                assert!(cursor.try_next().unwrap().is_some());
                assert!(cursor.try_next().unwrap().is_none());
            }
        });
        assert!(
            bytes + more < READERS_BYTES_MAX,
            "{bytes} bytes and {more} after {length}"
        );
    }
}

/// Whether its segments are small or as by default, and whether they hold large entries or a hundred thousand small ones.
#[test]
fn a_log_at_rest_costs_some_kibibytes_beside_its_maps() {
    for (options, payload, entries) in [
        (options(), 4_000, 4 * READERS),
        (Options::default(), 4_000, 4 * READERS),
        (Options::default(), 20, 100_000),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let log = options.open(dir.path()).unwrap();
        for _ in 0..entries {
            log.append(KIND, &vec![7; payload], Durability::Memory).unwrap();
        }
        log.close().unwrap();
        let what = format!(
            "{entries} entries of {payload} in segments of {}",
            options.segment_bytes
        );
        let mut view = None;
        let bytes = kept(|| {
            let opened = OplogView::open(dir.path()).unwrap();
            let last = OpId::new(entries);
            assert_eq!(opened.get(last, ReadConcern::Durable).unwrap().op_id(), last);
            view = Some(opened);
        });
        assert!(
            (1..IDLE_BYTES_MAX).contains(&bytes),
            "{bytes} bytes for a reader: {what}"
        );
        drop(view);
        let mut log = None;
        let bytes = kept(|| log = Some(options.open(dir.path()).unwrap()));
        assert!(
            (1..IDLE_BYTES_MAX).contains(&bytes),
            "{bytes} bytes for a writer: {what}"
        );
    }
}

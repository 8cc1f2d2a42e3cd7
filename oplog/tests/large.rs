//! Segments of the largest length: what they cost is what is written into them, when they are made, and when a log is opened,
//! cut and read.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use allocation_counter::measure;
use rustix::fs::SeekFrom;
use tailwater_oplog::{
    Durability, Error, OpId, Oplog, OplogView, Options, ReadConcern, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, verify,
};

const KIND: u8 = 200;
const MIB: u64 = 1 << 20;
/// What is filled with zeros when a segment is made, and a little.
const WRITTEN_MAX: u64 = 65 * MIB;
/// For a log with segments of 2 GiB, a small index and the pieces in which it writes.
const HEAP_MAX: u64 = 8 * MIB;

fn options(segment_bytes: u64) -> Options {
    Options {
        segment_bytes,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    }
}

/// On the file system of temporary files: one in memory would take the memory.
#[expect(clippy::print_stderr, reason = "says what was not checked, and why")]
fn with_room(test: impl FnOnce(&Path, Oplog)) {
    let dir = tempfile::tempdir().unwrap();
    match options(SEGMENT_BYTES_MAX).open(dir.path()) {
        Ok(log) => test(dir.path(), log),
        Err(error @ Error::StorageFull { .. }) => eprintln!("nothing was checked: {error}"),
        Err(error) => panic!("{error:?}"),
    }
}

fn append(log: &Oplog, bytes: usize, durability: Durability) -> OpId {
    let next = log.watermarks().appended.next();
    log.append(KIND, &vec![next.get() as u8; bytes], durability)
        .unwrap()
        .last
}

/// Reads the whole log; returns how many entries it has.
fn read(view: &OplogView) -> u64 {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    while let Some(entry) = cursor.try_next().unwrap() {
        let expected = entry.op_id().get() as u8;
        assert!(entry.payload().iter().all(|&byte| byte == expected));
    }
    cursor.position().get() - 1
}

fn newest(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .max()
        .unwrap()
}

/// Bytes of a file that have been written; all of them on a file system that does not know.
fn written(path: &Path) -> u64 {
    let file = fs::File::open(path).unwrap();
    let (mut at, mut written) = (0, 0);
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        written += at - start;
    }
    written
}

/// What `act` has allocated at most, at once, on this thread.
fn peak(act: impl FnOnce()) -> u64 {
    measure(act).bytes_max
}

#[test]
fn a_log_of_segments_of_two_gibibytes_costs_what_is_written() {
    with_room(|dir, log| {
        let segment = newest(dir);
        let metadata = fs::metadata(&segment).unwrap();
        assert_eq!(metadata.len(), SEGMENT_BYTES_MAX);
        // There is room for all of it, and little was written.
        assert!(metadata.blocks() * 512 >= SEGMENT_BYTES_MAX);
        let knows_holes = written(&segment) < SEGMENT_BYTES_MAX;
        assert!(!knows_holes || written(&segment) <= WRITTEN_MAX);

        for n in 0..2_000 {
            append(&log, n % 500, Durability::Memory);
        }
        let last = append(&log, 30 << 20, Durability::Disk);
        assert_eq!(read(&log.view()), last.get());
        log.close().unwrap();

        // What a crash may leave behind the end, kept and cut.
        let file = OpenOptions::new().write(true).open(&segment).unwrap();
        file.write_all_at(&vec![0xa5; 5 << 20], 80 * MIB).unwrap();
        drop(file);
        let mut log = None;
        let allocated = peak(|| log = Some(options(SEGMENT_BYTES_MAX).open(dir).unwrap()));
        assert!(allocated < HEAP_MAX, "{allocated} bytes to open and cut");
        let log = log.unwrap();
        assert_eq!(log.watermarks().appended, last);
        let torn = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
        let torn: Vec<_> = torn
            .filter(|path| path.extension().is_some_and(|e| e == "bin"))
            .collect();
        assert_eq!(torn.len(), 1, "{torn:?}");
        assert!(fs::read(&torn[0]).unwrap().ends_with(&[0xa5; 5 << 20]));
        let last = append(&log, 10, Durability::Disk);
        log.close().unwrap();
        let mut found = 0;
        let allocated = peak(|| found = read(&OplogView::open(dir).unwrap()));
        assert_eq!(found, last.get());
        assert!(allocated < HEAP_MAX, "{allocated} bytes to open and read");
        assert!(verify(dir).unwrap().is_sound());
    });
}

/// The options are for segments made from then on: a log goes from the smallest into the largest and back.
#[test]
fn a_log_goes_through_segments_of_every_length() {
    with_room(|_, log| {
        drop(log);
        let dir = tempfile::tempdir().unwrap();
        for (segment_bytes, large) in [(SEGMENT_BYTES_MIN, 5), (SEGMENT_BYTES_MAX, 20 << 20)] {
            let log = options(segment_bytes).open(dir.path()).unwrap();
            let rolls = |log: &Oplog| log.stats().rolls;
            let before = fs::metadata(newest(dir.path())).unwrap().len();
            assert_eq!(before, SEGMENT_BYTES_MIN);
            while rolls(&log) == 0 {
                append(&log, 200_000, Durability::Memory);
            }
            let last = append(&log, large, Durability::Disk);
            assert_eq!(read(&log.view()), last.get());
            log.close().unwrap();
            assert_eq!(fs::metadata(newest(dir.path())).unwrap().len(), segment_bytes);
        }
        assert!(verify(dir.path()).unwrap().is_sound());
        // An entry that needs the large one does not fit a small one.
        let dir = tempfile::tempdir().unwrap();
        let log = options(SEGMENT_BYTES_MIN).open(dir.path()).unwrap();
        let refused = log.append(KIND, &vec![0; 5 << 20], Durability::Memory);
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    });
}

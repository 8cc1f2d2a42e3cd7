//! A process that reaches its limits: on the length of files, on open files, on address space. What does not go is an error
//! that names a file; nothing ends the process, and the same call works when there is room again.
//!
//! A limit holds for the whole process, so each test runs in a process of its own: it starts itself again, and an
//! environment variable says that this has been done.

use std::error::Error as _;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use memmap2::{MmapOptions, MmapRaw};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tailwater_oplog::{Durability, Error, ErrorKind, OpId, Oplog, OplogView, Options, ReadConcern, verify};

mod common;

use common::{names, temporary};

const KIND: u8 = 200;
const MIB: u64 = 1 << 20;
/// So many looks, a millisecond apart at least, that only what never comes is missed.
const LOOKS_MAX: usize = 60_000;
/// Of each thread: so large that the C library keeps none that has ended for the next one.
const STACK: u64 = 64 * MIB;
const ALONE: &str = "TAILWATER_LIMITS_ALONE";

/// Runs `test`, the test of that name, in a process of its own.
fn alone(name: &str, test: impl FnOnce(&Path)) {
    if std::env::var_os(ALONE).is_some() {
        return test(temporary().path());
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env(ALONE, "1")
        .env("RUST_MIN_STACK", STACK.to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
}

/// A limit of this process, as it was before.
struct Limit(Resource, Rlimit);

impl Limit {
    fn set(resource: Resource, value: u64) -> Limit {
        let before = getrlimit(resource);
        let current = Some(value);
        setrlimit(resource, Rlimit { current, ..before }).unwrap();
        Limit(resource, before)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        setrlimit(self.0, self.1).unwrap();
    }
}

fn options(segment_bytes: u64) -> Options {
    Options {
        segment_bytes,
        // Full segments are synced, sealed and closed when a test says so.
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    }
}

fn append(log: &Oplog, durability: Durability) -> Result<OpId, Error> {
    log.append(KIND, &[7; 50_000], durability).map(|outcome| outcome.last)
}

/// Appends until that is refused.
fn fill(log: &Oplog) -> Error {
    loop {
        if let Err(error) = append(log, Durability::Memory) {
            return error;
        }
    }
}

fn count(view: &OplogView) -> u64 {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let mut count = 0;
    while let Some(entry) = cursor.try_next().unwrap() {
        assert_eq!(entry.payload(), [7; 50_000]);
        count += 1;
    }
    count
}

/// What the system said, of an error of the environment that names something in `dir`.
fn refused(error: &Error, dir: &Path) -> (io::ErrorKind, String) {
    assert_eq!(error.kind(), ErrorKind::Environment, "{error:?}");
    assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    let Error::Io { source, .. } = error else {
        panic!("{error:?}")
    };
    (source.kind(), error.source().unwrap().to_string())
}

#[test]
fn a_limit_on_file_length_refuses_what_would_end_the_process() {
    alone(
        "a_limit_on_file_length_refuses_what_would_end_the_process",
        |temporary| {
            let dir = temporary.join("log");
            let too_large = |error: &Error| {
                let (kind, said) = refused(error, &dir);
                assert_eq!(kind, io::ErrorKind::FileTooLarge, "{error:?}");
                assert!(said.contains("RLIMIT_FSIZE"), "{said}");
            };
            // A new log; not even the manifest fits; and one that is there.
            for limit in [MIB - 1, 10] {
                let limit = Limit::set(Resource::Fsize, limit);
                too_large(&options(MIB).open(&dir).unwrap_err());
                drop(limit);
            }
            let log = options(MIB).open(&dir).unwrap();
            for _ in 0..15 {
                append(&log, Durability::Disk).unwrap();
            }
            log.close().unwrap();
            let limit = Limit::set(Resource::Fsize, MIB / 2);
            too_large(&options(MIB).open(&dir).unwrap_err());
            // Readers write nothing.
            assert_eq!(count(&OplogView::open(&dir).unwrap()), 15);
            drop(limit);

            // The next segment does not fit: one append fails, and goes through when it does.
            let limit = Limit::set(Resource::Fsize, 2 * MIB);
            let log = options(4 * MIB).open(&dir).unwrap();
            let error = fill(&log);
            too_large(&error);
            let last = log.watermarks().appended;
            log.sync(last).unwrap();
            assert_eq!(count(&log.view()), last.get());
            assert!(names(&dir).iter().all(|name| !name.ends_with(".spare")));
            drop(limit);
            assert_eq!(append(&log, Durability::Disk).unwrap(), last.next());
            log.close().unwrap();
            assert!(verify(&dir).unwrap().findings.is_empty());
        },
    );
}

/// Opens files until there are no more descriptors.
fn exhaust() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn no_descriptors(error: &Error, dir: &Path) {
    let (_, said) = refused(error, dir);
    assert!(said.contains("Too many open files"), "{said}");
}

#[test]
fn without_descriptors_calls_fail_by_name_and_the_log_goes_on() {
    alone(
        "without_descriptors_calls_fail_by_name_and_the_log_goes_on",
        |temporary| {
            let dir = temporary.join("log");
            // However far it comes.
            let mut refusals = 0;
            let log = loop {
                let limit = Limit::set(Resource::Nofile, 100);
                let mut files = exhaust();
                files.truncate(files.len().saturating_sub(refusals));
                let opened = options(MIB).open(&dir);
                drop((files, limit));
                match opened {
                    Ok(log) => break log,
                    Err(error) => no_descriptors(&error, &dir),
                }
                refusals += 1;
            };
            assert!(refusals > 3, "{refusals}");

            // Into the second segment, which has been prepared; a sync of full segments takes no descriptor.
            for _ in 0..15 {
                append(&log, Durability::Disk).unwrap();
            }
            let prepared = |_| {
                std::thread::sleep(Duration::from_millis(1));
                names(&dir).iter().any(|name| name.ends_with(".spare"))
            };
            assert!((0..LOOKS_MAX).any(prepared), "no segment was prepared");
            let limit = Limit::set(Resource::Nofile, 200);
            let mut files = exhaust();
            for _ in 0..10 {
                append(&log, Durability::Disk).unwrap();
            }
            // The third segment cannot be prepared.
            let error = fill(&log);
            no_descriptors(&error, &dir);
            let last = log.watermarks().appended;
            log.sync(last).unwrap();
            assert!(!log.stats().poisoned);
            // Segments that were sealed meanwhile have been closed.
            files.extend(exhaust());
            no_descriptors(&OplogView::open(&dir).unwrap_err(), &dir);
            no_descriptors(&options(MIB).open(&dir).unwrap_err(), &dir);
            drop((files, limit));
            assert_eq!(append(&log, Durability::Disk).unwrap(), last.next());
            assert_eq!(count(&log.view()), last.get() + 1);
            log.close().unwrap();
            assert!(verify(&dir).unwrap().findings.is_empty());
        },
    );
}

/// Each of the readers stands in a segment of its own, and one walks through all of them: what is mapped takes no descriptor.
#[test]
fn readers_in_more_segments_than_there_are_descriptors_find_them_all() {
    alone(
        "readers_in_more_segments_than_there_are_descriptors_find_them_all",
        |temporary| {
            const SEGMENTS: u64 = 90;
            let dir = temporary.join("log");
            // One entry in each.
            let payload = vec![7; 600_000];
            let log = options(MIB).open(&dir).unwrap();
            for _ in 0..SEGMENTS {
                log.append(KIND, &payload, Durability::Memory).unwrap();
            }
            log.sync(OpId::new(SEGMENTS)).unwrap();
            log.close().unwrap();
            let log = options(MIB).open(&dir).unwrap();
            let limit = Limit::set(Resource::Nofile, 64);
            for view in [OplogView::open(&dir).unwrap(), log.view()] {
                let mut readers: Vec<_> = (1..=SEGMENTS)
                    .map(|n| {
                        let mut cursor = view.cursor(OpId::new(n), ReadConcern::Durable).unwrap();
                        assert_eq!(cursor.try_next().unwrap().unwrap().payload(), payload, "entry {n}");
                        cursor
                    })
                    .collect();
                let mut walker = view.cursor_from_oldest(ReadConcern::Durable);
                while walker.try_next().unwrap().is_some() {}
                assert_eq!(walker.position().get(), SEGMENTS + 1);
                // Held by readers, all of them are there yet.
                for (n, cursor) in (2..).zip(&mut readers) {
                    let next = cursor.try_next().unwrap();
                    assert_eq!(next.map(|entry| entry.op_id().get()), (n <= SEGMENTS).then_some(n));
                }
                assert!(exhaust().len() > 16, "readers hold descriptors");
            }
            drop(limit);
        },
    );
}

/// Bytes of address space that this process uses.
fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kilobytes = kilobytes.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.unwrap().parse::<u64>().unwrap() << 10
}

/// Maps a file until there are no more maps, of which there are `most`. Each begins where the others do, so that none are joined.
fn exhaust_maps(file: &File, most: usize) -> Vec<MmapRaw> {
    let mut maps = Vec::with_capacity(most + 2);
    while let Ok(map) = MmapOptions::new().len(4096).map_raw_read_only(file) {
        maps.push(map);
    }
    maps
}

#[test]
fn a_segment_for_which_there_are_too_many_maps_is_an_error_by_name() {
    alone(
        "a_segment_for_which_there_are_too_many_maps_is_an_error_by_name",
        |temporary| {
            let most = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
            let most = most.trim().parse().unwrap();
            if most > 1 << 18 {
                // Where there may be millions, memory ends before.
                return;
            }
            let dir = temporary.join("log");
            let log = options(MIB).open(&dir).unwrap();
            append(&log, Durability::Disk).unwrap();
            await_threads();
            let view = OplogView::open(&dir).unwrap();
            let other = OplogView::open(&dir).unwrap();
            let read = |view: &OplogView| view.get(OpId::FIRST, ReadConcern::Durable).map(drop);
            read(&view).unwrap();
            let mut maps = exhaust_maps(&File::open(dir.join("MANIFEST")).unwrap(), most);
            let error = read(&other).unwrap_err();
            let (kind, _) = refused(&error, &dir);
            assert_eq!(kind, io::ErrorKind::OutOfMemory, "{error:?}");
            // What is mapped goes on.
            read(&view).unwrap();
            let last = append(&log, Durability::Disk).unwrap();
            maps.truncate(most / 2);
            read(&other).unwrap();
            assert_eq!(append(&log, Durability::Disk).unwrap(), last.next());
            drop(maps);
            log.close().unwrap();
            assert!(verify(&dir).unwrap().findings.is_empty());
        },
    );
}

/// The same error, and the same way out, as where there are too many maps.
#[test]
fn a_segment_that_cannot_be_mapped_is_an_error_by_name() {
    alone("a_segment_that_cannot_be_mapped_is_an_error_by_name", |temporary| {
        let dir = temporary.join("log");
        let large = options(256 * MIB);
        let log = large.open(&dir).unwrap();
        append(&log, Durability::Disk).unwrap();
        log.close().unwrap();
        let limit = Limit::set(Resource::As, address_space() + 128 * MIB);
        // A view maps a segment when an entry of it is looked for.
        let view = OplogView::open(&dir).unwrap();
        let read = |view: &OplogView| view.get(OpId::FIRST, ReadConcern::Durable).map(drop);
        for error in [large.open(&dir).unwrap_err(), read(&view).unwrap_err()] {
            let (kind, _) = refused(&error, &dir);
            assert_eq!(kind, io::ErrorKind::OutOfMemory, "{error:?}");
        }
        drop(limit);
        read(&view).unwrap();
        assert_eq!(count(&large.open(&dir).unwrap().view()), 1);
    });
}

/// Names of this process's threads that are a log's.
fn log_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("tailwater-")).collect()
}

/// Waits until the threads of a log run: one that comes to that under a limit may not find room for what it begins with.
fn await_threads() {
    let run = |_| {
        std::thread::sleep(Duration::from_millis(1));
        log_threads().len() == 4
    };
    assert!((0..LOOKS_MAX).any(run), "{:?}", log_threads());
}

/// However much room there is: for no file, for all files and no thread, for some threads.
#[test]
fn an_open_that_cannot_start_its_threads_leaves_none_and_a_free_directory() {
    alone(
        "an_open_that_cannot_start_its_threads_leaves_none_and_a_free_directory",
        |temporary| {
            let dir = temporary.join("log");
            options(MIB).open(&dir).unwrap().close().unwrap();
            let mut without_threads = 0;
            // Less than the stack of a thread more each time, so that each cannot be started at some step.
            for room in 0..40 {
                let limit = Limit::set(Resource::As, address_space() + room * STACK / 8);
                let opened = options(MIB).open(&dir);
                drop(limit);
                let error = match opened {
                    Ok(log) => {
                        assert!(without_threads > 3, "{without_threads}");
                        append(&log, Durability::Disk).unwrap();
                        return log.close().unwrap();
                    }
                    Err(error) => error,
                };
                refused(&error, &dir);
                without_threads += u64::from(error.to_string().contains("thread"));
                // Those that had been started have ended, as soon as the kernel says so; another writer may come at once.
                let ended = |_| {
                    std::thread::sleep(Duration::from_millis(1));
                    log_threads().is_empty()
                };
                assert!((0..LOOKS_MAX).any(ended), "{:?}", log_threads());
                options(MIB).open(&dir).unwrap().close().unwrap();
            }
            panic!("it never opened");
        },
    );
}

/// The next segment cannot be mapped, once or for a while: one append says so, and the log rolls when it can.
#[test]
fn a_roll_that_cannot_map_its_segment_is_an_error_by_name_and_works_afterwards() {
    alone(
        "a_roll_that_cannot_map_its_segment_is_an_error_by_name_and_works_afterwards",
        |temporary| {
            let dir = temporary.join("log");
            let log = options(MIB).open(&dir).unwrap();
            append(&log, Durability::Disk).unwrap();
            log.close().unwrap();
            // The segment that is there is short, and the ones to come are not.
            let log = options(64 * MIB).open(&dir).unwrap();
            await_threads();
            let limit = Limit::set(Resource::As, address_space() + 32 * MIB);
            for _ in 0..3 {
                let error = fill(&log);
                let (kind, _) = refused(&error, &dir);
                assert_eq!(kind, io::ErrorKind::OutOfMemory, "{error:?}");
            }
            let last = log.watermarks().appended;
            log.sync(last).unwrap();
            assert_eq!(count(&log.view()), last.get());
            assert!(
                names(&dir).iter().all(|name| !name.ends_with(".spare")),
                "{:?}",
                names(&dir)
            );
            drop(limit);
            // The failure of an attempt that began under the limit may still be told.
            let appended = (0..2).find_map(|_| append(&log, Durability::Disk).ok());
            assert_eq!(appended, Some(last.next()));
            assert_eq!(log.stats().rolls, 1);
            log.close().unwrap();
            assert!(verify(&dir).unwrap().findings.is_empty());
        },
    );
}

/// How often a task was woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Tasks of a process that only reads are woken by a thread. Without one they look for themselves, and not without a pause.
#[test]
fn tasks_that_no_thread_can_be_started_for_are_woken_now_and_then() {
    alone(
        "tasks_that_no_thread_can_be_started_for_are_woken_now_and_then",
        |temporary| {
            let dir = temporary.join("log");
            let log = options(MIB).open(&dir).unwrap();
            let view = OplogView::open(&dir).unwrap();
            let cursor = view.cursor_from_oldest(ReadConcern::Durable);
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            await_threads();
            // Less than the stack of a thread takes.
            let limit = Limit::set(Resource::As, address_space() + MIB);
            let begun = Instant::now();
            for polls in 1..=20 {
                assert!(cursor.poll_ready(&mut Context::from_waker(&waker)).is_pending());
                assert_eq!(woken.0.load(Ordering::SeqCst), polls);
            }
            assert!(
                begun.elapsed() >= Duration::from_millis(20 * 5),
                "{:?}",
                begun.elapsed()
            );
            drop(limit);
            assert!(cursor.poll_ready(&mut Context::from_waker(&waker)).is_pending());
            append(&log, Durability::Disk).unwrap();
            let told = |_| {
                std::thread::sleep(Duration::from_millis(1));
                woken.0.load(Ordering::SeqCst) > 20
            };
            assert!((0..LOOKS_MAX).any(told), "nobody was woken");
            assert!(cursor.poll_ready(&mut Context::from_waker(&waker)).is_ready());
        },
    );
}

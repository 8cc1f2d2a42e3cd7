//! Wakers that do more than to note that their task is to be polled: they run on whatever thread has moved the log on, and may
//! look at the log there and then, close it, or drop its last handle.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tailwater_oplog::{Cursor, Durability, Error, OpId, Oplog, OplogView, Options, ReadConcern};

const KIND: u8 = 200;
/// So many looks, a millisecond apart at least, that only what never comes is missed.
const LOOKS_MAX: usize = 60_000;

/// What is done by the first wake.
struct Act<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Wake for Act<F> {
    fn wake(self: Arc<Self>) {
        let act = self.0.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
    }
}

fn waker(act: impl FnOnce() + Send + 'static) -> Waker {
    Waker::from(Arc::new(Act(Mutex::new(Some(act)))))
}

/// A place for what a waker has done; it waits until there is something.
#[derive(Clone, Default)]
struct Done(Arc<Mutex<Option<Result<(), Error>>>>);

impl Done {
    fn say(&self, result: Result<(), Error>) {
        *self.0.lock().unwrap() = Some(result);
    }

    fn wait(&self, what: &str) {
        for _ in 0..LOOKS_MAX {
            if let Some(result) = self.0.lock().unwrap().take() {
                return result.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{what}: nobody was woken")
    }
}

fn open(dir: &Path) -> Result<Oplog, Error> {
    let options = Options {
        segment_bytes: 1 << 20,
        sync_interval: Duration::from_millis(1),
        ..Options::default()
    };
    options.open(dir)
}

/// Opens the log as soon as it has been closed, and says how far it goes.
fn reopen(dir: &Path, what: &str) -> OpId {
    for _ in 0..LOOKS_MAX {
        match open(dir) {
            Ok(log) => return log.watermarks().appended,
            Err(Error::Locked { .. }) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
    panic!("{what}: it stays open")
}

type Move = fn(&Oplog);

/// What moves a log on, in the name of whom, and what the task waits for.
const MOVES: [(&str, ReadConcern, Move); 4] = [
    ("an append", ReadConcern::Local, |log| {
        log.append(KIND, b"moves", Durability::Memory).unwrap();
    }),
    ("a durable append", ReadConcern::Durable, |log| {
        log.append(KIND, b"moves", Durability::Disk).unwrap();
    }),
    ("the sync thread", ReadConcern::Durable, |log| {
        log.append(KIND, b"moves", Durability::Memory).unwrap();
    }),
    ("a close", ReadConcern::Durable, |log| log.clone().close().unwrap()),
];

#[test]
fn a_waker_may_look_at_the_log_and_wait_again() {
    for (what, concern, step) in MOVES {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).unwrap();
        let mut cursor = log.view().cursor_from_oldest(concern);
        let waiting = Arc::new(log.view().cursor_from_oldest(concern));
        let done = Done::default();
        let act = {
            let (done, log, waiting) = (done.clone(), log.clone(), Arc::clone(&waiting));
            move || {
                let appended = log.watermarks().appended;
                let read = cursor.try_next().map(drop);
                let again = waiting.poll_ready(&mut Context::from_waker(Waker::noop()));
                assert!(appended == OpId::ZERO || again.is_ready());
                done.say(read);
            }
        };
        assert!(waiting.poll_ready(&mut Context::from_waker(&waker(act))).is_pending());
        step(&log);
        done.wait(what);
    }
}

#[test]
fn a_log_that_is_closed_in_a_waker_is_closed() {
    for (what, concern, step) in MOVES {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path()).unwrap();
        let cursor = log.view().cursor_from_oldest(concern);
        let done = Done::default();
        let act = {
            let (done, log) = (done.clone(), log.clone());
            move || done.say(log.close())
        };
        assert!(cursor.poll_ready(&mut Context::from_waker(&waker(act))).is_pending());
        step(&log);
        done.wait(what);
        let appended = log.watermarks().appended;
        // Not in a waker: this one waits for the end.
        log.close().unwrap();
        let found = open(dir.path()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(found.watermarks().appended, appended, "{what}");
    }
}

#[test]
fn a_last_handle_that_a_waker_drops_closes_the_log() {
    for (what, concern, step) in &MOVES[..3] {
        let dir = tempfile::tempdir().unwrap();
        let last = Arc::new(Mutex::new(Some(open(dir.path()).unwrap())));
        let cursor = last
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .view()
            .cursor_from_oldest(*concern);
        let done = Done::default();
        let act = {
            let (done, last) = (done.clone(), Arc::downgrade(&last));
            move || {
                // On this very thread it has been taken out, to move the log on.
                let here = last.upgrade().and_then(|last| last.lock().ok()?.take());
                drop(here);
                done.say(Ok(()));
            }
        };
        let task = waker(act);
        assert!(cursor.poll_ready(&mut Context::from_waker(&task)).is_pending());
        if *what == "the sync thread" {
            // The waker gets the handle when this thread has done with it.
            step(last.lock().unwrap().as_ref().unwrap());
        } else {
            let log = last.lock().unwrap().take().unwrap();
            step(&log);
        }
        done.wait(what);
        assert_eq!(reopen(dir.path(), what), OpId::FIRST, "{what}");
    }
}

/// How often a task was woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task of a process that only reads polls once more when it is woken. While nothing happens it is left alone, but for one look
/// when the thread that carries rings to it begins.
#[test]
fn a_task_of_a_process_that_only_reads_is_left_alone_while_nothing_happens() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let view = OplogView::open(dir.path()).unwrap();
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let poll = |cursor: &Cursor| cursor.poll_ready(&mut Context::from_waker(&waker));
    assert!(poll(&cursor).is_pending());
    let mut polled = 0;
    // Threads that each end after one wake would have it polled in most of these.
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(1));
        let wakes = woken.0.load(Ordering::SeqCst);
        if wakes > polled {
            polled = wakes;
            assert!(poll(&cursor).is_pending());
        }
    }
    assert!(polled <= 2, "woken {polled} times for nothing");
    // What happens then wakes it.
    log.append(KIND, b"entry", Durability::Disk).unwrap();
    let told = |_| {
        std::thread::sleep(Duration::from_millis(1));
        woken.0.load(Ordering::SeqCst) > polled
    };
    assert!((0..LOOKS_MAX).any(told), "nobody was woken");
    assert!(poll(&cursor).is_ready());
    assert_eq!(cursor.try_next().unwrap().unwrap().op_id(), OpId::FIRST);
}

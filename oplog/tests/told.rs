//! What a log tells through `tracing` while it works.
//!
//! A test binary of its own: `tracing` remembers for each call site of the process whether anybody listens, and asks only the thread
//! that comes by first. Another test's thread, without a subscriber, could have it remember that nobody does.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Once};

use tailwater_oplog::{Durability, OpId, Oplog, OplogView, ReadConcern};
use tracing_subscriber::fmt::format::FmtSpan;

mod common;

use common::{options, temporary};

const KIND: u8 = 200;
/// Two of them are more than a segment.
const PAYLOAD: usize = 600_000;

/// A log, opened when every thread has a subscriber: one that throws away what it is told, where `logged` has set no other.
fn open(dir: &Path) -> Oplog {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(io::sink)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    options().open(dir).unwrap()
}

/// What is logged, for a test to read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `act` logs in this thread.
fn logged(act: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap()
}

/// Writes down how far the log was durable whenever something is logged.
struct Watching(Arc<Mutex<Vec<OpId>>>, OplogView);

impl io::Write for Watching {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(bytes).contains("synced") {
            let durable = self.1.newest(ReadConcern::Durable);
            self.0.lock().unwrap().push(durable);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Or an append that the log's own thread has served would not find its sync in the statistics.
#[test]
fn a_sync_is_counted_before_anybody_is_told_of_it() {
    let dir = temporary();
    let log = open(dir.path());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (sink, view) = (Arc::clone(&seen), log.view());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || Watching(Arc::clone(&sink), view.clone()))
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..3 {
            log.append(KIND, b"entry", Durability::Disk).unwrap();
        }
    });
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2].map(OpId::new));
}

/// Each in the thread that does it, so that what a caller waits for is within its own span.
#[test]
fn what_takes_time_has_a_span() {
    let check = |spans: &[&str], said: &str| {
        for span in spans {
            let ended = |line: &str| line.contains(&format!("{span}{{")) && line.contains("time.busy");
            assert!(said.lines().any(ended), "{span}: {said}");
        }
    };
    let dir = temporary();
    let mut log = None;
    let said = logged(|| {
        let log = log.insert(open(dir.path()));
        let payload = vec![7; PAYLOAD];
        // Some segments. Nothing is synced yet, so nothing is sealed.
        for _ in 0..5 {
            log.append(KIND, &payload, Durability::Memory).unwrap();
        }
    });
    check(&["open", "recover", "roll"], &said);
    let log = log.unwrap();
    // The last sync has them all sealed, and the housekeeping thread has ended by then.
    check(&["sync", "seal"], &logged(|| log.close().unwrap()));
    let log = open(dir.path());
    let said = logged(|| {
        assert!(log.trim(OpId::new(5)).unwrap() > OpId::FIRST);
    });
    check(&["trim"], &said);
}

/// Once, however many there are, and not about what the log itself leaves there.
#[test]
fn strangers_in_the_directory_are_named_once_at_the_opening() {
    let dir = temporary();
    drop(open(dir.path()));
    let ours = [
        "torn-0000000001-4096.bin",
        "MANIFEST.tmp",
        "repair-1700000000000",
        "lost+found",
    ];
    for (strangers, said) in [
        (&[][..], None),
        (&["notes.txt", "99-999.seg"][..], Some("files=2 first=\"99-999.seg\"")),
    ] {
        for name in ours.iter().chain(strangers) {
            fs::write(dir.path().join(name), b"junk").unwrap();
        }
        let text = logged(|| drop(open(dir.path())));
        let warnings: Vec<_> = text
            .lines()
            .filter(|line| line.contains("no part of the log"))
            .collect();
        assert_eq!(warnings.len(), usize::from(said.is_some()), "{text}");
        assert!(said.is_none_or(|said| warnings[0].contains(said)), "{text}");
        for name in strangers {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"junk");
        }
    }
}

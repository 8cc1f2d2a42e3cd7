//! Exactly-once accounting: a writer and three consumers, each a process of its own, are killed with SIGKILL at random moments,
//! and every consumer's book has every sequence number once, in order.
//!
//! A consumer writes down a number and the token of its event in one line, its effect and its place in one step, and goes on
//! behind the last line there is. So whatever is delivered twice or left out stands in its book.
//!
//! This test's binary starts itself again as each of them; an environment variable says what it is.

mod common;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Dice, PATIENCE, small};
use futures::StreamExt;
use tailwater::bson::{doc, rawdoc};
use tailwater::{ChangeEvent, LogView, ResumeToken, Scope, Store, Watch, log_directory};

/// Kills of each process.
const KILLS: usize = 12;
/// The name of the test that children run, and what they are told: who they are, and where the store is.
const TEST: &str = "every_consumer_s_book_has_every_number_once";
const ROLE: &str = "TAILWATER_ACCOUNTING_ROLE";
const DIRECTORY: &str = "TAILWATER_ACCOUNTING_DIRECTORY";
const ROLES: [&str; 4] = ["writer", "blocking", "subscription", "task"];

#[test]
fn every_consumer_s_book_has_every_number_once() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return check();
    };
    let directory = Path::new(&directory);
    match std::env::var(ROLE).unwrap().as_str() {
        "writer" => write(directory),
        role => consume(directory, role),
    }
}

/// Inserts the numbers that come next, one after the other and several at once, until it dies.
fn write(directory: &Path) {
    let store = Store::open_with(directory, &small()).unwrap();
    let orders = store.collection("shop", "orders").unwrap();
    let mut next = orders.count(&rawdoc! {}).unwrap() as i64;
    let mut dice = Dice(next as u64);
    loop {
        let documents: Vec<_> = (0..1 + dice.roll(20) as i64)
            .map(|n| rawdoc! { "_id": next + n })
            .collect();
        orders
            .insert_many(documents.iter().map(|document| &**document))
            .unwrap();
        next += documents.len() as i64;
        // And something that nobody asks for.
        store
            .collection("shop", "other")
            .unwrap()
            .insert_one(&rawdoc! { "n": next })
            .unwrap();
        if dice.roll(4) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Reads the store's log from another process, and keeps its book.
fn consume(directory: &Path, role: &str) {
    let mut book = Book::open(directory, role);
    let view = LogView::open(log_directory(directory)).unwrap();
    let scope = Scope::Database("shop".into());
    let watch =
        Watch::new(view, scope).pipeline([doc! { "$match": { "ns.coll": "orders", "operationType": "insert" } }]);
    let watch = match book.token {
        Some(token) => watch.resume_after(token),
        None => watch.start_at_oldest(),
    };
    match role {
        "blocking" => {
            let mut stream = watch.start().unwrap();
            stream.blocking_iter().for_each(|event| book.note(&event.unwrap()));
        }
        "subscription" => {
            // With hardly any room: it is parked all the time.
            let (_handle, receiver) = watch.channel_capacity(3, usize::MAX).subscribe().unwrap();
            receiver.iter().for_each(|event| book.note(&event.unwrap()));
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let noted = watch.start().unwrap().for_each(|event| {
                book.note(&event.unwrap());
                std::future::ready(())
            });
            runtime.block_on(noted);
        }
    }
    panic!("the stream of {role} has ended");
}

struct Book {
    file: File,
    token: Option<ResumeToken>,
}

impl Book {
    fn path(directory: &Path, role: &str) -> PathBuf {
        directory.join(format!("book.{role}"))
    }

    /// The whole lines of a book: number and token.
    fn read(directory: &Path, role: &str) -> Vec<(i64, ResumeToken)> {
        let text = std::fs::read_to_string(Book::path(directory, role)).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let line = |line: &str| {
            let (number, token) = line.trim().split_once(' ').unwrap();
            (number.parse().unwrap(), token.parse().unwrap())
        };
        whole.map(line).collect()
    }

    fn open(directory: &Path, role: &str) -> Book {
        let lines = Book::read(directory, role);
        let path = Book::path(directory, role);
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        // What a death within a line has left does not count.
        let text: usize = lines
            .iter()
            .map(|(number, token)| format!("{number} {token}\n").len())
            .sum();
        file.set_len(text as u64).unwrap();
        let token = lines.last().map(|(_, token)| *token);
        Book { file, token }
    }

    fn note(&mut self, event: &ChangeEvent) {
        let number = event.document_key().unwrap().get_i64("_id").unwrap();
        let line = format!("{number} {}\n", event.resume_token());
        self.file.write_all(line.as_bytes()).unwrap();
    }
}

fn start(directory: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(ROLE, role)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Ends its process with the test, also with one that fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path();
    drop(Store::open_with(directory, &small()).unwrap());
    let mut dice = Dice(1);
    let mut processes = ROLES.map(|role| Killed(start(directory, role)));
    let log = LogView::open(log_directory(directory)).unwrap();
    let mut seen = log.watermarks().appended;
    for kill in 0..KILLS * ROLES.len() {
        // However long a start takes on this machine, some lives of the writer come as far as writing.
        let deadline = Instant::now() + PATIENCE;
        while kill % 8 == 0 && log.watermarks().appended <= seen {
            assert!(Instant::now() < deadline, "nothing is written");
            std::thread::sleep(Duration::from_millis(1));
        }
        seen = log.watermarks().appended;
        std::thread::sleep(Duration::from_millis(10 + dice.roll(60) as u64));
        let victim = dice.roll(ROLES.len());
        // One that has died by itself has found a fault of its own.
        assert!(
            processes[victim].0.try_wait().unwrap().is_none(),
            "{} has failed",
            ROLES[victim]
        );
        processes[victim].0.kill().unwrap();
        processes[victim].0.wait().unwrap();
        processes[victim] = Killed(start(directory, ROLES[victim]));
    }

    let [writer, mut consumers @ ..] = processes;
    drop(writer);
    // What the writer has made is made durable, and everybody gets the rest.
    let store = Store::open_with(directory, &small()).unwrap();
    store.sync().unwrap();
    let written = store.collection("shop", "orders").unwrap().count(&rawdoc! {}).unwrap() as i64;
    assert!(written > 0);
    let deadline = Instant::now() + PATIENCE;
    for (role, consumer) in ROLES[1..].iter().zip(&mut consumers) {
        while (Book::read(directory, role).len() as i64) < written {
            assert!(consumer.0.try_wait().unwrap().is_none(), "{role} has failed");
            assert!(Instant::now() < deadline, "{role} does not get everything");
            std::thread::sleep(Duration::from_millis(20));
        }
        let numbers: Vec<i64> = Book::read(directory, role).iter().map(|(number, _)| *number).collect();
        for (expected, number) in (0..).zip(&numbers) {
            assert_eq!(*number, expected, "{role}: a number is missing, or stands there twice");
        }
        assert_eq!(numbers.len() as i64, written, "{role}");
    }
}

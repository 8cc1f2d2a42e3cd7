//! SIGKILL at random moments: of each transaction everything is there or nothing.
//!
//! This test's binary starts itself again as the writer; an environment variable says so.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bson::rawdoc;
use common::small;
use tailwater_storage::{Error, Store, StoreOptions};

const CYCLES: u64 = 12;
/// The name of the test that children run, and what they are told.
const TEST: &str = "a_kill_takes_transactions_as_a_whole";
const DIRECTORY: &str = "TAILWATER_TRANSACTION_KILL_DIRECTORY";
/// A child's lines begin so; everything else on its standard output is the test harness's.
const MARK: &str = "committed:";
/// Documents of a transaction in each of two collections.
const DOCUMENTS: i32 = 7;
const COLLECTIONS: [&str; 2] = ["left", "right"];

fn options() -> StoreOptions {
    StoreOptions {
        overlay_bytes_max: 32 << 10,
        ..small()
    }
}

#[test]
fn a_kill_takes_transactions_as_a_whole() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => write(Path::new(&directory)),
        None => check(),
    }
}

/// Numbers of the transactions there are, each of which has to be there in full.
fn whole_transactions(store: &Store) -> Vec<i64> {
    let mut documents = BTreeMap::<i64, i32>::new();
    for name in COLLECTIONS {
        let found = store.collection("shop", name).unwrap().find(&rawdoc! {}).unwrap();
        for document in found {
            *documents
                .entry(document.unwrap().get_i64("transaction").unwrap())
                .or_default() += 1;
        }
    }
    for (transaction, documents) in &documents {
        assert_eq!(*documents, 2 * DOCUMENTS, "transaction {transaction}");
    }
    let ledger = store.collection("shop", "ledger").unwrap();
    assert_eq!(ledger.count(&rawdoc! {}).unwrap() as usize, documents.len());
    documents.into_keys().collect()
}

/// The writer: commits for ever, and says what it has committed.
#[expect(clippy::print_stdout, reason = "the pipe to the parent")]
fn write(directory: &Path) {
    let store = options().open(directory).unwrap();
    let first = whole_transactions(&store).last().map_or(0, |last| last + 1);
    for number in first.. {
        store
            .with_transaction(|transaction| {
                for n in 0..DOCUMENTS {
                    for name in COLLECTIONS {
                        let document = rawdoc! { "transaction": number, "n": n, "text": "x".repeat(200) };
                        transaction.collection("shop", name)?.insert_one(&document)?;
                    }
                }
                let ledger = transaction.collection("shop", "ledger")?;
                ledger.insert_one(&rawdoc! { "_id": number })?;
                Ok::<_, Error>(())
            })
            .unwrap();
        println!("{MARK}{number}");
    }
}

fn check() {
    let dir = tempfile::tempdir().unwrap();
    let mut committed = None;
    for cycle in 0..CYCLES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A few commits further, then somewhere between two.
        let mut said = (&mut lines).filter_map(|line| line.ok()?.split_once(MARK)?.1.parse::<i64>().ok());
        committed = said.nth(cycle as usize * 5 % 23).or(committed);
        assert!(committed.is_some(), "the writer has ended before it was killed");
        std::thread::sleep(Duration::from_micros(cycle * 7919 % 3000));
        child.kill().unwrap();
        child.wait().unwrap();
        committed = said.last().or(committed);

        let store = options().open(dir.path()).unwrap();
        let there = whole_transactions(&store);
        let last = there.last().copied();
        assert!(last >= committed, "{last:?} is there, {committed:?} was committed");
        assert_eq!(there.len() as i64, last.unwrap() + 1, "none is missing in between");
        store.close().unwrap();
    }
    let store = options().open(dir.path()).unwrap();
    let digest = store.digest().unwrap();
    store.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    assert_eq!(options().open(dir.path()).unwrap().digest().unwrap(), digest);
}

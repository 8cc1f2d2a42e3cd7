//! SIGKILL at random moments, of writer and consumer in one process: each event is acknowledged once in the books, what was
//! said to be acknowledged never comes again, and at the end nothing is left out.
//!
//! This test's binary starts itself again as the victim; an environment variable says so.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Dice, PATIENCE, id, small};
use tailwater::bson::rawdoc;
use tailwater::{Consumer, ReadConcern, Store};

const CYCLES: u64 = 8;
/// The name of the test that children run, and what they are told.
const TEST: &str = "a_kill_neither_loses_events_nor_takes_back_an_acknowledgement";
const DIRECTORY: &str = "TAILWATER_CONSUMER_KILL_DIRECTORY";
/// A child's lines begin so; everything else on its standard output is the test harness's.
const MARK: &str = "acknowledged:";

#[test]
fn a_kill_neither_loses_events_nor_takes_back_an_acknowledgement() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => live(Path::new(&directory)),
        None => check(),
    }
}

fn join(store: &Store) -> Consumer {
    let orders = store.collection("shop", "orders").unwrap();
    let watch = orders.watch().read_concern(ReadConcern::Local).start_at_oldest();
    watch.consumer("billing").join().unwrap()
}

/// The victim: writes in bursts, acknowledges in some order, and says what it has acknowledged.
#[expect(clippy::print_stdout, reason = "the pipe to the parent")]
fn live(directory: &Path) {
    let store = Store::open_with(directory, &small()).unwrap();
    let orders = store.collection("shop", "orders").unwrap();
    let mut next = orders.count(&rawdoc! {}).unwrap() as i32;
    let mut dice = Dice(next as u64);
    let mut member = join(&store);
    loop {
        for _ in 0..8 {
            orders.insert_one(&rawdoc! { "_id": next }).unwrap();
            next += 1;
        }
        let mut held = Vec::new();
        while held.len() < 8 {
            held.push(member.wait_next(Some(PATIENCE)).unwrap().expect("an event in time"));
        }
        // Some stay open, and what is behind them is acknowledged all the same.
        while held.len() > 2 {
            let delivery = held.remove(dice.roll(held.len()));
            delivery.ack().unwrap();
            println!("{MARK}{}", id(&delivery.event().document_key().unwrap()));
        }
    }
}

fn check() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeSet<i32> = BTreeSet::new();
    for cycle in 0..CYCLES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = lines.by_ref().filter_map(|line| {
            let line = line.ok()?;
            let (_, number) = line.split_once(MARK)?;
            number.parse::<i32>().ok()
        });
        // Dies some acknowledgements after its first.
        for _ in 0..=cycle * 13 {
            let number = said.next().expect("the victim lives");
            assert!(acknowledged.insert(number), "{number} came again");
        }
        std::thread::sleep(Duration::from_millis(cycle));
        child.kill().unwrap();
        child.wait().unwrap();
        for number in said {
            assert!(acknowledged.insert(number), "{number} came again");
        }
    }

    let store = Store::open_with(dir.path(), &small()).unwrap();
    let written = store.collection("shop", "orders").unwrap().count(&rawdoc! {}).unwrap();
    let before = store.consumers().unwrap()[0].acknowledged;
    // The last one may have been written down and not said.
    assert!(before >= acknowledged.len() as u64);
    assert!(before - acknowledged.len() as u64 <= CYCLES, "{before}");
    let mut member = join(&store);
    for _ in before..written {
        let delivery = member.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
        let number = id(&delivery.event().document_key().unwrap());
        assert!(acknowledged.insert(number), "{number} came again");
        delivery.ack().unwrap();
    }
    assert!(member.next_if_any().unwrap().is_none());
    assert_eq!(store.consumers().unwrap()[0].acknowledged, written);
}

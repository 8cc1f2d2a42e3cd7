//! While nothing is written, nobody who waits for events does anything: no polling, no timer, no rescan of the log.

#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Home, PATIENCE};
use tailwater::bson::rawdoc;
use tailwater::{ConsumerOptions, FindOptions, ReadConcern};

/// How often each thread of this process that waits for events has gone to sleep, and how long it has run, by its id. Of one
/// that does nothing neither grows.
fn activity() -> BTreeMap<String, (u64, u64)> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let of_thread = |task: std::io::Result<fs::DirEntry>| {
        let path = task.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        // Names are cut off there.
        let waits = ["tailwater-dispa", "tailwater-catch", "tailwater-consu", "reader"];
        if !waits.contains(&name.trim()) {
            return None;
        }
        let status = fs::read_to_string(path.join("status")).ok()?;
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        let count = line.split_whitespace().nth(1)?.parse().ok()?;
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // In user and in kernel mode, in ticks.
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some((format!("{} {}", name.trim(), path.display()), (count, ticks)))
    };
    tasks.filter_map(of_thread).collect()
}

/// A thread that polls, as nobody else may: while it has its turns, so would whoever polled beside it.
struct Poller {
    turns: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How often it polls.
const POLL: Duration = Duration::from_millis(5);
/// So many turns of it are a while. Whoever polls, be it once a second, has had one of its own by then.
const WHILE: u64 = 400;

impl Poller {
    fn start() -> Poller {
        let (turns, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counted, stopped) = (Arc::clone(&turns), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(POLL);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let thread = Some(thread);
        Poller { turns, stop, thread }
    }

    /// Returns when it has had its turns.
    fn wait(&self, turns: u64) {
        let until = self.turns.load(Ordering::Relaxed) + turns;
        while self.turns.load(Ordering::Relaxed) < until {
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn whoever_waits_sleeps_until_something_is_written() {
    let home = Home::new();
    let orders = home.store.collection("shop", "orders").unwrap();
    orders.insert_one(&rawdoc! { "_id": 0, "n": 0 }).unwrap();
    let watch = || orders.watch().read_concern(ReadConcern::Local);

    let subscriptions: Vec<_> = (0..100)
        .map(|n| watch().filter(format!("n = {n}")).subscribe().unwrap())
        .collect();
    // One that is parked, with a full channel; the others that wait, each in a thread of its own.
    let (_parked_handle, parked) = watch().channel_capacity(1, usize::MAX).subscribe().unwrap();
    let mut stream = watch().start().unwrap();
    let mut snapshot = watch().with_snapshot().start().unwrap();
    let mut live = orders
        .find_with(&rawdoc! {}, &FindOptions::default())
        .unwrap()
        .live()
        .unwrap();
    let options = ConsumerOptions {
        retry_delay: Duration::from_millis(1),
        // Else the member that does not ask loses its place, and with it what the other one must not spin for.
        lease: Duration::from_secs(3600),
        ..ConsumerOptions::default()
    };
    let join = || watch().consumer("billing").options(options.clone()).join().unwrap();
    let (mut one, mut other) = (join(), join());
    let stops = [stream.stopper(), snapshot.stopper(), live.stopper()];
    let named = || std::thread::Builder::new().name("reader".into());
    let readers = [
        named()
            .spawn(move || while stream.wait_next(None).unwrap().is_some() {})
            .unwrap(),
        named()
            .spawn(move || while snapshot.wait_next(None).unwrap().is_some() {})
            .unwrap(),
        named()
            .spawn(move || while live.wait_next(None).unwrap().is_some() {})
            .unwrap(),
    ];
    for n in 1..=50 {
        orders.insert_one(&rawdoc! { "_id": n, "n": n }).unwrap();
    }
    // The only watch of a store: its receiver leads, and the dispatching thread stands by.
    let lonely = Home::new();
    let (lone_handle, lone) = common::orders(&lonely.store).subscribe().unwrap();
    let (told, hears) = std::sync::mpsc::channel();
    let leader = named()
        .spawn(move || {
            for event in lone.iter().map_while(Result::ok) {
                told.send(event.op_id()).unwrap();
            }
        })
        .unwrap();
    for n in 1..=50 {
        let collection = lonely.store.collection("shop", "orders").unwrap();
        collection.insert_one(&rawdoc! { "_id": n }).unwrap();
        hears.recv_timeout(PATIENCE).unwrap();
    }
    // A member has an event that failed and is due again, and does not ask for it; the other one waits.
    let failed = one.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
    failed.fail("not yet").unwrap();
    let waiting = named()
        .spawn(move || {
            while let Some(delivery) = other.wait_next(None).unwrap() {
                delivery.ack().unwrap();
            }
        })
        .unwrap();

    // Everybody has dealt with what there was when a while passes in which nobody does anything.
    let deadline = Instant::now() + 2 * PATIENCE;
    let poller = Poller::start();
    let mut before = activity();
    loop {
        poller.wait(WHILE);
        let now = activity();
        if now == before {
            break;
        }
        assert!(Instant::now() < deadline, "somebody never rests: {before:?} {now:?}");
        before = now;
    }
    assert!(before.len() >= 6, "{before:?}");
    assert_eq!(parked.len(), 1);
    // And they have not gone deaf.
    orders.insert_one(&rawdoc! { "_id": 99, "n": 99 }).unwrap();
    let event = subscriptions[99].1.recv_timeout(PATIENCE).unwrap();
    assert_eq!(event.document_key(), Some(rawdoc! { "_id": 99 }));
    stops.iter().for_each(tailwater::Stopper::stop);
    drop(lone_handle);
    leader.join().unwrap();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    // The other member takes over what failed, and ends with the collection.
    drop(one);
    home.store.drop_collection("shop", "orders").unwrap();
    waiting.join().unwrap();
}

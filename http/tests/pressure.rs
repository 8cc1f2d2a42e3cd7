//! Clients that do not read: what waits for them is bounded, nobody else waits, and nothing is lost.

use crate::common;

use std::io::Read;
use std::time::Duration;

use bson::rawdoc;
use common::{Running, until};

const DOCUMENTS: i32 = 400;
const BYTES: usize = 64 << 10;

fn fill(served: &Running) {
    let orders = served.store.collection("shop", "orders").unwrap();
    let text = "x".repeat(BYTES);
    for n in 0..DOCUMENTS {
        orders
            .insert_one(&rawdoc! { "_id": n, "n": n, "text": text.as_str() })
            .unwrap();
    }
}

#[test]
fn a_client_that_does_not_read_waits_alone_and_loses_nothing() {
    let served = Running::new();
    let mut stalled = served.get("/v1/watch/shop/orders", &[]);
    let mut lines = served.get("/v1/watch/shop/orders", &["Accept: application/x-ndjson"]);
    let mut reading = served.get("/v1/watch/shop/orders", &[]);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..DOCUMENTS).for_each(|n| assert_eq!(reading.number(), i64::from(n))));
        fill(&served);
        reader.join().unwrap();
    });
    // The others have taken what their sockets and channels hold, and are parked in the log.
    let statuses = served.store.listed_watches().statuses();
    let behind: Vec<_> = statuses
        .iter()
        .filter(|status| status.matched() < DOCUMENTS as u64)
        .collect();
    assert_eq!(behind.len(), 2, "{statuses:?}");
    for status in behind {
        assert!(status.waiting as usize * BYTES <= (1 << 20) + 2 * BYTES, "{status:?}");
    }
    for n in 0..DOCUMENTS {
        assert_eq!(stalled.number(), i64::from(n));
        let line: serde_json::Value = serde_json::from_str(&lines.line().unwrap()).unwrap();
        assert_eq!(line["fullDocument"]["n"], n);
    }
}

#[test]
fn a_client_that_takes_nothing_for_too_long_is_left_and_can_go_on() {
    let served = Running::with(|options| options.stall_deadline = Duration::from_millis(100));
    let mut stalled = served.get("/v1/watch/shop/orders", &[]);
    fill(&served);
    until("the stalled watch is left", || served.store.listed_watches().is_empty());
    let (mut seen, mut id) = (0, None);
    while let Some(event) = stalled.event() {
        assert_eq!(event.data.unwrap()["fullDocument"]["n"], seen);
        (seen, id) = (seen + 1, event.id);
    }
    assert!((1..DOCUMENTS).contains(&seen), "{seen}");
    let mut events = served.get("/v1/watch/shop/orders", &[&format!("Last-Event-ID: {}", id.unwrap())]);
    for n in seen..DOCUMENTS {
        assert_eq!(events.number(), i64::from(n));
    }
}

/// A server with memory for one large event, and a client that has it and reads nothing by itself.
fn with_one_large(stall_deadline: Duration) -> (Running, common::Response) {
    let served = Running::with(|options| {
        options.event_memory_max = 1 << 20;
        options.stall_deadline = stall_deadline;
    });
    let stalled = served.get("/v1/watch/shop/orders", &[]);
    let orders = served.store.collection("shop", "orders").unwrap();
    let text = "x".repeat(LARGE);
    orders
        .insert_one(&rawdoc! { "_id": 7, "n": 7, "text": text.as_str() })
        .unwrap();
    while served.store.listed_watches().statuses()[0].delivered == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    (served, stalled)
}

/// More than the sockets between two processes hold, by far.
const LARGE: usize = 15 << 20;

#[test]
fn who_waits_for_memory_is_told_where_it_is_and_gets_the_event_when_there_is_some() {
    let (served, stalled) = with_one_large(Duration::from_secs(300));
    let told = |target: &str, accept: &str, token: &dyn Fn(&mut common::Response) -> String| {
        let mut waiting = served.get(target, &[&format!("Accept: {accept}")]);
        // What it begins with, and two that come while it waits.
        let tokens: Vec<_> = (0..3).map(|_| token(&mut waiting)).collect();
        tokens[2].clone()
    };
    let block = |waiting: &mut common::Response| waiting.block().unwrap().id.unwrap();
    let line = |waiting: &mut common::Response| {
        let line: serde_json::Value = serde_json::from_str(&waiting.line().unwrap()).unwrap();
        line["heartbeat"]["_data"].as_str().unwrap().to_owned()
    };
    let target = "/v1/watch/shop/orders?from=oldest&heartbeat=1";
    let tokens = [
        told(target, "text/event-stream", &block),
        told(target, "application/x-ndjson", &line),
    ];
    let mut waiting = served.get(target, &[]);
    drop(stalled);
    assert_eq!(waiting.number(), 7);
    // They were told to go on before the event that they had not got.
    for token in tokens {
        let mut resumed = served.get("/v1/watch/shop/orders", &[&format!("Last-Event-ID: {token}")]);
        assert_eq!(resumed.number(), 7);
    }
}

#[test]
fn a_client_that_takes_a_little_of_a_large_event_now_and_then_is_left_for_who_waits() {
    let (served, trickling) = with_one_large(Duration::from_secs(1));
    let mut waiting = served.get("/v1/watch/shop/orders?from=oldest", &[]);
    let trickle = std::thread::spawn(move || {
        let mut taken = 0;
        let mut piece = vec![0; 16 << 10];
        while let Ok(bytes @ 1..) = trickling.stream().read(&mut piece) {
            taken += bytes;
            std::thread::sleep(Duration::from_millis(20));
        }
        taken
    });
    assert_eq!(waiting.number(), 7);
    let taken = trickle.join().unwrap();
    assert!(taken < LARGE, "it was served to its end: {taken} bytes");
}

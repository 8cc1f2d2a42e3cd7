//! Clients that do not read: what waits for them is bounded, nobody else waits, and nothing is lost.

mod common;

use std::time::Duration;

use bson::rawdoc;
use common::Running;

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
    while !served.store.listed_watches().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
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

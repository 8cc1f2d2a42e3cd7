//! Many slow clients and one large event do not take their product; in a process of its own.

mod common;

use common::Running;

const CLIENTS: usize = 40;
const EVENT_BYTES: usize = 8 << 20;
const MEMORY: usize = 128 << 20;

/// The most bytes of memory that the process has had in use.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}

#[test]
fn large_events_take_no_more_than_their_budget_and_reach_every_client() {
    let served = Running::with(|options| options.event_memory_max = MEMORY);
    let clients: Vec<_> = (0..CLIENTS).map(|_| served.get("/v1/watch/shop/orders", &[])).collect();
    assert!(clients.iter().all(|client| client.status == 200));
    let before = peak();
    let text = "x".repeat(EVENT_BYTES);
    let orders = served.store.collection("shop", "orders").unwrap();
    orders
        .insert_one(&bson::rawdoc! { "_id": 0, "n": 0, "text": text })
        .unwrap();
    // Nobody reads, until as many wait as have a place.
    let delivered = || {
        let statuses = served.store.listed_watches().statuses();
        statuses.iter().map(|status| status.delivered).sum::<u64>()
    };
    while delivered() < 4 {
        std::thread::yield_now();
    }
    // Time enough for what has no place to take it all the same.
    for _ in 0..20 {
        served.get("/healthz", &[]);
    }
    let stalled = peak() - before;
    // Who has one gives its place to the next by reading.
    std::thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || assert_eq!(client.number(), 0));
        }
    });
    // Beside the budget there are the document's own copies, in the log and in the state.
    assert!(
        stalled < MEMORY + 10 * EVENT_BYTES,
        "{stalled} bytes for {CLIENTS} clients"
    );
}

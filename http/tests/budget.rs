//! Many slow clients and large events do not take their product; in a process of its own.

mod common;

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use common::Running;

const CLIENTS: usize = 48;
const MEMORY: usize = 128 << 20;

/// The most bytes of memory that the process has had in use since it was last [`forgotten`](forget_peak).
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}

/// From now on the peak is counted anew (Linux manual: *proc_pid_clear_refs*).
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// One long string, whose text is as long as itself.
fn text() -> RawDocumentBuf {
    rawdoc! { "_id": 0, "n": 0, "text": "x".repeat(8 << 20) }
}

/// Small numbers, each of which makes three times its length of canonical text.
fn numbers() -> RawDocumentBuf {
    let numbers = RawArrayBuf::from_iter((0..200_000).map(|n| n % 10));
    rawdoc! { "_id": 0, "n": 0, "numbers": numbers }
}

#[test]
fn large_events_take_no_more_than_their_budget_and_reach_every_client() {
    for (json, document) in [("relaxed", text()), ("canonical", numbers())] {
        let served = Running::with(|options| options.event_memory_max = MEMORY);
        let target = format!("/v1/watch/shop/orders?json={json}");
        let clients: Vec<_> = (0..CLIENTS).map(|_| served.get(&target, &[])).collect();
        assert!(clients.iter().all(|client| client.status == 200));
        forget_peak();
        let before = peak();
        let orders = served.store.collection("shop", "orders").unwrap();
        orders.insert_one(&document).unwrap();
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
                scope.spawn(move || {
                    let number = client.event().expect("an event").data.unwrap()["fullDocument"]["n"].take();
                    assert!(number == 0 || number["$numberInt"] == "0", "{number}");
                });
            }
        });
        // Beside the budget there are the document's own copies in the log, the state and the event, and what the allocator
        // keeps of them in each thread's arena: 10 of them are usual. Without a budget there would be one more for each client
        // at least, so the bound lies far from both.
        let own = 20 * document.as_bytes().len();
        assert!(stalled < MEMORY + own, "{json}: {stalled} bytes for {CLIENTS} clients");
    }
}

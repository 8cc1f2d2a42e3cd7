//! Ten thousand cursors that nobody asks for more, in a process of their own.

mod common;

use bson::doc;
use common::{Running, batch, cursor_id};

const CURSORS: usize = 10_000;
/// What each may take of memory: some of it is what the allocator keeps of the requests that made them.
const BYTES_EACH: usize = 20 << 10;

/// Bytes of memory that the process has in use.
fn resident() -> usize {
    let statistics = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statistics.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn ten_thousand_idle_cursors_take_little_and_hold_up_nobody() {
    let running = Running::new();
    let (mut idle, mut other) = (running.client(), running.client());
    let documents: Vec<_> = (0..10).map(|id| doc! { "_id": id, "text": "x".repeat(1000) }).collect();
    idle.ok(doc! { "insert": "c", "documents": documents });
    let find = doc! { "find": "c", "batchSize": 1 };
    let warm = cursor_id(&idle.ok(find.clone()));
    let before = resident();
    let mut cursors = vec![warm];
    while cursors.len() < CURSORS {
        // Half of them finds, half change streams.
        cursors.push(match cursors.len() % 2 {
            0 => cursor_id(&idle.ok(find.clone())),
            _ => cursor_id(&idle.ok(doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} })),
        });
    }
    let each = resident().saturating_sub(before) / CURSORS;
    assert!(each <= BYTES_EACH, "{each} bytes each");

    other.ok(doc! { "insert": "c", "documents": [{ "_id": 10 }] });
    assert_eq!(batch(&other.ok(doc! { "find": "c" })).len(), 11);
    // The oldest still shows what there was when it was made, and the newest stream sees the write.
    let more = |id: i64| doc! { "getMore": id, "collection": "c", "maxTimeMS": 10_000 };
    assert_eq!(batch(&idle.ok(more(warm))).len(), 9);
    assert_eq!(batch(&idle.ok(more(cursors[CURSORS - 1]))).len(), 1);
    let status = other.admin(doc! { "serverStatus": 1 });
    let open = status.get_document("metrics").unwrap().get_document("cursor").unwrap();
    let open = open.get_document("open").unwrap().get_i64("total").unwrap();
    assert_eq!(open, CURSORS as i64 - 1);
    running.handle.stop();
}

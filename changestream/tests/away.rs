//! Whoever stops for the length of a million events and comes back gets each of them, once and in order: by its token, and
//! by its place in the log when its channel was full.

mod common;

use bson::rawdoc;
use common::{ORDERS, PATIENCE, collection, of, temporary};
use tailwater_changestream::{ChangeEvent, Watch};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Durability, Oplog, OplogView, Options, Record};

const EVENTS: i64 = 1_000_000;
const BATCH: i64 = 10_000;
/// Events in the channel of the one that stops with it open.
const CAPACITY: usize = 1000;

/// Inserts documents with these `_id`s, as many in one append as a bulk write has.
fn insert(log: &Oplog, ids: std::ops::Range<i64>) {
    let payload = |id| {
        let mut payload = Vec::new();
        StoreEntry {
            document: Some(&rawdoc! { "_id": id }),
            ..of(ORDERS)
        }
        .encode(&mut payload);
        payload
    };
    let mut next = ids.start;
    while next < ids.end {
        let payloads: Vec<_> = (next..ids.end.min(next + BATCH)).map(payload).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|payload| [payload.as_slice()]).collect();
        let kind = EntryKind::Insert.number();
        let records: Vec<_> = pieces.iter().map(|payload| Record { kind, payload }).collect();
        log.append_batch(&records, Durability::Memory).unwrap();
        next += payloads.len() as i64;
    }
    log.sync(log.watermarks().appended).unwrap();
}

/// The sequence number of an event.
fn number(event: &ChangeEvent) -> i64 {
    event.full_document().unwrap().get_i64("_id").unwrap()
}

#[test]
fn a_million_events_later_nothing_is_missing_and_nothing_comes_twice() {
    let dir = temporary();
    let options = Options {
        segment_bytes: 16 << 20,
        ..Options::default()
    };
    let log = options.open(dir.path()).unwrap();
    let watch = |view: OplogView| Watch::new(view, collection(ORDERS));

    // Three stop: one that keeps a token, one that is in another process, one that only ceases to receive.
    let mut stream = watch(log.view()).start().unwrap();
    insert(&log, 0..10);
    for expected in 0..10 {
        assert_eq!(number(&stream.next_if_any().unwrap().unwrap()), expected);
    }
    let token = stream.resume_token().to_string();
    drop(stream);
    let stalled = watch(log.view()).channel_capacity(CAPACITY, usize::MAX);
    let (_handle, stalled) = stalled.subscribe().unwrap();

    insert(&log, 10..EVENTS + 10);
    assert!(stalled.len() <= CAPACITY);

    let expected = 10..EVENTS + 10;
    for view in [log.view(), OplogView::open(dir.path()).unwrap()] {
        let mut stream = watch(view).resume_after(token.parse().unwrap()).start().unwrap();
        for expected in expected.clone() {
            assert_eq!(number(&stream.next_if_any().unwrap().unwrap()), expected);
        }
        assert!(stream.next_if_any().unwrap().is_none());
    }
    for expected in expected {
        assert_eq!(number(&stalled.recv_timeout(PATIENCE).unwrap()), expected);
        assert!(stalled.len() <= CAPACITY);
    }
    assert!(stalled.try_recv().unwrap().is_none());
    // And all are where the writer is.
    insert(&log, EVENTS + 10..EVENTS + 11);
    assert_eq!(number(&stalled.recv_timeout(PATIENCE).unwrap()), EVENTS + 10);
}

//! A durable consumer that is away for the length of a million events: each is delivered and acknowledged once, in order, and
//! the log is kept for it meanwhile.

mod common;

use common::{Home, PATIENCE, id, small};
use tailwater::bson::{RawDocumentBuf, rawdoc};
use tailwater::{Consumer, ReadConcern, Store};

const EVENTS: i32 = 1_000_000;
const BATCH: i32 = 20_000;
/// Events that are acknowledged at once.
const STEP: i32 = 5000;

fn insert(store: &Store, ids: std::ops::Range<i32>) {
    let orders = store.collection("shop", "orders").unwrap();
    let mut next = ids.start;
    while next < ids.end {
        let end = ids.end.min(next + BATCH);
        let documents: Vec<RawDocumentBuf> = (next..end).map(|id| rawdoc! { "_id": id }).collect();
        orders
            .insert_many(documents.iter().map(|document| &**document))
            .unwrap();
        next = end;
    }
}

fn join(store: &Store) -> Consumer {
    let orders = store.collection("shop", "orders").unwrap();
    let watch = orders.watch().read_concern(ReadConcern::Local).start_at_oldest();
    watch.consumer("billing").join().unwrap()
}

/// Has these delivered, in order, and acknowledges them in steps.
fn deal_with(member: &mut Consumer, ids: std::ops::Range<i32>) {
    for expected in ids {
        let delivery = member.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
        assert_eq!(
            (id(&delivery.event().document_key().unwrap()), delivery.failures()),
            (expected, 0)
        );
        if (expected + 1) % STEP == 0 {
            member.ack_through(&delivery).unwrap();
        }
    }
}

#[test]
fn a_consumer_that_was_away_for_a_million_events_misses_none() {
    let mut options = small();
    // A log that keeps nothing by itself.
    options.oplog.segment_bytes = 4 << 20;
    options.oplog.retention.max_bytes = Some(0);
    let home = Home::with(&options);
    let mut member = join(&home.store);
    insert(&home.store, 0..STEP);
    deal_with(&mut member, 0..STEP);
    drop(member);

    insert(&home.store, STEP..EVENTS + STEP);
    let status = &home.store.consumers().unwrap()[0];
    assert!(status.lag_entries >= EVENTS as u64, "{status:?}");
    // It comes back after a restart.
    let home = home.reopen();
    let mut member = join(&home.store);
    deal_with(&mut member, STEP..EVENTS + STEP);
    assert!(member.next_if_any().unwrap().is_none());
    let status = &home.store.consumers().unwrap()[0];
    assert_eq!(status.acknowledged, (EVENTS + STEP) as u64);
}

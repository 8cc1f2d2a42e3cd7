//! Durable consumers: a name instead of a token.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Home, PATIENCE, documents, id, next, orders};
use futures::StreamExt;
use tailwater::bson::{doc, rawdoc};
use tailwater::oplog::SlotState;
use tailwater::{Consumer, ConsumerOptions, Delivery, INTERNAL_DATABASE, LostHistory, ReadConcern, Store, WatchError};

fn insert(store: &Store, ids: std::ops::RangeInclusive<i32>) {
    let orders = store.collection("shop", "orders").unwrap();
    for id in ids {
        orders.insert_one(&rawdoc! { "_id": id, "n": 0 }).unwrap();
    }
}

fn set(store: &Store, id: i32, n: i32) {
    let orders = store.collection("shop", "orders").unwrap();
    orders
        .update_one(&rawdoc! { "_id": id }, &rawdoc! { "$set": { "n": n } })
        .unwrap();
}

/// Tries again at once, and gives up after the third failure.
fn eager() -> ConsumerOptions {
    ConsumerOptions {
        retry_delay: Duration::ZERO,
        max_failures: Some(3),
        ..ConsumerOptions::default()
    }
}

fn join(store: &Store) -> Consumer {
    orders(store).consumer("billing").options(eager()).join().unwrap()
}

fn key(delivery: &Delivery) -> i32 {
    id(&delivery.event().document_key().unwrap())
}

/// The next so many, not acknowledged.
fn take(member: &mut Consumer, count: usize) -> Vec<Delivery> {
    (0..count).map(|_| next(member)).collect()
}

fn keys(deliveries: &[Delivery]) -> Vec<i32> {
    deliveries.iter().map(key).collect()
}

#[test]
fn what_was_acknowledged_is_not_delivered_again_and_the_rest_is() {
    for crash in [false, true] {
        let home = Home::new();
        let mut member = join(&home.store);
        insert(&home.store, 1..=5);
        let events = take(&mut member, 5);
        assert_eq!(keys(&events), [1, 2, 3, 4, 5]);
        for n in [0, 1, 3] {
            events[n].ack().unwrap();
        }
        insert(&home.store, 6..=6);
        let home = if crash {
            home.crash()
        } else {
            drop((member, events));
            home.reopen()
        };
        insert(&home.store, 7..=7);
        let mut member = join(&home.store);
        assert_eq!(keys(&take(&mut member, 4)), [3, 5, 6, 7], "crash: {crash}");
        assert_eq!(home.store.consumers().unwrap()[0].acknowledged, 3);
    }
}

#[test]
fn one_acknowledgement_can_stand_for_all_before_it() {
    let home = Home::new();
    let mut member = join(&home.store);
    insert(&home.store, 1..=6);
    let events = take(&mut member, 5);
    member.ack_through(&events[3]).unwrap();
    assert!(matches!(events[2].ack(), Err(WatchError::DeliveryRevoked { .. })));
    let home = home.crash();
    let mut member = join(&home.store);
    assert_eq!(keys(&take(&mut member, 2)), [5, 6]);
}

#[test]
fn a_new_consumer_begins_where_its_watch_says_and_an_old_one_where_it_was() {
    let home = Home::new();
    insert(&home.store, 1..=3);
    let oldest = || orders(&home.store).start_at_oldest();
    let mut member = oldest().consumer("audit").join().unwrap();
    for delivery in take(&mut member, 2) {
        delivery.ack().unwrap();
    }
    drop(member);
    let mut member = oldest().consumer("audit").join().unwrap();
    assert_eq!(key(&next(&mut member)), 3);
    let mut late = orders(&home.store).consumer("late").join().unwrap();
    insert(&home.store, 4..=4);
    assert_eq!(key(&next(&mut late)), 4);
}

#[test]
fn a_failed_event_comes_again_before_the_later_ones_of_its_document() {
    let home = Home::new();
    let mut member = join(&home.store);
    insert(&home.store, 1..=2);
    set(&home.store, 1, 1);
    set(&home.store, 1, 2);
    let events = take(&mut member, 4);
    events[0].fail("not now").unwrap();
    // The later ones of document 1 were taken back with it; document 2 was not touched.
    assert!(matches!(events[2].ack(), Err(WatchError::DeliveryRevoked { .. })));
    events[1].ack().unwrap();
    let again = take(&mut member, 3);
    assert_eq!(keys(&again), [1, 1, 1]);
    assert_eq!(again.iter().map(Delivery::failures).collect::<Vec<_>>(), [1, 0, 0]);
    let order: Vec<_> = again.iter().map(|delivery| delivery.event().op_id()).collect();
    assert!(order.is_sorted());
}

#[test]
fn an_event_that_fails_too_often_becomes_a_dead_letter_with_its_position() {
    let home = Home::new();
    let mut member = join(&home.store);
    insert(&home.store, 1..=2);
    for failures in 0..2 {
        let delivery = next(&mut member);
        assert_eq!((key(&delivery), delivery.failures()), (1, failures));
        delivery.fail(format!("attempt {failures}")).unwrap();
    }
    // Failures outlive the process.
    let home = home.crash();
    let mut member = join(&home.store);
    let delivery = next(&mut member);
    assert_eq!((key(&delivery), delivery.failures()), (1, 2));
    delivery.fail("the last straw").unwrap();
    assert_eq!(key(&next(&mut member)), 2);

    let letters = documents(&home.store, INTERNAL_DATABASE, "dead_letters");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].get_str("error").unwrap(), "the last straw");
    assert_eq!(letters[0].get_i64("failures").unwrap(), 3);
    let event = letters[0].get_document("event").unwrap();
    assert_eq!(id(event.get_document("fullDocument").unwrap()), 1);
    let home = home.crash();
    assert_eq!(home.store.consumers().unwrap()[0].dead_lettered, 1);
    assert_eq!(key(&next(&mut join(&home.store))), 2);
}

#[test]
fn members_share_the_work_and_each_document_has_one_of_them() {
    let home = Home::new();
    let mut members = [join(&home.store), join(&home.store.clone()), join(&home.store)];
    insert(&home.store, 1..=60);
    for n in 1..=3 {
        for id in 1..=60 {
            set(&home.store, id, n);
        }
    }
    let mut seen: BTreeMap<i32, Vec<(usize, i32)>> = BTreeMap::new();
    let mut shares = BTreeSet::new();
    let mut left = 240;
    while left > 0 {
        for (number, member) in members.iter_mut().enumerate() {
            let Some(delivery) = member.wait_next(Some(Duration::from_millis(1))).unwrap() else {
                continue;
            };
            let n = delivery.event().update_description().map_or(0, |diff| {
                diff.get_document("updatedFields").unwrap().get_i32("n").unwrap()
            });
            seen.entry(key(&delivery)).or_default().push((number, n));
            shares.insert(number);
            delivery.ack().unwrap();
            left -= 1;
        }
    }
    assert_eq!(shares.len(), 3);
    for (id, told) in seen {
        let first = told[0].0;
        assert_eq!(told, [(first, 0), (first, 1), (first, 2), (first, 3)], "document {id}");
    }
}

#[test]
fn a_member_that_leaves_hands_over_what_it_has() {
    let home = Home::new();
    let mut first = join(&home.store);
    insert(&home.store, 1..=10);
    let held = take(&mut first, 10);
    let mut second = join(&home.store);
    assert!(second.next_if_any().unwrap().is_none());
    held[0].ack().unwrap();
    drop(first);
    assert_eq!(keys(&take(&mut second, 9)), (2..=10).collect::<Vec<_>>());
    assert!(matches!(held[1].ack(), Err(WatchError::DeliveryRevoked { .. })));
}

#[test]
fn a_silent_member_loses_its_place_to_the_others() {
    let home = Home::new();
    let options = ConsumerOptions {
        lease: Duration::from_millis(20),
        ..eager()
    };
    let consumer = || orders(&home.store).consumer("billing").options(options.clone());
    let mut silent = consumer().join().unwrap();
    insert(&home.store, 1..=3);
    let held = take(&mut silent, 3);
    let mut other = consumer().join().unwrap();
    assert_eq!(keys(&take(&mut other, 3)), [1, 2, 3]);
    assert!(matches!(held[0].ack(), Err(WatchError::DeliveryRevoked { .. })));
    // It comes back when it is heard of again, also when it is the last one.
    drop(other);
    assert_eq!(keys(&take(&mut silent, 3)), [1, 2, 3]);
}

#[test]
fn the_end_of_the_collection_waits_for_everything_before_it() {
    let home = Home::new();
    let mut member = join(&home.store);
    insert(&home.store, 1..=2);
    home.store.drop_collection("shop", "orders").unwrap();
    let events = take(&mut member, 2);
    assert!(member.next_if_any().unwrap().is_none());
    member.ack_through(&events[1]).unwrap();
    for name in ["drop", "invalidate"] {
        let delivery = next(&mut member);
        assert_eq!(delivery.event().operation_type().name(), name);
        delivery.ack().unwrap();
    }
    assert!(member.wait_next(Some(PATIENCE)).unwrap().is_none());
    assert!(member.is_ended());
    drop(member);
    // The name goes on behind the end.
    let mut member = join(&home.store);
    insert(&home.store, 3..=3);
    assert_eq!(key(&next(&mut member)), 3);
}

#[test]
fn a_full_window_waits_for_acknowledgements() {
    let by_count = ConsumerOptions {
        window_events: 4,
        ..eager()
    };
    // The fourth is the one that fills it.
    let by_bytes = ConsumerOptions {
        window_bytes: 3500,
        ..eager()
    };
    for options in [by_count, by_bytes] {
        let home = Home::new();
        let mut member = orders(&home.store).consumer("billing").options(options).join().unwrap();
        let collection = home.store.collection("shop", "orders").unwrap();
        for id in 1..=9 {
            let document = rawdoc! { "_id": id, "text": "x".repeat(1000) };
            collection.insert_one(&document).unwrap();
        }
        let events = take(&mut member, 4);
        assert!(member.wait_next(Some(Duration::from_millis(20))).unwrap().is_none());
        member.ack_through(&events[3]).unwrap();
        assert_eq!(keys(&take(&mut member, 4)), [5, 6, 7, 8]);
    }
}

#[test]
fn lag_and_activity_can_be_seen_and_the_log_holds_what_is_open() {
    let home = Home::new();
    let mut member = join(&home.store);
    insert(&home.store, 1..=4);
    let events = take(&mut member, 3);
    let status = home.store.consumers().unwrap().remove(0);
    assert_eq!(
        (status.name.as_str(), status.scope.as_str()),
        ("billing", "collection shop.orders")
    );
    assert_eq!((status.members, status.in_flight), (1, 3));
    assert!(status.lag_entries >= 4);
    let slot = status.slot.unwrap();
    assert_eq!(
        (slot.name.as_str(), slot.state),
        ("consumer.billing", SlotState::Active)
    );

    for delivery in &events {
        delivery.ack().unwrap();
        home.store.sync().unwrap();
    }
    let later = home.store.consumers().unwrap().remove(0);
    assert_eq!((later.acknowledged, later.in_flight), (3, 0));
    assert!(later.position > status.position && later.last_activity >= status.last_activity);
    assert!(later.slot.unwrap().position > slot.position);
    assert!(matches!(
        home.store.consumer_drop("billing"),
        Err(WatchError::ConsumerActive { .. })
    ));
    drop(member);
    home.store.consumer_drop("billing").unwrap();
    assert!(home.store.consumers().unwrap().is_empty());
    assert!(home.store.slots().iter().all(|slot| slot.name != "consumer.billing"));
    assert!(matches!(
        home.store.consumer_drop("billing"),
        Err(WatchError::NoSuchConsumer { .. })
    ));
}

#[test]
fn a_consumer_that_lost_its_history_says_so_and_how_to_go_on() {
    let home = Home::new();
    drop(join(&home.store));
    insert(&home.store, 1..=3);
    home.store.slot_drop("consumer.billing").unwrap();
    let filler = home.store.collection("shop", "filler").unwrap();
    for id in 0..5_000 {
        filler
            .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(1_000) })
            .unwrap();
    }
    home.store.sync().unwrap();
    home.store
        .trim_log(home.store.log().newest(ReadConcern::Durable))
        .unwrap();

    let consumer = |lost_history| {
        let options = ConsumerOptions {
            lost_history,
            ..eager()
        };
        orders(&home.store).consumer("billing").options(options).join()
    };
    let refused = consumer(LostHistory::Fail).unwrap_err();
    assert!(
        matches!(&refused, WatchError::ConsumerLostHistory { name, .. } if name == "billing"),
        "{refused}"
    );
    let mut member = consumer(LostHistory::SkipToNewest).unwrap();
    insert(&home.store, 4..=4);
    next(&mut member).ack().unwrap();
    drop(member);
    insert(&home.store, 5..=5);
    assert_eq!(key(&next(&mut join(&home.store))), 5);
}

#[test]
fn what_does_not_fit_the_consumer_is_refused() {
    let home = Home::new();
    let _member = join(&home.store);
    let filtered = orders(&home.store).filter("n > 1").consumer("billing").join();
    assert!(matches!(filtered, Err(WatchError::ConsumerMismatch { .. })));
    drop(orders(&home.store).consumer("other").join().unwrap());
    let elsewhere = home.store.watch().consumer("other").join();
    assert!(matches!(elsewhere, Err(WatchError::ConsumerMismatch { .. })));
    for name in ["", "a\nb", &"x".repeat(101)] {
        let refused = orders(&home.store).consumer(name).join();
        assert!(
            matches!(refused, Err(WatchError::InvalidConsumerName { .. })),
            "{name:?}"
        );
    }
}

#[test]
fn a_watch_over_everything_does_not_see_the_positions() {
    let home = Home::new();
    let mut all = home.store.watch().read_concern(ReadConcern::Local).start().unwrap();
    let mut member = join(&home.store);
    insert(&home.store, 1..=2);
    for delivery in take(&mut member, 2) {
        delivery.ack().unwrap();
    }
    let events: Vec<_> = std::iter::from_fn(|| all.next_if_any().unwrap()).collect();
    assert_eq!(events.len(), 2);
}

#[test]
fn a_quiet_consumers_position_moves() {
    let home = Home::new();
    let _member = join(&home.store);
    let filler = home.store.collection("shop", "filler").unwrap();
    let before = home.store.consumers().unwrap()[0].position;
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut id = 0;
    while home.store.consumers().unwrap()[0].position == before {
        assert!(std::time::Instant::now() < deadline, "it stands still");
        let many: Vec<_> = (id..id + 1_000).map(|id| rawdoc! { "_id": id }).collect();
        filler.insert_many(many.iter().map(|document| &**document)).unwrap();
        id += 1_000;
    }
}

#[tokio::test]
async fn a_member_is_a_stream_and_its_task_is_woken() {
    let home = Home::new();
    let options = ConsumerOptions {
        retry_delay: Duration::from_millis(20),
        ..eager()
    };
    let mut member = orders(&home.store).consumer("billing").options(options).join().unwrap();
    // Nothing is there yet: the task sleeps until the write.
    let store = home.store.clone();
    let writer = std::thread::spawn(move || insert(&store, 1..=3));
    let first = member.next().await.unwrap().unwrap();
    assert_eq!((key(&first), first.failures()), (1, 0));
    first.fail("not today").unwrap();
    for id in [2, 3] {
        let delivery = member.next().await.unwrap().unwrap();
        assert_eq!(key(&delivery), id);
        delivery.ack().unwrap();
    }
    writer.join().unwrap();
    // Nothing is written any more: the time has to come that a failed event is delivered again at.
    let again = member.next().await.unwrap().unwrap();
    assert_eq!((key(&again), again.failures()), (1, 1));
    again.ack().unwrap();
    // The end is told to a task as well.
    home.store.drop_collection("shop", "orders").unwrap();
    for operation in ["drop", "invalidate"] {
        let delivery = member.next().await.unwrap().unwrap();
        assert_eq!(delivery.event().operation_type().name(), operation);
        delivery.ack().unwrap();
    }
    assert!(member.next().await.is_none() && member.is_ended());
}

#[tokio::test]
async fn a_failed_consumer_says_so_once_to_a_task() {
    let home = Home::new();
    let mut member = join(&home.store);
    home.store.close().unwrap();
    let failed = member.next().await.unwrap().unwrap_err();
    assert!(
        matches!(failed, WatchError::Log(tailwater::LogError::Closed)),
        "{failed:?}"
    );
    assert!(member.next().await.is_none());
}

#[test]
fn what_hands_events_out_whole_takes_no_split() {
    let home = Home::new();
    let split = || orders(&home.store).pipeline([doc! { "$changeStreamSplitLargeEvent": {} }]);
    let refused = [
        split().consumer("billing").join().map(drop).unwrap_err(),
        split().with_snapshot().start().map(drop).unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, WatchError::SplitUnsupported { .. }), "{error:?}");
    }
}

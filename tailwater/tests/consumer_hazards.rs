//! What could go wrong with durable consumers: one test for each.

use crate::common;

use std::ops::Deref;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use common::{Home, PATIENCE, id, next, orders};
use futures::StreamExt;
use tailwater::bson::{RawDocumentBuf, rawdoc};
use tailwater::oplog::{RetentionSlot, SlotState};
use tailwater::{Consumer, ConsumerOptions, Delivery, INTERNAL_DATABASE, OpId, ReadConcern, Store, WatchError};

fn insert(store: &Store, ids: std::ops::RangeInclusive<i32>) {
    let orders = store.collection("shop", "orders").unwrap();
    let documents: Vec<RawDocumentBuf> = ids.map(|id| rawdoc! { "_id": id }).collect();
    orders
        .insert_many(documents.iter().map(|document| &**document))
        .unwrap();
}

/// Tries again at once, for ever.
fn eager() -> ConsumerOptions {
    ConsumerOptions {
        retry_delay: Duration::ZERO,
        max_failures: None,
        ..ConsumerOptions::default()
    }
}

fn join(store: &Store, options: ConsumerOptions) -> Consumer {
    orders(store).consumer("billing").options(options).join().unwrap()
}

fn key(delivery: &Delivery) -> i32 {
    id(&delivery.event().document_key().unwrap())
}

fn slot(store: &Store) -> Option<RetentionSlot> {
    store.slots().into_iter().find(|slot| slot.name == "consumer.billing")
}

fn position(store: &Store) -> OpId {
    store.consumers().unwrap()[0].position.op_id()
}

/// Bytes of what the store keeps of the consumer.
fn record_bytes(store: &Store) -> usize {
    let consumers = store.collection(INTERNAL_DATABASE, "consumers").unwrap();
    let record = consumers.find_one(&rawdoc! {}).unwrap().unwrap();
    record.as_bytes().len()
}

#[test]
fn a_member_that_falls_silent_after_it_waited_loses_its_place_though_nothing_is_written() {
    let home = Home::new();
    let options = ConsumerOptions {
        lease: Duration::from_millis(400),
        ..eager()
    };
    let mut silent = join(&home.store, options.clone());
    insert(&home.store, 1..=1);
    let held = next(&mut silent);
    let (begins, begun) = mpsc::channel();
    // While both wait, neither has a time to wake up at.
    let waiting = std::thread::spawn(move || {
        begins.send(()).unwrap();
        assert!(silent.wait_next(Some(Duration::from_millis(300))).unwrap().is_none());
        silent
    });
    begun.recv().unwrap();
    let (told, hears) = mpsc::channel();
    let store = home.store.clone();
    let taking_over = std::thread::spawn(move || {
        let mut other = join(&store, options);
        let taken = other.wait_next(None).unwrap().unwrap();
        let _ = told.send(key(&taken));
        taken.ack().unwrap();
        // It stays, and waits on, until the collection is gone.
        while let Some(delivery) = other.wait_next(None).unwrap() {
            delivery.ack().unwrap();
        }
    });
    let silent = waiting.join().unwrap();
    assert_eq!(hears.recv_timeout(PATIENCE), Ok(1), "nobody takes over");
    assert!(held.is_revoked());
    drop(silent);
    home.store.drop_collection("shop", "orders").unwrap();
    taking_over.join().unwrap();
}

#[test]
fn a_slot_that_was_lost_is_made_anew_while_the_consumer_runs() {
    let home = Home::new();
    let options = ConsumerOptions {
        max_lag_bytes: 2 << 20,
        ..eager()
    };
    let mut member = join(&home.store, options);
    let mut deal_with = |ids: std::ops::RangeInclusive<i32>| {
        for id in ids {
            insert(&home.store, id..=id);
            next(&mut member).ack().unwrap();
            home.store.sync().unwrap();
        }
    };
    deal_with(1..=1);
    // The history is still there: only the slot is gone, by its cap or by hand.
    let filler = home.store.collection("shop", "filler").unwrap();
    let mut id = 0;
    while slot(&home.store).unwrap().state == SlotState::Active {
        id += 1;
        let document = rawdoc! { "_id": id, "text": "x".repeat(10_000) };
        filler.insert_one(&document).unwrap();
        assert!(id < 10_000, "a slot that lags by more than its cap is not lost");
    }
    deal_with(2..=4);
    let made = slot(&home.store).unwrap();
    assert_eq!((made.state, made.max_lag_bytes), (SlotState::Active, 2 << 20));

    home.store.slot_drop("consumer.billing").unwrap();
    deal_with(5..=7);
    assert_eq!(slot(&home.store).unwrap().state, SlotState::Active);
}

#[test]
fn the_slot_of_a_job_that_acknowledges_once_in_each_run_moves_on() {
    let home = Home::new();
    let run = |ids: std::ops::RangeInclusive<i32>| {
        let mut member = join(&home.store, eager());
        let held = slot(&home.store).unwrap().position;
        insert(&home.store, ids.clone());
        let deliveries: Vec<_> = ids.map(|_| next(&mut member)).collect();
        member.ack_through(deliveries.last().unwrap()).unwrap();
        held
    };
    run(1..=3);
    for round in 1..5 {
        let acknowledged = position(&home.store);
        let held = run(round * 10..=round * 10 + 3);
        assert!(
            held >= acknowledged,
            "round {round}: {held} is held, and {acknowledged} acknowledged"
        );
    }
}

/// Writes what the consumer does not ask for, until something holds.
fn fill_until(store: &Store, what: &str, mut holds: impl FnMut() -> bool) {
    let filler = store.collection("shop", "filler").unwrap();
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        filler.insert_one(&rawdoc! { "text": "x".repeat(100_000) }).unwrap();
        store.sync().unwrap();
    }
    panic!("{what}");
}

#[test]
fn a_quiet_consumer_keeps_its_slot_among_few_large_entries() {
    let home = Home::new();
    let options = ConsumerOptions {
        max_lag_bytes: 8 << 20,
        ..eager()
    };
    let member = join(&home.store, options);
    let mut moved = 0;
    let mut last = slot(&home.store).unwrap().position;
    // Far less than what is written down by number.
    fill_until(&home.store, "the slot stands still", || {
        let now = slot(&home.store).unwrap();
        assert_eq!(now.state, SlotState::Active);
        moved += usize::from(now.position > last);
        last = now.position;
        moved == 10
    });
    drop(member);
}

#[test]
fn whoever_leaves_has_written_down_what_was_passed_over() {
    let home = Home::new();
    drop(join(&home.store, eager()));
    let filler = home.store.collection("shop", "filler").unwrap();
    let written = filler.insert_one(&rawdoc! { "_id": 1 }).unwrap().op_id;
    // Who leaves at once may not have looked at anything.
    let looked = (0..10_000).any(|_| {
        let mut member = join(&home.store, eager());
        assert!(member.wait_next(Some(Duration::from_millis(1))).unwrap().is_none());
        drop(member);
        position(&home.store) >= written
    });
    assert!(looked, "the position stands still");
}

#[test]
fn long_and_many_errors_leave_the_record_small() {
    let home = Home::new();
    let mut member = join(&home.store, eager());
    const EVENTS: i32 = 2_000;
    insert(&home.store, 1..=EVENTS);
    let first = next(&mut member);
    first.fail("x".repeat(17 << 20)).unwrap();
    assert!(record_bytes(&home.store) < 2_000);
    // Everything fails, as when what the events are for is away.
    let deliveries: Vec<_> = (0..EVENTS).map(|_| next(&mut member)).collect();
    for delivery in deliveries {
        delivery.fail(format!("{} is not there", "y".repeat(1_000))).unwrap();
    }
    assert!(record_bytes(&home.store) < 2_000, "{}", record_bytes(&home.store));
    // What has failed how often is known all the same, also to the next process.
    let home = home.crash();
    let status = home.store.consumers().unwrap().remove(0);
    let error = status.last_error.unwrap();
    assert!(error.starts_with("yyy") && error.len() <= 256, "{error}");
    let mut member = join(&home.store, eager());
    let again: Vec<_> = (0..3).map(|_| next(&mut member)).collect();
    let failures: Vec<_> = again
        .iter()
        .map(|delivery| (key(delivery), delivery.failures()))
        .collect();
    assert_eq!(failures, [(1, 2), (2, 1), (3, 1)]);
}

#[test]
fn a_cap_that_the_next_member_names_is_the_slots() {
    let home = Home::new();
    for max_lag_bytes in [5 << 20, 7 << 20] {
        let options = ConsumerOptions {
            max_lag_bytes,
            ..eager()
        };
        drop(join(&home.store, options));
        assert_eq!(slot(&home.store).unwrap().max_lag_bytes, max_lag_bytes);
    }
}

#[test]
fn a_member_with_another_read_concern_is_refused() {
    let home = Home::new();
    let _member = join(&home.store, eager());
    let durable = orders(&home.store).read_concern(ReadConcern::Durable);
    let refused = durable.consumer("billing").join();
    assert!(
        matches!(refused, Err(WatchError::ConsumerMismatch { .. })),
        "{refused:?}"
    );
}

/// Asks the store for its consumers whenever it is woken, at once.
struct Curious(Store);

impl Wake for Curious {
    fn wake(self: Arc<Curious>) {
        self.0.consumers().unwrap();
    }
}

#[test]
fn who_is_woken_by_a_member_that_leaves_may_ask_for_the_consumers() {
    let home = Home::new();
    let (done, finished) = mpsc::channel();
    let store = home.store.clone();
    std::thread::spawn(move || {
        let waker = Waker::from(Arc::new(Curious(store.clone())));
        let mut context = Context::from_waker(&waker);
        let mut waits = join(&store, eager());
        let leaves = join(&store, eager());
        assert!(waits.poll_next_unpin(&mut context).is_pending());
        drop(leaves);
        assert!(waits.poll_next_unpin(&mut context).is_pending());
        drop(waits);
        done.send(()).unwrap();
    });
    finished.recv_timeout(PATIENCE).expect("nobody waits for himself");
}

#[test]
fn the_longest_times_there_are_can_be_named() {
    let home = Home::new();
    let options = ConsumerOptions {
        lease: Duration::MAX,
        retry_delay: Duration::MAX,
        ..eager()
    };
    let mut members = [join(&home.store, options.clone()), join(&home.store, options)];
    let (handle, receiver) = orders(&home.store).subscribe().unwrap();
    let mut stream = orders(&home.store).start().unwrap();
    let mut snapshot = orders(&home.store).with_snapshot().start().unwrap();
    insert(&home.store, 1..=1);
    assert!(stream.wait_ready(Some(Duration::MAX)));
    assert!(stream.wait_next(Some(Duration::MAX)).unwrap().is_some());
    assert!(snapshot.wait_next(Some(Duration::MAX)).unwrap().is_some());
    assert!(receiver.recv_timeout(Duration::MAX).is_ok());
    drop(handle);
    let deadline = Instant::now() + PATIENCE;
    let delivery = loop {
        // One of the two is given it.
        let mut given = members.iter_mut().filter_map(|member| member.next_if_any().unwrap());
        if let Some(delivery) = given.next() {
            break delivery;
        }
        assert!(Instant::now() < deadline, "nobody is given the event");
        std::thread::yield_now();
    };
    delivery.fail("never again").unwrap();
    for member in &mut members {
        assert!(member.next_if_any().unwrap().is_none(), "its time does not come");
    }
}

#[test]
fn facades_over_one_store_share_its_consumers_and_leave_each_others_snapshots_alone() {
    let home = Home::new();
    insert(&home.store, 1..=3);
    let mut snapshot = orders(&home.store).with_snapshot().start().unwrap();
    snapshot.next_if_any().unwrap().unwrap();
    let holds = |store: &Store| {
        let slots = store.slots().into_iter();
        slots.filter(|slot| slot.name.starts_with("snapshot.")).count()
    };
    assert_eq!(holds(&home.store), 1);
    let other = Store::from(home.store.deref().clone());
    assert_eq!(holds(&home.store), 1, "it is being read");
    let (mut one, _two) = (join(&home.store, eager()), join(&other, eager()));
    assert_eq!(other.consumers().unwrap()[0].members, 2);
    insert(&other, 4..=4);
    assert!(other.consumer_drop("billing").is_err(), "it has members");
    drop(_two);
    assert_eq!(key(&next(&mut one)), 4);
}

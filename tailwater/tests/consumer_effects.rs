//! Effects that are written in the same step as the acknowledgement: exactly once, whatever dies in between.

use crate::common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Dice, Home, PATIENCE, id, next, orders};
use tailwater::bson::{RawDocumentBuf, rawdoc};
use tailwater::{Consumer, Delivery, LogError, Store, Transaction, WatchError};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn join(store: &Store) -> Consumer {
    orders(store).start_at_oldest().consumer("billing").join().unwrap()
}

fn insert(store: &Store, ids: std::ops::RangeInclusive<i32>) {
    let orders = store.collection("shop", "orders").unwrap();
    for id in ids {
        orders.insert_one(&rawdoc! { "_id": id }).unwrap();
    }
}

fn key(delivery: &Delivery) -> i32 {
    id(&delivery.event().document_key().unwrap())
}

/// Adds the event to a sum, which is wrong when one is left out or comes twice.
fn add(transaction: &Transaction, key: i32) -> Result<(), Failure> {
    let books = transaction.collection("shop", "books")?;
    let entry = rawdoc! { "$inc": { "sum": i64::from(key), "count": 1_i64 } };
    if books.update_one(&rawdoc! { "_id": "all" }, &entry)?.matched == 0 {
        books.insert_one(&rawdoc! { "_id": "all", "sum": i64::from(key), "count": 1_i64 })?;
    }
    Ok(())
}

fn books(store: &Store) -> (i64, i64) {
    let books = store.collection("shop", "books").unwrap();
    let found: Option<RawDocumentBuf> = books.find_one(&rawdoc! { "_id": "all" }).unwrap();
    found.map_or((0, 0), |found| {
        (found.get_i64("sum").unwrap(), found.get_i64("count").unwrap())
    })
}

#[test]
fn effect_and_acknowledgement_are_one_step() {
    let home = Home::new();
    insert(&home.store, 1..=3);
    let mut member = join(&home.store);
    let [one, two, three] = std::array::from_fn(|_| next(&mut member));
    home.store
        .ack_with(&two, |transaction| add(transaction, key(&two)))
        .unwrap();
    // An effect that fails leaves nothing, and the event with the member.
    let failed = home.store.ack_with(&one, |transaction| {
        add(transaction, key(&one))?;
        Err::<(), Failure>("no".into())
    });
    assert_eq!(failed.unwrap_err().to_string(), "no");
    assert!(!one.is_revoked() && two.is_revoked());
    assert_eq!(books(&home.store), (2, 1));
    let again = home.store.ack_with(&two, |transaction| add(transaction, key(&two)));
    let again = again.unwrap_err();
    assert!(
        matches!(again.downcast_ref(), Some(WatchError::DeliveryRevoked { .. })),
        "{again}"
    );
    assert_eq!(home.store.consumers().unwrap()[0].acknowledged, 1);

    let home = home.crash();
    drop((member, one, three));
    let mut member = join(&home.store);
    let rest: Vec<_> = (0..2).map(|_| next(&mut member)).collect();
    assert_eq!(rest.iter().map(key).collect::<Vec<_>>(), [1, 3]);
    for delivery in &rest {
        home.store
            .ack_with(delivery, |transaction| add(transaction, key(delivery)))
            .unwrap();
    }
    assert_eq!(books(&home.store), (6, 3));
}

#[test]
fn a_conflict_of_the_effect_runs_it_again() {
    let home = Home::new();
    insert(&home.store, 1..=1);
    let mut member = join(&home.store);
    let delivery = next(&mut member);
    let books_outside = home.store.collection("shop", "books").unwrap();
    books_outside
        .insert_one(&rawdoc! { "_id": "all", "sum": 0_i64, "count": 0_i64 })
        .unwrap();
    let mut runs = 0;
    home.store
        .ack_with(&delivery, |transaction| {
            runs += 1;
            transaction.collection("shop", "books")?.count(&rawdoc! {})?;
            if runs == 1 {
                let other = rawdoc! { "$inc": { "sum": 100_i64 } };
                books_outside.update_one(&rawdoc! { "_id": "all" }, &other)?;
            }
            add(transaction, 1)
        })
        .unwrap();
    assert_eq!((runs, books(&home.store)), (2, (101, 1)));
}

#[test]
fn another_stores_delivery_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    insert(&home.store, 1..=1);
    let mut member = join(&home.store);
    let delivery = next(&mut member);
    let refused = other.store.ack_with(&delivery, |_| Ok::<_, Failure>(())).unwrap_err();
    assert!(
        matches!(refused.downcast_ref(), Some(WatchError::Log(LogError::OtherLog { .. }))),
        "{refused}"
    );
    assert!(!delivery.is_revoked());
}

#[test]
fn members_beside_one_another_lose_nothing_and_count_nothing_twice() {
    const EVENTS: i32 = 200;
    let home = Home::new();
    insert(&home.store, 1..=EVENTS);
    let left = Arc::new(AtomicUsize::new(EVENTS as usize));
    let members: Vec<_> = (0..3).map(|_| join(&home.store)).collect();
    let threads: Vec<_> = members
        .into_iter()
        .map(|mut member| {
            let (store, left) = (home.store.clone(), Arc::clone(&left));
            std::thread::spawn(move || {
                while left.load(Ordering::Relaxed) > 0 {
                    let patience = std::time::Duration::from_millis(10);
                    let Some(delivery) = member.wait_next(Some(patience)).unwrap() else {
                        continue;
                    };
                    match key(&delivery) % 3 {
                        // The plain one beside it: both write down the same position.
                        0 => store
                            .with_transaction(|transaction| add(transaction, key(&delivery)))
                            .and_then(|()| Ok(delivery.ack()?)),
                        _ => store.ack_with(&delivery, |transaction| add(transaction, key(&delivery))),
                    }
                    .unwrap();
                    left.fetch_sub(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let sum = i64::from(EVENTS * (EVENTS + 1) / 2);
    assert_eq!(books(&home.store), (sum, i64::from(EVENTS)));
    let home = home.crash();
    assert_eq!(home.store.consumers().unwrap()[0].acknowledged, EVENTS as u64);
}

#[test]
fn whatever_dies_and_whenever_the_books_are_right() {
    for seed in 0..10 {
        let mut dice = Dice(seed);
        let mut home = Home::new();
        let mut written = 0;
        for _ in 0..12 {
            let more = 1 + dice.roll(6) as i32;
            insert(&home.store, written + 1..=written + more);
            written += more;
            let mut member = join(&home.store);
            let mut held = Vec::new();
            for _ in 0..dice.roll(8) {
                if let Some(delivery) = member.next_if_any().unwrap() {
                    held.push(delivery);
                }
                if !held.is_empty() && dice.roll(2) == 0 {
                    let delivery = held.remove(dice.roll(held.len()));
                    let fails = dice.roll(4) == 0;
                    let outcome = home.store.ack_with(&delivery, |transaction| {
                        add(transaction, key(&delivery))?;
                        if fails { Err(Failure::from("not now")) } else { Ok(()) }
                    });
                    assert_eq!(outcome.is_err(), fails);
                }
            }
            // What was not acknowledged is delivered again, to who comes next.
            home = home.crash();
        }
        let mut member = join(&home.store);
        while books(&home.store).1 < i64::from(written) {
            let delivery = member.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
            home.store
                .ack_with(&delivery, |transaction| add(transaction, key(&delivery)))
                .unwrap();
        }
        let sum = i64::from(written * (written + 1) / 2);
        assert_eq!(books(&home.store), (sum, i64::from(written)), "seed {seed}");
        assert!(member.next_if_any().unwrap().is_none());
    }
}

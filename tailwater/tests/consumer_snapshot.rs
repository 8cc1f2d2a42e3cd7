//! Durable consumers that begin with a snapshot: when they are new, and when they have lost history.

use crate::common;

use std::collections::BTreeMap;
use std::sync::mpsc;

use common::{Home, documents, id, next, orders};
use tailwater::bson::{RawDocumentBuf, rawdoc};
use tailwater::{Consumer, ConsumerOptions, ConsumerSnapshot, LostHistory, ReadConcern, Store, WatchError};

type Outcome = Result<Consumer, WatchError>;

/// What somebody keeps who applies everything.
#[derive(Debug, Default)]
struct Copy {
    documents: BTreeMap<i32, RawDocumentBuf>,
    snapshots: usize,
    options: ConsumerOptions,
}

impl Copy {
    fn join(&mut self, store: &Store) -> Outcome {
        let builder = orders(store).consumer("billing").options(self.options.clone());
        builder.join_with_snapshot(|snapshot| {
            self.begin(snapshot)?;
            // Behind the snapshot: it is a change.
            insert(store, 100 + self.snapshots as i32);
            Ok(())
        })
    }

    fn begin(&mut self, snapshot: &mut ConsumerSnapshot) -> Result<(), WatchError> {
        assert_eq!(snapshot.begins_anew(), self.snapshots > 0);
        self.documents.clear();
        self.snapshots += 1;
        for document in snapshot {
            let document = document?;
            let document = document.document().to_owned();
            assert!(self.documents.insert(id(&document), document).is_none());
        }
        Ok(())
    }

    /// Applies what was delivered, until there is a document with that `_id`.
    fn follow(&mut self, member: &mut Consumer, last: i32) {
        while !self.documents.contains_key(&last) {
            let delivery = next(member);
            let document = delivery
                .event()
                .full_document()
                .expect("inserts and replacements only")
                .to_owned();
            self.documents.insert(id(&document), document);
            delivery.ack().unwrap();
        }
    }

    fn assert_is_of(&self, store: &Store) {
        let kept: Vec<_> = self.documents.values().cloned().collect();
        let mut there = documents(store, "shop", "orders");
        there.sort_by_key(|document| id(document));
        assert_eq!(kept, there);
    }
}

fn insert(store: &Store, id: i32) {
    let orders = store.collection("shop", "orders").unwrap();
    orders.insert_one(&rawdoc! { "_id": id, "n": 0 }).unwrap();
}

/// Has the log lose what the consumer still needs.
fn lose_history(store: &Store) {
    store.slot_drop("consumer.billing").unwrap();
    let filler = store.collection("shop", "filler").unwrap();
    for id in 0..3 {
        filler
            .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(700_000) })
            .unwrap();
    }
    filler.delete_many(&rawdoc! {}).unwrap();
    store.sync().unwrap();
    store.trim_log(store.log().newest(ReadConcern::Durable)).unwrap();
}

/// What the log keeps for others than the store.
fn held(store: &Store) -> Vec<String> {
    let names = store.slots().into_iter().map(|slot| slot.name);
    names.filter(|name| !name.starts_with("tailwater.")).collect()
}

#[test]
fn one_call_serves_the_first_start_every_later_one_and_the_return_after_too_long() {
    let home = Home::new();
    (1..=5).for_each(|id| insert(&home.store, id));
    let mut copy = Copy::default();
    let mut member = copy.join(&home.store).unwrap();
    assert_eq!(copy.documents.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    copy.follow(&mut member, 101);
    copy.assert_is_of(&home.store);

    // It goes on where it was.
    drop(member);
    insert(&home.store, 6);
    let home = home.reopen();
    let mut member = copy.join(&home.store).unwrap();
    copy.follow(&mut member, 6);
    assert_eq!(copy.snapshots, 1);
    copy.assert_is_of(&home.store);

    // Away for too long: what was deleted meanwhile is not in the copy either.
    drop(member);
    let collection = home.store.collection("shop", "orders").unwrap();
    collection.delete_one(&rawdoc! { "_id": 3 }).unwrap();
    insert(&home.store, 7);
    lose_history(&home.store);
    let refused = orders(&home.store).consumer("billing").join().unwrap_err();
    assert!(matches!(refused, WatchError::ConsumerLostHistory { .. }), "{refused}");
    let mut member = copy.join(&home.store).unwrap();
    assert_eq!(copy.snapshots, 2);
    copy.follow(&mut member, 102);
    copy.assert_is_of(&home.store);
    let status = &home.store.consumers().unwrap()[0];
    assert_eq!(status.acknowledged, 3, "it is the same consumer: {status:?}");
    assert_eq!(held(&home.store), ["consumer.billing"], "nothing else is kept for it");
}

/// As a loop does that assigns the new member to the place of the old one.
#[test]
fn who_still_holds_the_member_that_has_lost_history_begins_anew() {
    let home = Home::new();
    insert(&home.store, 1);
    let mut copy = Copy::default();
    // It reads no further than to what nobody has taken yet.
    copy.options.window_events = 1;
    let mut member = copy.join(&home.store).unwrap();
    let taken = next(&mut member);
    (2..=4).for_each(|id| insert(&home.store, id));
    lose_history(&home.store);
    taken.ack().unwrap();
    let mut last = None;
    let failure = loop {
        match member.wait_next(None) {
            Ok(delivery) => last = delivery,
            Err(failure) => break failure,
        }
        last.as_ref().unwrap().ack().unwrap();
    };
    assert!(matches!(failure, WatchError::ConsumerLostHistory { .. }), "{failure}");
    let lost = std::mem::replace(&mut member, copy.join(&home.store).unwrap());
    assert_eq!(copy.snapshots, 2);
    copy.follow(&mut member, 102);
    // What it has to say counts no more, and neither does that it leaves.
    if let Some(last) = last {
        assert!(last.ack().is_err());
    }
    drop(lost);
    insert(&home.store, 5);
    copy.follow(&mut member, 5);
    copy.assert_is_of(&home.store);
    assert_eq!(held(&home.store), ["consumer.billing"]);
}

#[test]
fn a_beginning_that_fails_is_none() {
    let home = Home::new();
    insert(&home.store, 1);
    let begin = |take: usize| {
        orders(&home.store).consumer("billing").join_with_snapshot(|snapshot| {
            let taken = snapshot.take(take).count();
            Err::<(), _>(Failure::Own(taken))
        })
    };
    for taken in 0..=1 {
        let failed = begin(taken).unwrap_err();
        assert!(matches!(failed, Failure::Own(count) if count == taken), "{failed:?}");
        assert!(home.store.consumers().unwrap().is_empty());
        assert!(held(&home.store).is_empty());
    }
    // Who takes a part of it wants no more.
    let joined = orders(&home.store)
        .consumer("billing")
        .join_with_snapshot(|_| Ok::<_, WatchError>(()));
    let mut member = joined.unwrap();
    insert(&home.store, 2);
    assert_eq!(id(&next(&mut member).event().document_key().unwrap()), 2);
}

#[derive(Debug)]
enum Failure {
    Own(usize),
    Watch(WatchError),
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Failure {
        Failure::Watch(error)
    }
}

#[test]
fn a_beginning_has_one_place_and_one_way_to_go_on() {
    let home = Home::new();
    let refused = |builder: tailwater::ConsumerBuilder| {
        let joined =
            builder.join_with_snapshot(|_| -> Result<(), Failure> { panic!("there is nothing to begin with") });
        match joined.unwrap_err() {
            Failure::Watch(error) => error,
            own => panic!("{own:?}"),
        }
    };
    let error = refused(orders(&home.store).start_at_oldest().consumer("billing"));
    assert!(matches!(error, WatchError::ConflictingStart), "{error}");
    let options = ConsumerOptions {
        lost_history: LostHistory::SkipToOldest,
        ..ConsumerOptions::default()
    };
    let error = refused(orders(&home.store).consumer("billing").options(options));
    assert!(matches!(error, WatchError::ConflictingStart), "{error}");
    let error = refused(orders(&home.store).consumer(""));
    assert!(matches!(error, WatchError::InvalidConsumerName { .. }), "{error}");
}

#[test]
fn whoever_joins_meanwhile_waits_and_shares_the_work() {
    let home = Home::new();
    (1..=3).for_each(|id| insert(&home.store, id));
    let (begins, begun) = mpsc::channel();
    let store = home.store.clone();
    let other = std::thread::spawn(move || {
        begun.recv().unwrap();
        let joined = orders(&store)
            .consumer("billing")
            .join_with_snapshot(|_| -> Result<(), WatchError> { panic!("that is done already") });
        joined.unwrap()
    });
    let watch = || orders(&home.store).consumer("billing");
    let one = watch().join_with_snapshot(|snapshot| -> Result<(), WatchError> {
        begins.send(()).unwrap();
        // This thread would wait for itself; another name it may have.
        let refused = watch().join().unwrap_err();
        assert!(matches!(refused, WatchError::ConsumerMismatch { .. }), "{refused}");
        let refused = home.store.consumer_drop("billing").unwrap_err();
        assert!(matches!(refused, WatchError::ConsumerMismatch { .. }), "{refused}");
        assert!(home.store.consumers()?.is_empty());
        drop(orders(&home.store).consumer("shipping").join()?);
        assert_eq!(snapshot.count(), 3);
        Ok(())
    });
    let (one, other) = (one.unwrap(), other.join().unwrap());
    let billing = |name: &str| name == "billing";
    let consumers = home.store.consumers().unwrap();
    let members = consumers
        .iter()
        .find(|consumer| billing(&consumer.name))
        .map(|consumer| consumer.members);
    assert_eq!(members, Some(2));
    drop((one, other));
}

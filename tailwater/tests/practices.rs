//! What the documentation of other databases advises whoever keeps a change stream running, with ours. The list of their
//! examples is in `styles.rs`.

use crate::common;

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use common::{Home, PATIENCE};
use tailwater::bson::{RawDocument, rawdoc};
use tailwater::{
    ChangeEvent, Collection, LogError, OperationType, ReadConcern, RecvError, ResumeToken, Watch, WatchError,
};

fn orders(home: &Home) -> Collection {
    home.store.collection("shop", "orders").unwrap()
}

/// As soon as it is written: the stores here do not sync.
fn watch(orders: &Collection) -> Watch {
    orders.watch().read_concern(ReadConcern::Local)
}

fn insert(orders: &Collection, ids: std::ops::RangeInclusive<i32>) {
    for id in ids {
        orders
            .insert_one(&rawdoc! { "_id": id, "customer": "Ada", "total": 12.5 })
            .unwrap();
    }
}

fn id(event: &ChangeEvent) -> i32 {
    event.document_key().unwrap().get_i32("_id").unwrap()
}

/// jasonisnthappy's `watch`: a filter of several conditions, and a handle that is asked to end the watch.
#[test]
fn a_filter_of_several_conditions_and_a_handle_that_ends_it() {
    let home = Home::new();
    let users = home.store.collection("mydb", "users").unwrap();
    let adults = watch(&users).filter("age > 18 and city is \"NYC\"");
    let (handle, receiver) = adults.subscribe().unwrap();
    for (id, age, city) in [(1, 30, "NYC"), (2, 30, "Ulm"), (3, 12, "NYC")] {
        users
            .insert_one(&rawdoc! { "_id": id, "age": age, "city": city })
            .unwrap();
    }
    let event = receiver.recv_timeout(PATIENCE).unwrap();
    assert_eq!((id(&event), event.collection()), (1, "users"));
    handle.stop();
    users
        .insert_one(&rawdoc! { "_id": 4, "age": 30, "city": "NYC" })
        .unwrap();
    assert!(matches!(receiver.recv_timeout(PATIENCE), Err(RecvError::Ended)));
}

/// NexaDB's change listener: one loop over everything that happens to orders.
#[test]
fn a_loop_that_tells_apart_what_happened() {
    let home = Home::new();
    let orders = orders(&home);
    let (_handle, events) = watch(&orders).subscribe().unwrap();
    insert(&orders, 1..=1);
    let shipped = rawdoc! { "$set": { "status": "shipped" } };
    orders.update_one(&rawdoc! { "_id": 1 }, &shipped).unwrap();
    orders.delete_one(&rawdoc! { "_id": 1 }).unwrap();
    let line = |event: ChangeEvent| {
        let document = event.to_document();
        let of = |name| document.get_document(name).unwrap();
        let what = match document.get_str("operationType").unwrap() {
            "insert" => of("fullDocument").get_str("customer").unwrap().to_owned(),
            "update" => {
                let updated: &RawDocument = of("updateDescription").get_document("updatedFields").unwrap();
                updated.get_str("status").unwrap().to_owned()
            }
            other => other.to_owned(),
        };
        let namespace = of("ns").get_str("coll").unwrap().to_owned();
        (namespace, of("documentKey").get_i32("_id").unwrap(), what)
    };
    let lines: Vec<_> = events.iter().take(3).map(|event| line(event.unwrap())).collect();
    let expected = ["Ada", "shipped", "delete"].map(|what| ("orders".to_owned(), 1, what.to_owned()));
    assert_eq!(lines, expected);
}

/// What a listener is: a kind of event, and what is called with it.
type Listener<'a> = (&'static str, &'a (dyn Fn(&ChangeEvent) + Sync));

/// NexaDB's listeners by operation, the `on("change", …)` of Node.js and Mongoose: functions that are called.
#[test]
fn functions_that_are_called_for_each_kind_of_event() {
    let home = Home::new();
    let orders = orders(&home);
    let counts = Mutex::new(HashMap::new());
    let count = |name: &'static str| *counts.lock().unwrap().entry(name).or_insert(0) += 1;
    let listeners: [Listener<'_>; 2] = [("insert", &|_| count("inserted")), ("delete", &|_| count("deleted"))];
    let (handle, events) = watch(&orders).subscribe().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for event in events.iter().map(Result::unwrap) {
                let name = event.operation_type().name();
                let called = listeners.iter().filter(|(on, _)| *on == name);
                called.for_each(|(_, listener)| listener(&event));
            }
        });
        insert(&orders, 1..=3);
        orders.delete_one(&rawdoc! { "_id": 2 }).unwrap();
        home.store.drop_collection("shop", "orders").unwrap();
    });
    assert_eq!(
        counts.into_inner().unwrap(),
        HashMap::from([("inserted", 3), ("deleted", 1)])
    );
    assert!(handle.is_ended());
}

/// Mongoose's function that is called again and again: each call goes on where the last one stood, and waits for a while.
#[test]
fn a_function_that_goes_on_where_its_last_call_stood() {
    let home = Home::new();
    let orders = orders(&home);
    let begin = watch(&orders).start().unwrap().resume_token();
    let call = |token: ResumeToken, patience| -> (Option<i32>, ResumeToken) {
        let mut stream = watch(&orders).resume_after(token).start().unwrap();
        let event = stream.wait_next(Some(patience)).unwrap();
        (event.as_ref().map(id), stream.resume_token())
    };
    insert(&orders, 1..=2);
    let (first, token) = call(begin, PATIENCE);
    let (second, token) = call(token, PATIENCE);
    let (nothing, token) = call(token, Duration::from_millis(1));
    insert(&orders, 3..=3);
    let (third, _) = call(token, PATIENCE);
    assert_eq!([first, second, nothing, third], [Some(1), Some(2), None, Some(3)]);
}

/// LauraDB's first practice: somebody else saves the token from time to time.
#[test]
fn a_token_saved_beside_the_loop_loses_nothing() {
    const EVENTS: i32 = 500;
    let home = Home::new();
    let orders = orders(&home);
    let (handle, events) = watch(&orders).subscribe().unwrap();
    let dealt_with = Mutex::new(Vec::new());
    // Each token with how much had been dealt with when it was asked for.
    let mut saved = Vec::new();
    thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            for event in events.iter().take(EVENTS as usize) {
                dealt_with.lock().unwrap().push(id(&event.unwrap()));
            }
        });
        scope.spawn(|| insert(&orders, 1..=EVENTS));
        while !consumer.is_finished() {
            // Received is not dealt with: the lock is what makes the two one.
            let dealt_with = dealt_with.lock().unwrap();
            saved.push((events.resume_token(), dealt_with.len()));
            drop(dealt_with);
            thread::yield_now();
        }
        saved.push((events.resume_token(), EVENTS as usize));
    });
    drop(handle);
    assert!(dealt_with.lock().unwrap().iter().copied().eq(1..=EVENTS));
    let distinct = saved.iter().step_by(saved.len().div_ceil(20));
    for (token, dealt_with) in distinct {
        let mut stream = watch(&orders).resume_after(*token).start().unwrap();
        let next = stream.next_if_any().unwrap().map_or(EVENTS + 1, |event| id(&event));
        // The event that was on its way from the channel to the list is the only one that a token may be ahead by.
        let first_left = *dealt_with as i32 + 1;
        assert!((first_left..=first_left + 1).contains(&next), "{next} {first_left}");
    }
}

/// LauraDB's second practice: an end that was asked for is told apart from one that was not.
#[test]
fn an_end_is_told_apart_from_a_failure() {
    let home = Home::new();
    let orders = orders(&home);
    let mut stopped = watch(&orders).start().unwrap();
    stopped.stopper().stop();
    assert!(stopped.wait_next(None).unwrap().is_none());

    let (mut stream, (_handle, receiver)) = (watch(&orders).start().unwrap(), watch(&orders).subscribe().unwrap());
    insert(&orders, 1..=1);
    home.store.close().unwrap();
    assert_eq!(id(&stream.wait_next(None).unwrap().unwrap()), 1);
    let failure = stream.wait_next(None).unwrap_err();
    assert!(matches!(failure, WatchError::Log(LogError::Closed)), "{failure:?}");
    assert_eq!(id(&receiver.recv().unwrap()), 1);
    assert!(matches!(
        receiver.recv(),
        Err(RecvError::Failed(WatchError::Log(LogError::Closed)))
    ));
}

/// LauraDB's fifth practice, a buffer that suits: whatever its size, nothing is lost.
#[test]
fn a_buffer_of_any_size_loses_nothing() {
    let home = Home::new();
    let orders = orders(&home);
    let subscribe = |events| watch(&orders).channel_capacity(events, 1 << 20).subscribe().unwrap();
    let watches = [1, 10, 1000].map(subscribe);
    insert(&orders, 1..=300);
    for (_handle, receiver) in &watches {
        let received = receiver.iter().take(300).map(|event| id(&event.unwrap()));
        assert!(received.eq(1..=300));
    }
}

/// LauraDB's sixth practice: a watch that hears nothing is told apart from one that is dead, and its token moves all the same.
#[test]
fn a_quiet_watch_is_told_apart_from_a_dead_one() {
    let home = Home::new();
    let orders = orders(&home);
    let (handle, receiver) = watch(&orders).filter("total > 1000").subscribe().unwrap();
    let before = receiver.resume_token();
    insert(&orders, 1..=50);
    let quiet = receiver.recv_timeout(Duration::from_millis(1));
    assert!(matches!(quiet, Err(RecvError::Timeout)) && !handle.is_ended());
    while receiver.resume_token() == before {
        thread::yield_now();
    }
    home.store.drop_collection("shop", "orders").unwrap();
    let end = receiver.recv_timeout(PATIENCE).unwrap();
    assert_eq!(end.operation_type(), OperationType::Invalidate);
    assert!(handle.is_ended());
}

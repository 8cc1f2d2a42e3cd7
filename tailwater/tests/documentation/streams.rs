//! The code of `docs/change-streams.md`.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::thread;
use std::time::Duration;

use tailwater::bson::{RawDocument, RawDocumentBuf, doc, rawdoc};
use tailwater::{
    ChangeEvent, ChangeStream, Collection, CollectionOptions, ConsumerOptions, FindOptions, FullDocument,
    FullDocumentBeforeChange, IndexModel, LiveEvent, LostHistory, OperationType, ReadConcern, SnapshotEvent, Store,
    Watch, cluster_time,
};

use crate::common::{Home, id, small};
use crate::{Outcome, collection, count};

fn with_images(home: &Home, name: &str) -> Collection {
    let mut options = CollectionOptions::default();
    options.pre_and_post_images = true;
    home.store.create_collection_with("shop", name, &options).unwrap();
    collection(home, name)
}

#[test]
fn streams_that_need_the_store_have_handle_and_receiver() -> Outcome {
    let home = Home::new();
    let (orders, scores) = (collection(&home, "orders"), collection(&home, "scores"));
    scores.insert_one(&rawdoc! { "_id": 1, "league": 1, "points": 3 })?;
    home.store.sync()?;
    let (filter, top) = (rawdoc! { "league": 1 }, FindOptions::default());
    let store = home.store.clone();
    let writer = thread::spawn(move || {
        while store.consumers().unwrap().is_empty() {
            thread::yield_now();
        }
        let orders = store.collection("shop", "orders").unwrap();
        orders.insert_one(&rawdoc! { "_id": 1 }).unwrap();
        store.sync().unwrap();
        store.drop_collection("shop", "orders").unwrap();
        store.sync().unwrap();
    });

    let (_reading, mut events) = orders.watch().with_snapshot().subscribe()?;
    let (_looking, mut changes) = scores.find_with(&filter, &top)?.subscribe()?;
    let (_working, mut deliveries) = orders.watch().consumer("billing").subscribe()?;
    for delivery in deliveries.iter() {
        delivery?.ack()?;
    }

    writer.join().map_err(|_| "the writer failed")?;
    let names: Vec<_> = events
        .iter()
        .map(|event| event.unwrap().operation_name().to_owned())
        .collect();
    assert_eq!(names, ["insert", "drop", "invalidate"]);
    assert!(matches!(changes.recv()?, LiveEvent::Added { .. }));
    assert_eq!(home.store.consumers()?[0].acknowledged, 3);
    Ok(())
}

#[test]
fn scope_filter_and_pipeline() -> Outcome {
    let home = Home::new();
    let (store, orders) = (&home.store, collection(&home, "orders"));

    let everything = store.watch(); // but the database `tailwater`, which is internal
    let database = store.watch_database("shop");
    let large = orders.watch().filter("total > 100 and status is \"open\"");
    let deletes = orders
        .watch()
        .pipeline([doc! { "$match": { "operationType": "delete" } }]);

    orders.insert_one(&rawdoc! { "_id": 1, "total": 120, "status": "open" })?;
    orders.insert_one(&rawdoc! { "_id": 2, "total": 80, "status": "open" })?;
    orders.delete_one(&rawdoc! { "_id": 2 })?;
    store.collection("town", "people")?.insert_one(&rawdoc! { "_id": 1 })?;
    store.sync()?;
    assert_eq!([everything, database, large, deletes].map(count), [4, 3, 1, 1]);
    Ok(())
}

#[test]
fn collation() -> Outcome {
    let home = Home::new();
    let people = collection(&home, "people");

    let pipeline = [doc! { "$match": { "fullDocument.city": "zurich" } }];
    let watch = people
        .watch()
        .pipeline(pipeline)
        .collation(rawdoc! { "locale": "de", "strength": 1 });

    people.insert_one(&rawdoc! { "_id": 1, "city": "ZÜRICH" })?;
    people.insert_one(&rawdoc! { "_id": 2, "city": "Ulm" })?;
    home.store.sync()?;
    assert_eq!(count(watch), 1);
    Ok(())
}

#[test]
fn every_option() -> Outcome {
    let home = Home::new();
    let (store, orders) = (&home.store, with_images(&home, "orders"));
    orders.insert_one(&rawdoc! { "_id": 1, "n": 1 })?;
    store.sync()?;
    let mut first = orders.watch().start_at_oldest().start()?;
    let first = first.next_if_any()?.expect("the insert");
    let (token, time) = (first.resume_token(), cluster_time(first.timestamp()));

    // MongoDB's fullDocument: default, updateLookup, whenAvailable, required
    let whole = orders.watch().full_document(FullDocument::UpdateLookup);
    // fullDocumentBeforeChange: off, whenAvailable, required
    let before = orders
        .watch()
        .full_document_before_change(FullDocumentBeforeChange::WhenAvailable);
    // showExpandedEvents
    let expanded = store.watch().show_expanded_events(true);
    // ours: the types by name
    let replaced = orders
        .watch()
        .operations([OperationType::Replace, OperationType::Delete]);

    let behind = orders.watch().resume_after(token); // resumeAfter
    let behind_an_end = orders.watch().start_after(token); // startAfter: also behind an invalidate
    let since = orders.watch().start_at_operation_time(time); // startAtOperationTime
    let from_oldest = orders.watch().start_at_oldest(); // ours: with what the log still has

    // readConcern: Local at once, Durable by default, Majority when no promotion takes it back
    let at_once = orders.watch().read_concern(ReadConcern::Local);
    // comment, in the traces beside the stream
    let named = orders.watch().comment("the warehouse's");
    // ours: a subscription's channel, in events and bytes
    let (_handle, events) = orders.watch().channel_capacity(100, 1 << 20).subscribe()?;

    let [mut whole, mut before, mut replaced] = [whole.start()?, before.start()?, replaced.start()?];
    let [mut expanded, mut at_once, mut named] = [expanded.start()?, at_once.start()?, named.start()?];
    orders.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "n": 2 } })?;
    assert!(at_once.next_if_any()?.is_some());
    orders.create_index(&IndexModel::new("n", 1))?;
    orders.delete_one(&rawdoc! { "_id": 1 })?;
    store.sync()?;
    let n = |document: Option<&RawDocument>| document.and_then(|document| document.get_i32("n").ok());
    assert_eq!(n(whole.next_if_any()?.expect("the update").full_document()), Some(2));
    assert_eq!(
        n(before.next_if_any()?.expect("the update").full_document_before_change()),
        Some(1)
    );
    let names = |stream: &mut ChangeStream| -> Vec<_> {
        std::iter::from_fn(|| stream.next_if_any().unwrap())
            .map(|event| event.operation_type().name())
            .collect()
    };
    assert_eq!(names(&mut expanded), ["update", "createIndexes", "delete"]);
    assert_eq!(names(&mut replaced), ["delete"]);
    assert_eq!(names(&mut named), ["update", "delete"]);
    assert_eq!(
        [behind, behind_an_end, since, from_oldest].map(count_from),
        [2, 2, 3, 3]
    );
    assert_eq!(events.recv()?.operation_type(), OperationType::Update);
    Ok(())
}

/// How many events there are from where the watch begins.
fn count_from(watch: Watch) -> usize {
    let mut stream = watch.start().unwrap();
    std::iter::from_fn(|| stream.next_if_any().unwrap()).count()
}

#[test]
fn options_of_a_consumer() -> Outcome {
    let home = Home::new();
    let orders = collection(&home, "orders");

    let options = ConsumerOptions {
        partitions: 64,                                                    // members that can share the work
        max_failures: Some(5),                                             // then to the dead letters; None for ever
        retry_delay: Duration::from_secs(1),                               // from a failure to the next delivery
        dead_letters: ("tailwater".to_owned(), "dead_letters".to_owned()), // where those go
        lease: Duration::from_secs(30),                                    // how long a member may be silent
        window_events: 10_000,                                             // open events, and
        window_bytes: 16 << 20,                                            // bytes of them, before reading waits
        max_lag_bytes: 1 << 30,                                            // what the log keeps for it
        lost_history: LostHistory::Fail,                                   // or SkipToOldest, SkipToNewest
    };
    assert_eq!(options, ConsumerOptions::default());
    let mut audit = orders.watch().consumer("audit").options(options).join()?;

    orders.insert_one(&rawdoc! { "_id": 1, "customer": "ada" })?;
    home.store.sync()?;
    let delivery = audit.wait_next(None)?.expect("an order");
    let (store, customer, price) = (&home.store, "ada", 30);
    let accounts = collection(&home, "accounts");
    accounts.insert_one(&rawdoc! { "_id": customer, "owes": 0 })?;

    store.ack_with(&delivery, |transaction| {
        let accounts = transaction.collection("shop", "accounts")?;
        accounts.update_one(&rawdoc! { "_id": customer }, &rawdoc! { "$inc": { "owes": price } })?;
        Ok::<_, Box<dyn Error>>(())
    })?;

    assert_eq!(accounts.count(&rawdoc! { "owes": 30 })?, 1);
    Ok(())
}

#[test]
fn large_events() -> Outcome {
    // In one segment there must be room for the entry.
    let mut options = small();
    options.oplog.segment_bytes = 64 << 20;
    let home = Home::with(&options);
    let orders = with_images(&home, "orders");

    let watch = orders
        .watch()
        .full_document_before_change(FullDocumentBeforeChange::WhenAvailable);
    let mut stream = watch.pipeline([doc! { "$changeStreamSplitLargeEvent": {} }]).start()?;

    let text = |letter: &str| letter.repeat(9 << 20);
    orders.insert_one(&rawdoc! { "_id": 1, "text": text("a") })?;
    orders.replace_one(&rawdoc! { "_id": 1 }, &rawdoc! { "text": text("b") })?;
    home.store.sync()?;
    let events: Vec<ChangeEvent> = std::iter::from_fn(|| stream.next_if_any().unwrap()).collect();
    let fragments: Vec<_> = events.iter().map(|event| event.split_event().is_some()).collect();
    assert_eq!(fragments, [false, true, true]);
    Ok(())
}

#[test]
fn deletes_that_match_by_what_was_deleted() -> Outcome {
    let home = Home::new();
    let people = with_images(&home, "people");

    let adults = people.watch().filter("age > 18").match_deletes_by_pre_image(true);

    people.insert_one(&rawdoc! { "_id": 1, "age": 36 })?;
    people.delete_one(&rawdoc! { "_id": 1 })?;
    home.store.sync()?;
    assert_eq!(count(adults), 2);
    Ok(())
}

#[test]
fn a_snapshot_then_every_change() -> Outcome {
    let home = Home::new();
    let orders = collection(&home, "orders");
    for (id, total) in [(1, 120), (2, 80)] {
        orders.insert_one(&rawdoc! { "_id": id, "total": total })?;
    }
    home.store.sync()?;
    let (mut applied, mut kept) = (Vec::new(), Vec::new());
    let mut apply = |event: &SnapshotEvent| {
        if event.operation_name() == "snapshot" {
            home.store.drop_collection("shop", "orders").unwrap();
            home.store.sync().unwrap();
        }
        applied.push(event.operation_name().to_owned());
    };
    let mut keep = |token: String| kept.push(token);

    let mut stream = orders.watch().filter("total > 100").with_snapshot().start()?;
    while let Some(event) = stream.wait_next(None)? {
        apply(&event); // operation_name() is "snapshot" for documents that were there
        keep(event.resume_token().to_string());
    }

    assert_eq!(applied, ["snapshot", "invalidate"]);
    assert_eq!(kept.len(), 2);
    Ok(())
}

#[test]
fn a_snapshot_that_begins_anew() -> Outcome {
    let home = Home::new();
    let orders = collection(&home, "orders");
    orders.insert_one(&rawdoc! { "_id": 1 })?;
    home.store.sync()?;
    let mut stream = orders.watch().with_snapshot().start()?;
    let event = stream.wait_next(None)?.expect("a document is there");
    let token = event.resume_token().clone();
    let mut copy = vec![rawdoc! { "_id": 1 }];

    let mut copied = orders
        .watch()
        .with_snapshot()
        .resume_after(token)
        .anew_if_lost(true)
        .start()?;
    if copied.begins_anew() {
        copy.clear();
    }

    // Nothing was lost.
    assert_eq!(copy.len(), 1);
    orders.insert_one(&rawdoc! { "_id": 2 })?;
    home.store.sync()?;
    let event = copied.wait_next(None)?.expect("the collection is there");
    assert_eq!(event.document_key(), Some(rawdoc! { "_id": 2 }));
    Ok(())
}

#[test]
fn durable_consumers() -> Outcome {
    let home = Home::new();
    let orders = collection(&home, "orders");
    let declined = Cell::new(false);
    let charge = |event: &ChangeEvent| match event.operation_type().name() {
        "insert" if !declined.replace(true) => Err(io::Error::other("declined")),
        "insert" => {
            home.store.drop_collection("shop", "orders").unwrap();
            home.store.sync().unwrap();
            Ok(())
        }
        _ => Ok(()),
    };
    orders.insert_one(&rawdoc! { "_id": 1 })?;
    home.store.sync()?;
    let from_the_beginning = orders.watch().start_at_oldest().consumer("billing");
    drop(from_the_beginning.join()?);

    let mut billing = orders.watch().consumer("billing").join()?;
    while let Some(delivery) = billing.wait_next(None)? {
        match charge(delivery.event()) {
            Ok(()) => delivery.ack()?,
            Err(error) => delivery.fail(error.to_string())?,
        }
    }

    assert!(declined.get());
    assert_eq!(home.store.consumers()?[0].acknowledged, 3);
    Ok(())
}

#[test]
fn a_consumer_that_begins_with_a_snapshot() -> Outcome {
    let home = Home::new();
    let orders = collection(&home, "orders");
    orders.insert_one(&rawdoc! { "_id": 1 })?;
    let mut copy = vec![rawdoc! { "_id": "of before" }];

    let mut billing = orders.watch().consumer("billing").join_with_snapshot(|snapshot| {
        copy.clear();
        for document in snapshot {
            copy.push(document?.document().to_owned());
        }
        Ok::<_, Box<dyn Error>>(())
    })?;

    assert_eq!(copy, [rawdoc! { "_id": 1 }]);
    orders.insert_one(&rawdoc! { "_id": 2 })?;
    home.store.sync()?;
    let delivery = billing.wait_next(None)?.expect("the collection is there");
    assert_eq!(delivery.event().document_key(), Some(rawdoc! { "_id": 2 }));
    Ok(())
}

/// What a live query is shown on; what it shows is changed each time.
struct Screen {
    store: Store,
    shown: Vec<i32>,
    steps: Vec<&'static str>,
}

#[expect(clippy::needless_pass_by_value, reason = "the guide's code hands documents over")]
impl Screen {
    fn insert(&mut self, document: RawDocumentBuf, before: Option<RawDocumentBuf>) {
        self.steps.push("insert");
        let place = before.and_then(|before| self.shown.iter().position(|shown| *shown == id(&before)));
        self.shown.insert(place.unwrap_or(self.shown.len()), id(&document));
        let scores = self.store.collection("shop", "scores").unwrap();
        let raise = rawdoc! { "$inc": { "points": 1 } };
        scores.update_one(&rawdoc! { "_id": id(&document) }, &raise).unwrap();
        self.store.sync().unwrap();
    }

    fn update(&mut self, document: RawDocumentBuf, _: Option<RawDocumentBuf>) {
        self.steps.push("update");
        let scores = self.store.collection("shop", "scores").unwrap();
        scores.delete_one(&rawdoc! { "_id": id(&document) }).unwrap();
        self.store.sync().unwrap();
    }

    fn remove(&mut self, document_key: RawDocumentBuf) {
        self.steps.push("remove");
        self.shown.retain(|shown| *shown != id(&document_key));
        self.store.clone().close().unwrap();
    }
}

fn show(scores: &Collection, screen: &mut Screen) -> Outcome {
    let top = FindOptions {
        sort: Some(rawdoc! { "points": -1 }),
        limit: Some(10),
        ..FindOptions::default()
    };
    let mut live = scores.find_with(&rawdoc! { "league": 1 }, &top)?.live()?;
    while let Some(event) = live.wait_next(None)? {
        match event {
            LiveEvent::Added { document, before } => screen.insert(document, before),
            LiveEvent::Changed { document, before } => screen.update(document, before),
            LiveEvent::Removed { document_key } => screen.remove(document_key),
        }
    }
    Ok(())
}

#[test]
fn live_queries() -> Outcome {
    let home = Home::new();
    let scores = collection(&home, "scores");
    scores.insert_one(&rawdoc! { "_id": 1, "league": 1, "points": 3 })?;
    home.store.sync()?;
    let mut screen = Screen {
        store: home.store.clone(),
        shown: Vec::new(),
        steps: Vec::new(),
    };

    // A live query outlasts its collection, and ends with the store.
    assert!(show(&scores, &mut screen).is_err());

    assert_eq!(screen.steps, ["insert", "update", "remove"]);
    assert!(screen.shown.is_empty());
    Ok(())
}

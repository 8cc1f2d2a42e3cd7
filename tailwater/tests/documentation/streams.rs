//! The code of `docs/change-streams.md`.

use std::cell::Cell;
use std::io;
use std::thread;

use tailwater::bson::{RawDocumentBuf, doc, rawdoc};
use tailwater::{
    ChangeEvent, Collection, CollectionOptions, FindOptions, FullDocumentBeforeChange, LiveEvent, SnapshotEvent, Store,
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

//! Events of which an image is missing: a stream that asks for it is failed by what it wants, and by nothing else; a delete that
//! cannot be judged is delivered.

use crate::common;

use bson::{Document, doc, rawdoc};
use common::{ORDERS, PATIENCE, Writer, collection, diff, of, orders, short};
use tailwater_changestream::{Dispatcher, Error, FullDocument, FullDocumentBeforeChange, RecvError, Watch};
use tailwater_oplog::entry::{EntryKind, StoreEntry};

/// What a watch comes to: its events in short, and the error that it ends with.
type Outcome = (Vec<String>, Option<&'static str>);

fn error_name(error: &Error) -> &'static str {
    match error {
        Error::NoPostImage { .. } => "NoPostImage",
        Error::NoPreImage { .. } => "NoPreImage",
        other => panic!("{other}"),
    }
}

/// An update, a replacement and a delete without images, and an insert behind them.
fn write(writer: &Writer) {
    let update = StoreEntry {
        key: Some(&rawdoc! { "_id": 1 }),
        diff: Some(&diff(7)),
        ..of(ORDERS)
    };
    writer.write(EntryKind::Update, &update);
    writer.replace(ORDERS, &rawdoc! { "_id": 1, "n": 5 });
    writer.delete(ORDERS, 1);
    writer.insert(ORDERS, &rawdoc! { "_id": 9, "n": 9 });
}

/// As a stream, and as a subscription beside others.
fn outcomes(watch: impl Fn(Watch) -> Watch) -> [Outcome; 2] {
    let (_dir, writer) = orders(0);
    let dispatcher = Dispatcher::new(writer.log.view());
    let mut stream = watch(writer.watch(collection(ORDERS))).start().unwrap();
    let (_handle, receiver) = watch(dispatcher.watch(collection(ORDERS))).subscribe().unwrap();
    // Says when everything has been dispatched.
    let (_other, all) = dispatcher.watch(collection(ORDERS)).subscribe().unwrap();
    write(&writer);
    for _ in 0..4 {
        all.recv_timeout(PATIENCE).unwrap();
    }
    let last = writer.newest();

    let mut read = (Vec::new(), None);
    loop {
        match stream.next_if_any() {
            Ok(Some(event)) => read.0.push(short(&event)),
            Ok(None) => break,
            Err(error) => {
                read.1 = Some(error_name(&error));
                break;
            }
        }
    }
    let mut received = (Vec::new(), None);
    loop {
        match receiver.try_recv() {
            Ok(Some(event)) => received.0.push(short(&event)),
            Ok(None) if receiver.resume_token().op_id() >= last => break,
            Ok(None) => std::thread::yield_now(),
            Err(RecvError::Failed(error)) => {
                received.1 = Some(error_name(&error));
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    [read, received]
}

fn matching(stage: Document) -> [Document; 1] {
    [doc! { "$match": stage }]
}

#[test]
fn a_stream_that_requires_images_fails_only_with_what_it_wants() {
    let post = |w: Watch| w.full_document(FullDocument::Required);
    let pre = |w: Watch| w.full_document_before_change(FullDocumentBeforeChange::Required);
    type Case = (
        &'static str,
        Box<dyn Fn(Watch) -> Watch>,
        Vec<&'static str>,
        Option<&'static str>,
    );
    let cases: Vec<Case> = vec![
        ("everything", Box::new(post), vec![], Some("NoPostImage")),
        (
            "other operations",
            Box::new(move |w| post(w).pipeline(matching(doc! { "operationType": { "$ne": "update" } }))),
            vec!["replace shop.orders 1", "delete shop.orders 1", "insert shop.orders 9"],
            None,
        ),
        (
            "other documents",
            Box::new(move |w| post(w).pipeline(matching(doc! { "documentKey._id": 9 }))),
            vec!["insert shop.orders 9"],
            None,
        ),
        (
            "the document asked first",
            Box::new(move |w| {
                post(w).pipeline(matching(
                    doc! { "fullDocument.n": { "$gt": 3 }, "operationType": "insert" },
                ))
            }),
            vec!["insert shop.orders 9"],
            None,
        ),
        (
            "one of two, of which the document may be",
            Box::new(move |w| {
                let either = doc! { "$or": [{ "fullDocument.n": 7 }, { "operationType": "insert" }] };
                post(w).pipeline(matching(either))
            }),
            vec![],
            Some("NoPostImage"),
        ),
        (
            "an expression without the document",
            Box::new(move |w| post(w).pipeline(matching(doc! { "$expr": { "$eq": ["$operationType", "insert"] } }))),
            vec!["insert shop.orders 9"],
            None,
        ),
        (
            "an expression with the document",
            Box::new(move |w| post(w).pipeline(matching(doc! { "$expr": { "$gt": ["$fullDocument.n", 3] } }))),
            vec![],
            Some("NoPostImage"),
        ),
        ("everything, before", Box::new(pre), vec![], Some("NoPreImage")),
        (
            "a document that is there",
            Box::new(move |w| pre(w).pipeline(matching(doc! { "fullDocument.n": 9 }))),
            vec!["insert shop.orders 9"],
            None,
        ),
        (
            "a filter that does not hold",
            Box::new(move |w| {
                pre(w)
                    .filter("n > 8")
                    .pipeline(matching(doc! { "operationType": { "$ne": "update" } }))
            }),
            vec!["insert shop.orders 9"],
            None,
        ),
    ];
    for (name, watch, events, error) in cases {
        for (outcome, how) in outcomes(watch).into_iter().zip(["read", "received"]) {
            assert_eq!(
                outcome,
                (events.iter().map(|e| (*e).to_owned()).collect(), error),
                "{name}, {how}"
            );
        }
    }
}

#[test]
fn a_delete_that_cannot_be_judged_is_delivered_unless_something_else_rules_it_out() {
    type Case = (&'static str, Box<dyn Fn(Watch) -> Watch>, bool);
    let cases: Vec<Case> = vec![
        ("a filter", Box::new(|w| w.filter("n > 18")), true),
        (
            "a filter, and a match without the document",
            Box::new(|w| {
                w.filter("n > 18")
                    .pipeline(matching(doc! { "operationType": "insert" }))
            }),
            false,
        ),
        (
            "a match with the document",
            Box::new(|w| w.pipeline(matching(doc! { "fullDocument.n": { "$gt": 18 } }))),
            true,
        ),
        (
            "a match with the document before",
            Box::new(|w| w.pipeline(matching(doc! { "fullDocumentBeforeChange.n": 4 }))),
            true,
        ),
        (
            "a match with both",
            Box::new(|w| w.pipeline(matching(doc! { "fullDocument.n": 4, "documentKey._id": 2 }))),
            false,
        ),
        (
            "a match without",
            Box::new(|w| w.pipeline(matching(doc! { "documentKey._id": 1 }))),
            true,
        ),
    ];
    for (name, watch, delivered) in cases {
        let watch = |w| watch(w).match_deletes_by_pre_image(true);
        for (outcome, how) in outcomes(watch).into_iter().zip(["read", "received"]) {
            let deletes = outcome.0.iter().filter(|event| event.starts_with("delete")).count();
            assert_eq!((deletes == 1, outcome.1), (delivered, None), "{name}, {how}");
        }
    }
}

//! What a watch is asked for is honoured or refused by name: every option, every stage, collations.

use crate::common;

use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use common::{ORDERS, Writer, collection, decoded, drain, ids, of, orders, shorts};
use tailwater_changestream::{
    ChangeEvent, Error, FullDocument, FullDocumentBeforeChange, OperationType, ResumeToken, Scope, Watch,
};
use tailwater_oplog::entry::{EntryKind, StoreEntry};

/// A log with a create, two inserts, an update, and a delete, of which the last two have pre-images.
fn history() -> (tempfile::TempDir, Writer) {
    let (dir, writer) = orders(0);
    writer.create(ORDERS);
    writer.insert(ORDERS, &rawdoc! { "_id": 1, "city": "Zürich", "n": 1 });
    writer.insert(ORDERS, &rawdoc! { "_id": 2, "city": "zurich", "n": 2 });
    let (key, before) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 1, "n": 1 });
    let changed = StoreEntry {
        key: Some(&key),
        pre_image: Some(&before),
        ..of(ORDERS)
    };
    let update = StoreEntry {
        document: Some(&rawdoc! { "_id": 1, "n": 7 }),
        diff: Some(&common::diff(7)),
        ..changed
    };
    writer.write(EntryKind::Update, &update);
    writer.write(EntryKind::Delete, &changed);
    (dir, writer)
}

/// What tells that an option was honoured: the events in short, and of each the names of its fields.
fn seen(watch: Watch) -> Vec<String> {
    let events = drain(&mut watch.start().unwrap());
    let shown = |event: &ChangeEvent| {
        let names: Vec<_> = decoded(event).keys().cloned().collect();
        names.join(",")
    };
    shorts(&events)
        .into_iter()
        .zip(&events)
        .map(|(short, event)| format!("{short}: {}", shown(event)))
        .collect()
}

#[test]
fn what_a_pipeline_adds_is_bounded_where_that_is_asked_for() {
    let (_dir, writer) = history();
    let first = |growth_max| {
        let watch = writer.watch(collection(ORDERS)).start_at_oldest();
        let longer = watch.pipeline([doc! { "$addFields": { "all": { "$range": [0, 1000] } } }]);
        longer.growth_max(growth_max).start().unwrap().next_if_any()
    };
    assert!(first(1 << 20).unwrap().is_some());
    let refused = first(1000).unwrap_err();
    assert!(refused.to_string().contains("too much memory"), "{refused}");
}

#[test]
fn no_option_is_accepted_and_ignored() {
    type Asked = (&'static str, fn(Watch, &[ResumeToken]) -> Watch);
    // Everything a watch can be asked for, but where its channel ends (`subscriptions.rs`), the read concern (`reading.rs`),
    // how much a pipeline may add (above) and the comment, which only traces show (`told.rs`).
    let options: [Asked; 17] = [
        ("filter", |watch, _| watch.filter("n > 1")),
        ("pipeline", |watch, _| watch.pipeline([doc! { "$unset": "wallTime" }])),
        ("raw_pipeline", |watch, _| {
            watch.raw_pipeline([rawdoc! { "$match": { "documentKey._id": 2 } }])
        }),
        ("operations", |watch, _| watch.operations([OperationType::Delete])),
        ("fullDocument: updateLookup", |watch, _| {
            watch.full_document(FullDocument::UpdateLookup)
        }),
        ("fullDocument: whenAvailable", |watch, _| {
            watch.full_document(FullDocument::WhenAvailable)
        }),
        ("fullDocument: required", |watch, _| {
            watch.full_document(FullDocument::Required)
        }),
        ("fullDocumentBeforeChange: whenAvailable", |watch, _| {
            watch.full_document_before_change(FullDocumentBeforeChange::WhenAvailable)
        }),
        ("fullDocumentBeforeChange: required", |watch, _| {
            watch.full_document_before_change(FullDocumentBeforeChange::Required)
        }),
        ("match_deletes_by_pre_image", |watch, _| {
            watch.filter("n = 1").match_deletes_by_pre_image(true)
        }),
        ("show_expanded_events", |watch, _| watch.show_expanded_events(true)),
        ("resume_after", |watch, tokens| watch.resume_after(tokens[1])),
        ("start_after", |watch, tokens| watch.start_after(tokens[2])),
        ("start_at_operation_time", |watch, tokens| {
            let nanos = tokens[1].timestamp().as_nanos();
            let (time, increment) = ((nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32 + 1);
            watch.start_at_operation_time(bson::Timestamp { time, increment })
        }),
        ("collation", |watch, _| {
            let pipeline = [doc! { "$match": { "fullDocument.city": "ZURICH" } }];
            watch
                .pipeline(pipeline)
                .collation(rawdoc! { "locale": "de", "strength": 1 })
        }),
        ("$changeStreamSplitLargeEvent", |watch, _| {
            watch.pipeline([doc! { "$changeStreamSplitLargeEvent": {} }, doc! { "$match": {} }])
        }),
        ("start_at_oldest", |watch, _| watch),
    ];
    let (_dir, writer) = history();
    let plain = || writer.watch(collection(ORDERS));
    let default = seen(plain().start_at_oldest());
    let tokens: Vec<_> = drain(&mut plain().start_at_oldest().start().unwrap())
        .iter()
        .map(ChangeEvent::resume_token)
        .collect();
    for (name, set) in options {
        let starts = ["resume_after", "start_after", "start_at_operation_time"].contains(&name);
        let watch = if starts { plain() } else { plain().start_at_oldest() };
        let watch = set(watch, &tokens);
        match name {
            "start_at_oldest" => assert_ne!(seen(plain()), default, "{name}"),
            "$changeStreamSplitLargeEvent" => assert!(watch.start().is_err(), "{name}"),
            _ => assert_ne!(seen(watch), default, "{name}"),
        }
    }
    // And each by itself gives what the manual says; the rest is in `events.rs`, `starting.rs` and `selection.rs`.
    assert_eq!(default.len(), 4);
}

#[test]
fn a_collation_decides_how_match_compares() {
    let (_dir, writer) = history();
    let cities = |collation: RawDocumentBuf, stages: Vec<Document>| {
        let watch = writer
            .watch(Scope::Everything)
            .start_at_oldest()
            .pipeline(stages)
            .collation(collation);
        let events = drain(&mut watch.clone().start().unwrap());
        let (_handle, receiver) = watch.subscribe().unwrap();
        for event in &events {
            let received = receiver.recv_timeout(common::PATIENCE).unwrap();
            assert_eq!(received.resume_token(), event.resume_token());
        }
        ids(&events)
    };
    let city = |name: &str| vec![doc! { "$match": { "fullDocument.city": name } }];
    let letters = || rawdoc! { "locale": "de", "strength": 1 };
    assert_eq!(cities(letters(), city("ZURICH")), [1, 2]);
    assert_eq!(cities(rawdoc! { "locale": "de", "strength": 2 }, city("ZURICH")), [2]);
    assert_eq!(
        cities(rawdoc! { "locale": "simple" }, city("ZURICH")),
        Vec::<i32>::new()
    );
    // Behind a stage that shapes, too.
    let mut shaped = vec![doc! { "$addFields": { "seen": "$fullDocument.city" } }];
    shaped.push(doc! { "$match": { "seen": { "$in": ["ZURICH"] } } });
    assert_eq!(cities(letters(), shaped), [1, 2]);
}

#[test]
fn a_collation_decides_how_expressions_compare() {
    let (_dir, writer) = history();
    let equal = || doc! { "$eq": ["$fullDocument.city", "ZURICH"] };
    for stage in [
        doc! { "$match": { "$expr": equal() } },
        doc! { "$match": { "$or": [{ "$expr": { "$not": [{ "$not": [equal()] }] } }] } },
        doc! { "$redact": { "$cond": [equal(), "$$KEEP", "$$PRUNE"] } },
    ] {
        let watch = || {
            let watch = writer.watch(Scope::Everything).start_at_oldest();
            watch.pipeline([stage.clone()])
        };
        let by_letters = watch().collation(rawdoc! { "locale": "de", "strength": 1 });
        assert_eq!(ids(&drain(&mut by_letters.start().unwrap())), [1, 2], "{stage}");
        assert_eq!(ids(&drain(&mut watch().start().unwrap())), Vec::<i32>::new(), "{stage}");
    }
}

#[test]
fn what_a_collation_does_not_reach_is_refused_beside_it() {
    let (_dir, writer) = orders(0);
    let watch = || writer.watch(Scope::Everything).collation(rawdoc! { "locale": "en" });
    let error = watch().filter("city = \"b\"").start().unwrap_err();
    assert!(matches!(error, Error::CollationUnsupported), "{error:?}");
    let malformed = writer.watch(Scope::Everything).collation(rawdoc! { "strength": 1 });
    let error = malformed.start().unwrap_err();
    assert!(matches!(error, Error::Collation(_)), "{error:?}");
    assert_eq!(error.code(), Some(2));
}

#[test]
fn a_comment_changes_nothing_that_is_delivered() {
    let (_dir, writer) = orders(2);
    for comment in [Bson::from("billing"), Bson::from(doc! { "team": 7 })] {
        let watch = writer.watch(collection(ORDERS)).start_at_oldest().comment(comment);
        assert_eq!(ids(&drain(&mut watch.start().unwrap())), [1, 2]);
    }
}

#[test]
fn every_stage_is_permitted_or_refused_with_mongodb_s_code() {
    let permitted = [
        doc! { "$match": {} },
        doc! { "$project": { "operationType": 1 } },
        doc! { "$addFields": { "x": 1 } },
        doc! { "$set": { "x": 1 } },
        doc! { "$unset": "wallTime" },
        doc! { "$replaceRoot": { "newRoot": "$$ROOT" } },
        doc! { "$replaceWith": "$$ROOT" },
        doc! { "$redact": "$$KEEP" },
        doc! { "$changeStreamSplitLargeEvent": {} },
    ];
    let forbidden = [
        "$bucket",
        "$bucketAuto",
        "$collStats",
        "$count",
        "$currentOp",
        "$densify",
        "$documents",
        "$facet",
        "$fill",
        "$geoNear",
        "$graphLookup",
        "$group",
        "$indexStats",
        "$limit",
        "$listClusterCatalog",
        "$listLocalSessions",
        "$listSampledQueries",
        "$listSearchIndexes",
        "$listSessions",
        "$lookup",
        "$merge",
        "$out",
        "$planCacheStats",
        "$querySettings",
        "$queryStats",
        "$rankFusion",
        "$sample",
        "$score",
        "$scoreFusion",
        "$search",
        "$searchMeta",
        "$setWindowFields",
        "$shardedDataDistribution",
        "$skip",
        "$sort",
        "$sortByCount",
        "$unionWith",
        "$unwind",
        "$vectorSearch",
    ];
    let (_dir, writer) = orders(1);
    let watch = |stage: Document| writer.watch(Scope::Everything).start_at_oldest().pipeline([stage]);
    for stage in permitted {
        let events = drain(&mut watch(stage.clone()).start().unwrap());
        assert_eq!(events.len(), 1, "{stage}");
    }
    let code = |stage: Document| watch(stage).start().unwrap_err().code();
    for name in forbidden {
        assert_eq!(code(doc! { name: {} }), Some(20), "{name}");
    }
    for (stage, expected) in [
        (doc! { "$changeStream": {} }, 40602),
        (doc! { "$nonsense": {} }, 40324),
        (doc! { "match": {} }, 40324),
        (doc! {}, 40323),
        (doc! { "$match": {}, "$set": {} }, 40323),
        (doc! { "$match": 1 }, 15959),
        (doc! { "$project": { "_id": 0 } }, 280),
        (doc! { "$unset": "_id" }, 280),
    ] {
        assert_eq!(code(stage.clone()), Some(expected), "{stage}");
    }
}

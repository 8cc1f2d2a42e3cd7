//! Events above 16 MiB: in fragments with `$changeStreamSplitLargeEvent`, and refused without it.

use crate::common;

use std::path::Path;

use bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use common::member::{bring, follower};
use common::reference::Dice;
use common::{ORDERS, PATIENCE, Writer, collection, common_fields, copy_log, decoded, drain, of, temporary};
use tailwater_changestream::{
    ChangeEvent, ChangeStream, EVENT_BYTES_MAX, Error, FullDocument, FullDocumentBeforeChange, RecvError, ResumeToken,
    TokenKind, Watch,
};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Durability, OpId, OplogView, Options};

const MIB: usize = 1 << 20;

/// A log whose segments have room for large entries.
fn writer(dir: &Path) -> Writer {
    let options = Options {
        segment_bytes: 64 << 20,
        ..Options::default()
    };
    let (log, durability) = (options.open(dir).unwrap(), Durability::Disk);
    Writer { log, durability }
}

fn padded(id: i32, bytes: usize) -> RawDocumentBuf {
    rawdoc! { "_id": id, "pad": "x".repeat(bytes) }
}

/// An update of which diff, document and document before have so many bytes, about.
fn update(writer: &Writer, id: i32, [diff, after, before]: [usize; 3]) -> OpId {
    let none = bson::RawArrayBuf::new;
    let diff = rawdoc! {
        "updatedFields": { "pad": "d".repeat(diff) }, "removedFields": none(), "truncatedArrays": none(),
    };
    let entry = StoreEntry {
        key: Some(&rawdoc! { "_id": id }),
        document: Some(&padded(id, after)),
        pre_image: Some(&padded(id, before)),
        diff: Some(&diff),
        ..of(ORDERS)
    };
    writer.write(EntryKind::Update, &entry).first
}

/// Asks for everything of the events of orders.
fn everything(watch: Watch) -> Watch {
    watch
        .full_document(FullDocument::Required)
        .full_document_before_change(FullDocumentBeforeChange::Required)
}

fn splitting(watch: Watch) -> Watch {
    everything(watch).pipeline([doc! { "$changeStreamSplitLargeEvent": {} }])
}

fn orders(writer: &Writer) -> Watch {
    writer.watch(collection(ORDERS))
}

/// What a subscription gets.
fn received(watch: Watch, count: usize) -> Vec<ChangeEvent> {
    let (_handle, receiver) = watch.subscribe().unwrap();
    let events: Vec<_> = (0..count)
        .map(|_| {
            let event = receiver.recv_timeout(PATIENCE).unwrap();
            assert_eq!(receiver.resume_token(), event.resume_token());
            event
        })
        .collect();
    assert!(receiver.is_empty());
    events
}

/// Document and token of each event.
fn told(events: &[ChangeEvent]) -> Vec<(RawDocumentBuf, ResumeToken)> {
    events
        .iter()
        .map(|event| (event.to_document(), event.resume_token()))
        .collect()
}

/// Merges the fragments of one event, which must be complete and in order.
fn merged(fragments: &[ChangeEvent]) -> Document {
    let mut whole = Document::new();
    let of = fragments.len() as i32;
    for (number, fragment) in (1..).zip(fragments) {
        let document = fragment.to_document();
        assert!(document.as_bytes().len() <= EVENT_BYTES_MAX);
        let mut document = Document::try_from(document.as_ref()).unwrap();
        let token = document.remove("_id").unwrap();
        assert_eq!(
            token.as_document().unwrap().get_str("_data").unwrap(),
            fragment.resume_token().to_string()
        );
        let split = document.remove("splitEvent").unwrap();
        assert_eq!(split.as_document(), Some(&doc! { "fragment": number, "of": of }));
        for (name, value) in document {
            assert!(whole.insert(&name, value).is_none(), "{name} is in two fragments");
        }
    }
    whole
}

/// An event as it would be in one document, without its token.
fn whole(event: &ChangeEvent) -> Document {
    let document = |document: &RawDocument| Document::try_from(document).unwrap();
    let mut whole = common_fields(event, event.operation_type().name());
    whole.remove("_id");
    whole.insert("ns", doc! { "db": event.database(), "coll": event.collection() });
    whole.insert("documentKey", document(&event.document_key().unwrap()));
    whole.insert("updateDescription", document(event.update_description().unwrap()));
    whole.insert("fullDocument", document(event.full_document().unwrap()));
    whole.insert(
        "fullDocumentBeforeChange",
        document(event.full_document_before_change().unwrap()),
    );
    whole
}

#[test]
fn a_large_event_comes_in_fragments_and_a_small_one_as_it_is() {
    let dir = temporary();
    let writer = writer(dir.path());
    let begin = orders(&writer).start().unwrap().resume_token();
    update(&writer, 1, [10, 10, 10]);
    update(&writer, 2, [9 * MIB, 15 * MIB, 10 * MIB]);
    update(&writer, 3, [10, 10, 10]);
    let watch = || splitting(orders(&writer)).resume_after(begin);
    let events = drain(&mut watch().start().unwrap());
    let numbers: Vec<_> = events
        .iter()
        .map(|event| event.split_event().map(|split| split.fragment))
        .collect();
    assert_eq!(numbers, [None, Some(1), Some(2), Some(3), None]);
    assert!(
        events
            .windows(2)
            .all(|two| two[0].resume_token() < two[1].resume_token())
    );
    // The smallest fields first, so that the first fragment says what it is about.
    let first = decoded(&events[1]);
    assert_eq!(first.get_str("operationType").unwrap(), "update");
    assert!(first.contains_key("updateDescription") && !first.contains_key("fullDocument"));
    assert_eq!(merged(&events[1..4]), whole(&events[1]));
    assert!(!decoded(&events[0]).contains_key("splitEvent"));
    // All know the whole event.
    assert_eq!(events[1].full_document(), events[3].full_document());
    // And the same from a subscription.
    assert_eq!(told(&received(watch(), 5)), told(&events));
}

#[test]
fn fragments_make_the_whole_event_whatever_its_sizes() {
    let dir = temporary();
    let mut writer = writer(dir.path());
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let begin = orders(&writer).start().unwrap().resume_token();
        // As large as documents are, now and then.
        let sizes = [0; 3].map(|_| {
            if dice.once_in(3) {
                16 * MIB - 64
            } else {
                dice.roll(16 * MIB)
            }
        });
        update(&writer, 1, sizes);
        let events = drain(&mut splitting(orders(&writer)).resume_after(begin).start().unwrap());
        match events.as_slice() {
            [event] => assert!(event.to_document().as_bytes().len() <= EVENT_BYTES_MAX, "seed {seed}"),
            fragments => assert_eq!(merged(fragments), whole(&fragments[0]), "seed {seed}"),
        }
        if seed == 2 {
            writer.log.close().unwrap();
            writer = self::writer(dir.path());
        }
    }
}

#[test]
fn a_stream_goes_on_inside_an_event_after_a_restart_and_in_a_reader() {
    let dir = temporary();
    let writer = writer(dir.path());
    let begin = orders(&writer).start().unwrap().resume_token();
    update(&writer, 1, [9 * MIB, 15 * MIB, 10 * MIB]);
    update(&writer, 2, [1, 1, 1]);
    let events = drain(&mut splitting(orders(&writer)).resume_after(begin).start().unwrap());
    assert_eq!(events.len(), 4);
    let all = told(&events);
    drop(events);
    writer.log.close().unwrap();
    let writer = self::writer(dir.path());
    let copied = temporary();
    copy_log(dir.path(), copied.path());
    let views = [
        writer.log.view(),
        OplogView::open(dir.path()).unwrap(),
        OplogView::open(copied.path()).unwrap(),
    ];
    for view in views {
        for (delivered, (_, token)) in all.iter().enumerate() {
            let token: ResumeToken = token.to_string().parse().unwrap();
            assert_eq!(
                token.kind(),
                if delivered < 3 {
                    TokenKind::Fragment
                } else {
                    TokenKind::Event
                }
            );
            let watch = || splitting(Watch::new(view.clone(), collection(ORDERS)));
            let mut stream = watch().start_after(token).start().unwrap();
            assert_eq!(stream.resume_token(), token);
            assert_eq!(told(&drain(&mut stream)), all[delivered + 1..]);
            assert_eq!(
                told(&received(watch().resume_after(token), 3 - delivered)),
                all[delivered + 1..]
            );
        }
    }
}

#[test]
fn a_fragment_of_the_event_that_ends_a_stream_is_followed_by_the_rest_and_the_end() {
    let dir = temporary();
    let writer = writer(dir.path());
    let begin = orders(&writer).start().unwrap().resume_token();
    writer.drop_collection(ORDERS);
    let of_drop = |bytes: usize| {
        let pad = doc! { "$literal": "x".repeat(bytes) };
        doc! { "$cond": [{ "$eq": ["$operationType", "drop"] }, pad, "$$REMOVE"] }
    };
    let inflating = |token| {
        let pipeline = [
            doc! { "$addFields": { "a": of_drop(9 * MIB) } },
            doc! { "$addFields": { "b": of_drop(10 * MIB) } },
            doc! { "$changeStreamSplitLargeEvent": {} },
        ];
        orders(&writer).pipeline(pipeline).resume_after(token)
    };
    let events = drain(&mut inflating(begin).start().unwrap());
    let names: Vec<_> = events.iter().map(|event| event.operation_type().name()).collect();
    assert_eq!(names, ["drop", "drop", "invalidate"]);
    for (delivered, event) in events[..2].iter().enumerate() {
        let rest = told(&events[delivered + 1..]);
        assert_eq!(
            told(&drain(&mut inflating(event.resume_token()).start().unwrap())),
            rest
        );
        let (_handle, receiver) = inflating(event.resume_token()).subscribe().unwrap();
        let received: Vec<_> = receiver.iter().map(Result::unwrap).collect();
        assert_eq!(told(&received), rest);
    }
}

#[test]
fn a_token_inside_an_event_needs_the_same_split() {
    let dir = temporary();
    let writer = writer(dir.path());
    let begin = orders(&writer).start().unwrap().resume_token();
    update(&writer, 1, [9 * MIB, 15 * MIB, 10 * MIB]);
    let events = drain(&mut splitting(orders(&writer)).resume_after(begin).start().unwrap());
    let split = || doc! { "$changeStreamSplitLargeEvent": {} };
    for (what, watch, unlike) in [
        ("no stage", everything(orders(&writer)), false),
        ("another size", orders(&writer).pipeline([split()]), true),
        (
            "another split",
            splitting(orders(&writer)).pipeline([doc! { "$unset": "fullDocument.pad" }, split()]),
            true,
        ),
        (
            "another filter",
            splitting(orders(&writer)).pipeline([doc! { "$match": { "operationType": "insert" } }, split()]),
            true,
        ),
    ] {
        for event in &events {
            let token = event.resume_token();
            for refused in [
                watch.clone().resume_after(token).start().map(drop),
                watch.clone().start_after(token).subscribe().map(drop),
            ] {
                let error = refused.unwrap_err();
                assert_eq!(matches!(error, Error::SplitChanged { .. }), unlike, "{what}: {error:?}");
                assert_eq!(matches!(error, Error::SplitMissing), !unlike, "{what}: {error:?}");
                assert_eq!(error.code(), Some(280), "{what}");
                assert_eq!(error.labels(), ["NonResumableChangeStreamError"], "{what}");
            }
        }
    }
}

#[test]
fn on_a_member_that_lags_the_rest_of_an_event_comes_with_its_entry() {
    let (dir, two) = (temporary(), temporary());
    let writer = writer(dir.path());
    let begin = orders(&writer).start().unwrap().resume_token();
    update(&writer, 1, [9 * MIB, 15 * MIB, 10 * MIB]);
    let events = drain(&mut splitting(orders(&writer)).resume_after(begin).start().unwrap());
    let first = events[0].resume_token();
    let member = follower(&writer, two.path());
    let watch = || splitting(Watch::new(member.view(), collection(ORDERS))).resume_after(first);
    let mut stream = watch().start().unwrap();
    assert!(stream.next_if_any().unwrap().is_none());
    let (_handle, receiver) = watch().subscribe().unwrap();
    let unsplit = Watch::new(member.view(), collection(ORDERS)).resume_after(first);
    assert!(matches!(unsplit.start(), Err(Error::SplitMissing)));
    bring(&writer, &member, 1);
    let rest = told(&events[1..]);
    assert_eq!(told(&drain(&mut stream)), rest);
    let received: Vec<_> = rest.iter().map(|_| receiver.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(told(&received), rest);
}

#[test]
fn without_the_stage_a_large_event_fails_the_stream_and_is_not_passed_over() {
    let dir = temporary();
    let writer = writer(dir.path());
    let begin = orders(&writer).start().unwrap().resume_token();
    update(&writer, 1, [1, 15 * MIB, 10 * MIB]);
    update(&writer, 2, [1, 1, 1]);
    let too_large = |error: &Error| {
        assert!(
            matches!(error, Error::EventTooLarge { bytes, .. } if *bytes > 25 * MIB),
            "{error:?}"
        );
        assert_eq!((error.code(), error.labels().len()), (Some(10334), 0));
        assert!(error.to_string().contains("$changeStreamSplitLargeEvent"), "{error}");
    };
    let watch = || everything(orders(&writer)).resume_after(begin);
    let mut stream = watch().start().unwrap();
    for _ in 0..2 {
        too_large(&stream.next_if_any().unwrap_err());
    }
    assert_eq!(stream.resume_token(), begin, "nothing was delivered");
    let (_handle, receiver) = watch().subscribe().unwrap();
    match receiver.recv_timeout(PATIENCE) {
        Err(RecvError::Failed(error)) => too_large(&error),
        other => panic!("{other:?}"),
    }
    // Whoever asks for less gets it.
    let ids = |stream: &mut ChangeStream| common::ids(&drain(stream));
    assert_eq!(ids(&mut orders(&writer).resume_after(begin).start().unwrap()), [1, 2]);
    let smaller = watch().pipeline([doc! { "$unset": "fullDocumentBeforeChange.pad" }]);
    assert_eq!(ids(&mut smaller.start().unwrap()), [1, 2]);
}

#[test]
fn a_field_that_no_fragment_can_hold_fails_the_stream_by_name() {
    let dir = temporary();
    let writer = writer(dir.path());
    let begin = orders(&writer).start().unwrap().resume_token();
    let op_id = update(&writer, 1, [1, 17 * MIB, 1]);
    let mut stream = splitting(orders(&writer)).resume_after(begin).start().unwrap();
    let error = stream.next_if_any().unwrap_err();
    let Error::FieldTooLarge {
        op_id: at,
        field,
        bytes,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*at, field.as_str(), *bytes > 17 * MIB), (op_id, "fullDocument", true));
    assert_eq!(error.code(), Some(7_182_500));
}

#[test]
fn the_stage_stands_last_once_and_empty() {
    let dir = temporary();
    let writer = Writer::open(dir.path());
    let split = || doc! { "$changeStreamSplitLargeEvent": {} };
    for (pipeline, code) in [
        (vec![split(), split()], 7_182_802),
        (vec![split(), doc! { "$match": {} }], 7_182_802),
        (vec![doc! { "$changeStreamSplitLargeEvent": { "x": 1 } }], 7_182_800),
        (vec![doc! { "$changeStreamSplitLargeEvent": true }], 7_182_800),
    ] {
        let refused = orders(&writer).pipeline(pipeline.clone());
        let errors = [
            refused.clone().start().unwrap_err(),
            refused.subscribe().map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), Some(code), "{pipeline:?}: {error:?}");
        }
    }
}

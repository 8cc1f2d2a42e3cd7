//! Followers with a filter: partial copies, on real stores over loopback.

use crate::stores;

use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};
use stores::{HEARTBEAT, LONG, MEMBERS, Proxy, eventually, follower, open, options, primary};
use tailwater_oplog::entry::{ELIDED, EntryKind};
use tailwater_oplog::{Durability, Error as LogError, OpId, ReadConcern};
use tailwater_replication::{Apart, Error, Follower, FollowerEvent, Refusal, Selection, WriteConcern};
use tailwater_storage::{Collection, CollectionOptions, Error as StoreError, IndexModel, Store};

fn selection(namespaces: &[&str], filter: &RawDocumentBuf) -> Selection {
    Selection::new(namespaces.iter().copied(), filter).unwrap()
}

fn even() -> Selection {
    selection(&["shop.things"], &rawdoc! { "group": { "$in": [0, 2, 4] } })
}

fn things(store: &Store) -> Collection {
    collection(store, "shop", "things")
}

fn collection(store: &Store, database: &str, name: &str) -> Collection {
    let collection = store.collection(database, name).unwrap();
    collection.with_durability(Durability::Memory)
}

/// Collections of all kinds, with a capped one, indexes, and pre-images of one.
fn prepare(store: &Store) {
    things(store).create_index(&IndexModel::new("group", 1)).unwrap();
    let options = |document: RawDocumentBuf| CollectionOptions::parse(&document).unwrap();
    let capped = options(rawdoc! { "capped": true, "size": 1 << 20, "max": 50 });
    store.create_collection_with("shop", "last", &capped).unwrap();
    let images = options(rawdoc! { "changeStreamPreAndPostImages": { "enabled": true } });
    store.create_collection_with("people", "adults", &images).unwrap();
}

/// Writes of every kind; documents come into the parts and leave them.
fn work(store: &Store, from: i32, count: i32) -> OpId {
    let (adults, last) = (collection(store, "people", "adults"), collection(store, "shop", "last"));
    for number in from..from + count {
        let id = rawdoc! { "_id": number };
        for collection in [&things(store), &adults, &last] {
            collection
                .insert_one(&rawdoc! { "_id": number, "group": number % 5, "text": "some text" })
                .unwrap();
        }
        for collection in [&things(store), &adults] {
            match number % 6 {
                0 => drop(collection.update_one(&id, &rawdoc! { "$inc": { "group": 1 } }).unwrap()),
                1 => drop(
                    collection
                        .update_one(&id, &rawdoc! { "$set": { "text": "other" } })
                        .unwrap(),
                ),
                2 => drop(
                    collection
                        .replace_one(&id, &rawdoc! { "group": (number + 1) % 5 })
                        .unwrap(),
                ),
                3 => drop(collection.delete_one(&id).unwrap()),
                4 => drop(
                    collection
                        .update_one(&id, &rawdoc! { "$unset": { "group": 1 } })
                        .unwrap(),
                ),
                _ => {}
            }
        }
        if number % 10 == 0 {
            last.update_one(&id, &rawdoc! { "$inc": { "group": 1 } }).unwrap();
        }
    }
    store.sync().unwrap();
    store.log().watermarks().durable
}

/// The follower has of the store what is selected, in documents, counts and indexes, and in its log the same entries.
fn assert_part(copy: &Store, store: &Store, selection: &Selection) {
    assert_eq!(copy.digest_of(selection).unwrap(), store.digest_of(selection).unwrap());
    for name in copy.list_collections("shop") {
        let (own, all) = (
            copy.collection("shop", &name.name).unwrap(),
            store.collection("shop", &name.name).unwrap(),
        );
        let matching = |collection: &Collection, filter: &RawDocumentBuf| -> Vec<RawDocumentBuf> {
            let found = collection.find(filter).unwrap();
            found
                .map(Result::unwrap)
                .filter(|document| selection.has_document(document))
                .collect()
        };
        for filter in [rawdoc! {}, rawdoc! { "group": 2 }, rawdoc! { "group": { "$gt": 2 } }] {
            let found: Vec<_> = own.find(&filter).unwrap().map(Result::unwrap).collect();
            assert_eq!(found, matching(&all, &filter), "{} {filter:?}", name.name);
        }
        let count = matching(&own, &rawdoc! {}).len() as u64;
        assert_eq!(own.estimated_count().unwrap(), count, "{}", name.name);
    }
    let (own, all) = (copy.log(), store.log());
    // It is told a moment later that the primary's disk has it, too.
    eventually("all of it is released", || {
        let marks = own.watermarks();
        marks.released == marks.durable
    });
    let mut elided = 0;
    for number in own.watermarks().oldest.get()..=own.watermarks().durable.get() {
        let op_id = OpId::new(number);
        let (own, all) = (
            own.get(op_id, ReadConcern::Durable).unwrap(),
            all.get(op_id, ReadConcern::Durable).unwrap(),
        );
        assert_eq!((own.term(), own.timestamp()), (all.term(), all.timestamp()));
        match own.kind() {
            ELIDED => elided += 1,
            kind if kind == EntryKind::Leave.number() => {}
            kind => assert_eq!((kind, own.payload()), (all.kind(), all.payload()), "{op_id}"),
        }
    }
    assert!(elided > 0, "nothing was left out");
}

#[test]
fn a_partial_copy_has_what_is_selected_from_the_copy_on_and_live() {
    let table = [
        even(),
        selection(&["shop.*"], &rawdoc! {}),
        selection(&["people.adults"], &rawdoc! {}),
        selection(&["people.*", "shop.last"], &rawdoc! { "group": { "$gte": 2 } }),
        selection(&[], &rawdoc! { "group": 1 }),
        selection(&["shop.*"], &rawdoc! { "_id": { "$gt": 40 } }),
        selection(&["shop.*"], &rawdoc! { "$or": [{ "group": 1 }, { "text": "other" }] }),
        selection(&["nothing.here"], &rawdoc! {}),
    ];
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    prepare(&store);
    work(&store, 0, 120);
    let primary = primary(&store, "a", &[]);
    let dirs: Vec<_> = table.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let followers: Vec<Follower> = table
        .iter()
        .zip(&dirs)
        .enumerate()
        .map(|(at, (selection, dir))| {
            let name = format!("p{at}");
            let builder = follower(dir.path(), &name, primary.address(), &[]);
            let following = builder.filter(selection.clone()).start().unwrap();
            // One copy is made at a time; who asks meanwhile comes again later.
            following.wait_for(store.log().watermarks().durable, LONG).unwrap();
            following
        })
        .collect();
    work(&store, 120, 120);
    store.create_collection("shop", "made").unwrap();
    store
        .rename_collection(("shop", "made"), ("shop", "renamed"), false)
        .unwrap();
    store
        .rename_collection(("shop", "renamed"), ("else", "where"), false)
        .unwrap();
    things(&store).create_index(&IndexModel::new("text", 1)).unwrap();
    store.drop_collection("people", "adults").unwrap();
    let last = work(&store, 240, 30);
    for (follower, selection) in followers.iter().zip(&table) {
        assert_part(&follower.wait_for(last, LONG).unwrap(), &store, selection);
    }
    // Nobody counts who has only a part.
    let alone = primary.wait(last, WriteConcern::members(2).unwrap(), HEARTBEAT);
    assert!(matches!(alone, Err(Error::WriteConcernTimeout { .. })), "{alone:?}");
    let status = primary.status();
    assert_eq!(status.members.len(), table.len());
    assert!(status.members.iter().all(|member| member.partial));
    for (follower, (dir, selection)) in followers.into_iter().zip(dirs.iter().zip(&table)) {
        drop(follower);
        // Opened again it is replayed, and still partial.
        let copy = open(dir.path());
        assert_eq!(copy.selection().unwrap().as_ref(), Some(selection));
        assert_part(&copy, &store, selection);
        copy.close().unwrap();
    }
}

#[test]
fn a_partial_copy_resumes_after_any_interruption() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(a.path());
    prepare(&store);
    work(&store, 0, 60);
    let primary = primary(&store, "a", &[]);
    let proxy = Proxy::to(primary.address());
    let selection = even();
    let mut last = OpId::ZERO;
    for round in 1..=8 {
        let builder = follower(b.path(), "b", proxy.address, &[]).window_bytes(20_000);
        let following = builder.filter(selection.clone()).start().unwrap();
        last = work(&store, round * 60, 60);
        match round % 2 {
            0 => drop(following.wait_for(OpId::new(last.get() - 100), LONG).unwrap()),
            _ => proxy.cut(),
        }
        following.stop();
    }
    let builder = follower(b.path(), "b", proxy.address, &[]);
    let following = builder.filter(selection.clone()).start().unwrap();
    assert_part(&following.wait_for(last, LONG).unwrap(), &store, &selection);
}

#[test]
fn a_partial_copy_is_followed_by_those_that_filter_as_narrowly() {
    let dirs: Vec<_> = (0..5).map(|_| tempfile::tempdir().unwrap()).collect();
    let store = open(dirs[0].path());
    prepare(&store);
    work(&store, 0, 60);
    let primary = primary(&store, "a", &[]);
    let wide = selection(&["shop.*"], &rawdoc! { "group": { "$in": [0, 2, 4] } });
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let relay = follower(dirs[1].path(), "b", primary.address(), &[]);
    let relay = relay.filter(wide.clone()).listen(anywhere).start().unwrap();
    let from = relay.address().unwrap();
    let narrower = selection(&["shop.things"], &rawdoc! { "group": 2, "text": "other" });
    let chained: Vec<_> = [(2, wide.clone()), (3, narrower)]
        .into_iter()
        .map(|(at, selection)| {
            let builder = follower(dirs[at].path(), &format!("c{at}"), from, &[]);
            (builder.filter(selection.clone()).start().unwrap(), selection)
        })
        .collect();
    let last = work(&store, 60, 120);
    for (follower, selection) in &chained {
        assert_part(&follower.wait_for(last, LONG).unwrap(), &store, selection);
    }
    for wider in [
        None,
        Some(selection(&[], &rawdoc! { "group": 2 })),
        Some(selection(&["shop.things", "people.*"], &rawdoc! { "group": 2 })),
        Some(selection(&["shop.things"], &rawdoc! {})),
        Some(selection(&["shop.things"], &rawdoc! { "group": { "$lt": 3 } })),
    ] {
        let mut builder = follower(dirs[4].path(), "w", from, &[]);
        if let Some(selection) = wider.clone() {
            builder = builder.filter(selection);
        }
        let refused = builder.start().unwrap().join();
        let named = |part: &[u8]| Selection::from_bytes(part).unwrap() == wide;
        assert!(
            matches!(&refused, Err(Error::Refused { refusal: Refusal::WiderPart(part) }) if named(part)),
            "{wider:?} {refused:?}"
        );
    }
    // Who follows it counts no more than itself.
    let alone = primary.wait(last, WriteConcern::members(2).unwrap(), HEARTBEAT);
    assert!(matches!(alone, Err(Error::WriteConcernTimeout { .. })), "{alone:?}");
}

#[test]
fn a_partial_copy_is_never_more_than_that() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(a.path());
    prepare(&store);
    let last = work(&store, 0, 30);
    let primary = primary(&store, "a", &MEMBERS);
    let start = |name: &str, filter: Option<Selection>| {
        let builder = follower(b.path(), name, primary.address(), &MEMBERS);
        match filter {
            Some(filter) => builder.filter(filter),
            None => builder,
        }
        .start()
    };
    let listed = start("b", Some(even()));
    assert!(matches!(listed, Err(Error::InvalidOption { .. })), "{listed:?}");
    let following = start("z", Some(even())).unwrap();
    following.wait_for(last, LONG).unwrap();
    drop(following);
    // Another filter, or none, is another copy.
    for other in [None, Some(selection(&["shop.things"], &rawdoc! { "group": 2 }))] {
        let refused = start("z", other).unwrap().join();
        assert!(matches!(refused, Err(Error::OtherPart { .. })), "{refused:?}");
    }
    let following = start("z", Some(even())).unwrap();
    following.wait_for(last, LONG).unwrap();
    let promoted = following.promote();
    let is_partial = |error: &Error| matches!(error, Error::Store(StoreError::Log(LogError::Partial { .. })));
    assert!(promoted.as_ref().is_err_and(is_partial), "{promoted:?}");
    let copy = options().open(b.path()).unwrap();
    let by_name = tailwater_replication::promote(&copy, "z", &MEMBERS.map(String::from));
    assert!(by_name.as_ref().is_err_and(is_partial), "{by_name:?}");
    let written = things(&copy).insert_one(&rawdoc! { "_id": -1 });
    assert!(
        matches!(written, Err(StoreError::Log(LogError::NotPrimary { .. }))),
        "{written:?}"
    );
}

#[test]
fn a_collection_that_is_renamed_into_the_part_is_copied_anew() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(a.path());
    prepare(&store);
    work(&store, 0, 30);
    let primary = primary(&store, "a", &[]);
    let selection = selection(&["shop.wanted"], &rawdoc! { "group": 2 });
    let start = |resync: bool| {
        let builder = follower(b.path(), "b", primary.address(), &[]).filter(selection.clone());
        let (told, events) = std::sync::mpsc::channel();
        let builder = builder.on_event(move |event| drop(told.send(event.clone())));
        let builder = if resync { builder.resync() } else { builder };
        (builder.start().unwrap(), events)
    };
    let (following, _) = start(false);
    following.wait_for(store.log().watermarks().durable, LONG).unwrap();
    store
        .rename_collection(("shop", "things"), ("shop", "wanted"), false)
        .unwrap();
    let refused = following.join();
    let entered = |error: &Error| matches!(error, Error::ResyncNeeded { apart: Apart::Entered });
    assert!(refused.as_ref().is_err_and(entered), "{refused:?}");
    drop(following);
    let (again, _) = start(false);
    assert!(again.join().as_ref().is_err_and(entered));
    drop(again);
    // What may be replaced by a copy of the same part is not replaced by one of another, or of everything.
    for other in [None, Some(even())] {
        let builder = follower(b.path(), "b", primary.address(), &[]).resync();
        let builder = match other {
            Some(other) => builder.filter(other),
            None => builder,
        };
        let refused = builder.start().unwrap().join();
        assert!(matches!(refused, Err(Error::OtherPart { .. })), "{refused:?}");
    }
    let (following, events) = start(true);
    let wanted = collection(&store, "shop", "wanted");
    for number in 100..200 {
        wanted
            .insert_one(&rawdoc! { "_id": number, "group": number % 5 })
            .unwrap();
    }
    store.sync().unwrap();
    let copy = following.wait_for(store.log().watermarks().durable, LONG).unwrap();
    assert_part(&copy, &store, &selection);
    let resyncing = |event: FollowerEvent| matches!(event, FollowerEvent::Resyncing { apart: Apart::Entered });
    assert!(events.try_iter().any(resyncing));
    // Out of it again, it is gone.
    store
        .rename_collection(("shop", "wanted"), ("shop", "things"), false)
        .unwrap();
    store.sync().unwrap();
    let last = store.log().watermarks().durable;
    let copy = following.wait_for(last, Duration::from_secs(60)).unwrap();
    assert!(copy.list_collections("shop").is_empty());
}

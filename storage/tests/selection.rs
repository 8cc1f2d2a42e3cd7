//! What a selection names, which one is within another, and what a part has of each entry.

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_oplog::entry::{ELIDED, EntryKind, StoreEntry};
use tailwater_storage::{SELECTION_NAMESPACES_MAX, Selection, SelectionError, Share, Sharing};

fn selection(namespaces: &[&str], filter: &RawDocument) -> Selection {
    Selection::new(namespaces.iter().copied(), filter).unwrap()
}

#[test]
fn what_cannot_be_kept_by_following_is_refused_by_name() {
    let name = |namespace: &str| Selection::new([namespace], &rawdoc! {});
    for namespace in ["", "db", "db.", ".c", "d b.c", "*.c", "*", "db.a$b", "db.system.users"] {
        let refused = name(namespace);
        assert!(
            matches!(&refused, Err(SelectionError::Namespace { namespace: named }) if named == namespace),
            "{namespace:?} {refused:?}"
        );
    }
    let filter = |filter: &RawDocument| Selection::new([], filter);
    assert!(matches!(
        filter(&rawdoc! { "$expr": { "$lt": ["$until", "$$NOW"] } }),
        Err(SelectionError::Computes)
    ));
    assert!(matches!(
        filter(&rawdoc! { "a": { "$near": 1 } }),
        Err(SelectionError::Filter { .. })
    ));
    assert!(matches!(
        filter(&rawdoc! { "a": "x".repeat(70_000) }),
        Err(SelectionError::TooLarge { .. })
    ));
    let many: Vec<String> = (0..=SELECTION_NAMESPACES_MAX).map(|n| format!("d.c{n}")).collect();
    assert!(matches!(
        Selection::new(many.iter().map(String::as_str), &rawdoc! {}),
        Err(SelectionError::TooManyNamespaces { .. })
    ));
}

#[test]
fn a_selection_is_read_back_as_it_was_written() {
    let table = [
        Selection::default(),
        selection(
            &["b.c", "a.*", "b.c"],
            &rawdoc! { "x": { "$gt": 1 }, "$or": [{ "y": 1 }, { "z": "text" }] },
        ),
        selection(&["a.b.c"], &rawdoc! { "s": { "$regex": "^a" } }),
    ];
    for selection in table {
        let bytes = selection.to_bytes();
        assert_eq!(Selection::from_bytes(&bytes).unwrap(), selection);
        for length in 0..bytes.len() {
            assert!(Selection::from_bytes(&bytes[..length]).is_err());
        }
    }
    for malformed in [
        rawdoc! {},
        rawdoc! { "namespaces": ["a.b"] },
        rawdoc! { "namespaces": [1], "filter": {} },
        rawdoc! { "namespaces": "a.b", "filter": {} },
    ] {
        assert!(Selection::from_bytes(malformed.as_bytes()).is_err(), "{malformed:?}");
    }
}

#[test]
fn one_is_within_another_only_when_that_can_be_told() {
    let all = || selection(&[], &rawdoc! {});
    let or = || rawdoc! { "$or": [{ "a": 1 }, { "b": 2 }] };
    let table = [
        (all(), all(), true),
        (selection(&["d.c"], &rawdoc! {}), all(), true),
        (all(), selection(&["d.c"], &rawdoc! {}), false),
        (selection(&["d.c"], &rawdoc! {}), selection(&["d.*"], &rawdoc! {}), true),
        (
            selection(&["d.*"], &rawdoc! {}),
            selection(&["d.c"], &rawdoc! {}),
            false,
        ),
        (
            selection(&["d.c", "e.c"], &rawdoc! {}),
            selection(&["d.*"], &rawdoc! {}),
            false,
        ),
        (selection(&[], &rawdoc! { "a": 1 }), all(), true),
        (all(), selection(&[], &rawdoc! { "a": 1 }), false),
        (
            selection(&[], &rawdoc! { "a": 1, "b": 2 }),
            selection(&[], &rawdoc! { "a": 1 }),
            true,
        ),
        (
            selection(&[], &rawdoc! { "a": { "$gt": 5 } }),
            selection(&[], &rawdoc! { "a": { "$gt": 3 } }),
            true,
        ),
        (
            selection(&[], &rawdoc! { "a": { "$gt": 3 } }),
            selection(&[], &rawdoc! { "a": { "$gt": 5 } }),
            false,
        ),
        (selection(&[], &or()), selection(&[], &or()), true),
        (
            selection(&["d.c"], &rawdoc! { "$and": [or(), { "c": 3 }] }),
            selection(&[], &or()),
            true,
        ),
        (selection(&[], &rawdoc! { "a": 1 }), selection(&[], &or()), false),
    ];
    for (narrow, wide, expected) in table {
        assert_eq!(narrow.is_within(&wide), expected, "{narrow} in {wide}");
    }
}

/// What a part has of an entry, as the kind that stands there, and the key that it says has left.
fn share(sharing: &Sharing, kind: EntryKind, entry: &StoreEntry<'_>) -> (u8, Option<RawDocumentBuf>) {
    let mut payload = Vec::new();
    entry.encode(&mut payload);
    match sharing.of(kind.number(), &payload).unwrap() {
        Share::Whole => (kind.number(), None),
        Share::Place => (ELIDED, None),
        Share::Instead(kind, instead) => {
            assert!(instead.len() <= payload.len(), "it takes more space than the entry did");
            let left = StoreEntry::decode(&instead).unwrap();
            (kind, left.key.map(ToOwned::to_owned))
        }
    }
}

#[test]
fn what_a_part_has_of_an_entry_is_told_from_that_alone() {
    let by_field = Sharing::new(selection(&["d.c"], &rawdoc! { "a": 1 }));
    let by_key = Sharing::new(selection(&["d.c"], &rawdoc! { "_id": { "$gte": 5 } }));
    let (inside, outside) = (
        rawdoc! { "_id": 5, "a": 1, "b": 0 },
        rawdoc! { "_id": 4, "a": 2, "b": 0 },
    );
    let (key_inside, key_outside) = (rawdoc! { "_id": 5 }, rawdoc! { "_id": 4 });
    let changes =
        |field: &bson::raw::CStr| rawdoc! { "updatedFields": { field: 1 }, "removedFields": [], "truncatedArrays": [] };
    let (of_a, of_b) = (changes(cstr!("a")), changes(cstr!("b")));
    let removed = rawdoc! { "updatedFields": {}, "removedFields": ["a.x"], "truncatedArrays": [] };
    let truncated =
        rawdoc! { "updatedFields": {}, "removedFields": [], "truncatedArrays": [{ "field": "a", "newSize": 1 }] };
    let of = |collection| StoreEntry {
        database: "d",
        collection,
        ..StoreEntry::default()
    };
    let (whole, place, leaves) = ("whole", "place", "leaves");
    let table = [
        (
            EntryKind::Insert,
            of("other"),
            Some(&inside),
            None,
            None,
            None,
            place,
            place,
        ),
        (
            EntryKind::Insert,
            of("c"),
            Some(&inside),
            None,
            None,
            None,
            whole,
            whole,
        ),
        (
            EntryKind::Insert,
            of("c"),
            Some(&outside),
            None,
            None,
            None,
            place,
            place,
        ),
        (
            EntryKind::Update,
            of("c"),
            Some(&inside),
            Some(&key_inside),
            Some(&of_a),
            None,
            whole,
            whole,
        ),
        // What it was before is not in the entry; but it may have been in only if what is asked for has changed.
        (
            EntryKind::Update,
            of("c"),
            Some(&outside),
            Some(&key_outside),
            Some(&of_a),
            None,
            leaves,
            place,
        ),
        (
            EntryKind::Update,
            of("c"),
            Some(&outside),
            Some(&key_outside),
            Some(&removed),
            None,
            leaves,
            place,
        ),
        (
            EntryKind::Update,
            of("c"),
            Some(&outside),
            Some(&key_outside),
            Some(&truncated),
            None,
            leaves,
            place,
        ),
        (
            EntryKind::Update,
            of("c"),
            Some(&outside),
            Some(&key_outside),
            Some(&of_b),
            None,
            place,
            place,
        ),
        (
            EntryKind::Update,
            of("c"),
            Some(&outside),
            Some(&key_outside),
            Some(&of_a),
            Some(&outside),
            place,
            place,
        ),
        (
            EntryKind::Update,
            of("c"),
            Some(&outside),
            Some(&key_outside),
            Some(&of_a),
            Some(&inside),
            leaves,
            leaves,
        ),
        (
            EntryKind::Replace,
            of("c"),
            Some(&outside),
            None,
            None,
            None,
            leaves,
            place,
        ),
        (
            EntryKind::Delete,
            of("c"),
            None,
            Some(&key_inside),
            None,
            None,
            whole,
            whole,
        ),
        (
            EntryKind::Delete,
            of("c"),
            None,
            Some(&key_outside),
            None,
            None,
            whole,
            place,
        ),
        (
            EntryKind::Delete,
            of("c"),
            None,
            Some(&key_outside),
            None,
            Some(&outside),
            place,
            place,
        ),
        (
            EntryKind::Delete,
            of("other"),
            None,
            Some(&key_inside),
            None,
            None,
            place,
            place,
        ),
        (EntryKind::Create, of("c"), None, None, None, None, whole, whole),
        (EntryKind::Create, of("other"), None, None, None, None, place, place),
        (EntryKind::DropDatabase, of(""), None, None, None, None, whole, whole),
        (
            EntryKind::Noop,
            StoreEntry::default(),
            None,
            None,
            None,
            None,
            whole,
            whole,
        ),
        (EntryKind::SessionWrite, of("c"), None, None, None, None, place, place),
    ];
    for (kind, entry, document, key, diff, pre_image, to_field, to_key) in table {
        let entry = StoreEntry {
            document: document.map(|document| &**document),
            key: key.map(|key| &**key),
            diff: diff.map(|diff| &**diff),
            pre_image: pre_image.map(|image| &**image),
            ..entry
        };
        for (sharing, expected) in [(&by_field, to_field), (&by_key, to_key)] {
            let (stands, left) = share(sharing, kind, &entry);
            let expected_kind = match expected {
                "whole" => kind.number(),
                "place" => ELIDED,
                _ => EntryKind::Leave.number(),
            };
            assert_eq!(stands, expected_kind, "{kind:?} {entry:?}");
            if expected == leaves {
                assert_eq!(left.as_ref(), Some(&key_outside), "{kind:?}");
            }
        }
    }
}

#[test]
fn a_rename_across_the_border_says_so() {
    let sharing = Sharing::new(selection(&["d.c", "d.k", "e.*"], &rawdoc! { "a": 1 }));
    let temporary = format!("tmp.agg_out.{}", uuid::Uuid::nil());
    for (from, to, expected, detailed) in [
        (("d", "c"), ("d", "k"), EntryKind::Rename.number(), true),
        (("d", "c"), ("e", "any"), EntryKind::Rename.number(), true),
        (("d", "x"), ("d", "y"), ELIDED, false),
        (("d", "c"), ("d", "x"), EntryKind::Leave.number(), false),
        (("d", "x"), ("d", "c"), EntryKind::Leave.number(), true),
        // What an `$out` fills takes the place of what it is for, with the documents that match.
        (("d", temporary.as_str()), ("d", "c"), EntryKind::Rename.number(), true),
        (("d", temporary.as_str()), ("d", "x"), EntryKind::Leave.number(), false),
        (("f", temporary.as_str()), ("f", "x"), ELIDED, false),
    ] {
        let detail = rawdoc! { "to": { "db": to.0, "coll": to.1 } };
        let entry = StoreEntry {
            database: from.0,
            collection: from.1,
            collection_id: [7; 16],
            detail: Some(&detail),
            ..StoreEntry::default()
        };
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        let (kind, stands) = match sharing.of(EntryKind::Rename.number(), &payload).unwrap() {
            Share::Whole => (EntryKind::Rename.number(), payload),
            Share::Place => (ELIDED, Vec::new()),
            Share::Instead(kind, instead) => (kind, instead),
        };
        assert_eq!(kind, expected, "{from:?} {to:?}");
        if kind != ELIDED {
            let stands = StoreEntry::decode(&stands).unwrap();
            assert_eq!((stands.collection_id, stands.detail.is_some()), ([7; 16], detailed));
        }
    }
}

//! Documents that upserts insert.

use bson::{RawDocumentBuf, rawdoc};

use crate::update::{ApplyContext, Update, UpdateError};

fn upsert(query: &RawDocumentBuf, update: &RawDocumentBuf) -> Result<RawDocumentBuf, UpdateError> {
    let update = Update::parse_any::<RawDocumentBuf>(bson::RawBsonRef::Document(update), &[])?;
    update.upsert(query, &ApplyContext::default())
}

#[track_caller]
fn check(query: &RawDocumentBuf, update: &RawDocumentBuf, expected: &RawDocumentBuf) {
    assert_eq!(upsert(query, update).unwrap(), *expected);
}

#[test]
fn query_gives_what_it_says_by_equality() {
    let set = rawdoc! { "$set": { "z": 1 } };
    let tables = [
        (
            rawdoc! { "_id": 1, "b": 2, "a": 1 },
            rawdoc! { "_id": 1, "a": 1, "b": 2, "z": 1 },
        ),
        (
            rawdoc! { "_id": 1, "a": { "$eq": 2 } },
            rawdoc! { "_id": 1, "a": 2, "z": 1 },
        ),
        (
            rawdoc! { "_id": 1, "a.b": 2, "a.c": 3 },
            rawdoc! { "_id": 1, "a": { "b": 2, "c": 3 }, "z": 1 },
        ),
        (
            rawdoc! { "_id": 1, "a.0": 2 },
            rawdoc! { "_id": 1, "a": { "0": 2 }, "z": 1 },
        ),
        (
            rawdoc! { "$and": [{ "_id": 1 }, { "$and": [{ "a": 2 }] }] },
            rawdoc! { "_id": 1, "a": 2, "z": 1 },
        ),
        (
            rawdoc! { "_id": 1, "$or": [{ "a": 2 }] },
            rawdoc! { "_id": 1, "a": 2, "z": 1 },
        ),
        (
            rawdoc! { "_id": 1, "$or": [{ "a": 2 }, { "a": 3 }] },
            rawdoc! { "_id": 1, "z": 1 },
        ),
        (
            rawdoc! { "_id": { "$in": [1] }, "a": { "$in": [1, 2] } },
            rawdoc! { "_id": 1, "z": 1 },
        ),
        (
            rawdoc! { "_id": 1, "a": { "$all": [2] } },
            rawdoc! { "_id": 1, "a": 2, "z": 1 },
        ),
        (
            rawdoc! { "_id": 1, "a": { "$gt": 1, "$eq": 2 } },
            rawdoc! { "_id": 1, "a": 2, "z": 1 },
        ),
        (
            rawdoc! { "_id": 1, "a": { "$gt": 1 }, "$nor": [{ "b": 1 }] },
            rawdoc! { "_id": 1, "z": 1 },
        ),
        (
            rawdoc! { "_id": { "x": 1 }, "a": { "b": 1 } },
            rawdoc! { "_id": { "x": 1 }, "a": { "b": 1 }, "z": 1 },
        ),
        (rawdoc! { "_id.x": 1 }, rawdoc! { "_id": { "x": 1 }, "z": 1 }),
    ];
    for (query, expected) in tables {
        check(&query, &set, &expected);
    }
}

#[test]
fn update_works_on_what_the_query_gave() {
    check(
        &rawdoc! { "_id": 1, "n": 5, "a": [1], "x": 0 },
        &rawdoc! { "$inc": { "n": 1 }, "$push": { "a": 2 }, "$setOnInsert": { "new": true }, "$rename": { "x": "m" } },
        &rawdoc! { "_id": 1, "a": [1, 2], "n": 6, "m": 0, "new": true },
    );
}

#[test]
fn query_cannot_give_a_field_twice() {
    let set = rawdoc! { "$set": { "z": 1 } };
    for query in [
        rawdoc! { "$and": [{ "a": 1 }, { "a": 1 }] },
        rawdoc! { "a": 1, "a.b": 1 },
        rawdoc! { "a.b": 1, "a": { "b": 1 } },
        rawdoc! { "a": 1, "a0": 1, "a.b.c": 1 },
        rawdoc! { "a": { "$all": [1, 2] } },
    ] {
        let refused = upsert(&query, &set).unwrap_err();
        assert!(
            matches!(refused, UpdateError::EqualityAmbiguous { .. }),
            "{query:?} {refused:?}"
        );
        assert_eq!(refused.code_name(), "NotSingleValueField");
    }
}

#[test]
fn id_comes_from_query_update_or_nowhere() {
    check(
        &rawdoc! { "a": 1 },
        &rawdoc! { "$setOnInsert": { "_id": 7 } },
        &rawdoc! { "_id": 7, "a": 1 },
    );
    check(
        &rawdoc! { "_id": 7 },
        &rawdoc! { "$set": { "_id": 7, "A": 1 } },
        &rawdoc! { "_id": 7, "A": 1 },
    );
    let made = upsert(&rawdoc! { "a": 1 }, &rawdoc! { "$set": { "B": 1 } }).unwrap();
    let mut fields = made.iter_elements();
    assert!(made.get_object_id("_id").is_ok());
    assert_eq!(fields.next().unwrap().unwrap().key().as_str(), "_id");

    for (query, update, name) in [
        (rawdoc! { "_id": 1 }, rawdoc! { "$set": { "_id": 2 } }, "ImmutableField"),
        (rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }, "ImmutableField"),
        (rawdoc! {}, rawdoc! { "$set": { "_id": [1] } }, "InvalidIdField"),
        (rawdoc! {}, rawdoc! { "_id": { "$a": 1 } }, "DollarPrefixedFieldName"),
    ] {
        assert_eq!(
            upsert(&query, &update).unwrap_err().code_name(),
            name,
            "{query:?} {update:?}"
        );
    }
}

#[test]
fn replacement_takes_the_id_only() {
    check(
        &rawdoc! { "a": 1, "_id": 7 },
        &rawdoc! { "b": 1 },
        &rawdoc! { "_id": 7, "b": 1 },
    );
    check(
        &rawdoc! { "a": 1 },
        &rawdoc! { "b": 1, "_id": "x" },
        &rawdoc! { "_id": "x", "b": 1 },
    );
}

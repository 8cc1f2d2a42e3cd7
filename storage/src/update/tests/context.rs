//! What depends on more than the document: insertion, time, names that only an insertion may bring, and error codes.

use bson::{Bson, DateTime, Timestamp, doc, rawdoc};

use super::{apply, apply_with};
use crate::update::{ApplyContext, Update, UpdateError};

fn at(millis: i64) -> ApplyContext {
    ApplyContext {
        now: DateTime::from_millis(millis),
        timestamp: Timestamp { time: 7, increment: 3 },
        ..ApplyContext::default()
    }
}

#[test]
fn current_date_takes_the_given_clock() {
    let update = rawdoc! { "$currentDate": {
        "a": true, "b": { "$type": "date" }, "c": { "$type": "timestamp" }, "d.e": false,
    } };
    let update = Update::parse(&update).unwrap();
    let old = rawdoc! { "_id": 1, "a": "before" };
    let applied = apply_with(&update, &old, &at(1_234)).unwrap().unwrap();
    let date = DateTime::from_millis(1_234);
    let expected = rawdoc! {
        "_id": 1, "a": date, "b": date, "c": Timestamp { time: 7, increment: 3 }, "d": { "e": date },
    };
    assert_eq!(applied.document, expected);
    assert_eq!(apply_with(&update, &applied.document, &at(1_234)).unwrap(), None);

    for operand in [Bson::Int32(1), doc! { "$type": "time" }.into(), doc! {}.into()] {
        let update = bson::RawDocumentBuf::try_from(&doc! { "$currentDate": { "a": operand } }).unwrap();
        check_error!(
            rawdoc! {},
            update,
            UpdateError::OperandInvalid {
                operator: "$currentDate",
                ..
            }
        );
    }
}

#[test]
fn set_on_insert_waits_for_an_insertion() {
    let update = Update::parse(&rawdoc! { "$set": { "a": 1 }, "$setOnInsert": { "b.c": 2 } }).unwrap();
    let old = rawdoc! { "_id": 1, "b": "no place for c" };
    let applied = apply_with(&update, &old, &ApplyContext::default()).unwrap().unwrap();
    assert_eq!(applied.document, rawdoc! { "_id": 1, "b": "no place for c", "a": 1 });
    let insert = ApplyContext {
        is_insert: true,
        ..ApplyContext::default()
    };
    let applied = apply_with(&update, &rawdoc! { "_id": 1 }, &insert).unwrap().unwrap();
    assert_eq!(applied.document, rawdoc! { "_id": 1, "a": 1, "b": { "c": 2 } });
    check_error!(
        rawdoc! {},
        rawdoc! { "$set": { "a": 1 }, "$setOnInsert": { "a": 2 } },
        UpdateError::ConflictingUpdateOperators { .. }
    );
}

#[test]
fn names_with_a_dollar_sign_are_for_embedded_documents_and_insertions() {
    let old = rawdoc! { "_id": 1, "$hotel": 1, "address": { "$street": "Elm Road" } };
    for update in [rawdoc! { "$set": { "$hotel": 2 } }, rawdoc! { "$inc": { "$new.a": 1 } }] {
        check_error!(old, update, UpdateError::DollarPrefixedField { field } if field == "$hotel" || field == "$new");
    }
    let update = rawdoc! { "$set": { "address.$street": "Elm Ave", "b": { "$c": 1 } } };
    let applied = apply(&old, &update).unwrap().unwrap();
    assert_eq!(
        applied.document,
        rawdoc! { "_id": 1, "$hotel": 1, "address": { "$street": "Elm Ave" }, "b": { "$c": 1 } }
    );
    let update = Update::parse(&rawdoc! { "$set": { "phone": 25, "$hotel": 320 } }).unwrap();
    let inserted = update.upsert(&rawdoc! { "_id": 1 }, &ApplyContext::default()).unwrap();
    assert_eq!(inserted, rawdoc! { "_id": 1, "$hotel": 320, "phone": 25 });
}

#[test]
fn replacement_keeps_the_id_and_says_nothing_of_fields() {
    let old = rawdoc! { "_id": 1, "a": 1 };
    let replace =
        |document: bson::RawDocumentBuf| Update::parse_replacement(&document)?.apply(&old, &ApplyContext::default());
    let applied = replace(rawdoc! { "b": 1, "_id": 1.0 }).unwrap().unwrap();
    assert_eq!(applied.document, rawdoc! { "_id": 1.0, "b": 1 });
    assert_eq!(applied.diff, None);
    assert_eq!(replace(rawdoc! { "a": 1 }).unwrap(), None);
    assert!(matches!(
        replace(rawdoc! { "_id": 2 }),
        Err(UpdateError::ImmutableField { .. })
    ));
    assert!(matches!(
        replace(rawdoc! { "a": 1, "$b": 1 }),
        Err(UpdateError::DollarPrefixedField { field }) if field == "$b"
    ));
}

#[test]
fn form_of_an_update_decides_what_it_is() {
    let parse = |update: bson::RawBson| Update::parse_any::<bson::RawDocumentBuf>(update.as_raw_bson_ref(), &[]);
    assert!(matches!(parse(rawdoc! { "$set": {} }.into()), Ok(Update::Operators(_))));
    assert!(matches!(parse(rawdoc! { "a": 1 }.into()), Ok(Update::Replacement(_))));
    assert!(matches!(parse(rawdoc! {}.into()), Ok(Update::Replacement(_))));
    assert!(matches!(
        parse(bson::RawBson::Int32(1)),
        Err(UpdateError::OperandNotDocument { .. })
    ));
    let filters = [rawdoc! { "x": 1 }];
    let replacement = bson::RawBson::from(rawdoc! { "a": 1 });
    assert!(matches!(
        Update::parse_any(replacement.as_raw_bson_ref(), &filters),
        Err(UpdateError::ArrayFilterUnused { .. })
    ));
}

#[test]
fn errors_have_mongodbs_codes() {
    let check = |old: bson::RawDocumentBuf, update: bson::RawDocumentBuf, code: i32, name: &str| {
        let error = apply(&old, &update).unwrap_err();
        assert_eq!((error.code(), error.code_name()), (code, name), "{error}");
    };
    check(rawdoc! { "a": 1 }, rawdoc! { "$push": { "a": 1 } }, 2, "BadValue");
    check(rawdoc! {}, rawdoc! { "$nonsense": { "a": 1 } }, 9, "FailedToParse");
    check(rawdoc! { "a": "x" }, rawdoc! { "$inc": { "a": 1 } }, 14, "TypeMismatch");
    check(rawdoc! {}, rawdoc! { "$inc": { "a": "x" } }, 14, "TypeMismatch");
    check(
        rawdoc! { "a": 1 },
        rawdoc! { "$set": { "a.b": 1 } },
        28,
        "PathNotViable",
    );
    check(
        rawdoc! { "a": [] },
        rawdoc! { "$set": { "a.1500001": 1 } },
        34,
        "CannotBackfillArray",
    );
    check(
        rawdoc! {},
        rawdoc! { "$set": { "a": 1, "a.b": 1 } },
        40,
        "ConflictingUpdateOperators",
    );
    check(
        rawdoc! {},
        rawdoc! { "$set": { "$a": 1 } },
        52,
        "DollarPrefixedFieldName",
    );
    check(rawdoc! {}, rawdoc! { "$set": { "a.": 1 } }, 56, "EmptyFieldName");
    check(
        rawdoc! { "_id": 1 },
        rawdoc! { "$set": { "_id": 2 } },
        66,
        "ImmutableField",
    );
}

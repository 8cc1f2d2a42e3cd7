//! Which names fields may have, and how large and deep documents may be, for each way a document comes into being (MongoDB manual:
//! *Field Names with Periods and Dollar Signs*, *MongoDB Limits and Thresholds*). Each refusal has MongoDB's code name.

use std::borrow::Borrow;

use bson::raw::cstr;
use bson::{RawBson, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_storage::{
    Collection, Error, Pipeline, ReplaceOptions, StoreOptions, UpdateModifications, UpdateOptions, limits,
};

use crate::Town;

/// A document that is to be there afterwards.
enum Way {
    Insert(RawDocumentBuf),
    /// Of the document `{_id: 1, s: "text"}`, which is there.
    Update(RawDocumentBuf),
    Pipeline(RawDocumentBuf),
    Replace(RawDocumentBuf),
    /// With an `_id` that is not there yet.
    UpsertUpdate(RawDocumentBuf),
    UpsertReplacement(RawDocumentBuf),
    /// Only comes out of a pipeline.
    Aggregate(RawDocumentBuf),
    /// Comes out of a pipeline and into another collection.
    Out(RawDocumentBuf),
    Merge(RawDocumentBuf),
}

impl Way {
    fn go(&self, people: &Collection) -> Result<(), Error> {
        let (one, other) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 });
        let pipeline = |stages: &[RawDocumentBuf]| {
            let found = people.aggregate(&Pipeline::parse(stages)?)?;
            found.collect::<Result<Vec<_>, _>>().map(drop)
        };
        match self {
            Way::Insert(document) => people.insert_one(document).map(drop),
            Way::Update(update) => people.update_one(&one, update.clone()).map(drop),
            Way::Pipeline(stage) => people.update_one(&one, vec![stage.clone()]).map(drop),
            Way::Replace(replacement) => people.replace_one(&one, replacement).map(drop),
            Way::UpsertUpdate(update) => {
                let options = UpdateOptions {
                    upsert: true,
                    ..UpdateOptions::default()
                };
                let update = UpdateModifications::from(update.clone());
                people.update_one_with(&other, update, &options).map(drop)
            }
            Way::UpsertReplacement(replacement) => {
                let options = ReplaceOptions {
                    upsert: true,
                    ..ReplaceOptions::default()
                };
                people.replace_one_with(&other, replacement, &options).map(drop)
            }
            Way::Aggregate(stage) => pipeline(std::slice::from_ref(stage)),
            Way::Out(stage) => pipeline(&[stage.clone(), rawdoc! { "$out": "others" }]),
            Way::Merge(stage) => pipeline(&[stage.clone(), rawdoc! { "$merge": "others" }]),
        }
    }
}

/// What is refused, by code name, or that it is done.
fn told(way: &Way, town: &Town) -> String {
    let Err(error) = way.go(&town.people) else {
        return "done".into();
    };
    match &error {
        Error::Update(error) => error.code_name().to_owned(),
        Error::Aggregate(error) => error.code_name().into_owned(),
        error => error
            .code()
            .map_or_else(|| format!("{error:?}"), |code| code.name().to_owned()),
    }
}

/// All at once, so that one run says everything.
fn check<T: Borrow<Town>>(cases: &[(&str, Way, &str)], town: impl Fn() -> T) {
    let differences: Vec<String> = cases
        .iter()
        .filter_map(|(what, way, expected)| {
            let found = told(way, town().borrow());
            (found != *expected).then(|| format!("{what}: expected {expected}, found {found}"))
        })
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

fn one() -> Town {
    Town::with(&[rawdoc! { "_id": 1, "s": "text" }])
}

fn with_two_ids() -> RawDocumentBuf {
    let mut document = rawdoc! { "_id": 2, "a": 1 };
    document.append(cstr!("_id"), 3);
    document
}

#[test]
fn names_are_those_that_the_manual_allows() {
    use Way::{Insert, Pipeline, Replace, Update, UpsertReplacement, UpsertUpdate};
    let price = || rawdoc! { "$price": 1 };
    let set_dollar = || rawdoc! { "$replaceWith": { "$setField": { "field": { "$literal": "$price" }, "input": "$$ROOT", "value": 1 } } };
    check(
        &[
            ("insert, dollar at the top", Insert(price()), "done"),
            (
                "insert, dollar below",
                Insert(rawdoc! { "a": price(), "b": [price()] }),
                "done",
            ),
            (
                "insert, period",
                Insert(rawdoc! { "a.b": 1, "c": { "d.e": 1, ".": 2 } }),
                "done",
            ),
            (
                "insert, reserved words",
                Insert(rawdoc! { "$id": 1, "at": { "$db": "n", "$ref": "m", "$inc": true } }),
                "done",
            ),
            ("insert, empty name", Insert(rawdoc! { "": 1, "a": { "": 2 } }), "done"),
            (
                "insert, two fields of one name",
                Insert({
                    let mut document = rawdoc! { "_id": 2, "a": 1 };
                    document.append(cstr!("a"), 2);
                    document
                }),
                "done",
            ),
            ("insert, two _ids", Insert(with_two_ids()), "BadValue"),
            (
                "set a dollar at the top",
                Update(rawdoc! { "$set": price() }),
                "DollarPrefixedFieldName",
            ),
            (
                "set a dollar below",
                Update(rawdoc! { "$set": { "a": price(), "b": [price()] } }),
                "done",
            ),
            (
                "rename to a dollar",
                Update(rawdoc! { "$rename": { "s": "$s" } }),
                "DollarPrefixedFieldName",
            ),
            (
                "set a period below",
                Update(rawdoc! { "$set": { "a": { "b.c": 1 } } }),
                "done",
            ),
            (
                "set an empty name",
                Update(rawdoc! { "$set": { "": 1 } }),
                "EmptyFieldName",
            ),
            (
                "set an empty component",
                Update(rawdoc! { "$set": { "a..b": 1 } }),
                "EmptyFieldName",
            ),
            (
                "set below text",
                Update(rawdoc! { "$set": { "s.t": 1 } }),
                "PathNotViable",
            ),
            (
                "set a field and what is in it",
                Update(rawdoc! { "$set": { "a": 1, "a.b": 2 } }),
                "ConflictingUpdateOperators",
            ),
            ("pipeline, dollar at the top", Pipeline(set_dollar()), "done"),
            (
                "pipeline, dollar below",
                Pipeline(rawdoc! { "$set": { "a": { "$literal": price() } } }),
                "done",
            ),
            (
                "replacement, dollar at the top",
                Replace(rawdoc! { "a": 1, "$price": 1 }),
                "DollarPrefixedFieldName",
            ),
            ("replacement, dollar below", Replace(rawdoc! { "a": price() }), "done"),
            ("replacement, period", Replace(rawdoc! { "a.b": 1 }), "done"),
            ("replacement, empty name", Replace(rawdoc! { "": 1 }), "done"),
            (
                "upsert, dollar at the top",
                UpsertUpdate(rawdoc! { "$set": price() }),
                "done",
            ),
            (
                "upsert, dollar below",
                UpsertUpdate(rawdoc! { "$set": { "a": price() } }),
                "done",
            ),
            (
                "upsert of a replacement, dollar below",
                UpsertReplacement(rawdoc! { "a": price() }),
                "done",
            ),
        ],
        one,
    );
}

#[test]
fn ids_are_those_that_can_be_and_never_change() {
    use Way::{Insert, Merge, Out, Pipeline, Replace, Update, UpsertReplacement, UpsertUpdate};
    let reference = |id: RawDocumentBuf| rawdoc! { "_id": id };
    check(
        &[
            ("an array", Insert(rawdoc! { "_id": [1] }), "InvalidIdField"),
            (
                "undefined",
                Insert(rawdoc! { "_id": RawBson::Undefined }),
                "InvalidIdField",
            ),
            ("null", Insert(rawdoc! { "_id": null }), "done"),
            ("a document", Insert(reference(rawdoc! { "a": 1, "b.c": [2] })), "done"),
            (
                "a dollar",
                Insert(reference(rawdoc! { "$a": 1 })),
                "DollarPrefixedFieldName",
            ),
            (
                "a dollar further below",
                Insert(reference(rawdoc! { "a": [{ "$b": 1 }] })),
                "DollarPrefixedFieldName",
            ),
            (
                "a reference",
                Insert(reference(rawdoc! { "$ref": "c", "$id": 1 })),
                "done",
            ),
            (
                "a reference into a database",
                Insert(reference(rawdoc! { "$ref": "c", "$id": 1, "$db": "d", "e": 1 })),
                "done",
            ),
            (
                "a reference in another order",
                Insert(reference(rawdoc! { "$id": 1, "$ref": "c" })),
                "DollarPrefixedFieldName",
            ),
            (
                "a reference and a dollar",
                Insert(reference(rawdoc! { "$ref": "c", "$id": 1, "$e": 1 })),
                "DollarPrefixedFieldName",
            ),
            (
                "set another",
                Update(rawdoc! { "$set": { "_id": 2 } }),
                "ImmutableField",
            ),
            ("set the same", Update(rawdoc! { "$set": { "_id": 1 } }), "done"),
            ("unset", Update(rawdoc! { "$unset": { "_id": 1 } }), "ImmutableField"),
            (
                "rename",
                Update(rawdoc! { "$rename": { "_id": "a" } }),
                "ImmutableField",
            ),
            (
                "rename to it",
                Update(rawdoc! { "$rename": { "s": "_id" } }),
                "ImmutableField",
            ),
            ("pipeline", Pipeline(rawdoc! { "$set": { "_id": 2 } }), "ImmutableField"),
            ("pipeline without it", Pipeline(rawdoc! { "$unset": "_id" }), "done"),
            ("replacement", Replace(rawdoc! { "_id": 2 }), "ImmutableField"),
            (
                "upsert",
                UpsertUpdate(rawdoc! { "$set": { "_id": 3 } }),
                "ImmutableField",
            ),
            (
                "upsert of a replacement",
                UpsertReplacement(rawdoc! { "_id": 3 }),
                "ImmutableField",
            ),
            (
                "$out of an array",
                Out(rawdoc! { "$set": { "_id": [1] } }),
                "InvalidIdField",
            ),
            (
                "$merge of an array",
                Merge(rawdoc! { "$set": { "_id": [1] } }),
                "Location51185",
            ),
        ],
        one,
    );
}

fn nested(levels: usize) -> RawDocumentBuf {
    (1..levels).fold(rawdoc! { "leaf": true }, |inner, _| rawdoc! { "a": inner })
}

#[test]
fn documents_have_at_most_a_hundred_levels_however_they_are_made() {
    use Way::{Aggregate, Insert, Merge, Out, Pipeline, Replace, Update, UpsertReplacement, UpsertUpdate};
    let deeper = || rawdoc! { "$set": { "a": { "a": "$$ROOT" } } };
    let set = |levels: usize| rawdoc! { "$set": { "b": nested(levels) } };
    check(
        &[
            ("insert", Insert(nested(101)), "Overflow"),
            ("update, as deep as can be", Update(set(99)), "done"),
            ("update", Update(set(100)), "Overflow"),
            ("pipeline", Pipeline(deeper()), "Overflow"),
            ("replacement", Replace(nested(101)), "Overflow"),
            ("upsert", UpsertUpdate(set(100)), "Overflow"),
            ("upsert of a replacement", UpsertReplacement(nested(101)), "Overflow"),
            ("result", Aggregate(deeper()), "Overflow"),
            ("$out", Out(deeper()), "Overflow"),
            ("$merge", Merge(deeper()), "Overflow"),
        ],
        || {
            let mut document = rawdoc! { "_id": 1 };
            document.append(cstr!("a"), nested(99));
            Town::with(&[document])
        },
    );
}

#[test]
fn documents_have_at_most_sixteen_mebibytes_however_they_are_made() {
    use Way::{Aggregate, Insert, Merge, Out, Pipeline, Update, UpsertUpdate};
    let text = |bytes: usize| "x".repeat(bytes);
    let twice = || rawdoc! { "$set": { "t": "$s" } };
    let half = limits::DOCUMENT_BYTES_MAX / 2;
    let whole: &RawDocument = &rawdoc! { "s": text(limits::DOCUMENT_BYTES_MAX) };
    let town = Town::open(&StoreOptions::default());
    town.people.insert_one(&rawdoc! { "_id": 1, "s": text(half) }).unwrap();
    check(
        &[
            ("insert", Insert(whole.to_owned()), "BadValue"),
            (
                "update",
                Update(rawdoc! { "$set": { "t": text(half) } }),
                "Location17419",
            ),
            // The document does not come out of its pipeline.
            ("pipeline", Pipeline(twice()), "BSONObjectTooLarge"),
            (
                "upsert",
                UpsertUpdate(rawdoc! { "$set": { "t": text(half), "u": text(half) } }),
                "Location17419",
            ),
            ("result", Aggregate(twice()), "BSONObjectTooLarge"),
            ("$out", Out(twice()), "BSONObjectTooLarge"),
            ("$merge", Merge(twice()), "BSONObjectTooLarge"),
        ],
        // What is refused leaves nothing behind.
        || &town,
    );
}

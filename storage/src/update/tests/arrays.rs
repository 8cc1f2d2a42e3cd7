//! Array operators: what they do, what they say they did, and what they refuse.

use bson::{Decimal128, Document, doc, rawdoc};

use super::{apply, check, check_unchanged};
use crate::update::UpdateError;

/// The array that an update makes of `a`.
#[track_caller]
fn check_array(old: &Document, update: &Document, expected: impl Into<bson::Bson>) {
    let raw = |document: &Document| bson::RawDocumentBuf::try_from(document).unwrap();
    let applied = apply(&raw(old), &raw(update)).unwrap();
    let new = applied.map_or_else(|| raw(old), |applied| applied.document);
    let new = Document::try_from(new).unwrap();
    assert_eq!(new.get("a"), Some(&expected.into()), "{old} {update}");
}

#[test]
fn push_inserts_sorts_and_slices_in_this_order() {
    let check = |clauses: Document, expected: Vec<i32>| {
        check_array(&doc! { "a": [3, 1, 2] }, &doc! { "$push": { "a": clauses } }, expected);
    };
    check(doc! { "$each": [5, 4] }, vec![3, 1, 2, 5, 4]);
    check(doc! { "$each": [5, 4], "$position": 0 }, vec![5, 4, 3, 1, 2]);
    check(doc! { "$each": [5, 4], "$position": 1 }, vec![3, 5, 4, 1, 2]);
    check(doc! { "$each": [5], "$position": 99 }, vec![3, 1, 2, 5]);
    check(doc! { "$each": [5], "$position": -1 }, vec![3, 1, 5, 2]);
    check(doc! { "$each": [5], "$position": -99 }, vec![5, 3, 1, 2]);
    check(doc! { "$each": [5], "$position": 1.0 }, vec![3, 5, 1, 2]);
    check(doc! { "$each": [5], "$slice": 2 }, vec![3, 1]);
    check(doc! { "$each": [5], "$slice": -2 }, vec![2, 5]);
    check(doc! { "$each": [5], "$slice": 0 }, vec![]);
    check(doc! { "$each": [5], "$slice": 99 }, vec![3, 1, 2, 5]);
    check(doc! { "$each": [5, 0], "$sort": 1 }, vec![0, 1, 2, 3, 5]);
    check(doc! { "$sort": -1, "$each": [] }, vec![3, 2, 1]);
    check(
        doc! { "$each": [0, 9], "$slice": -3, "$sort": 1, "$position": 0 },
        vec![2, 3, 9],
    );
    check(doc! { "$each": [], "$slice": i64::MIN }, vec![3, 1, 2]);
}

#[test]
fn push_sorts_documents_by_fields() {
    let old = doc! { "a": [{ "n": 2, "t": "x" }, { "n": 1, "t": "y" }, 7, { "n": 2, "t": "w" }] };
    check_array(
        &old,
        &doc! { "$push": { "a": { "$each": [{ "n": { "m": 1 } }], "$sort": { "n": -1, "t": 1 } } } },
        vec![
            doc! { "n": { "m": 1 } }.into(),
            doc! { "n": 2, "t": "w" }.into(),
            doc! { "n": 2, "t": "x" }.into(),
            doc! { "n": 1, "t": "y" }.into(),
            bson::Bson::Int32(7),
        ],
    );
    check_array(
        &doc! { "a": [{ "k": { "n": 2 } }, { "k": { "n": 1 } }] },
        &doc! { "$push": { "a": { "$each": [], "$sort": { "k.n": 1 } } } },
        vec![doc! { "k": { "n": 1 } }, doc! { "k": { "n": 2 } }],
    );
}

#[test]
fn push_behind_the_others_is_described_by_the_new_elements() {
    check(
        rawdoc! { "_id": 1, "a": [1] },
        rawdoc! { "$push": { "a": { "$each": ["x", [2]] } } },
        rawdoc! { "_id": 1, "a": [1, "x", [2]] },
        rawdoc! { "a.1": "x", "a.2": [2] },
        &[],
    );
    check(
        rawdoc! { "_id": 1, "a": [1] },
        rawdoc! { "$push": { "a": { "$each": [2], "$position": 0 } } },
        rawdoc! { "_id": 1, "a": [2, 1] },
        rawdoc! { "a": [2, 1] },
        &[],
    );
    check(
        rawdoc! { "_id": 1, "a": [], "b": { "c": [0] } },
        rawdoc! { "$push": { "a": 1, "b.c": 1, "d.e": 1 } },
        rawdoc! { "_id": 1, "a": [1], "b": { "c": [0, 1] }, "d": { "e": [1] } },
        rawdoc! { "a": [1], "b.c.1": 1, "d": { "e": [1] } },
        &[],
    );
    check_unchanged(
        rawdoc! { "_id": 1, "a": [1] },
        rawdoc! { "$push": { "a": { "$each": [] } } },
    );
    // A document without $each is a value.
    check(
        rawdoc! { "_id": 1, "a": [1] },
        rawdoc! { "$push": { "a": { "$slice": 1 } } },
        rawdoc! { "_id": 1, "a": [1, { "$slice": 1 }] },
        rawdoc! { "a.1": { "$slice": 1 } },
        &[],
    );
}

#[test]
fn sets_compare_by_value() {
    let one: Decimal128 = "1.0".parse().unwrap();
    check_unchanged(
        rawdoc! { "_id": 1, "a": [1, { "x": 1, "y": 2 }, [1], null] },
        rawdoc! { "$addToSet": { "a": { "$each": [1.0, 1_i64, one, { "x": 1.0, "y": 2 }, [1], null] } } },
    );
    check(
        rawdoc! { "_id": 1, "a": [1, { "x": 1, "y": 2 }] },
        rawdoc! { "$addToSet": { "a": { "$each": [{ "y": 2, "x": 1 }, "1", "1", [1]] } }, "$unset": { "b": 1 } },
        rawdoc! { "_id": 1, "a": [1, { "x": 1, "y": 2 }, { "y": 2, "x": 1 }, "1", [1]] },
        rawdoc! { "a": [1, { "x": 1, "y": 2 }, { "y": 2, "x": 1 }, "1", [1]] },
        &[],
    );
    check(
        rawdoc! { "_id": 1 },
        rawdoc! { "$addToSet": { "a": [1, 1], "b": { "$each": [1, 1.0] } } },
        rawdoc! { "_id": 1, "a": [[1, 1]], "b": [1] },
        rawdoc! { "a": [[1, 1]], "b": [1] },
        &[],
    );
}

#[test]
fn pop_takes_one_from_an_end() {
    check_array(&doc! { "a": [1, 2, 3] }, &doc! { "$pop": { "a": 1 } }, vec![1, 2]);
    check_array(&doc! { "a": [1, 2, 3] }, &doc! { "$pop": { "a": -1.0 } }, vec![2, 3]);
    check_unchanged(
        rawdoc! { "_id": 1, "a": [] },
        rawdoc! { "$pop": { "a": 1, "b": 1, "c.d": -1 } },
    );
}

#[test]
fn pull_takes_what_equals_or_satisfies() {
    let numbers = doc! { "a": [1, 2.0, 3_i64, "2", null, [2], { "n": 2 }] };
    let check = |operand: bson::Bson, places: &[usize]| {
        let kept: Vec<bson::Bson> = numbers.get_array("a").unwrap().clone();
        let kept = kept
            .into_iter()
            .enumerate()
            .filter(|(place, _)| !places.contains(place));
        let kept: Vec<bson::Bson> = kept.map(|(_, value)| value).collect();
        check_array(&numbers, &doc! { "$pull": { "a": operand } }, kept);
    };
    check(2.into(), &[1]);
    check(bson::Bson::Null, &[4]);
    check(vec![2].into(), &[5]);
    check(doc! { "n": 2 }.into(), &[6]);
    check(doc! { "$gte": 2 }.into(), &[1, 2, 5]);
    check(doc! { "$in": [1, "2"] }.into(), &[0, 3]);
    check(doc! { "$or": [{ "n": 2 }, { "n": 3 }] }.into(), &[6]);
    check(doc! { "$ne": 7 }.into(), &[0, 1, 2, 3, 4, 5, 6]);
    check(doc! {}.into(), &[6]);
    check(doc! { "n": 3 }.into(), &[]);
}

#[test]
fn pull_condition_on_documents_is_a_query_on_each() {
    check_array(
        &doc! { "a": [
            { "item": "A", "answers": [{ "q": 1, "n": 4 }, { "q": 2, "n": 6 }] },
            { "item": "B", "answers": [{ "q": 1, "n": 8 }] },
        ] },
        &doc! { "$pull": { "a": { "answers.n": { "$gte": 8 } } } },
        vec![doc! { "item": "A", "answers": [{ "q": 1, "n": 4 }, { "q": 2, "n": 6 }] }],
    );
}

#[test]
fn pull_all_takes_equals_only() {
    check_array(
        &doc! { "a": [0, 2, 5, 5, 1, 0, { "$gt": 1 }] },
        &doc! { "$pullAll": { "a": [0, 5.0, { "$gt": 1 }] } },
        vec![2, 1],
    );
    check_unchanged(
        rawdoc! { "_id": 1, "a": [1] },
        rawdoc! { "$pullAll": { "a": [2], "b": [1] }, "$pull": { "c.d": 1 } },
    );
}

#[test]
fn array_operators_refuse_other_values() {
    for operator in ["$push", "$addToSet", "$pull"] {
        let update = bson::RawDocumentBuf::try_from(&doc! { operator: { "a": 1 } }).unwrap();
        check_error!(
            rawdoc! { "_id": 1, "a": 5 },
            update,
            UpdateError::NotAnArray { operator: found, path, .. } if *found == operator && path == "a"
        );
    }
    check_error!(
        rawdoc! { "a": "x" },
        rawdoc! { "$pop": { "a": 1 } },
        UpdateError::TypeMismatch { operator: "$pop", .. }
    );
    // What would have nothing to do still needs a path that could be.
    for update in [rawdoc! { "$pop": { "a.b": 1 } }, rawdoc! { "$pull": { "a.b": 1 } }] {
        check_error!(rawdoc! { "a": 1 }, update, UpdateError::PathNotViable { .. });
    }
}

#[test]
fn array_operands_are_checked() {
    let invalid = [
        rawdoc! { "$push": { "a": { "$each": 1 } } },
        rawdoc! { "$push": { "a": { "$each": [], "$size": 1 } } },
        rawdoc! { "$push": { "a": { "$each": [], "$slice": 1.5 } } },
        rawdoc! { "$push": { "a": { "$each": [], "$position": "1" } } },
        rawdoc! { "$push": { "a": { "$each": [], "$sort": 2 } } },
        rawdoc! { "$push": { "a": { "$each": [], "$sort": {} } } },
        rawdoc! { "$push": { "a": { "$each": [], "$sort": { "b": 0 } } } },
        rawdoc! { "$push": { "a": { "$each": [], "$sort": { "b..c": 1 } } } },
        rawdoc! { "$addToSet": { "a": { "$each": [], "b": 1 } } },
        rawdoc! { "$pullAll": { "a": 1 } },
    ];
    for update in invalid {
        check_error!(rawdoc! {}, update, UpdateError::OperandInvalid { path, .. } if path == "a");
    }
    check_error!(
        rawdoc! {},
        rawdoc! { "$pop": { "a": 2 } },
        UpdateError::PopInvalid { path } if path == "a"
    );
    check_error!(
        rawdoc! {},
        rawdoc! { "$addToSet": { "a": { "$each": 1 } } },
        UpdateError::TypeMismatch { operator: "$each", .. }
    );
    check_error!(
        rawdoc! {},
        rawdoc! { "$pull": { "a": { "$gt": 1, "$nonsense": 2 } } },
        UpdateError::Condition { path, .. } if path == "a"
    );
}

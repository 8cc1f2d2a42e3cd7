//! `$`, `$[]` and `$[identifier]`.

use bson::{RawDocumentBuf, rawdoc};

use super::apply_with;
use crate::update::{Applied, ApplyContext, Update, UpdateError};

fn apply(
    old: &RawDocumentBuf,
    update: &RawDocumentBuf,
    filters: &[RawDocumentBuf],
    matched_position: Option<usize>,
) -> Result<Option<Applied>, UpdateError> {
    let context = ApplyContext {
        matched_position,
        ..ApplyContext::default()
    };
    apply_with(&Update::parse_filtered(update, filters)?, old, &context)
}

#[track_caller]
fn check(
    old: &RawDocumentBuf,
    update: &RawDocumentBuf,
    filters: &[RawDocumentBuf],
    new: &RawDocumentBuf,
    updated: &RawDocumentBuf,
) {
    let applied = apply(old, update, filters, Some(1)).unwrap().expect("a change");
    assert_eq!(applied.document, *new);
    assert_eq!(applied.diff.unwrap().updated_fields, *updated);
}

macro_rules! check_refused {
    ($old:expr, $update:expr, $filters:expr, $expected:pat $(if $guard:expr)?) => {
        let error = apply(&$old, &$update, &$filters, None).unwrap_err();
        assert!(matches!(&error, $expected $(if $guard)?), "{error:?}");
    };
}

#[test]
fn matched_element_is_updated() {
    check(
        &rawdoc! { "_id": 1, "grades": [85, 80, 80] },
        &rawdoc! { "$set": { "grades.$": 82 } },
        &[],
        &rawdoc! { "_id": 1, "grades": [85, 82, 80] },
        &rawdoc! { "grades.1": 82 },
    );
    check(
        &rawdoc! { "_id": 4, "grades": [{ "mean": 75, "std": 8 }, { "mean": 90, "std": 5 }] },
        &rawdoc! { "$set": { "grades.$.std": 6 } },
        &[],
        &rawdoc! { "_id": 4, "grades": [{ "mean": 75, "std": 8 }, { "mean": 90, "std": 6 }] },
        &rawdoc! { "grades.1.std": 6 },
    );
    check_refused!(
        rawdoc! { "a": [1] },
        rawdoc! { "$set": { "a.$": 1 } },
        [],
        UpdateError::PositionUnknown { path } if path == "a.$"
    );
    for path in ["$.a", "a.$.b.$"] {
        let update = RawDocumentBuf::try_from(&bson::doc! { "$set": { path: 1 } }).unwrap();
        check_refused!(rawdoc! {}, update, [], UpdateError::PositionalMisplaced { .. });
    }
}

#[test]
fn all_elements_are_updated_and_described_together() {
    check(
        &rawdoc! { "_id": 1, "grades": [85, 82, 80] },
        &rawdoc! { "$inc": { "grades.$[]": 10 } },
        &[],
        &rawdoc! { "_id": 1, "grades": [95, 92, 90] },
        &rawdoc! { "grades": [95, 92, 90] },
    );
    check(
        &rawdoc! { "_id": 1, "a": [{ "n": 1, "k": "keep" }, { "n": 2 }] },
        &rawdoc! { "$max": { "a.$[].n": 2 } },
        &[],
        &rawdoc! { "_id": 1, "a": [{ "n": 2, "k": "keep" }, { "n": 2 }] },
        &rawdoc! { "a.0": { "n": 2, "k": "keep" } },
    );
    check(
        &rawdoc! { "_id": 1, "a": [{ "n": 1, "k": "keep" }] },
        &rawdoc! { "$inc": { "a.$[].n": 2 } },
        &[],
        &rawdoc! { "_id": 1, "a": [{ "n": 3, "k": "keep" }] },
        &rawdoc! { "a.0.n": 3 },
    );
}

#[test]
fn filters_choose_elements() {
    check(
        &rawdoc! { "_id": 1, "grades": [95, 102, 90, 150] },
        &rawdoc! { "$set": { "grades.$[element]": 100 } },
        &[rawdoc! { "element": { "$gte": 100 } }],
        &rawdoc! { "_id": 1, "grades": [95, 100, 90, 100] },
        &rawdoc! { "grades": [95, 100, 90, 100] },
    );
    // Nested arrays, as in the manual.
    check(
        &rawdoc! { "_id": 1, "grades": [
            { "type": "quiz", "questions": [10, 8, 5] },
            { "type": "quiz", "questions": [8, 9, 6] },
            { "type": "hw", "questions": [5, 4, 3] },
        ] },
        &rawdoc! { "$inc": { "grades.$[t].questions.$[score]": 2 } },
        &[rawdoc! { "t.type": "quiz" }, rawdoc! { "score": { "$gte": 8 } }],
        &rawdoc! { "_id": 1, "grades": [
            { "type": "quiz", "questions": [12, 10, 5] },
            { "type": "quiz", "questions": [10, 11, 6] },
            { "type": "hw", "questions": [5, 4, 3] },
        ] },
        &rawdoc! { "grades": [
            { "type": "quiz", "questions": [12, 10, 5] },
            { "type": "quiz", "questions": [10, 11, 6] },
            { "type": "hw", "questions": [5, 4, 3] },
        ] },
    );
    // Two identifiers meet in one element.
    check(
        &rawdoc! { "_id": 1, "a": [{ "n": 1 }, { "n": 2 }] },
        &rawdoc! { "$set": { "a.$[x].u": 1, "a.$[y].v": 1 } },
        &[
            rawdoc! { "x.n": { "$gt": 1 } },
            rawdoc! { "$or": [{ "y.n": 2 }, { "y.n": 3 }] },
        ],
        &rawdoc! { "_id": 1, "a": [{ "n": 1 }, { "n": 2, "u": 1, "v": 1 }] },
        &rawdoc! { "a.1.u": 1, "a.1.v": 1 },
    );
    let nothing = apply(
        &rawdoc! { "a": [1] },
        &rawdoc! { "$set": { "a.$[x]": 1 } },
        &[rawdoc! { "x": 7 }],
        None,
    );
    assert_eq!(nothing.unwrap(), None);
}

#[test]
fn filters_are_checked() {
    let update = || rawdoc! { "$set": { "a.$[x]": 1 } };
    let old = || rawdoc! { "a": [1] };
    check_refused!(old(), update(), [], UpdateError::ArrayFilterMissing { identifier, .. } if identifier == "x");
    check_refused!(
        old(),
        update(),
        [rawdoc! { "x": 1 }, rawdoc! { "x.b": 1 }],
        UpdateError::ArrayFilterDuplicate { identifier } if identifier == "x"
    );
    check_refused!(
        old(),
        update(),
        [rawdoc! { "x": 1 }, rawdoc! { "y": 1 }],
        UpdateError::ArrayFilterUnused { identifier } if identifier == "y"
    );
    check_refused!(
        old(),
        update(),
        [rawdoc! { "x": 1, "y": 1 }],
        UpdateError::ArrayFilterFields { index: 0, found } if found == &["x", "y"]
    );
    check_refused!(old(), update(), [rawdoc! {}], UpdateError::ArrayFilterFields { .. });
    check_refused!(
        old(),
        rawdoc! { "$set": { "a.$[X]": 1 } },
        [rawdoc! { "X": 1 }],
        UpdateError::ArrayFilterName { .. }
    );
    check_refused!(
        old(),
        update(),
        [rawdoc! { "x": { "$nonsense": 1 } }],
        UpdateError::ArrayFilterCondition { index: 0, .. }
    );
}

#[test]
fn spread_paths_need_an_array() {
    for path in ["b.$[]", "b.$[].c", "c.d.$[]"] {
        let update = RawDocumentBuf::try_from(&bson::doc! { "$set": { path: 1 } }).unwrap();
        check_refused!(rawdoc! { "a": 1 }, update, [], UpdateError::ArrayMissing { .. });
    }
    check_refused!(
        rawdoc! { "a": { "b": 1 } },
        rawdoc! { "$set": { "a.$[]": 1 } },
        [],
        UpdateError::ArrayExpected { path, .. } if path == "a"
    );
}

#[test]
fn paths_that_meet_only_in_the_document_conflict() {
    let filters = [rawdoc! { "x": 1 }, rawdoc! { "y": { "$lt": 5 } }];
    check_refused!(
        rawdoc! { "a": [1] },
        rawdoc! { "$set": { "a.$[x]": 1, "a.$[y]": 1 } },
        filters,
        UpdateError::ConflictingUpdateOperators { conflict, .. } if conflict == "a.0"
    );
    let refused = apply(
        &rawdoc! { "a": [1, 2] },
        &rawdoc! { "$set": { "a.$": 1, "a.1": 1 } },
        &[],
        Some(1),
    );
    assert!(matches!(refused, Err(UpdateError::ConflictingUpdateOperators { .. })));
    // An array is either spread or indexed, whatever it holds.
    check_refused!(
        rawdoc! {},
        rawdoc! { "$set": { "a.$[].b": 1, "a.5.c": 1 } },
        [],
        UpdateError::ConflictingUpdateOperators { conflict, .. } if conflict == "a"
    );
}

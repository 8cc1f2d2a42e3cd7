//! What updates do, case by case, and that their diffs say exactly that.

#![expect(
    clippy::needless_pass_by_value,
    reason = "cases read as tables of documents, without a borrow in front of each"
)]

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::{Applied, ApplyContext, TruncatedArray, Update, UpdateDiff, UpdateError};
use crate::limits::{DOCUMENT_BYTES_MAX, NESTING_MAX};

/// Applies an update and checks all that must hold for its diff.
fn apply(old: &RawDocument, update: &RawDocument) -> Result<Option<Applied>, UpdateError> {
    apply_with(&Update::parse(update)?, old, &ApplyContext::default())
}

fn apply_with(update: &Update, old: &RawDocument, context: &ApplyContext) -> Result<Option<Applied>, UpdateError> {
    let applied = update.apply(old, context)?;
    if let Some(Applied {
        document,
        diff: Some(diff),
    }) = &applied
    {
        assert_ne!(**document, *old, "a change that changes nothing");
        assert!(!diff.is_empty());
        check_diff(diff, old, document);
        let between = UpdateDiff::between(old, document).unwrap();
        if let Some(diff) = between {
            check_diff(&diff, old, document);
        }
    }
    Ok(applied)
}

fn check_diff(diff: &UpdateDiff, old: &RawDocument, new: &RawDocument) {
    assert_eq!(*diff.apply(old).unwrap(), *new, "{diff:?}");
    assert_eq!(*diff.apply(new).unwrap(), *new, "applied twice: {diff:?}");
    assert_eq!(UpdateDiff::parse(&diff.to_document()).unwrap(), *diff);
}

/// As [`check_diff`], of versions whose fields may come in another order: fields stay where they were, new ones follow.
fn check_diff_in_place(diff: &UpdateDiff, old: &RawDocument, new: &RawDocument) {
    let mut in_place = RawDocumentBuf::new();
    for field in old.iter_elements().chain(new.iter_elements()) {
        let name = field.unwrap().key();
        if let Some(value) = new.get(name.as_str()).unwrap()
            && in_place.get(name.as_str()).unwrap().is_none()
        {
            in_place.append(name, value);
        }
    }
    assert_eq!(*diff.apply(old).unwrap(), *in_place, "{diff:?}");
    assert_eq!(*diff.apply(new).unwrap(), *new, "applied twice: {diff:?}");
    assert_eq!(UpdateDiff::parse(&diff.to_document()).unwrap(), *diff);
    for field in diff.updated_fields.iter_elements() {
        let path = field.unwrap().key().as_str().to_owned();
        assert!(!diff.removed_fields.contains(&path), "{path} in both lists: {diff:?}");
    }
}

/// The update makes `new` of `old`, by setting `updated` and removing `removed`.
#[track_caller]
fn check(old: RawDocumentBuf, update: RawDocumentBuf, new: RawDocumentBuf, updated: RawDocumentBuf, removed: &[&str]) {
    let applied = apply(&old, &update).unwrap().expect("it should change something");
    let diff = applied.diff.expect("operators have a diff");
    assert_eq!(applied.document, new);
    assert_eq!(diff.updated_fields, updated);
    assert_eq!(diff.removed_fields, removed);
    assert_eq!(diff.truncated_arrays, []);
}

#[track_caller]
fn check_unchanged(old: RawDocumentBuf, update: RawDocumentBuf) {
    assert_eq!(apply(&old, &update).unwrap(), None);
}

/// Parsing or applying gives an error of this form.
macro_rules! check_error {
    ($old:expr, $update:expr, $expected:pat $(if $guard:expr)?) => {
        let error = apply(&$old, &$update).unwrap_err();
        assert!(matches!(&error, $expected $(if $guard)?), "{error:?}");
        let message = error.to_string();
        assert!(!message.contains("Element"), "{message}");
    };
}

// Behind the macro, which they use.
mod arrays;
mod context;
mod manual;
mod model;
mod positional;
mod properties;
mod upsert;

#[test]
fn set_replaces_in_place_and_appends_in_order_of_names() {
    check(
        rawdoc! { "_id": 1, "b": 1, "a": 1 },
        rawdoc! { "$set": { "d": 1, "b": "x", "c": 1, "10": 1, "9": 1 } },
        rawdoc! { "_id": 1, "b": "x", "a": 1, "9": 1, "10": 1, "c": 1, "d": 1 },
        rawdoc! { "b": "x", "9": 1, "10": 1, "c": 1, "d": 1 },
        &[],
    );
}

#[test]
fn new_fields_of_all_operators_share_one_order() {
    check(
        rawdoc! { "_id": 1 },
        rawdoc! { "$set": { "c": 1, "a.y": 1 }, "$inc": { "b": 2, "a.x": 3 } },
        rawdoc! { "_id": 1, "a": { "x": 3, "y": 1 }, "b": 2, "c": 1 },
        rawdoc! { "a": { "x": 3, "y": 1 }, "b": 2, "c": 1 },
        &[],
    );
}

#[test]
fn set_creates_what_is_on_the_way() {
    check(
        rawdoc! { "_id": 1, "a": { "x": 1 } },
        rawdoc! { "$set": { "a.b.c": 1, "d.0": 2 } },
        rawdoc! { "_id": 1, "a": { "x": 1, "b": { "c": 1 } }, "d": { "0": 2 } },
        rawdoc! { "a.b": { "c": 1 }, "d": { "0": 2 } },
        &[],
    );
}

#[test]
fn set_to_the_same_value_changes_nothing() {
    check_unchanged(
        rawdoc! { "_id": 1, "a": { "b": [1, "x"] }, "n": f64::NAN },
        rawdoc! { "$set": { "a.b": [1, "x"], "n": f64::NAN, "_id": 1 } },
    );
    check_unchanged(
        rawdoc! { "_id": 1, "a": [1, { "b": 2 }] },
        rawdoc! { "$set": { "a.1.b": 2 } },
    );
    check_unchanged(rawdoc! { "_id": 1 }, rawdoc! { "$set": {} });
}

#[test]
fn set_to_an_equal_value_of_another_type_is_a_change() {
    check(
        rawdoc! { "_id": 1, "a": 1, "z": 0.0 },
        rawdoc! { "$set": { "a": 1_i64, "z": -0.0 } },
        rawdoc! { "_id": 1, "a": 1_i64, "z": -0.0 },
        rawdoc! { "a": 1_i64, "z": -0.0 },
        &[],
    );
}

#[test]
fn set_indexes_arrays_and_pads_them() {
    check(
        rawdoc! { "_id": 1, "a": [1, { "b": 1 }, [5]] },
        rawdoc! { "$set": { "a.0": 9, "a.1.b": 2, "a.2.1": 6, "a.10": "x", "a.4.y": 1 } },
        rawdoc! { "_id": 1, "a": [
            9, { "b": 2 }, [5, 6], null, { "y": 1 }, null, null, null, null, null, "x",
        ] },
        rawdoc! { "a.0": 9, "a.1.b": 2, "a.2.1": 6, "a.4": { "y": 1 }, "a.10": "x" },
        &[],
    );
}

#[test]
fn padding_is_limited() {
    let far = 1_500_001;
    let update = |index: &str| {
        let mut set = RawDocumentBuf::new();
        let path = format!("a.{index}");
        set.append(<&bson::raw::CStr>::try_from(path.as_str()).unwrap(), 1);
        rawdoc! { "$set": set }
    };
    check_error!(
        rawdoc! { "a": [] },
        update(&far.to_string()),
        UpdateError::ArrayPaddingTooLarge { path, length: 0 } if path == "a.1500001"
    );
    check_error!(
        rawdoc! { "a": [1] },
        update("99999999999999999999999999"),
        UpdateError::ArrayPaddingTooLarge { length: 1, .. }
    );
    let near = apply(&rawdoc! { "a": [1, 1] }, &update("1500002")).unwrap();
    assert!(near.is_some());
}

#[test]
fn set_through_a_scalar_is_not_viable() {
    for scalar in [rawdoc! { "a": 1 }, rawdoc! { "a": null }, rawdoc! { "a": "x" }] {
        check_error!(
            scalar,
            rawdoc! { "$set": { "a.b.c": 1 } },
            UpdateError::PathNotViable { path, component, .. } if path == "a" && component == "b"
        );
    }
    check_error!(
        rawdoc! { "a": [{ "b": 1 }] },
        rawdoc! { "$inc": { "a.0.b.x": 1 } },
        UpdateError::PathNotViable { path, component, .. } if path == "a.0.b" && component == "x"
    );
    for index in ["a.b", "a.01", "a.-1"] {
        let mut set = RawDocumentBuf::new();
        set.append(<&bson::raw::CStr>::try_from(index).unwrap(), 1);
        check_error!(
            rawdoc! { "a": [1, 2] },
            rawdoc! { "$set": set },
            UpdateError::PathNotViable { path, .. } if path == "a"
        );
    }
}

#[test]
fn unset_removes_fields_and_nulls_elements() {
    check(
        rawdoc! { "_id": 1, "a": 1, "b": { "c": 1, "d": 2 }, "e": [1, 2, { "f": 3 }] },
        rawdoc! { "$unset": { "a": "", "b.c": true, "e.1": 1, "e.2.f": 1 } },
        rawdoc! { "_id": 1, "b": { "d": 2 }, "e": [1, null, {}] },
        rawdoc! { "e.1": null },
        &["a", "b.c", "e.2.f"],
    );
}

#[test]
fn unset_of_nothing_changes_nothing() {
    check_unchanged(
        rawdoc! { "_id": 1, "a": 1, "b": [null], "c": {} },
        rawdoc! { "$unset": { "x": 1, "a.b": 1, "b.0": 1, "b.7": 1, "b.x": 1, "c.d.e": 1, "y.z": 1 } },
    );
}

#[test]
fn set_and_unset_side_by_side() {
    check(
        rawdoc! { "_id": 1, "a": { "b": 1, "c": 2 } },
        rawdoc! { "$set": { "a.d": 3 }, "$unset": { "a.b": 1, "q.r": 1 } },
        rawdoc! { "_id": 1, "a": { "c": 2, "d": 3 } },
        rawdoc! { "a.d": 3 },
        &["a.b"],
    );
}

#[test]
fn inc_adds_and_reports_the_sum() {
    check(
        rawdoc! { "_id": 1, "a": 1, "b": i32::MAX, "c": [1.5], "d": 1_i64 },
        rawdoc! { "$inc": { "a": 2, "b": 1, "c.0": 1, "d": 1, "e.f": -1_i64 } },
        rawdoc! {
            "_id": 1, "a": 3, "b": 2_147_483_648_i64, "c": [2.5], "d": 2_i64, "e": { "f": -1_i64 },
        },
        rawdoc! {
            "a": 3, "b": 2_147_483_648_i64, "c.0": 2.5, "d": 2_i64, "e": { "f": -1_i64 },
        },
        &[],
    );
}

#[test]
fn inc_by_nothing_changes_nothing_unless_the_type_grows() {
    check_unchanged(rawdoc! { "_id": 1, "a": 5 }, rawdoc! { "$inc": { "a": 0, "_id": 0 } });
    check(
        rawdoc! { "_id": 1, "a": 5 },
        rawdoc! { "$inc": { "a": 0_i64 } },
        rawdoc! { "_id": 1, "a": 5_i64 },
        rawdoc! { "a": 5_i64 },
        &[],
    );
}

#[test]
fn inc_refuses_what_it_cannot_add() {
    check_error!(
        rawdoc! { "a": 1 },
        rawdoc! { "$inc": { "a": "1" } },
        UpdateError::OperandNotNumeric { path, .. } if path == "a"
    );
    check_error!(
        rawdoc! { "a": { "b": null } },
        rawdoc! { "$inc": { "a.b": 1 } },
        UpdateError::TypeMismatch { path, .. } if path == "a.b"
    );
    check_error!(
        rawdoc! { "a": i64::MAX },
        rawdoc! { "$inc": { "a": 1 } },
        UpdateError::Overflow { path, current: i64::MAX, operand: 1, .. } if path == "a"
    );
}

#[test]
fn id_is_immutable() {
    let immutable = [
        rawdoc! { "$set": { "_id": 2 } },
        rawdoc! { "$inc": { "_id": 1 } },
        rawdoc! { "$unset": { "_id": 1 } },
    ];
    for update in immutable {
        check_error!(
            rawdoc! { "a": 0, "_id": 1 },
            update,
            UpdateError::ImmutableField { field } if field == "_id"
        );
    }
    check_error!(
        rawdoc! { "_id": { "a": 1 } },
        rawdoc! { "$set": { "_id.b": 1 } },
        UpdateError::ImmutableField { .. }
    );
    check_unchanged(rawdoc! { "_id": 1 }, rawdoc! { "$set": { "_id": 1_i64 } });
    check_unchanged(rawdoc! { "_id": { "a": 1 } }, rawdoc! { "$set": { "_id.a": 1.0 } });
    check(
        rawdoc! { "a": 0, "_id": 1 },
        rawdoc! { "$set": { "a": 1, "_id": 1 } },
        rawdoc! { "a": 1, "_id": 1 },
        rawdoc! { "a": 1 },
        &[],
    );
}

#[test]
fn new_id_comes_first() {
    check(
        rawdoc! { "b": 1 },
        rawdoc! { "$set": { "a": 2, "_id.x": 7 } },
        rawdoc! { "_id": { "x": 7 }, "b": 1, "a": 2 },
        rawdoc! { "_id": { "x": 7 }, "a": 2 },
        &[],
    );
}

#[test]
fn overlapping_paths_conflict() {
    let conflicting = [
        (rawdoc! { "$set": { "a": 1, "a.b": 1 } }, "a"),
        (rawdoc! { "$set": { "a.b": 1 }, "$inc": { "a": 1 } }, "a"),
        (rawdoc! { "$set": { "a.b": 1 }, "$unset": { "a.b": 1 } }, "a.b"),
        (
            rawdoc! { "$set": { "a.b.c.d": 1 }, "$inc": { "x": 1, "a.b": 1 } },
            "a.b",
        ),
    ];
    for (update, at) in conflicting {
        check_error!(
            rawdoc! {},
            update,
            UpdateError::ConflictingUpdateOperators { conflict, .. } if conflict == at
        );
    }
    assert!(Update::parse(&rawdoc! { "$set": { "a.b": 1, "a.c": 1, "ab": 1 } }).is_ok());
}

#[test]
fn malformed_updates_are_named() {
    check_error!(rawdoc! {}, rawdoc! {}, UpdateError::Empty);
    check_error!(
        rawdoc! {},
        rawdoc! { "$set": { "a": 1 }, "b": 1 },
        UpdateError::FieldWithoutOperator { field } if field == "b"
    );
    check_error!(
        rawdoc! {},
        rawdoc! { "$set": 1 },
        UpdateError::OperandNotDocument { operator, .. } if operator == "$set"
    );
    for path in ["", ".", "a.", ".a", "a..b"] {
        let mut set = RawDocumentBuf::new();
        set.append(<&bson::raw::CStr>::try_from(path).unwrap(), 1);
        check_error!(
            rawdoc! {},
            rawdoc! { "$set": set },
            UpdateError::PathComponentEmpty { path: found } if found == path
        );
    }
    check_error!(
        rawdoc! {},
        rawdoc! { "$set": { "$[].b": 1 } },
        UpdateError::PositionalMisplaced { component, .. } if component == "$[]"
    );
}

#[test]
fn unknown_operator_is_named_with_those_that_exist() {
    let error = Update::parse(&rawdoc! { "$pushAll": { "a": 1 } }).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("unknown update operator operator=$pushAll supported=$set,$unset,$inc,"),
        "{error}"
    );
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| (1..levels).fold(rawdoc! {}, |inner, _| rawdoc! { "a": inner });
    assert!(Update::parse(&rawdoc! { "$set": { "a.b": nested(NESTING_MAX - 2) } }).is_ok());
    check_error!(
        rawdoc! {},
        rawdoc! { "$set": { "a.b": nested(NESTING_MAX - 1) } },
        UpdateError::NestingTooDeep { path } if path == "a.b"
    );
    for (components, is_fine) in [(NESTING_MAX, true), (NESTING_MAX + 1, false), (200_000, false)] {
        let mut set = RawDocumentBuf::new();
        let path = vec!["a"; components].join(".");
        set.append(<&bson::raw::CStr>::try_from(path.as_str()).unwrap(), 1);
        let update = Update::parse(&rawdoc! { "$set": set });
        assert_eq!(update.is_ok(), is_fine, "{components}");
        if let Ok(update) = update {
            let document = update
                .apply(&rawdoc! {}, &ApplyContext::default())
                .unwrap()
                .unwrap()
                .document;
            assert_eq!(crate::limits::nesting(&document).unwrap(), NESTING_MAX);
        }
    }
}

#[test]
fn document_size_is_limited() {
    let text = |bytes: usize| "x".repeat(bytes);
    let overhead = rawdoc! { "a": "", "b": "" }.as_bytes().len();
    let old = rawdoc! { "a": text(1000) };
    let set = |bytes: usize| rawdoc! { "$set": { "b": text(bytes) } };
    let applied = apply(&old, &set(DOCUMENT_BYTES_MAX - overhead - 1000))
        .unwrap()
        .unwrap();
    assert_eq!(applied.document.as_bytes().len(), DOCUMENT_BYTES_MAX);
    check_error!(
        old,
        set(DOCUMENT_BYTES_MAX - overhead - 999),
        UpdateError::DocumentTooLarge { bytes_min } if *bytes_min > DOCUMENT_BYTES_MAX
    );
}

#[test]
fn small_update_cannot_make_much_of_nothing() {
    let mut set = RawDocumentBuf::new();
    let mut old = RawDocumentBuf::new();
    for i in 0..500 {
        let name = format!("a{i}");
        old.append(
            <&bson::raw::CStr>::try_from(name.as_str()).unwrap(),
            bson::raw::RawArrayBuf::new(),
        );
        let path = format!("a{i}.1400000");
        set.append(<&bson::raw::CStr>::try_from(path.as_str()).unwrap(), 1);
    }
    check_error!(
        old,
        rawdoc! { "$set": set },
        UpdateError::DocumentTooLarge { bytes_min } if *bytes_min < 3 * DOCUMENT_BYTES_MAX
    );
}

#[test]
fn damaged_values_are_refused() {
    let sound = rawdoc! { "$set": { "a": { "b": "text" } } };
    let text = sound.as_bytes().windows(4).position(|bytes| bytes == b"text").unwrap();
    let mut bytes = sound.as_bytes().to_vec();
    bytes[text] = 0xff;
    let damaged = RawDocumentBuf::from_bytes(bytes).unwrap();
    assert!(matches!(Update::parse(&damaged), Err(UpdateError::Malformed { .. })));
}

#[test]
fn untouched_values_are_copied_whatever_they_hold() {
    let sound = rawdoc! { "_id": 1, "a": "text", "b": 1 };
    let text = sound.as_bytes().windows(4).position(|bytes| bytes == b"text").unwrap();
    let mut bytes = sound.as_bytes().to_vec();
    bytes[text] = 0xff;
    let old = RawDocumentBuf::from_bytes(bytes).unwrap();
    let applied = apply(&old, &rawdoc! { "$inc": { "b": 1 } }).unwrap().unwrap();
    assert_eq!(applied.document.as_bytes()[text..text + 4], *b"\xffext");
}

#[test]
fn repeated_names_are_kept_but_unset_together() {
    let twice = |a: i32, b: i32| {
        let mut document = rawdoc! { "_id": 1, "a": a, "x": 0 };
        document.append(bson::raw::cstr!("a"), b);
        document
    };
    check(
        twice(1, 2),
        rawdoc! { "$set": { "a": 7 } },
        twice(7, 2),
        rawdoc! { "a": 7 },
        &[],
    );
    check(
        twice(1, 2),
        rawdoc! { "$unset": { "a": 1 } },
        rawdoc! { "_id": 1, "x": 0 },
        rawdoc! {},
        &["a"],
    );
    assert_eq!(UpdateDiff::between(&twice(1, 2), &twice(1, 3)).unwrap(), None);
}

/// Found with damaged documents: an element on the way got its index for a name, which no diff said.
#[test]
fn names_in_arrays_are_kept_even_if_they_do_not_count() {
    let array = |value: i32| {
        let mut array = RawDocumentBuf::new();
        array.append(bson::raw::cstr!("7"), rawdoc! { "x": value, "y": 0 });
        array.append(bson::raw::cstr!("7"), value);
        let mut bytes = rawdoc! { "a": array }.into_bytes();
        bytes[4] = bson::spec::ElementType::Array as u8;
        RawDocumentBuf::from_bytes(bytes).unwrap()
    };
    check_unchanged(array(1), rawdoc! { "$set": { "a.0.x": 1 } });
    check(
        array(1),
        rawdoc! { "$inc": { "a.0.x": 1, "a.0.y": 0, "a.1": 1 } },
        array(2),
        rawdoc! { "a.0.x": 2, "a.1": 2 },
        &[],
    );
}

// Comparing.

fn between(old: &RawDocument, new: &RawDocument) -> Option<UpdateDiff> {
    let diff = UpdateDiff::between(old, new).unwrap()?;
    check_diff_in_place(&diff, old, new);
    Some(diff)
}

#[track_caller]
fn check_between(
    old: RawDocumentBuf,
    new: RawDocumentBuf,
    updated: RawDocumentBuf,
    removed: &[&str],
    truncated: &[(&str, u32)],
) {
    let diff = between(&old, &new).expect("a diff can say it");
    assert_eq!(diff.updated_fields, updated);
    assert_eq!(diff.removed_fields, removed);
    let truncated: Vec<TruncatedArray> = truncated
        .iter()
        .map(|(field, new_size)| TruncatedArray {
            field: (*field).to_owned(),
            new_size: *new_size,
        })
        .collect();
    assert_eq!(diff.truncated_arrays, truncated);
}

#[test]
fn equal_documents_have_an_empty_diff() {
    let document = rawdoc! { "_id": 1, "a": { "b": [1] } };
    assert!(between(&document, &document).unwrap().is_empty());
}

#[test]
fn difference_is_named_where_it_is() {
    check_between(
        rawdoc! { "_id": 1, "a": { "b": 1, "c": 1, "keep": "as it is" }, "d": 1, "e": 1 },
        rawdoc! { "_id": 1, "a": { "b": 2, "keep": "as it is", "n": 1 }, "e": "x", "f": { "g": 1 } },
        rawdoc! { "a.b": 2, "a.n": 1, "e": "x", "f": { "g": 1 } },
        &["d", "a.c"],
        &[],
    );
}

#[test]
fn arrays_are_compared_by_element() {
    let long = "a value long enough to make repeating it a waste";
    check_between(
        rawdoc! { "_id": 1, "a": [1, { "b": 1, "c": long }, 3, 4], "g": [1, 2, 3, 4] },
        rawdoc! { "_id": 1, "a": [1, { "b": 2, "c": long }, "x"], "g": [1, 2, 3, 4, 5, 6] },
        rawdoc! { "a.1.b": 2, "a.2": "x", "g.4": 5, "g.5": 6 },
        &[],
        &[("a", 3)],
    );
}

#[test]
fn whole_field_is_set_where_that_is_shorter() {
    check_between(
        rawdoc! { "_id": 1, "long name": { "a": 1, "b": 2, "c": 3 } },
        rawdoc! { "_id": 1, "long name": { "d": 1 } },
        rawdoc! { "long name": { "d": 1 } },
        &[],
        &[],
    );
}

#[test]
fn whole_field_is_set_where_a_path_would_be_ambiguous() {
    let long = "a value long enough to make repeating it a waste";
    for name in ["x.y", "", "0", "007"] {
        let document = |value: i32| {
            let mut inner = rawdoc! { "long": long };
            inner.append(<&bson::raw::CStr>::try_from(name).unwrap(), value);
            rawdoc! { "_id": 1, "a": { "in": inner, "long": long } }
        };
        let diff = between(&document(1), &document(2)).unwrap();
        let paths: Vec<&str> = diff
            .updated_fields
            .iter_elements()
            .map(|field| field.unwrap().key().as_str())
            .collect();
        assert_eq!(paths, ["a.in"], "{name:?}");
    }
}

#[test]
fn whole_field_is_set_where_its_order_changes() {
    check_between(
        rawdoc! { "_id": 1, "a": { "x": 1, "y": 2 } },
        rawdoc! { "_id": 1, "a": { "y": 2, "x": 1 } },
        rawdoc! { "a": { "y": 2, "x": 1 } },
        &[],
        &[],
    );
    check_between(
        rawdoc! { "_id": 1, "a": { "x": 1 } },
        rawdoc! { "_id": 1, "a": { "n": 0, "x": 1 } },
        rawdoc! { "a": { "n": 0, "x": 1 } },
        &[],
        &[],
    );
}

#[test]
fn fields_of_the_document_that_move_are_updated_and_not_removed() {
    check_between(
        rawdoc! { "_id": 1, "a": 1, "b": 2, "c": 3 },
        rawdoc! { "_id": 1, "b": 2, "n": 0, "a": 1, "c": 3 },
        rawdoc! { "n": 0, "a": 1, "c": 3 },
        &[],
        &[],
    );
    check_between(
        rawdoc! { "_id": 1, "a": { "x": 1, "y": [1, 2] }, "b": 2, "gone": 3 },
        rawdoc! { "_id": 1, "b": 2, "a": { "x": 1, "y": [1] } },
        rawdoc! { "a": { "x": 1, "y": [1] } },
        &["gone"],
        &[],
    );
}

/// Found by comparing random versions: applied again, the diff once brought `c` behind `d`.
#[test]
fn new_field_follows_a_moved_one_each_time() {
    check_between(
        rawdoc! { "_id": 1, "c": 0, "a": 0 },
        rawdoc! { "_id": 1, "a": 0, "c": 0, "d": 0 },
        rawdoc! { "c": 0, "d": 0 },
        &[],
        &[],
    );
}

#[test]
fn what_no_diff_can_say_is_none() {
    let check = |old: RawDocumentBuf, new: RawDocumentBuf| {
        assert_eq!(between(&old, &new), None, "{old:?} {new:?}");
    };
    check(rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 });
    check(rawdoc! { "_id": 1 }, rawdoc! {});
    check(rawdoc! {}, rawdoc! { "_id": 1 });
    check(rawdoc! { "_id": 1, "a": 1 }, rawdoc! { "a": 1, "_id": 1 });
    check(rawdoc! { "_id": 1, "a.b": 1 }, rawdoc! { "_id": 1, "a.b": 2 });
    check(rawdoc! { "_id": 1, "": 1 }, rawdoc! { "_id": 1 });
    // Unchanged, they are in nobody's way.
    assert!(between(&rawdoc! { "": 1, "a.b": 1 }, &rawdoc! { "": 1, "a.b": 1, "c": 1 }).is_some());
}

#[test]
fn comparing_stops_at_the_deepest_level() {
    let nested = |value: i32| (1..NESTING_MAX + 3).fold(rawdoc! { "v": value }, |inner, _| rawdoc! { "a": inner });
    let diff = between(&nested(1), &nested(2)).unwrap();
    let path = diff
        .updated_fields
        .iter_elements()
        .next()
        .unwrap()
        .unwrap()
        .key()
        .as_str()
        .len();
    assert_eq!(path, 2 * NESTING_MAX - 1);
}

// Diffs from elsewhere.

#[test]
fn diff_with_a_path_in_both_lists_is_refused() {
    let diff = UpdateDiff {
        updated_fields: rawdoc! { "a": 1 },
        removed_fields: vec!["a".to_owned()],
        truncated_arrays: vec![],
    };
    let refused = diff.apply(&rawdoc! { "a": 0 }).unwrap_err();
    assert!(
        matches!(refused, UpdateError::ConflictingUpdateOperators { .. }),
        "{refused:?}"
    );
}

#[test]
fn diff_has_mongodbs_form() {
    let diff = UpdateDiff {
        updated_fields: rawdoc! { "a.b": 1 },
        removed_fields: vec!["c".to_owned()],
        truncated_arrays: vec![TruncatedArray {
            field: "d".to_owned(),
            new_size: 2,
        }],
    };
    let document = rawdoc! {
        "updatedFields": { "a.b": 1 },
        "removedFields": ["c"],
        "truncatedArrays": [{ "field": "d", "newSize": 2 }],
    };
    assert_eq!(diff.to_document(), document);
    assert_eq!(UpdateDiff::parse(&document).unwrap(), diff);
}

#[test]
fn malformed_diffs_are_refused() {
    let whole = || (rawdoc! {}, bson::raw::RawArrayBuf::new(), bson::raw::RawArrayBuf::new());
    let check = |document: RawDocumentBuf, expected: &str| match UpdateDiff::parse(&document) {
        Err(UpdateError::DiffMalformed { field }) => assert_eq!(field, expected),
        other => panic!("{other:?}"),
    };
    let (updated, removed, _) = whole();
    check(
        rawdoc! { "updatedFields": updated, "removedFields": removed },
        "truncatedArrays",
    );
    let (updated, removed, truncated) = whole();
    check(
        rawdoc! {
            "updatedFields": updated, "removedFields": removed, "truncatedArrays": truncated,
            "movedFields": [],
        },
        "movedFields",
    );
    let (updated, _, truncated) = whole();
    check(
        rawdoc! { "updatedFields": updated, "removedFields": [1], "truncatedArrays": truncated },
        "removedFields",
    );
    let (updated, removed, _) = whole();
    check(
        rawdoc! {
            "updatedFields": updated, "removedFields": removed,
            "truncatedArrays": [{ "field": "a", "newSize": -1 }],
        },
        "newSize",
    );
}

#[test]
fn diff_of_another_document_is_an_error() {
    let diff = UpdateDiff {
        updated_fields: rawdoc! { "a.b": 1 },
        ..UpdateDiff::default()
    };
    assert!(matches!(
        diff.apply(&rawdoc! { "a": 5 }),
        Err(UpdateError::PathNotViable { .. })
    ));
    let diff = UpdateDiff {
        updated_fields: rawdoc! { "a.b": 1, "a": 1 },
        ..UpdateDiff::default()
    };
    assert!(matches!(
        diff.apply(&rawdoc! {}),
        Err(UpdateError::ConflictingUpdateOperators { .. })
    ));
    let diff = UpdateDiff {
        updated_fields: rawdoc! { "_id": 2 },
        ..UpdateDiff::default()
    };
    assert!(matches!(
        diff.apply(&rawdoc! { "_id": 1 }),
        Err(UpdateError::ImmutableField { .. })
    ));
}

//! Random documents and updates, against a slow model on decoded documents.

use bson::raw::RawDocumentBuf;
use bson::{Bson, Document, doc};
use proptest::prelude::*;

use super::model::{Refusal, model};
use super::{apply, check_diff_in_place};
use crate::update::{ApplyContext, Update, UpdateDiff, UpdateError};

/// Few names, so that documents and paths meet; with those that paths cannot say or could mistake.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "d"]),
        2 => prop::sample::select(vec!["0", "1", "2", "10"]),
        1 => prop::sample::select(vec!["", "a.b", "00", "$x", "ä"]),
    ]
    .prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Bson> {
    prop_oneof![
        (0..4).prop_map(Bson::Int32),
        Just(Bson::Int32(i32::MAX)),
        Just(Bson::Int64(7)),
        Just(Bson::Int64(i64::MAX)),
        Just(Bson::Double(1.5)),
        Just(Bson::Double(f64::NAN)),
        Just(Bson::Null),
        Just(Bson::Boolean(true)),
        "[xy]{0,30}".prop_map(Bson::String),
    ]
}

fn value() -> impl Strategy<Value = Bson> {
    scalar().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            fields(inner.clone()).prop_map(Bson::Document),
            prop::collection::vec(inner, 0..6).prop_map(Bson::Array),
        ]
    })
}

fn fields(value: impl Strategy<Value = Bson>) -> impl Strategy<Value = Document> {
    prop::collection::vec((name(), value), 0..6).prop_map(|fields| fields.into_iter().collect())
}

fn document() -> impl Strategy<Value = Document> {
    fields(value()).prop_map(|fields| {
        let mut document = doc! { "_id": 1 };
        document.extend(fields);
        document
    })
}

/// Another version of a document: some of its values replaced, removed, moved or added.
fn edited(document: Document, edits: Vec<(usize, u8, String, Bson)>) -> Document {
    fn edit(value: Bson, at: usize, kind: u8, name: &str, new: &Bson) -> Bson {
        match value {
            Bson::Document(fields) if !fields.is_empty() && kind < 200 => {
                let place = at % fields.len();
                let mut fields: Vec<(String, Bson)> = fields.into_iter().collect();
                let (old_name, old) = fields.remove(place);
                match kind % 5 {
                    0 => {}
                    1 => fields.push((old_name, old)),
                    2 => {
                        fields.insert(place, (old_name, old));
                        fields.push((name.to_owned(), new.clone()));
                    }
                    _ => {
                        let old = edit(old, at / 7, kind.wrapping_mul(31), name, new);
                        fields.insert(place, (old_name, old));
                    }
                }
                Bson::Document(fields.into_iter().collect())
            }
            Bson::Array(mut elements) if !elements.is_empty() && kind < 200 => {
                let place = at % elements.len();
                match kind % 4 {
                    0 => elements.truncate(place),
                    1 => elements.push(new.clone()),
                    _ => {
                        let old = std::mem::replace(&mut elements[place], Bson::Null);
                        elements[place] = edit(old, at / 7, kind.wrapping_mul(31), name, new);
                    }
                }
                Bson::Array(elements)
            }
            _ => new.clone(),
        }
    }
    let mut value = Bson::Document(document);
    for (at, kind, name, new) in edits {
        value = edit(value, at, kind % 200, &name, &new);
    }
    match value {
        Bson::Document(document) => document,
        _ => Document::new(),
    }
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// A path and an operator with an operand that it takes.
fn operation() -> impl Strategy<Value = (String, &'static str, Bson)> {
    let number = prop::sample::select(vec![Bson::Int32(0), Bson::Int32(3), Bson::Int64(2), Bson::Double(0.5)]);
    let values = || prop::collection::vec(value(), 0..4).prop_map(Bson::Array);
    let each = (values(), -3_i32..4, -3_i32..4, prop::bool::ANY, 0..8_u8).prop_map(
        |(values, position, slice, descending, clauses)| {
            let mut push = doc! { "$each": values };
            if clauses & 1 != 0 {
                push.insert("$position", position);
            }
            if clauses & 2 != 0 {
                push.insert("$slice", slice);
            }
            if clauses & 4 != 0 {
                push.insert("$sort", if descending { -1 } else { 1 });
            }
            Bson::Document(push)
        },
    );
    let bits = (prop::sample::select(vec!["and", "or", "xor"]), 0..9_i32).prop_map(|(name, bits)| doc! { name: bits });
    let name = prop::sample::select(vec!["a", "b.c", "d", "new.x"]).prop_map(|to| Bson::String(to.to_owned()));
    let operation = prop_oneof![
        4 => value().prop_map(|value| ("$set", value)),
        2 => Just(("$unset", Bson::Int32(1))),
        2 => number.clone().prop_map(|number| ("$inc", number)),
        1 => number.prop_map(|number| ("$mul", number)),
        1 => value().prop_map(|value| ("$min", value)),
        1 => value().prop_map(|value| ("$max", value)),
        1 => value().prop_map(|value| ("$setOnInsert", value)),
        1 => bits.prop_map(|bits| ("$bit", Bson::Document(bits))),
        2 => each.prop_map(|push| ("$push", push)),
        1 => scalar().prop_map(|value| ("$push", value)),
        1 => values().prop_map(|values| ("$addToSet", Bson::Document(doc! { "$each": values }))),
        1 => prop::sample::select(vec![1, -1]).prop_map(|end| ("$pop", Bson::Int32(end))),
        1 => scalar().prop_map(|value| ("$pull", value)),
        1 => (0..4).prop_map(|bound| ("$pull", Bson::Document(doc! { "$gte": bound }))),
        1 => values().prop_map(|values| ("$pullAll", values)),
        1 => name.prop_map(|to| ("$rename", to)),
    ];
    let path = prop::collection::vec(
        prop::sample::select(vec!["a", "b", "c", "d", "0", "1", "2", "10"]),
        1..4,
    )
    .prop_map(|components| components.join("."));
    (path, operation).prop_map(|(path, (operator, operand))| (path, operator, operand))
}

/// An update document; each operator once, with all its paths.
fn update() -> impl Strategy<Value = Document> {
    prop::collection::vec(operation(), 1..5).prop_map(|operations| {
        let mut update = Document::new();
        for (path, operator, operand) in operations {
            let operands = update
                .entry(operator.to_owned())
                .or_insert_with(|| Bson::Document(doc! {}));
            operands.as_document_mut().unwrap().insert(path, operand);
        }
        update
    })
}

/// Finds become named tests in the file above, so nothing is written beside the sources.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(2_000),
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn update_agrees_with_the_model(old in document(), update in update()) {
        let expected = model(&old, &update);
        // `apply` checks the diffs on the way.
        match apply(&raw(&old), &raw(&update)) {
            Ok(applied) => {
                let new = applied.map_or_else(|| raw(&old), |applied| applied.document);
                prop_assert_eq!(new, raw(&expected.unwrap()));
            }
            Err(error) => {
                // With several reasons to refuse, which comes first is nobody's promise.
                let refusal = expected.unwrap_err();
                match error {
                    UpdateError::ConflictingUpdateOperators { .. } | UpdateError::RenameInvalid { .. } => {
                        prop_assert_eq!(refusal, Refusal::Conflict);
                    }
                    UpdateError::PathNotViable { .. }
                    | UpdateError::RenameThroughArray { .. }
                    | UpdateError::TypeMismatch { .. }
                    | UpdateError::NotAnArray { .. }
                    | UpdateError::NotAnInteger { .. }
                    | UpdateError::Overflow { .. } => {
                        prop_assert_ne!(refusal, Refusal::Conflict);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }

    #[test]
    fn spread_agrees_with_one_path_per_element(
        old in document(),
        elements in prop::collection::vec(value(), 1..5),
        (_, operator, operand) in operation().prop_filter("paths of renames are plain", |(_, operator, _)| *operator != "$rename"),
        rest in prop::sample::select(vec!["", ".b", ".0"]),
    ) {
        let (mut old, length) = (old, elements.len());
        old.insert("a", elements);
        let spread = doc! { operator: { format!("a.$[]{rest}"): operand.clone() } };
        let mut each = Document::new();
        for index in 0..length {
            each.insert(format!("a.{index}{rest}"), operand.clone());
        }
        let each = doc! { operator: each };
        match (apply(&raw(&old), &raw(&spread)), apply(&raw(&old), &raw(&each))) {
            (Ok(spread), Ok(each)) => {
                prop_assert_eq!(spread.map(|applied| applied.document), each.map(|applied| applied.document));
            }
            (spread, each) => prop_assert_eq!(spread.is_err(), each.is_err()),
        }
    }

    #[test]
    fn diff_between_versions_is_exact(
        old in document(),
        edits in prop::collection::vec((any::<usize>(), any::<u8>(), name(), value()), 1..4),
    ) {
        let new = edited(old.clone(), edits);
        if let Some(diff) = UpdateDiff::between(&raw(&old), &raw(&new)).unwrap() {
            check_diff_in_place(&diff, &raw(&old), &raw(&new));
        }
    }

    #[test]
    fn diff_between_strangers_is_exact(old in document(), new in document()) {
        let (old, new) = (raw(&old), raw(&new));
        if let Some(diff) = UpdateDiff::between(&old, &new).unwrap() {
            check_diff_in_place(&diff, &old, &new);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        document in document(),
        update in update(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let damaged = |document: &Document| {
            let mut bytes = raw(document).into_bytes();
            for (index, byte) in &damage {
                // The frame stays: length and end are checked before anything else sees it.
                let inner = 4..bytes.len() - 1;
                if !inner.is_empty() {
                    bytes[inner.start + index.index(inner.len())] = *byte;
                }
            }
            RawDocumentBuf::from_bytes(bytes).unwrap()
        };
        let old = damaged(&document);
        for update in [raw(&update), damaged(&update)] {
            if let Ok(update) = Update::parse(&update)
                && let Ok(Some(applied)) = update.apply(&old, &ApplyContext::default())
            {
                prop_assert_eq!(applied.diff.unwrap().apply(&old).unwrap(), applied.document);
            }
        }
        let _ = UpdateDiff::between(&old, &raw(&document));
        let _ = UpdateDiff::parse(&old);
    }
}

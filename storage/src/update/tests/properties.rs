//! Random documents and updates, against a slow model on decoded documents.

use bson::raw::RawDocumentBuf;
use bson::{Bson, Document, doc};
use proptest::prelude::*;

use super::{apply, check_diff_in_place};
use crate::update::{Update, UpdateDiff, UpdateError};

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

#[derive(Clone, Debug)]
enum Operation {
    Set(Bson),
    Unset,
    Inc(Bson),
}

fn operations() -> impl Strategy<Value = Vec<(String, Operation)>> {
    let path = prop::collection::vec(
        prop::sample::select(vec!["a", "b", "c", "d", "0", "1", "2", "10"]),
        1..4,
    )
    .prop_map(|components| components.join("."));
    let operation = prop_oneof![
        value().prop_map(Operation::Set),
        Just(Operation::Unset),
        prop::sample::select(vec![Bson::Int32(0), Bson::Int32(1), Bson::Int64(2), Bson::Double(0.5)])
            .prop_map(Operation::Inc),
    ];
    prop::collection::vec((path, operation), 1..5)
}

fn update_document(operations: &[(String, Operation)]) -> Document {
    let mut update = Document::new();
    for (path, operation) in operations {
        let (name, operand) = match operation {
            Operation::Set(value) => ("$set", value.clone()),
            Operation::Unset => ("$unset", Bson::Int32(1)),
            Operation::Inc(number) => ("$inc", number.clone()),
        };
        let operands = update.entry(name.to_owned()).or_insert_with(|| Bson::Document(doc! {}));
        operands.as_document_mut().unwrap().insert(path, operand);
    }
    update
}

/// The model's view of an error.
#[derive(Debug, PartialEq)]
enum Refusal {
    Conflict,
    NotViable,
    Number,
}

/// One operation after the other, each from the root.
fn model(old: &Document, update: &Document) -> Result<Document, Refusal> {
    let mut operations: Vec<(Vec<&str>, &str, &Bson)> = Vec::new();
    for (operator, operands) in update {
        for (path, operand) in operands.as_document().unwrap() {
            operations.push((path.split('.').collect(), operator, operand));
        }
    }
    for (i, (a, ..)) in operations.iter().enumerate() {
        for (b, ..) in &operations[i + 1..] {
            if a.starts_with(b) || b.starts_with(a) {
                return Err(Refusal::Conflict);
            }
        }
    }
    operations.sort_by_key(|(path, ..)| {
        path.iter()
            .map(|component| match component.parse::<u32>() {
                Ok(number) => (number, ""),
                Err(_) => (u32::MAX, *component),
            })
            .collect::<Vec<_>>()
    });
    let mut root = Bson::Document(old.clone());
    for (path, operator, operand) in operations {
        model_one(&mut root, &path, operator, operand)?;
    }
    Ok(root.as_document().unwrap().clone())
}

fn model_one(at: &mut Bson, path: &[&str], operator: &str, operand: &Bson) -> Result<(), Refusal> {
    let name = path[0];
    let is_unset = operator == "$unset";
    match at {
        Bson::Document(fields) if path.len() == 1 => {
            if is_unset {
                fields.remove(name);
            } else {
                let old = fields.get(name);
                let new = model_value(old, operator, operand)?;
                fields.insert(name, new);
            }
            Ok(())
        }
        Bson::Document(fields) => match fields.get_mut(name) {
            Some(inner) => model_one(inner, &path[1..], operator, operand),
            None if is_unset => Ok(()),
            None => {
                let mut inner = Bson::Document(doc! {});
                model_one(&mut inner, &path[1..], operator, operand)?;
                fields.insert(name, inner);
                Ok(())
            }
        },
        Bson::Array(elements) => {
            let Ok(index) = name.parse::<usize>() else {
                return if is_unset { Ok(()) } else { Err(Refusal::NotViable) };
            };
            if index >= elements.len() {
                if is_unset {
                    return Ok(());
                }
                elements.resize(index, Bson::Null);
                // A placeholder that every operation creates itself in.
                let mut slot = Bson::Document(doc! {});
                let mut absent = vec!["slot"];
                absent.extend(&path[1..]);
                model_one(&mut slot, &absent, operator, operand)?;
                elements.push(slot.as_document_mut().unwrap().remove("slot").unwrap());
                return Ok(());
            }
            if path.len() > 1 {
                return model_one(&mut elements[index], &path[1..], operator, operand);
            }
            elements[index] = match is_unset {
                true => Bson::Null,
                false => model_value(Some(&elements[index]), operator, operand)?,
            };
            Ok(())
        }
        _ if is_unset => Ok(()),
        _ => Err(Refusal::NotViable),
    }
}

fn model_value(old: Option<&Bson>, operator: &str, operand: &Bson) -> Result<Bson, Refusal> {
    let Some(old) = old.filter(|_| operator == "$inc") else {
        return Ok(operand.clone());
    };
    let wide = |number: &Bson| match number {
        Bson::Int32(number) => Some(i128::from(*number)),
        Bson::Int64(number) => Some(i128::from(*number)),
        _ => None,
    };
    match (wide(old), wide(operand), old) {
        (Some(a), Some(b), _) => {
            let is_narrow = matches!((old, operand), (Bson::Int32(_), Bson::Int32(_)));
            match (i32::try_from(a + b), i64::try_from(a + b)) {
                (Ok(sum), _) if is_narrow => Ok(Bson::Int32(sum)),
                (_, Ok(sum)) => Ok(Bson::Int64(sum)),
                _ => Err(Refusal::Number),
            }
        }
        (Some(a), None, _) => Ok(Bson::Double(a as f64 + operand.as_f64().unwrap())),
        (None, b, Bson::Double(a)) => Ok(Bson::Double(
            a + b.map_or_else(|| operand.as_f64().unwrap(), |b| b as f64),
        )),
        _ => Err(Refusal::Number),
    }
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
    fn update_agrees_with_the_model(old in document(), operations in operations()) {
        let update = update_document(&operations);
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
                    UpdateError::ConflictingUpdateOperators { .. } => {
                        prop_assert_eq!(refusal, Refusal::Conflict);
                    }
                    UpdateError::PathNotViable { .. }
                    | UpdateError::TypeMismatch { .. }
                    | UpdateError::IncrementOverflow { .. } => {
                        prop_assert_ne!(refusal, Refusal::Conflict);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
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
        operations in operations(),
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
        let update = update_document(&operations);
        let old = damaged(&document);
        for update in [raw(&update), damaged(&update)] {
            if let Ok(update) = Update::parse(&update)
                && let Ok(Some(applied)) = update.apply(&old)
            {
                prop_assert_eq!(applied.diff.apply(&old).unwrap(), applied.document);
            }
        }
        let _ = UpdateDiff::between(&old, &raw(&document));
        let _ = UpdateDiff::parse(&old);
    }
}

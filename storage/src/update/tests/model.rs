//! A second implementation of update operators: slow, on decoded documents, one path after the other from the root.

use std::cmp::Ordering;

use bson::{Bson, Document, RawBson, doc};
use tailwater_matcher::compare;

/// The model's view of an error.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    Conflict,
    NotViable,
    /// The operator does not take the value that is there.
    Value,
}

enum Effect {
    Keep,
    Remove,
    Put(Bson),
}

type Operation<'a> = (Vec<&'a str>, &'a str, Bson);

/// The document after the update.
pub(super) fn model(old: &Document, update: &Document) -> Result<Document, Refusal> {
    let mut paths: Vec<Vec<&str>> = Vec::new();
    let mut operations: Vec<Operation<'_>> = Vec::new();
    let mut renames = Vec::new();
    for (operator, operands) in update {
        for (path, operand) in operands.as_document().unwrap() {
            let path: Vec<&str> = path.split('.').collect();
            paths.push(path.clone());
            if operator == "$rename" {
                let to: Vec<&str> = operand.as_str().unwrap().split('.').collect();
                paths.push(to.clone());
                renames.push((path, to));
            } else {
                operations.push((path, operator, operand.clone()));
            }
        }
    }
    for (i, a) in paths.iter().enumerate() {
        for b in &paths[i + 1..] {
            if a.starts_with(b) || b.starts_with(a) {
                return Err(Refusal::Conflict);
            }
        }
    }
    for (from, to) in renames {
        if let Some(value) = rename_source(old, &from)? {
            rename_target(old, &to)?;
            operations.push((from, "$unset", Bson::Null));
            operations.push((to, "$set", value));
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
        change(&mut root, &path, operator, &operand)?;
    }
    Ok(root.as_document().unwrap().clone())
}

fn rename_source(old: &Document, path: &[&str]) -> Result<Option<Bson>, Refusal> {
    match (old.get(path[0]), path.len()) {
        (found, 1) => Ok(found.cloned()),
        (None, _) => Ok(None),
        (Some(Bson::Document(inner)), _) => rename_source(inner, &path[1..]),
        _ => Err(Refusal::NotViable),
    }
}

fn rename_target(old: &Document, path: &[&str]) -> Result<(), Refusal> {
    match (old.get(path[0]), path.len()) {
        (_, 1) | (None, _) => Ok(()),
        (Some(Bson::Document(inner)), _) => rename_target(inner, &path[1..]),
        _ => Err(Refusal::NotViable),
    }
}

/// Whether the operator does nothing where there is nothing, and whether it insists on a place all the same.
fn on_nothing(operator: &str) -> (bool, bool) {
    match operator {
        "$unset" | "$setOnInsert" => (true, false),
        "$pop" | "$pull" | "$pullAll" => (true, true),
        _ => (false, true),
    }
}

fn change(at: &mut Bson, path: &[&str], operator: &str, operand: &Bson) -> Result<(), Refusal> {
    let (name, rest) = (path[0], &path[1..]);
    let (is_idle, insists) = on_nothing(operator);
    match at {
        Bson::Document(fields) if rest.is_empty() => {
            match effect(fields.get(name), operator, operand)? {
                Effect::Keep => {}
                Effect::Remove => {
                    fields.remove(name);
                }
                Effect::Put(value) => {
                    fields.insert(name, value);
                }
            }
            Ok(())
        }
        Bson::Document(fields) => match fields.get_mut(name) {
            Some(inner) => change(inner, rest, operator, operand),
            None if is_idle => Ok(()),
            None => {
                let mut inner = Bson::Document(doc! {});
                change(&mut inner, rest, operator, operand)?;
                fields.insert(name, inner);
                Ok(())
            }
        },
        Bson::Array(elements) => {
            let Ok(index) = name.parse::<usize>() else {
                return if insists { Err(Refusal::NotViable) } else { Ok(()) };
            };
            if index < elements.len() {
                if !rest.is_empty() {
                    return change(&mut elements[index], rest, operator, operand);
                }
                match effect(Some(&elements[index]), operator, operand)? {
                    Effect::Keep => {}
                    Effect::Remove => elements[index] = Bson::Null,
                    Effect::Put(value) => elements[index] = value,
                }
            } else if !is_idle {
                elements.resize(index, Bson::Null);
                // A document with a slot, in which every operation creates itself.
                let mut slot = Bson::Document(doc! {});
                change(&mut slot, &[&["slot"], rest].concat(), operator, operand)?;
                elements.push(slot.as_document_mut().unwrap().remove("slot").unwrap());
            }
            Ok(())
        }
        _ if insists => Err(Refusal::NotViable),
        _ => Ok(()),
    }
}

fn effect(old: Option<&Bson>, operator: &str, operand: &Bson) -> Result<Effect, Refusal> {
    let array = || match old {
        None => Ok(Vec::new()),
        Some(Bson::Array(elements)) => Ok(elements.clone()),
        Some(_) => Err(Refusal::Value),
    };
    let put = |elements: Vec<Bson>| Ok(Effect::Put(Bson::Array(elements)));
    match (operator, old) {
        ("$set", _) => Ok(Effect::Put(operand.clone())),
        ("$unset", _) => Ok(Effect::Remove),
        ("$setOnInsert", _) | ("$pop" | "$pull" | "$pullAll", None) => Ok(Effect::Keep),
        ("$inc" | "$min" | "$max", None) => Ok(Effect::Put(operand.clone())),
        ("$mul", None) => Ok(Effect::Put(calculate(&Bson::Int32(0), operand, false)?)),
        ("$inc", Some(old)) => Ok(Effect::Put(calculate(old, operand, true)?)),
        ("$mul", Some(old)) => Ok(Effect::Put(calculate(old, operand, false)?)),
        ("$min" | "$max", Some(old)) => {
            let wanted = if operator == "$min" {
                Ordering::Less
            } else {
                Ordering::Greater
            };
            Ok(match order(operand, old) == wanted {
                true => Effect::Put(operand.clone()),
                false => Effect::Keep,
            })
        }
        ("$bit", old) => {
            let (name, bits) = operand.as_document().unwrap().iter().next().unwrap();
            let bits = i64::from(bits.as_i32().unwrap());
            let combine = |value: i64| match name.as_str() {
                "and" => value & bits,
                "or" => value | bits,
                _ => value ^ bits,
            };
            match old.unwrap_or(&Bson::Int32(0)) {
                Bson::Int32(value) => Ok(Effect::Put(Bson::Int32(combine((*value).into()) as i32))),
                Bson::Int64(value) => Ok(Effect::Put(Bson::Int64(combine(*value)))),
                _ => Err(Refusal::Value),
            }
        }
        ("$push", _) => put(push(array()?, operand)),
        ("$addToSet", _) => {
            let mut elements = array()?;
            for value in operand.as_document().unwrap().get_array("$each").unwrap() {
                if !elements.iter().any(|element| order(element, value).is_eq()) {
                    elements.push(value.clone());
                }
            }
            put(elements)
        }
        ("$pop", _) => {
            let mut elements = array()?;
            match operand.as_i32() {
                Some(1) => {
                    elements.pop();
                }
                _ if !elements.is_empty() => {
                    elements.remove(0);
                }
                _ => {}
            }
            put(elements)
        }
        ("$pull" | "$pullAll", _) => {
            let mut elements = array()?;
            elements.retain(|element| !pulls(operator, operand, element));
            put(elements)
        }
        _ => unreachable!("{operator}"),
    }
}

fn push(mut elements: Vec<Bson>, operand: &Bson) -> Vec<Bson> {
    let Some(clauses) = operand.as_document() else {
        elements.push(operand.clone());
        return elements;
    };
    let length = elements.len() as i32;
    let position = clauses.get_i32("$position").unwrap_or(length);
    let at = match position < 0 {
        true => (length + position).max(0),
        false => position.min(length),
    };
    for (offset, value) in clauses.get_array("$each").unwrap().iter().enumerate() {
        elements.insert(at as usize + offset, value.clone());
    }
    match clauses.get_i32("$sort") {
        Ok(1) => elements.sort_by(order),
        Ok(_) => elements.sort_by(|a, b| order(b, a)),
        Err(_) => {}
    }
    let length = elements.len() as i32;
    match clauses.get_i32("$slice") {
        Ok(slice) if slice < 0 => elements.split_off((length + slice).max(0) as usize),
        Ok(slice) => elements.into_iter().take(slice as usize).collect(),
        Err(_) => elements,
    }
}

fn pulls(operator: &str, operand: &Bson, element: &Bson) -> bool {
    let equals = |value: &Bson| order(value, element).is_eq();
    match operand {
        Bson::Array(values) if operator == "$pullAll" => values.iter().any(equals),
        Bson::Document(condition) => {
            let bound = f64::from(condition.get_i32("$gte").unwrap());
            let reaches = |value: &Bson| match value {
                Bson::Int32(number) => f64::from(*number) >= bound,
                Bson::Int64(number) => *number as f64 >= bound,
                Bson::Double(number) => *number >= bound,
                _ => false,
            };
            match element {
                Bson::Array(inner) => inner.iter().any(reaches),
                scalar => reaches(scalar),
            }
        }
        value => equals(value),
    }
}

fn order(a: &Bson, b: &Bson) -> Ordering {
    let raw = |value: &Bson| RawBson::try_from(value.clone()).unwrap();
    compare(raw(a).as_raw_bson_ref(), raw(b).as_raw_bson_ref())
}

/// `old + operand` or `old * operand`.
fn calculate(old: &Bson, operand: &Bson, is_sum: bool) -> Result<Bson, Refusal> {
    let wide = |number: &Bson| match number {
        Bson::Int32(number) => Some(i128::from(*number)),
        Bson::Int64(number) => Some(i128::from(*number)),
        _ => None,
    };
    let float = |number: &Bson| match number {
        Bson::Double(number) => Some(*number),
        other => wide(other).map(|number| number as f64),
    };
    if let (Some(a), Some(b)) = (wide(old), wide(operand)) {
        let result = if is_sum { a + b } else { a * b };
        let is_narrow = matches!((old, operand), (Bson::Int32(_), Bson::Int32(_)));
        return match (i32::try_from(result), i64::try_from(result)) {
            (Ok(result), _) if is_narrow => Ok(Bson::Int32(result)),
            (_, Ok(result)) => Ok(Bson::Int64(result)),
            _ => Err(Refusal::Value),
        };
    }
    match (float(old), float(operand)) {
        (Some(a), Some(b)) => Ok(Bson::Double(if is_sum { a + b } else { a * b })),
        _ => Err(Refusal::Value),
    }
}

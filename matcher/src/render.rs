//! Writes an expression back as a `$match` document.
//!
//! Rendering and parsing undo each other: the document parses to an expression equal to the one
//! rendered. So a filter can be stored, logged, sent to another node and used as a hash key, and
//! the text language gets an `explain` for free.
//!
//! The form is the one a person would write where that is possible: bare values for equality, one
//! document for a conjunction, operators on the same path together.

use bson::raw::CString;
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf};

use crate::node::{Comparison, Constant, Node};
use crate::parse::holds_operators;

pub(crate) fn document(node: &Node) -> RawDocumentBuf {
    match node {
        Node::And(parts) => conjunction(parts),
        node => single(node),
    }
}

/// What one node becomes: an element of a `$match` document.
enum Item<'a> {
    /// A path with its operators.
    Field(&'a str, Vec<(&'static str, RawBson)>),
    /// A logical operator with its documents.
    Logical(&'static str, RawArrayBuf),
    /// `$expr` with its expression.
    Computed(RawBsonRef<'a>),
}

fn item(node: &Node) -> Item<'_> {
    if let Some((path, operator, value)) = operator(node) {
        return Item::Field(path, vec![(operator, value)]);
    }
    match node {
        Node::And(parts) => Item::Logical("$and", documents(parts)),
        Node::Or(parts) => Item::Logical("$or", documents(parts)),
        Node::Not(part) => match &**part {
            Node::Or(parts) => Item::Logical("$nor", documents(parts)),
            part => Item::Logical("$nor", documents(std::slice::from_ref(part))),
        },
        Node::Computed(expression) => Item::Computed(expression.source()),
        // `operator` has rendered these.
        Node::Compare { .. } | Node::In { .. } | Node::Exists { .. } => Item::Logical("$and", RawArrayBuf::new()),
    }
}

/// The node as one operator on one path, if it is that.
fn operator(node: &Node) -> Option<(&str, &'static str, RawBson)> {
    match node {
        Node::Compare { path, operator, value } => Some((path.as_str(), name(*operator), owned(value))),
        Node::In { path, values } => Some((path.as_str(), "$in", list(values))),
        Node::Exists { path } => Some((path.as_str(), "$exists", RawBson::Boolean(true))),
        Node::Not(part) => match &**part {
            Node::Compare {
                path,
                operator: Comparison::Eq,
                value,
            } => Some((path.as_str(), "$ne", owned(value))),
            Node::In { path, values } => Some((path.as_str(), "$nin", list(values))),
            Node::Exists { path } => Some((path.as_str(), "$exists", RawBson::Boolean(false))),
            Node::Compare { path, operator, value } => {
                let mut inner = RawDocumentBuf::new();
                append(&mut inner, name(*operator), value.get());
                Some((path.as_str(), "$not", RawBson::Document(inner)))
            }
            _ => None,
        },
        Node::And(_) | Node::Or(_) | Node::Computed(_) => None,
    }
}

fn single(node: &Node) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    write(&mut document, &item(node));
    document
}

fn documents(parts: &[Node]) -> RawArrayBuf {
    let mut array = RawArrayBuf::new();
    for part in parts {
        array.push(document(part));
    }
    array
}

fn conjunction(parts: &[Node]) -> RawDocumentBuf {
    let mut items: Vec<Item<'_>> = Vec::new();
    for part in parts {
        match (items.last_mut(), item(part)) {
            // Only neighbours are merged, so that the order of evaluation survives.
            (Some(Item::Field(last, operators)), Item::Field(path, more))
                if *last == path && !operators.iter().any(|(name, _)| *name == more[0].0) =>
            {
                operators.extend(more);
            }
            (_, item) => items.push(item),
        }
    }
    let mut names: Vec<&str> = items.iter().map(Item::name).collect();
    names.sort_unstable();
    let distinct = names.windows(2).all(|pair| pair[0] != pair[1]);
    let mut document = RawDocumentBuf::new();
    if distinct {
        for item in &items {
            write(&mut document, item);
        }
        return document;
    }
    let mut array = RawArrayBuf::new();
    for item in &items {
        let mut inner = RawDocumentBuf::new();
        write(&mut inner, item);
        array.push(inner);
    }
    append(&mut document, "$and", RawBsonRef::Array(&array));
    document
}

impl Item<'_> {
    fn name(&self) -> &str {
        match self {
            Item::Field(path, _) => path,
            Item::Logical(operator, _) => operator,
            Item::Computed(_) => "$expr",
        }
    }
}

fn write(document: &mut RawDocumentBuf, item: &Item<'_>) {
    match item {
        Item::Logical(operator, array) => append(document, operator, RawBsonRef::Array(array)),
        Item::Computed(source) => append(document, "$expr", *source),
        Item::Field(path, operators) => match &operators[..] {
            [("$eq", value)] if stands_bare(value) => {
                append(document, path, value.as_raw_bson_ref());
            }
            operators => {
                let mut inner = RawDocumentBuf::new();
                for (operator, value) in operators {
                    append(&mut inner, operator, value.as_raw_bson_ref());
                }
                append(document, path, RawBsonRef::Document(&inner));
            }
        },
    }
}

/// Says whether a bare value means equality with it.
fn stands_bare(value: &RawBson) -> bool {
    match value {
        RawBson::Document(document) => !holds_operators(document),
        RawBson::RegularExpression(_) => false,
        _ => true,
    }
}

fn append(document: &mut RawDocumentBuf, name: &str, value: RawBsonRef<'_>) {
    // A path cannot hold a zero byte, so the whole name always survives.
    let name = name.split('\0').next().unwrap_or_default();
    if let Ok(name) = CString::try_from(name) {
        document.append(name, value);
    }
}

fn name(operator: Comparison) -> &'static str {
    match operator {
        Comparison::Eq => "$eq",
        Comparison::Gt => "$gt",
        Comparison::Gte => "$gte",
        Comparison::Lt => "$lt",
        Comparison::Lte => "$lte",
    }
}

fn owned(value: &Constant) -> RawBson {
    value.get().into()
}

fn list(values: &[Constant]) -> RawBson {
    let mut array = RawArrayBuf::new();
    for value in values {
        array.push(value.get());
    }
    RawBson::Array(array)
}

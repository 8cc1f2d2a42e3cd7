//! Writes an expression back as a `$match` document.
//!
//! Rendering and parsing undo each other: the document parses to an expression equal to the one
//! rendered. So a filter can be stored, logged, sent to another node and used as a hash key, and
//! the text language gets an `explain` for free.
//!
//! The form is the one a person would write where that is possible: bare values for equality, one
//! document for a conjunction, operators on the same path together.

use bson::raw::CString;
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::condition::{BitTest, Condition, List, TypeSet};
use crate::node::{Comparison, Constant, Node};
use crate::parse::holds_operators;
use crate::validate::DEPTH_MAX;

pub(crate) fn document(node: &Node) -> RawDocumentBuf {
    match node {
        Node::And(parts) => conjunction(parts),
        node => single(node),
    }
}

/// Says whether the document the node is written as nests within [`DEPTH_MAX`].
pub(crate) fn fits(node: &Node) -> bool {
    most_levels(node) <= DEPTH_MAX || levels(&document(node), 0) <= DEPTH_MAX
}

/// How many levels the document for a node has at most.
fn most_levels(node: &Node) -> usize {
    match node {
        Node::And(parts) | Node::Or(parts) => 2 + parts.iter().map(most_levels).max().unwrap_or(1),
        Node::Not(part) => 2 + most_levels(part),
        Node::Leaf { condition, .. } => {
            2 + match condition {
                Condition::Compare { value, .. } => value_levels(value.get(), 0),
                Condition::In(list) => {
                    let values = list.values.iter().map(|value| value_levels(value.get(), 0));
                    1 + values.max().unwrap_or(0)
                }
                Condition::ElementValue(inner) | Condition::ElementDocument(inner) => most_levels(inner),
                _ => 1,
            }
        }
        Node::Schema(schema) => 1 + levels(schema.source(), 0),
        Node::Computed(expression) => 1 + value_levels(expression.source(), 0),
    }
}

fn value_levels(value: RawBsonRef<'_>, depth: usize) -> usize {
    match value {
        RawBsonRef::Document(document) => levels(document, depth),
        RawBsonRef::Array(array) => RawDocument::from_bytes(array.as_bytes()).map_or(0, |inner| levels(inner, depth)),
        RawBsonRef::JavaScriptCodeWithScope(code) => levels(code.scope, depth),
        _ => 0,
    }
}

/// How many levels of documents and arrays there are, counted no further than the limit.
fn levels(document: &RawDocument, depth: usize) -> usize {
    if depth > DEPTH_MAX {
        return 1;
    }
    let values = document.iter().flatten();
    1 + values
        .map(|(_, value)| value_levels(value, depth + 1))
        .max()
        .unwrap_or(0)
}

/// What one node becomes: an element of a `$match` document.
enum Item<'a> {
    /// A path with its operators.
    Field(&'a str, Vec<(&'static str, RawBson)>),
    /// A logical operator with what it takes.
    Logical(&'static str, RawBson),
}

fn item(node: &Node) -> Item<'_> {
    if let Some((path, operator, value)) = operator(node) {
        return Item::Field(path, vec![(operator, value)]);
    }
    let logical = |operator, parts| Item::Logical(operator, RawBson::Array(documents(parts)));
    match node {
        Node::And(parts) => logical("$and", parts),
        Node::Or(parts) => logical("$or", parts),
        Node::Not(part) => match &**part {
            Node::Or(parts) => logical("$nor", parts),
            part => logical("$nor", std::slice::from_ref(part)),
        },
        // `operator` has rendered leaves.
        Node::Leaf { .. } => logical("$and", &[]),
        Node::Computed(expression) => Item::Logical("$expr", expression.source().into()),
        Node::Schema(schema) => Item::Logical("$jsonSchema", RawBson::Document(schema.source().to_owned())),
    }
}

/// The node as one operator on one path, if it is that.
fn operator(node: &Node) -> Option<(&str, &'static str, RawBson)> {
    match node {
        Node::Leaf { path, condition } => {
            let (operator, value) = positive(condition);
            Some((path.as_str(), operator, value))
        }
        Node::Not(part) => match &**part {
            Node::Leaf { path, condition } => {
                let (operator, value) = negative(condition);
                Some((path.as_str(), operator, value))
            }
            part => {
                // `{ path: { $not: { … } } }` needs fewer levels than `$nor`.
                let path = only_path(part)?;
                let mut inner = RawDocumentBuf::new();
                operators(part, &mut inner);
                Some((path, "$not", RawBson::Document(inner)))
            }
        },
        Node::And(_) | Node::Or(_) | Node::Schema(_) | Node::Computed(_) => None,
    }
}

/// The path of a conjunction of conditions that are all about the same path.
fn only_path(node: &Node) -> Option<&str> {
    match node {
        Node::And(parts) => {
            let (first, others) = parts.split_first()?;
            let path = only_path(first)?;
            others.iter().all(|part| only_path(part) == Some(path)).then_some(path)
        }
        Node::Not(part) => only_path(part),
        Node::Leaf { path, .. } => Some(path.as_str()),
        Node::Or(_) | Node::Schema(_) | Node::Computed(_) => None,
    }
}

/// Writes a conjunction of conditions on one path as a document of operators. An operator that
/// occurs twice is written twice, which parsing understands.
fn operators(node: &Node, document: &mut RawDocumentBuf) {
    if let Node::And(parts) = node {
        for part in parts {
            operators(part, document);
        }
    } else if let Some((_, operator, value)) = operator(node) {
        append(document, operator, value.as_raw_bson_ref());
    }
}

fn positive(condition: &Condition) -> (&'static str, RawBson) {
    match condition {
        Condition::Compare { operator, value, .. } => (name(*operator), owned(value)),
        Condition::In(list) => ("$in", array(list)),
        Condition::Exists => ("$exists", RawBson::Boolean(true)),
        Condition::Regex(pattern) => ("$regex", pattern.to_bson()),
        Condition::Type(types) => ("$type", aliases(*types)),
        Condition::Modulo(modulo) => {
            let mut array = RawArrayBuf::new();
            array.push(modulo.divisor);
            array.push(modulo.remainder);
            ("$mod", RawBson::Array(array))
        }
        Condition::Bits(test, mask) => (bits(*test), owned(&mask.source)),
        Condition::Size(size) => ("$size", RawBson::Int64(*size)),
        Condition::ElementDocument(node) => ("$elemMatch", RawBson::Document(document(node))),
        Condition::ElementValue(node) => {
            let mut inner = RawDocumentBuf::new();
            operators(node, &mut inner);
            ("$elemMatch", RawBson::Document(inner))
        }
    }
}

fn negative(condition: &Condition) -> (&'static str, RawBson) {
    match condition {
        Condition::Compare {
            operator: Comparison::Eq,
            value,
            ..
        } if !matches!(value.get(), RawBsonRef::RegularExpression(_)) => ("$ne", owned(value)),
        Condition::In(list) => ("$nin", array(list)),
        Condition::Exists => ("$exists", RawBson::Boolean(false)),
        Condition::Regex(pattern) => ("$not", pattern.to_bson()),
        condition => {
            let (operator, value) = positive(condition);
            let mut inner = RawDocumentBuf::new();
            append(&mut inner, operator, value.as_raw_bson_ref());
            ("$not", RawBson::Document(inner))
        }
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
        }
    }
}

fn write(document: &mut RawDocumentBuf, item: &Item<'_>) {
    match item {
        Item::Logical(operator, value) => append(document, operator, value.as_raw_bson_ref()),
        Item::Field(path, operators) => match &operators[..] {
            [("$eq", value)] if stands_bare(value) => {
                append(document, path, value.as_raw_bson_ref());
            }
            [("$regex", value)] => append(document, path, value.as_raw_bson_ref()),
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

pub(crate) fn append(document: &mut RawDocumentBuf, name: &str, value: RawBsonRef<'_>) {
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

fn array(list: &List) -> RawBson {
    let mut array = RawArrayBuf::new();
    for value in &list.values {
        array.push(value.get());
    }
    for pattern in &list.patterns {
        array.push(pattern.to_bson());
    }
    RawBson::Array(array)
}

fn aliases(types: TypeSet) -> RawBson {
    if types == TypeSet::numeric() {
        return RawBson::String("number".to_owned());
    }
    let aliases: Vec<&str> = types.aliases().collect();
    if let [alias] = aliases[..] {
        return RawBson::String(alias.to_owned());
    }
    let mut array = RawArrayBuf::new();
    for alias in aliases {
        array.push(alias);
    }
    RawBson::Array(array)
}

fn bits(test: BitTest) -> &'static str {
    match test {
        BitTest::AllSet => "$bitsAllSet",
        BitTest::AllClear => "$bitsAllClear",
        BitTest::AnySet => "$bitsAnySet",
        BitTest::AnyClear => "$bitsAnyClear",
    }
}

//! One walk over a document that applies a [`Tree`] of changes and, if asked, records what it did.
//!
//! The new document is written front to back into one buffer: unchanged elements as the bytes they
//! are, embedded documents and arrays on a path of the tree in place, with their length filled in at
//! the end. A walk that fails leaves a buffer that nobody sees.

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::spec::ElementType;

use super::diff::UpdateDiff;
use super::element::{Element, Value, elements};
use super::number::Number;
use super::path::{ARRAY_PADDING_MAX, array_index};
use super::tree::{Change, Node, Tree};
use super::writer::Writer;
use super::{ID, UpdateError};
use crate::limits::DOCUMENT_BYTES_MAX;

/// The walk's state.
pub(super) struct Edit {
    document: Writer,
    /// Where the walk is, as a prefix of dotted paths.
    path: String,
    record: Option<Record>,
}

/// What changed, each field or element as a whole at the shortest path that says it all.
struct Record {
    updated: Writer,
    removed: Vec<String>,
}

impl Edit {
    /// A walk that only makes the new document.
    pub(super) fn silent() -> Edit {
        Edit {
            document: Writer::default(),
            path: String::new(),
            record: None,
        }
    }

    /// A walk that also makes a diff.
    pub(super) fn recording() -> Edit {
        let mut updated = Writer::default();
        updated.begin();
        Edit {
            record: Some(Record {
                updated,
                removed: Vec::new(),
            }),
            ..Edit::silent()
        }
    }

    /// Walks `old`; returns whether the new document differs. Once per `Edit`.
    pub(super) fn run(&mut self, old: &RawDocument, tree: &Tree) -> Result<bool, UpdateError> {
        let start = self.document.begin();
        let mut changed = false;

        // Only the upsert of a document that is just being built has no `_id` yet.
        if let Some(id) = tree.child(ID) {
            let found = elements(old).find(|element| !matches!(element, Ok(found) if found.name != ID));
            if found.transpose()?.is_none() {
                changed |= self.create(ID, &id.node)?;
            }
        }
        changed |= self.write_fields(old, tree, Level::Root)?;

        self.document.end(start);
        self.check_size()?;
        Ok(changed)
    }

    /// The new document and, of a recording walk, the diff.
    pub(super) fn finish(self) -> Result<(RawDocumentBuf, UpdateDiff), UpdateError> {
        let document = self.document.finish()?;
        let mut diff = UpdateDiff::default();
        if let Some(mut record) = self.record {
            record.updated.end(0);
            diff.updated_fields = record.updated.finish()?;
            diff.removed_fields = record.removed;
        }
        Ok((document, diff))
    }

    /// The fields of a document, between a `begin` and an `end` of the caller.
    fn write_fields(&mut self, old: &RawDocument, tree: &Tree, level: Level) -> Result<bool, UpdateError> {
        let mut changed = false;
        let mut met = vec![false; tree.orders()];
        for element in elements(old) {
            let element = element?;
            let Some(child) = tree.child(element.name) else {
                self.document.copy(&element);
                continue;
            };
            let is_first = !std::mem::replace(&mut met[child.order], true);
            let differs = match &child.node {
                Node::Leaf(Change::Unset) => {
                    if is_first {
                        self.removed(element.name);
                    }
                    true
                }
                _ if !is_first => {
                    self.document.copy(&element);
                    false
                }
                node => self.change(element.name, &element, node)?,
            };
            if differs && level == Level::Root && element.name == ID {
                return Err(UpdateError::ImmutableField { field: ID.to_owned() });
            }
            changed |= differs;
        }

        let mut new: Vec<_> = tree.children().filter(|(_, child)| !met[child.order]).collect();
        new.sort_by_key(|(_, child)| child.order);
        for (name, child) in new {
            if level != Level::Root || name != ID {
                changed |= self.create(name, &child.node)?;
            }
        }
        Ok(changed)
    }

    /// The elements of an array, between a `begin` and an `end` of the caller.
    fn write_elements(&mut self, old: &RawDocument, tree: &Tree) -> Result<bool, UpdateError> {
        let mut changed = false;
        let mut nodes: Vec<(usize, &str, &Node)> = Vec::new();
        for (name, child) in tree.children() {
            match array_index(name) {
                Some(index) => nodes.push((index, name, &child.node)),
                None if child.node.is_needed() => {
                    return Err(self.not_viable(name, ElementType::Array));
                }
                None => {}
            }
        }
        nodes.sort_by_key(|(index, ..)| *index);
        let mut nodes = nodes.into_iter().peekable();

        let mut length = 0;
        for element in elements(old) {
            let element = element?;
            if tree.truncation().is_some_and(|truncation| length >= truncation) {
                changed = true;
                break;
            }
            match nodes.next_if(|(index, ..)| *index == length) {
                None => self.document.copy(&element),
                Some((_, name, Node::Leaf(Change::Unset))) => {
                    // Removing it would renumber those behind.
                    let null = Value {
                        kind: ElementType::Null,
                        bytes: [].into(),
                    };
                    changed |= self.set(name, Some(&element), &null)?;
                }
                Some((_, name, node)) => {
                    changed |= self.change(name, &element, node)?;
                }
            }
            length += 1;
        }

        for (index, name, node) in nodes {
            if !node.is_needed() {
                continue;
            }
            if index - length > ARRAY_PADDING_MAX {
                let path = self.joined(name);
                return Err(UpdateError::ArrayPaddingTooLarge { path, length });
            }
            for padding in length..index {
                self.document.put(&padding.to_string(), ElementType::Null, &[]);
            }
            self.check_size()?;
            length = index + 1;
            changed |= self.create(name, node)?;
        }
        Ok(changed)
    }

    /// An element that is there, and for which the tree has a node other than a removal.
    ///
    /// In an array its name should be, but need not be, the index that the path has.
    fn change(&mut self, name: &str, old: &Element<'_>, node: &Node) -> Result<bool, UpdateError> {
        match node {
            Node::Leaf(Change::Set(value)) => self.set(name, Some(old), value),
            Node::Leaf(Change::Increment(increment)) => {
                let sum = self.sum(name, old, *increment)?;
                self.set(name, Some(old), &sum.to_value())
            }
            Node::Leaf(Change::Unset) => Ok(false),
            Node::Branch(tree) => {
                if let Some(document) = old.document() {
                    self.inside(name, old, |edit| edit.write_fields(document?, tree, Level::Embedded))
                } else if let Some(array) = old.array() {
                    self.inside(name, old, |edit| edit.write_elements(array?, tree))
                } else if let Some(needed) = tree.first_needed() {
                    self.enter(name);
                    Err(self.not_viable(needed, old.kind))
                } else {
                    self.document.copy(old);
                    Ok(false)
                }
            }
        }
    }

    /// A field or an element that is not there yet. A node that needs nothing creates nothing.
    fn create(&mut self, name: &str, node: &Node) -> Result<bool, UpdateError> {
        if !node.is_needed() {
            return Ok(false);
        }
        match node {
            Node::Leaf(Change::Set(value)) => self.set(name, None, value),
            Node::Leaf(Change::Increment(number)) => self.set(name, None, &number.to_value()),
            Node::Leaf(Change::Unset) => Ok(false),
            Node::Branch(tree) => {
                // Recorded as one: the path of what it contains does not exist for whoever reads it.
                let record = self.record.take();
                let header = self.document.head(name, ElementType::EmbeddedDocument);
                let start = self.document.begin();
                self.write_fields(&RawDocumentBuf::new(), tree, Level::Embedded)?;
                self.document.end(start);
                self.record = record;
                self.updated(name, ElementType::EmbeddedDocument, header);
                Ok(true)
            }
        }
    }

    /// Writes `value` under `name`, or in the place of `old`.
    fn set(&mut self, name: &str, old: Option<&Element<'_>>, value: &Value) -> Result<bool, UpdateError> {
        let start = match old {
            Some(old) if old.is(value.kind, &value.bytes) => {
                self.document.copy(old);
                return Ok(false);
            }
            Some(old) => self.document.put(old.name, value.kind, &value.bytes),
            None => self.document.put(name, value.kind, &value.bytes),
        };
        self.check_size()?;
        self.updated(name, value.kind, start);
        Ok(true)
    }

    /// Copies the head of `old`, an embedded document or array, and lets `walk` write what is in it.
    fn inside(
        &mut self,
        name: &str,
        old: &Element<'_>,
        walk: impl FnOnce(&mut Edit) -> Result<bool, UpdateError>,
    ) -> Result<bool, UpdateError> {
        let outer = self.enter(name);
        self.document.head(old.name, old.kind);
        let start = self.document.begin();
        let changed = walk(self)?;
        self.document.end(start);
        self.path.truncate(outer);
        Ok(changed)
    }

    fn sum(&self, name: &str, old: &Element<'_>, increment: Number) -> Result<Number, UpdateError> {
        let path = || self.joined(name);
        match Number::read(old) {
            Some(number) => number
                .add(increment)
                .map_err(|overflow| UpdateError::IncrementOverflow {
                    path: path(),
                    current: overflow.current,
                    increment: overflow.increment,
                }),
            None if old.kind == ElementType::Decimal128 => Err(UpdateError::DecimalUnsupported { path: path() }),
            None => Err(UpdateError::TypeMismatch {
                path: path(),
                found: old.kind,
            }),
        }
    }

    /// Records the value that begins at `start` of the new document and ends with it.
    fn updated(&mut self, name: &str, kind: ElementType, start: usize) {
        let path = self.joined(name);
        if let Some(record) = &mut self.record {
            record.updated.put(&path, kind, self.document.since(start));
        }
    }

    fn removed(&mut self, name: &str) {
        let path = self.joined(name);
        if let Some(record) = &mut self.record {
            record.removed.push(path);
        }
    }

    /// Goes down to `name`; the caller goes up again by truncating the path to what this returns.
    fn enter(&mut self, name: &str) -> usize {
        let outer = self.path.len();
        self.path = self.joined(name);
        outer
    }

    fn joined(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Stops where the document grows, not only at its end: a small update could make gigabytes.
    fn check_size(&self) -> Result<(), UpdateError> {
        let bytes_min = self.document.len();
        if bytes_min > DOCUMENT_BYTES_MAX {
            return Err(UpdateError::DocumentTooLarge { bytes_min });
        }
        Ok(())
    }

    /// Where the walk is cannot hold `component`.
    fn not_viable(&self, component: &str, found: ElementType) -> UpdateError {
        UpdateError::PathNotViable {
            path: self.path.clone(),
            component: component.to_owned(),
            found,
        }
    }
}

/// Whether `_id` means something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Embedded,
}

//! One walk over a document that applies a [`Tree`] of changes and, if asked, records what it did.
//!
//! The new document is written front to back into one buffer: unchanged elements as the bytes they
//! are, embedded documents and arrays on a path of the tree in place, with their length filled in at
//! the end. A walk that fails leaves a buffer that nobody sees.

use std::ops::Range;

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::spec::ElementType;
use tailwater_matcher::compare;

use super::change::{Change, Need, Outcome};
use super::diff::UpdateDiff;
use super::element::{Element, Value, elements};
use super::path::{ARRAY_PADDING_MAX, array_index};
use super::record::{Mark, Record};
use super::tree::{Node, Tree};
use super::writer::Writer;
use super::{ApplyContext, ID, UpdateError};
use crate::limits::DOCUMENT_BYTES_MAX;

/// The walk's state.
pub(super) struct Edit<'c> {
    document: Writer,
    record: Record,
    /// What the changes are told; `None` for those of a diff, which were checked when it was made.
    context: Option<&'c ApplyContext>,
}

impl<'c> Edit<'c> {
    /// A walk that only makes the new document, from a diff's changes.
    pub(super) fn silent() -> Edit<'static> {
        Edit {
            document: Writer::default(),
            record: Record::new(false),
            context: None,
        }
    }

    /// A walk that also makes a diff.
    pub(super) fn recording(context: &'c ApplyContext) -> Edit<'c> {
        Edit {
            document: Writer::default(),
            record: Record::new(true),
            context: Some(context),
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
        Ok((self.document.finish()?, self.record.finish()?))
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
            let (start, mark) = (self.document.len(), self.record.mark());
            let differs = match &child.node {
                node if node.is_unset() => {
                    if is_first {
                        self.record.removed(element.name);
                    }
                    true
                }
                _ if !is_first => {
                    self.document.copy(&element);
                    false
                }
                node => self.change(element.name, &element, node)?,
            };
            changed |= match level {
                Level::Root if differs && element.name == ID => self.restore_id(&element, start, mark)?,
                Level::Root if differs && self.document.len() > start => self.check_name(element.name)?,
                _ => differs,
            };
        }

        let mut new: Vec<_> = tree.children().filter(|(_, child)| !met[child.order]).collect();
        new.sort_by_key(|(_, child)| child.order);
        for (name, child) in new {
            changed |= match level {
                // Came first.
                Level::Root if name == ID => false,
                Level::Root => self.create(name, &child.node)? && self.check_name(name)?,
                Level::Embedded => self.create(name, &child.node)?,
            };
        }
        Ok(changed)
    }

    /// The elements of an array, between a `begin` and an `end` of the caller.
    fn write_elements(&mut self, old: &RawDocument, tree: &Tree) -> Result<Modified, UpdateError> {
        let mut modified = Modified::default();
        let mut nodes: Vec<(usize, &str, &Node)> = Vec::new();
        for (name, child) in tree.children() {
            match array_index(name) {
                Some(index) => nodes.push((index, name, &child.node)),
                None if child.node.need() > Need::Nothing => {
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
                modified.count += 1;
                break;
            }
            let start = self.document.len();
            let differs = match nodes.next_if(|(index, ..)| *index == length) {
                None => {
                    self.document.copy(&element);
                    false
                }
                // Removing it would renumber those behind.
                Some((_, name, node)) if node.is_unset() => self.set(name, Some(&element), &Value::null())?,
                Some((_, name, node)) => self.change(name, &element, node)?,
            };
            if differs {
                let value = start + element.head_length();
                modified.add(length, self.document.kind_at(start), value..self.document.len());
            }
            length += 1;
        }

        for (index, name, node) in nodes {
            if !node.creates() {
                continue;
            }
            if index - length > ARRAY_PADDING_MAX {
                let path = self.record.joined(name);
                return Err(UpdateError::ArrayPaddingTooLarge { path, length });
            }
            for padding in length..index {
                self.document.put(&padding.to_string(), ElementType::Null, &[]);
            }
            self.check_size()?;
            length = index + 1;
            if self.create(name, node)? {
                modified.count += 1;
            }
        }
        Ok(modified)
    }

    /// An element that is there, and for which the tree has a node other than a removal.
    ///
    /// In an array its name should be, but need not be, the index that the path has.
    fn change(&mut self, name: &str, old: &Element<'_>, node: &Node) -> Result<bool, UpdateError> {
        let tree = match node {
            Node::Leaf(change) => return self.leaf(name, Some(old), change),
            Node::Branch(tree) => tree,
        };
        if let Some(document) = old.document() {
            self.inside(name, old, |edit| edit.write_fields(document?, tree, Level::Embedded))
        } else if let Some(array) = old.array() {
            self.change_array(name, old, array?, tree)
        } else if let Some(needed) = tree.first_needed() {
            self.record.enter(name);
            Err(self.not_viable(needed, old.kind))
        } else {
            self.document.copy(old);
            Ok(false)
        }
    }

    /// An array, some of whose elements change. If they were named together, one that changes is
    /// recorded as a whole, and several as a change of the array: MongoDB's description.
    fn change_array(
        &mut self,
        name: &str,
        old: &Element<'_>,
        array: &RawDocument,
        tree: &Tree,
    ) -> Result<bool, UpdateError> {
        let start = self.document.len() + old.head_length();
        if tree.is_spread() {
            self.record.mute();
        }
        let mut modified = Modified::default();
        self.inside(name, old, |edit| {
            modified = edit.write_elements(array, tree)?;
            Ok(modified.count > 0)
        })?;
        if tree.is_spread() {
            self.record.unmute();
            match (modified.count, modified.last) {
                (1, Some((index, kind, value))) => {
                    let outer = self.record.enter(name);
                    let value = self.document.range(value);
                    self.record.updated(&index.to_string(), kind, value);
                    self.record.leave(outer);
                }
                (0, _) => {}
                _ => self
                    .record
                    .updated(name, ElementType::Array, self.document.since(start)),
            }
        }
        Ok(modified.count > 0)
    }

    /// What an operator makes of a value, or of nothing.
    fn leaf(&mut self, name: &str, old: Option<&Element<'_>>, change: &Change) -> Result<bool, UpdateError> {
        let outcome = match (self.context, change) {
            (_, Change::Set(value)) => return self.set(name, old, value),
            // A diff has nothing else that would leave a value.
            (None, _) => Outcome::Keep,
            (Some(context), _) => change.outcome(old, context, &|| self.record.joined(name))?,
        };
        match outcome {
            Outcome::Keep => {
                if let Some(old) = old {
                    self.document.copy(old);
                }
                Ok(false)
            }
            Outcome::Put(value) => self.set(name, old, &value),
            Outcome::Append(array, from) => {
                self.record.mute();
                let changed = self.set(name, old, &array)?;
                self.record.unmute();
                let outer = self.record.enter(name);
                for element in elements(RawDocument::from_bytes(&array.bytes)?).skip(from) {
                    let element = element?;
                    self.record.updated(element.name, element.kind, element.value);
                }
                self.record.leave(outer);
                Ok(changed)
            }
        }
    }

    /// A field or an element that is not there yet. A node that needs nothing creates nothing.
    fn create(&mut self, name: &str, node: &Node) -> Result<bool, UpdateError> {
        match node {
            node if !node.creates() => Ok(false),
            Node::Leaf(change) => self.leaf(name, None, change),
            Node::Branch(tree) => {
                // Recorded as one: the path of what it contains does not exist for whoever reads it.
                self.record.mute();
                let value = self.document.head(name, ElementType::EmbeddedDocument);
                let start = self.document.begin();
                let outer = self.record.enter(name);
                self.write_fields(&RawDocumentBuf::new(), tree, Level::Embedded)?;
                self.record.leave(outer);
                self.document.end(start);
                self.record.unmute();
                self.updated(name, ElementType::EmbeddedDocument, value);
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
        walk: impl FnOnce(&mut Self) -> Result<bool, UpdateError>,
    ) -> Result<bool, UpdateError> {
        let outer = self.record.enter(name);
        self.document.head(old.name, old.kind);
        let start = self.document.begin();
        let changed = walk(self)?;
        self.document.end(start);
        self.record.leave(outer);
        Ok(changed)
    }

    /// Puts `_id` back as it was after a change to an equal value, such as `1.0` for `1`, and refuses any other.
    /// Nothing has changed then.
    fn restore_id(&mut self, old: &Element<'_>, start: usize, mark: Mark) -> Result<bool, UpdateError> {
        let immutable = || UpdateError::ImmutableField { field: ID.to_owned() };
        if self.document.len() == start {
            return Err(immutable());
        }
        let kind = self.document.kind_at(start);
        let value = self.document.since(start + old.head_length());
        let new = Value::new(kind, value.into()).alone()?;
        for new in elements(&new) {
            if compare(new?.get()?, old.get()?).is_ne() {
                return Err(immutable());
            }
        }
        self.document.truncate(start);
        self.document.copy(old);
        self.record.go_back(mark);
        Ok(false)
    }

    /// A stored document gets no field with a dollar sign at its top by update operators, only by its insertion.
    fn check_name(&self, name: &str) -> Result<bool, UpdateError> {
        match self.context {
            Some(context) if !context.is_insert && name.starts_with('$') => {
                Err(UpdateError::DollarPrefixedField { field: name.to_owned() })
            }
            _ => Ok(true),
        }
    }

    /// Records the value that begins at `start` of the new document and ends with it.
    fn updated(&mut self, name: &str, kind: ElementType, start: usize) {
        self.record.updated(name, kind, self.document.since(start));
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
            path: self.record.path().to_owned(),
            component: component.to_owned(),
            found,
        }
    }
}

/// Which elements of an array have changed.
#[derive(Default)]
struct Modified {
    count: usize,
    /// The last one that was there: its index, its type, and where in the new document its value lies.
    last: Option<(usize, ElementType, Range<usize>)>,
}

impl Modified {
    fn add(&mut self, index: usize, kind: ElementType, value: Range<usize>) {
        self.count += 1;
        self.last = Some((index, kind, value));
    }
}

/// Whether `_id` means something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Embedded,
}

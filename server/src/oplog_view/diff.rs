//! An update as MongoDB's oplog has it: `{$v: 2, diff: …}`, a tree of what has changed, beside the flat lists of paths that the
//! log has.
//!
//! In a document's part `d` has the fields that are gone, `u` those that have new values, and `s<field>` what has changed within a
//! field. An array's part has `a: true`, `l` its new length where that has become less, and `u<index>` and `s<index>`. Which
//! numbers of a path are indexes is seen in the document as it is after the update. MongoDB tells fields that are new (`i`) from
//! others (`u`); the log does not, and an `u` sets either.

use std::collections::BTreeMap;

use bson::raw::CString;
use bson::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

/// Deeper documents are refused when they are written.
const DEPTH_MAX: usize = 200;

/// What has become of one place.
#[derive(Default)]
struct Node<'a> {
    updated: Vec<(&'a str, RawBsonRef<'a>)>,
    removed: Vec<&'a str>,
    truncated: Option<i32>,
    within: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Node<'a> {
    /// The node that a path without its last name leads to.
    fn descend<'n>(&'n mut self, path: &'a str) -> (&'n mut Node<'a>, &'a str) {
        match path.rsplit_once('.') {
            None => (self, path),
            Some((parents, last)) => {
                let names = parents.split('.');
                (
                    names.fold(self, |node, name| node.within.entry(name).or_default()),
                    last,
                )
            }
        }
    }

    fn to_document(&self, after: Option<RawBsonRef<'_>>, depth: usize) -> Option<RawDocumentBuf> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut document = RawDocumentBuf::new();
        if let Some(RawBsonRef::Array(array)) = after {
            document.append(bson::raw::cstr!("a"), true);
            if let Some(length) = self.truncated {
                document.append(bson::raw::cstr!("l"), length);
            }
            for (index, value) in &self.updated {
                document.append(CString::try_from(format!("u{index}")).ok()?, *value);
            }
            for (index, node) in &self.within {
                let value = index.parse().ok().and_then(|index| member(array, index));
                document.append(
                    CString::try_from(format!("s{index}")).ok()?,
                    node.to_document(value, depth + 1)?,
                );
            }
            return Some(document);
        }
        let after = after.and_then(RawBsonRef::as_document);
        if !self.removed.is_empty() {
            let mut removed = RawDocumentBuf::new();
            for name in &self.removed {
                removed.append(CString::try_from(*name).ok()?, false);
            }
            document.append(bson::raw::cstr!("d"), removed);
        }
        if !self.updated.is_empty() {
            let mut updated = RawDocumentBuf::new();
            for (name, value) in &self.updated {
                updated.append(CString::try_from(*name).ok()?, *value);
            }
            document.append(bson::raw::cstr!("u"), updated);
        }
        for (name, node) in &self.within {
            let value = after.and_then(|after| after.get(name).ok().flatten());
            document.append(
                CString::try_from(format!("s{name}")).ok()?,
                node.to_document(value, depth + 1)?,
            );
        }
        Some(document)
    }
}

fn member(array: &RawArray, index: usize) -> Option<RawBsonRef<'_>> {
    array.get(index).ok().flatten()
}

/// The `o` of an update with this description that has led to this document; nothing when one of them is malformed.
pub(super) fn update(description: &RawDocument, after: &RawDocument) -> Option<RawDocumentBuf> {
    let mut root = Node::default();
    for array in description.get_array("truncatedArrays").ok()?.into_iter().flatten() {
        let array = array.as_document()?;
        let (node, name) = root.descend(array.get_str("field").ok()?);
        node.within.entry(name).or_default().truncated = Some(array.get_i32("newSize").ok()?);
    }
    for path in description.get_array("removedFields").ok()?.into_iter().flatten() {
        let (node, name) = root.descend(path.as_str()?);
        node.removed.push(name);
    }
    for (path, value) in description.get_document("updatedFields").ok()?.iter().flatten() {
        let (node, name) = root.descend(path.as_str());
        node.updated.push((name, value));
    }
    let diff = root.to_document(Some(RawBsonRef::Document(after)), 0)?;
    Some(rawdoc! { "$v": 2, "diff": diff })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(description: &RawDocument, after: &RawDocument, expected: RawDocumentBuf) {
        let update = update(description, after).unwrap();
        assert_eq!(update, rawdoc! { "$v": 2, "diff": expected });
    }

    #[test]
    fn paths_become_a_tree() {
        check(
            &rawdoc! { "updatedFields": { "a": 1, "b.c.d": 2, "b.e": 3 }, "removedFields": ["f", "b.g"], "truncatedArrays": [] },
            &rawdoc! { "a": 1, "b": { "c": { "d": 2 }, "e": 3 } },
            rawdoc! { "d": { "f": false }, "u": { "a": 1 }, "sb": { "d": { "g": false }, "u": { "e": 3 }, "sc": { "u": { "d": 2 } } } },
        );
    }

    #[test]
    fn numbers_are_indexes_in_arrays_and_names_in_documents() {
        check(
            &rawdoc! { "updatedFields": { "list.0.n": 1, "list.2": 5, "map.0": 2 }, "removedFields": [],
            "truncatedArrays": [{ "field": "list", "newSize": 3 }] },
            &rawdoc! { "list": [{ "n": 1 }, 4, 5], "map": { "0": 2 } },
            rawdoc! {
                "slist": { "a": true, "l": 3, "u2": 5, "s0": { "u": { "n": 1 } } },
                "smap": { "u": { "0": 2 } },
            },
        );
    }
}

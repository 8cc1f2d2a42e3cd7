//! Orders.

use bson::Bson;

use super::{Exclusion, documents, of};
use crate::Difference;
use crate::generate::reached;
use crate::oracle::Oracle::{Mingo, Mongomock};

/// Whether a path of the order leads to such a value.
fn leads_to(found: &Difference, such: fn(&Bson) -> bool) -> bool {
    let mut paths = found.case.questions().into_iter().flat_map(bson::Document::keys);
    let documents = documents(&found.case);
    paths.any(|path| {
        documents
            .iter()
            .filter_map(|document| reached(document, path))
            .any(|value| such(&value))
    })
}

fn is_array(value: &Bson) -> bool {
    value.as_array().is_some()
}

fn has_parallel_arrays(found: &Difference) -> bool {
    found.refused_with() == Some(2)
}

pub(super) const EXCLUSIONS: &[Exclusion] = &[
    of(
        Mingo,
        "of an array the least element counts, or the greatest; it compares arrays as a whole",
        |found| found.ours.is_ok() && leads_to(found, is_array),
    ),
    of(
        Mingo,
        "documents compare field by field, by type, name and value; it compares all names first",
        |found| leads_to(found, |value| value.as_document().is_some()),
    ),
    of(
        Mingo,
        "arrays in two of the fields are refused; it sorts",
        has_parallel_arrays,
    ),
    of(
        Mongomock,
        "of an array the least element counts, or the greatest; it compares arrays as a whole",
        |found| found.ours.is_ok() && leads_to(found, is_array),
    ),
    of(
        Mongomock,
        "arrays in two of the fields are refused; it sorts",
        has_parallel_arrays,
    ),
];

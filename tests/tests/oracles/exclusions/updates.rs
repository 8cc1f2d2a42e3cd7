//! Updates.

use super::{Exclusion, has_field, is_of_order, of, operand, to_json};
use crate::oracle::Oracle::{Mingo, Mongomock};

/// Both have this one.
const BY_NAME: &str = "new fields follow in the order of their names; they follow in that of the operators";

pub(super) const EXCLUSIONS: &[Exclusion] = &[
    of(Mingo, BY_NAME, is_of_order),
    of(Mongomock, BY_NAME, is_of_order),
    of(
        Mingo,
        "$addToSet leaves what is there twice already, and adds what is not there; it removes doubles instead",
        |found| found.case.uses("$addToSet"),
    ),
    of(
        Mingo,
        "$sort and $slice of $push also concern an array that the update makes; it leaves that as it came",
        |found| found.case.uses_any(&["$sort", "$slice"]) && !has_field(found, "l"),
    ),
    of(
        Mingo,
        "$[] and $[identifier] need an array; it does nothing without one",
        |found| found.refused_with() == Some(2) && !has_field(found, "t"),
    ),
    of(
        Mongomock,
        "$addToSet with $each adds a value once; it adds it as often as it is named",
        |found| found.case.uses("$addToSet"),
    ),
    of(
        Mongomock,
        "the positional operators change elements; with a second operator beside, it sets a field of the document",
        |found| to_json(found).contains(".$"),
    ),
    of(
        Mongomock,
        "$unset of an element makes it null; it does nothing",
        |found| {
            operand(found, &["$unset"], |value| {
                value.as_document().is_some_and(|paths| paths.contains_key("l.0"))
            })
        },
    ),
];

/// Of upserts.
pub(super) const UPSERTS: &[Exclusion] = &[of(Mongomock, BY_NAME, is_of_order)];

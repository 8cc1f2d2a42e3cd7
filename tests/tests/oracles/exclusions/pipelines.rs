//! Pipelines.

use super::{Exclusion, answers, holds, of, to_json};
use crate::oracle::Oracle::{Mingo, Mongomock};

pub(super) const EXCLUSIONS: &[Exclusion] = &[
    of(
        Mingo,
        "an array is sorted by its least or greatest element; it compares whole arrays",
        |found| to_json(found).contains("\"$sort\":{\"w\""),
    ),
    of(Mingo, "$count of no documents is no document; it is 0", |found| {
        found.case.uses("$count") && answers(found).contains("\"all\":0")
    }),
    of(
        Mingo,
        "the standard deviation of too few numbers is null; it is 0 or NaN",
        |found| found.case.uses_any(&["$stdDevPop", "$stdDevSamp"]),
    ),
    of(
        Mingo,
        "$push and $addToSet pass over what is missing; it pushes null",
        |found| found.case.uses_any(&["$push", "$addToSet"]) && found.case.uses("$group"),
    ),
    of(
        Mingo,
        "$top and $bottom have one value; it has arrays of one",
        |found| found.case.uses_any(&["$top", "$bottom"]),
    ),
    of(Mingo, "$bucket has only buckets with documents; it has all", |found| {
        found.case.uses("$bucket")
    }),
    of(
        Mingo,
        "$unwind takes a scalar for an array of one; it drops the empty text",
        |found| found.case.uses("$unwind"),
    ),
    of(
        Mongomock,
        "an array is sorted by its least or greatest element; it compares whole arrays",
        |found| to_json(found).contains("\"$sort\":{\"w\""),
    ),
    of(Mongomock, "$count of no documents is no document; it is 0", |found| {
        found.case.uses("$count") && answers(found).contains("\"all\":0")
    }),
    of(
        Mongomock,
        "includeArrayIndex is null where there is no array; it is missing",
        |found| to_json(found).contains("includeArrayIndex"),
    ),
    of(
        Mongomock,
        "$addToSet adds every value once and no missing one; it takes false for nothing, and nothing for null",
        |found| found.case.uses("$addToSet"),
    ),
    of(
        Mongomock,
        "$avg and $sum are of numbers; it takes booleans for numbers",
        |found| found.case.uses_any(&["$avg", "$sum"]) && holds(found, |value| value.as_bool().is_some()),
    ),
];

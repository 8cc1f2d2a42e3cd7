//! Expressions.

use bson::{Bson, Document};

use super::{
    Exclusion, POSITIONS, has_literal_array, holds, is_of_order, mentions, mentions_nothing, of, operand, to_json,
};
use crate::oracle::Oracle::{Mingo, Mongomock};

pub(super) const EXCLUSIONS: &[Exclusion] = &[
    of(
        Mingo,
        "$dateToParts begins with the year; it begins with the hour",
        |found| found.case.uses("$dateToParts") && is_of_order(found),
    ),
    of(
        Mingo,
        "$toUpper, $toLower and $substr of null are empty; they are null",
        |found| {
            found
                .case
                .uses_any(&["$toUpper", "$toLower", "$substrCP", "$substrBytes"])
                && mentions_nothing(found)
        },
    ),
    of(
        Mingo,
        "$$this is of the innermost operator; it mixes up that of $reduce within $map",
        |found| found.case.uses("$map") && found.case.uses("$reduce"),
    ),
    of(
        Mingo,
        "an array equals arrays only; it compares it with other types as text",
        |found| {
            let literal = |value| has_literal_array(value, false);
            found.case.uses_any(&["$eq", "$ne"])
                && found
                    .case
                    .questions()
                    .into_iter()
                    .flat_map(Document::values)
                    .any(literal)
        },
    ),
    of(
        Mingo,
        "%% is a percent sign in a format for dates; it is nothing",
        |found| to_json(found).contains("%%"),
    ),
    of(
        Mingo,
        "a month or year more is the last day of that month where the day is not in it; it is a day of the next",
        |found| {
            let unit = |value: &Bson| matches!(value.as_str(), Some("month" | "quarter" | "year"));
            found.case.uses_any(&["$dateAdd", "$dateSubtract"]) && mentions(found, unit)
        },
    ),
    of(
        Mingo,
        "$week begins on Sunday, with 0 before the first, and the ISO year is that of the week; it counts otherwise",
        |found| found.case.uses_any(&["$week", "$isoWeekYear"]) || to_json(found).contains("%G"),
    ),
    of(
        Mingo,
        "$first and $last of an empty array are missing; it refuses it",
        |found| found.case.uses_any(&["$first", "$last"]) && found.theirs.is_err(),
    ),
    of(
        Mingo,
        "an element that is not there is null in an array; it is left out",
        |found| found.case.uses("$arrayElemAt"),
    ),
    of(
        Mingo,
        "$zip is as long as the shortest array; it ignores empty ones",
        |found| found.case.uses("$zip"),
    ),
    of(Mingo, "int, long and double are types; it has numbers", |found| {
        found.case.uses("$type")
    }),
    of(
        Mingo,
        "the standard deviation of too few numbers is null; it is 0 or NaN",
        |found| found.case.uses_any(&["$stdDevPop", "$stdDevSamp"]),
    ),
    of(
        Mingo,
        "the order of a set is open, so its elements by position are anybody's",
        |found| {
            found
                .case
                .uses_any(&["$setUnion", "$setIntersection", "$setDifference"])
                && found
                    .case
                    .uses_any(&["$arrayElemAt", "$slice", "$first", "$last", "$firstN", "$lastN"])
        },
    ),
    of(Mingo, "the empty text is true; it is false in JavaScript", |found| {
        let operators = [
            "$not",
            "$and",
            "$or",
            "$cond",
            "$toBool",
            "$switch",
            "$allElementsTrue",
            "$anyElementTrue",
        ];
        let is_empty = |value: &Bson| value.as_str() == Some("");
        found.case.uses_any(&operators) && (holds(found, is_empty) || mentions(found, is_empty))
    }),
    of(Mingo, "the empty text is no number; it is 0 in JavaScript", |found| {
        found.case.uses("$convert")
    }),
    of(
        Mingo,
        "$objectToArray has the fields in their order, and no missing ones; it has",
        |found| found.case.uses("$objectToArray"),
    ),
    of(Mingo, "$getField of null is null; it is missing", |found| {
        found.case.uses("$getField")
    }),
    of(
        Mingo,
        "$strcasecmp takes null for the empty text, and $substrBytes may begin behind the end; it refuses both",
        |found| found.case.uses_any(&["$strcasecmp", "$substrBytes"]) && found.theirs.is_err(),
    ),
    of(
        Mingo,
        "operators on numbers and arrays have null for null and for what is missing; it refuses them, or takes them otherwise",
        mentions_nothing,
    ),
    of(
        Mongomock,
        "what is missing has its place in the order and is null to most operators; it leaves out the whole field",
        mentions_nothing,
    ),
    of(
        Mongomock,
        "an element of an array that is not there is missing, in an operator null; it leaves out the whole field",
        |found| found.case.uses("$arrayElemAt"),
    ),
    of(
        Mongomock,
        "an array of expressions is one; it is left as it stands",
        |found| {
            found
                .case
                .questions()
                .into_iter()
                .flat_map(Document::values)
                .any(|value| has_literal_array(value, false))
        },
    ),
    of(
        Mongomock,
        "a date as text has three digits of a second; it leaves out zeros",
        |found| operand(found, &["$toString"], |value| value.as_str() == Some("$d")),
    ),
    of(
        Mongomock,
        "$isArray and $not take their argument also as an array of one; it takes that for the argument",
        |found| found.case.uses_any(&["$isArray", "$not"]),
    ),
    of(
        Mongomock,
        "the order of a set is open, so its elements by position are anybody's",
        |found| found.case.uses("$setUnion") && found.case.uses_any(POSITIONS),
    ),
    of(Mongomock, "$strcasecmp does not tell a from A; it does", |found| {
        found.case.uses("$strcasecmp")
    }),
    of(
        Mongomock,
        "$min, $max, $sum and $avg of an array that is computed are of its elements; it takes it for one value",
        |found| {
            operand(found, &["$min", "$max", "$sum", "$avg"], |value| {
                value.as_document().is_some()
            })
        },
    ),
];

//! Where the others differ from MongoDB's manual, and what they have not.
//!
//! A difference in a filter is one document about which there is no agreement, so what is said about documents here is about
//! that one.

use bson::{Bson, Document};

use crate::case::Case;
use crate::oracle::Oracle;
use crate::oracle::Oracle::{Mingo, Mongomock};
use crate::{Difference, Suite};

/// A difference that is theirs.
pub(crate) struct Exclusion {
    pub(crate) oracle: Oracle,
    pub(crate) suite: Suite,
    /// What the manual says, and what they do.
    pub(crate) reason: &'static str,
    pub(crate) applies: fn(&Difference) -> bool,
}

/// Whether an oracle says that it has no answer, rather than that there is none.
pub(crate) fn gave_up(oracle: Oracle, message: &str) -> bool {
    let words: &[&str] = match oracle {
        Mingo => &["is not registered", "Unknown update operator"],
        Mongomock => &[
            // Errors of Python, where its own code breaks down …
            "AssertionError:",
            "AttributeError:",
            "IndexError:",
            "KeyError:",
            "NotImplementedError:",
            "OverflowError:",
            "TypeError:",
            "ValueError:",
            // … and what it does not know.
            "Parameter to $trunc must evaluate to a number, got '<class 'list'>'",
            "Unrecognized expression",
            "Unrecognized parameter",
            "is not a valid $type",
            "unknown operator",
        ],
    };
    words.iter().any(|words| message.contains(words))
}

/// Operators that are not there, or on which there is never an agreement for a reason below.
pub(crate) const NOT_THERE: &[(Oracle, Suite, &[&str])] = &[
    (
        Mongomock,
        Suite::Expressions,
        &[
            "$asinh",
            "$atan",
            "$cos",
            "$dateAdd",
            "$dateTrunc",
            "$firstN",
            "$isoWeekYear",
            "$maxN",
            "$minN",
            "$radiansToDegrees",
            "$regexFind",
            "$setDifference",
            "$setField",
            "$setIntersection",
            "$sin",
            "$stdDevPop",
            "$stdDevSamp",
            "$tan",
            "$tanh",
            "$trim",
        ],
    ),
    (
        Mongomock,
        Suite::Pipelines,
        &[
            "$bottom",
            "$firstN",
            "$lastN",
            "$maxN",
            "$minN",
            "$replaceWith",
            "$sortByCount",
            "$stdDevSamp",
            "$top",
            "$unset",
        ],
    ),
];

const fn of(oracle: Oracle, suite: Suite, reason: &'static str, applies: fn(&Difference) -> bool) -> Exclusion {
    Exclusion {
        oracle,
        suite,
        reason,
        applies,
    }
}

/// Operators that take elements of an array by their positions.
const POSITIONS: &[&str] = &["$arrayElemAt", "$slice", "$first", "$last", "$firstN", "$lastN"];

pub(crate) const EXCLUSIONS: &[Exclusion] = &[
    // Filters, mingo.
    of(
        Mingo,
        Suite::Filters,
        "what is no number has no bits and matches no $bits operator; it takes anything for a number",
        |found| {
            found
                .case
                .uses_any(&["$bitsAllSet", "$bitsAnySet", "$bitsAllClear", "$bitsAnyClear"])
        },
    ),
    of(
        Mingo,
        Suite::Filters,
        "$mod matches numbers only; it takes booleans, text and null for numbers",
        |found| found.case.uses("$mod"),
    ),
    of(
        Mingo,
        Suite::Filters,
        "expressions compare values of different types by their types; it finds none of them less",
        |found| found.case.uses("$expr"),
    ),
    of(
        Mingo,
        Suite::Filters,
        "neither paths nor conditions go into an array within an array; it flattens them",
        |found| holds(found, is_nested_array),
    ),
    of(
        Mingo,
        Suite::Filters,
        "$gte and $lte of null match what is null or missing; it has no order with null",
        |found| operand(found, &["$gte", "$lte"], |value| *value == Bson::Null),
    ),
    of(
        Mingo,
        Suite::Filters,
        "$all is an $and of equalities, also with null and with an array; it looks for elements only",
        |found| {
            operand(found, &["$all"], |value| {
                within(value, |value| *value == Bson::Null || is_array(value))
            })
        },
    ),
    of(
        Mingo,
        Suite::Filters,
        "arrays and documents have an order, whole and as elements; it has none",
        |found| operand(found, &["$gt", "$gte", "$lt", "$lte"], is_composite),
    ),
    of(
        Mingo,
        Suite::Filters,
        "$type asks for the array and for its elements, and int and double are types; it has numbers, and either or",
        |found| found.case.uses("$type"),
    ),
    of(
        Mingo,
        Suite::Filters,
        "a field that no element of an array has is missing; it is an empty array there",
        |found| {
            let empty = mentions(found, |value| value.as_array().is_some_and(Vec::is_empty));
            is_dotted(found) && holds(found, is_array) && (empty || found.case.uses("$size"))
        },
    ),
    of(
        Mingo,
        Suite::Filters,
        "null matches where one element of an array lacks the field, and no array that has no such element",
        |found| is_dotted(found) && holds(found, is_array) && mentions(found, |value| *value == Bson::Null),
    ),
    of(
        Mingo,
        Suite::Filters,
        "$elemMatch with fields is for elements that are documents; it looks into others too",
        |found| found.case.uses("$elemMatch"),
    ),
    of(
        Mingo,
        Suite::Filters,
        "an array in $in and $nin equals a whole array; it looks for it among the elements only",
        |found| operand(found, &["$in", "$nin"], |value| within(value, is_array)),
    ),
    of(
        Mingo,
        Suite::Filters,
        "a field below the elements of an array that are no documents is missing; $exists finds it there",
        |found| is_dotted(found) && found.case.uses("$exists") && holds(found, is_array),
    ),
    // Filters, mongomock.
    of(
        Mongomock,
        Suite::Filters,
        "neither paths nor conditions go into an array within an array; it does, now and then",
        |found| holds(found, is_nested_array),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "what is below a scalar is missing, so $not holds; it never does",
        |found| is_dotted(found) && found.case.uses("$not"),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "what is below a scalar is missing, and equals null; it does not",
        |found| is_dotted(found) && mentions(found, |value| *value == Bson::Null),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "$gte and $lte of null match what is null or missing; it has no order with null",
        |found| operand(found, &["$gte", "$lte"], |value| *value == Bson::Null),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "an empty document equals an empty document; it equals everything",
        |found| mentions(found, |value| value.as_document().is_some_and(Document::is_empty)),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "$size is for arrays; it takes the length of documents and text, and 1 of others",
        |found| found.case.uses("$size"),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "$all is an $and of equalities, also with null and with an array; it looks for elements only",
        |found| {
            operand(found, &["$all"], |value| {
                within(value, |value| *value == Bson::Null || is_array(value))
            })
        },
    ),
    of(
        Mongomock,
        Suite::Filters,
        "arrays and documents have an order, whole and as elements; it has none",
        |found| operand(found, &["$gt", "$gte", "$lt", "$lte"], is_composite),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "$elemMatch with fields is for elements that are documents; it looks into others too",
        |found| found.case.uses("$elemMatch"),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "an array in $in and $nin equals a whole array; it looks for it among the elements only",
        |found| operand(found, &["$in", "$nin"], |value| within(value, is_array)),
    ),
    of(
        Mongomock,
        Suite::Filters,
        "false and 0, true and 1 are different; in Python they are equal",
        |found| {
            let is_bool = |value: &Bson| value.as_bool().is_some();
            let is_bit = |value: &Bson| {
                [0, 1].map(Bson::Int32).contains(value)
                    || [0.0, 1.0].map(Bson::Double).contains(value)
                    || [0, 1].map(Bson::Int64).contains(value)
            };
            (mentions(found, is_bool) && holds(found, is_bit)) || (mentions(found, is_bit) && holds(found, is_bool))
        },
    ),
    // Updates, mingo.
    of(
        Mingo,
        Suite::Updates,
        "$addToSet leaves what is there twice already, and adds what is not there; it removes doubles instead",
        |found| found.case.uses("$addToSet"),
    ),
    of(
        Mingo,
        Suite::Updates,
        "$sort and $slice of $push also concern an array that the update makes; it leaves that as it came",
        |found| found.case.uses_any(&["$sort", "$slice"]) && !has_field(found, "l"),
    ),
    of(
        Mingo,
        Suite::Updates,
        "$[] and $[identifier] need an array; it does nothing without one",
        |found| found.refused_with() == Some(2) && !has_field(found, "t"),
    ),
    // Updates, mongomock.
    of(
        Mongomock,
        Suite::Updates,
        "$addToSet with $each adds a value once; it adds it as often as it is named",
        |found| found.case.uses("$addToSet"),
    ),
    of(
        Mongomock,
        Suite::Updates,
        "the positional operators change elements; with a second operator beside, it sets a field of the document",
        |found| to_json(found).contains(".$"),
    ),
    of(
        Mongomock,
        Suite::Updates,
        "$unset of an element makes it null; it does nothing",
        |found| {
            operand(found, &["$unset"], |value| {
                value.as_document().is_some_and(|paths| paths.contains_key("l.0"))
            })
        },
    ),
    // Pipelines, mingo.
    of(
        Mingo,
        Suite::Pipelines,
        "an array is sorted by its least or greatest element; it compares whole arrays",
        |found| to_json(found).contains("\"$sort\":{\"w\""),
    ),
    of(
        Mingo,
        Suite::Pipelines,
        "$count of no documents is no document; it is 0",
        |found| found.case.uses("$count") && answers(found).contains("\"all\":0"),
    ),
    of(
        Mingo,
        Suite::Pipelines,
        "the standard deviation of too few numbers is null; it is 0 or NaN",
        |found| found.case.uses_any(&["$stdDevPop", "$stdDevSamp"]),
    ),
    of(
        Mingo,
        Suite::Pipelines,
        "$push and $addToSet pass over what is missing; it pushes null",
        |found| found.case.uses_any(&["$push", "$addToSet"]) && found.case.uses("$group"),
    ),
    of(
        Mingo,
        Suite::Pipelines,
        "$top and $bottom have one value; it has arrays of one",
        |found| found.case.uses_any(&["$top", "$bottom"]),
    ),
    of(
        Mingo,
        Suite::Pipelines,
        "$bucket has only buckets with documents; it has all",
        |found| found.case.uses("$bucket"),
    ),
    of(
        Mingo,
        Suite::Pipelines,
        "$unwind takes a scalar for an array of one; it drops the empty text",
        |found| found.case.uses("$unwind"),
    ),
    // Pipelines, mongomock.
    of(
        Mongomock,
        Suite::Pipelines,
        "an array is sorted by its least or greatest element; it compares whole arrays",
        |found| to_json(found).contains("\"$sort\":{\"w\""),
    ),
    of(
        Mongomock,
        Suite::Pipelines,
        "$count of no documents is no document; it is 0",
        |found| found.case.uses("$count") && answers(found).contains("\"all\":0"),
    ),
    of(
        Mongomock,
        Suite::Pipelines,
        "includeArrayIndex is null where there is no array; it is missing",
        |found| to_json(found).contains("includeArrayIndex"),
    ),
    of(
        Mongomock,
        Suite::Pipelines,
        "$addToSet adds every value once and no missing one; it takes false for nothing, and nothing for null",
        |found| found.case.uses("$addToSet"),
    ),
    of(
        Mongomock,
        Suite::Pipelines,
        "$avg and $sum are of numbers; it takes booleans for numbers",
        |found| found.case.uses_any(&["$avg", "$sum"]) && holds(found, |value| value.as_bool().is_some()),
    ),
    // Expressions, mingo.
    of(
        Mingo,
        Suite::Expressions,
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
        Suite::Expressions,
        "$$this is of the innermost operator; it mixes up that of $reduce within $map",
        |found| found.case.uses("$map") && found.case.uses("$reduce"),
    ),
    of(
        Mingo,
        Suite::Expressions,
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
        Suite::Expressions,
        "%% is a percent sign in a format for dates; it is nothing",
        |found| to_json(found).contains("%%"),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "a month or year more is the last day of that month where the day is not in it; it is a day of the next",
        |found| {
            let unit = |value: &Bson| matches!(value.as_str(), Some("month" | "quarter" | "year"));
            found.case.uses_any(&["$dateAdd", "$dateSubtract"]) && mentions(found, unit)
        },
    ),
    of(
        Mingo,
        Suite::Expressions,
        "$week begins on Sunday, with 0 before the first, and the ISO year is that of the week; it counts otherwise",
        |found| found.case.uses_any(&["$week", "$isoWeekYear"]) || to_json(found).contains("%G"),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "$first and $last of an empty array are missing; it refuses it",
        |found| found.case.uses_any(&["$first", "$last"]) && found.theirs.is_err(),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "an element that is not there is null in an array; it is left out",
        |found| found.case.uses("$arrayElemAt"),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "$zip is as long as the shortest array; it ignores empty ones",
        |found| found.case.uses("$zip"),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "int, long and double are types; it has numbers",
        |found| found.case.uses("$type"),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "the standard deviation of too few numbers is null; it is 0 or NaN",
        |found| found.case.uses_any(&["$stdDevPop", "$stdDevSamp"]),
    ),
    of(
        Mingo,
        Suite::Expressions,
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
    of(
        Mingo,
        Suite::Expressions,
        "the empty text is true; it is false in JavaScript",
        |found| {
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
        },
    ),
    of(
        Mingo,
        Suite::Expressions,
        "the empty text is no number; it is 0 in JavaScript",
        |found| found.case.uses("$convert"),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "$objectToArray has the fields in their order, and no missing ones; it has",
        |found| found.case.uses("$objectToArray"),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "$getField of null is null; it is missing",
        |found| found.case.uses("$getField"),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "$strcasecmp takes null for the empty text, and $substrBytes may begin behind the end; it refuses both",
        |found| found.case.uses_any(&["$strcasecmp", "$substrBytes"]) && found.theirs.is_err(),
    ),
    of(
        Mingo,
        Suite::Expressions,
        "operators on numbers and arrays have null for null and for what is missing; it refuses them, or takes them otherwise",
        mentions_nothing,
    ),
    // Expressions, mongomock.
    of(
        Mongomock,
        Suite::Expressions,
        "what is missing has its place in the order and is null to most operators; it leaves out the whole field",
        mentions_nothing,
    ),
    of(
        Mongomock,
        Suite::Expressions,
        "an element of an array that is not there is missing, in an operator null; it leaves out the whole field",
        |found| found.case.uses("$arrayElemAt"),
    ),
    of(
        Mongomock,
        Suite::Expressions,
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
        Suite::Expressions,
        "a date as text has three digits of a second; it leaves out zeros",
        |found| operand(found, &["$toString"], |value| value.as_str() == Some("$d")),
    ),
    of(
        Mongomock,
        Suite::Expressions,
        "$isArray and $not take their argument also as an array of one; it takes that for the argument",
        |found| found.case.uses_any(&["$isArray", "$not"]),
    ),
    of(
        Mongomock,
        Suite::Expressions,
        "the order of a set is open, so its elements by position are anybody's",
        |found| found.case.uses("$setUnion") && found.case.uses_any(POSITIONS),
    ),
    of(
        Mongomock,
        Suite::Expressions,
        "$strcasecmp does not tell a from A; it does",
        |found| found.case.uses("$strcasecmp"),
    ),
    of(
        Mongomock,
        Suite::Expressions,
        "$min, $max, $sum and $avg of an array that is computed are of its elements; it takes it for one value",
        |found| {
            operand(found, &["$min", "$max", "$sum", "$avg"], |value| {
                value.as_document().is_some()
            })
        },
    ),
];

/// Whether null or what is missing is in the expression: the fields `z` and `u`.
fn mentions_nothing(found: &Difference) -> bool {
    mentions(found, |value| matches!(value.as_str(), Some("$z" | "$u")))
}

/// What the other has answered.
fn answers(found: &Difference) -> String {
    serde_json::Value::from(found.theirs.clone().unwrap_or_default()).to_string()
}

/// Whether an array that has expressions stands for itself, and not for the arguments of an operator.
fn has_literal_array(value: &Bson, is_argument: bool) -> bool {
    match value {
        Bson::Array(array) => {
            let has_expression = array
                .iter()
                .any(|value| value.as_str().is_some() || value.as_document().is_some());
            (has_expression && !is_argument) || array.iter().any(|value| has_literal_array(value, false))
        }
        Bson::Document(document) => document.iter().any(|(name, value)| {
            has_literal_array(
                value,
                name.starts_with('$') || ["branches", "inputs"].contains(&name.as_str()),
            )
        }),
        _ => false,
    }
}

fn to_json(found: &Difference) -> String {
    found.case.to_json().to_string()
}

fn documents(case: &Case) -> &[Document] {
    match case {
        Case::Find { documents, .. } | Case::Update { documents, .. } | Case::Aggregate { documents, .. } => documents,
    }
}

fn has_field(found: &Difference, name: &str) -> bool {
    documents(&found.case)
        .iter()
        .any(|document| document.contains_key(name))
}

/// Whether a value in the documents is such.
fn holds(found: &Difference, such: impl Fn(&Bson) -> bool + Copy) -> bool {
    let fields = documents(&found.case).iter().flat_map(Document::values);
    fields.into_iter().any(|value| anywhere(value, such))
}

/// Whether a value in the filter, update or pipeline is such.
fn mentions(found: &Difference, such: impl Fn(&Bson) -> bool + Copy) -> bool {
    found
        .case
        .questions()
        .into_iter()
        .flat_map(Document::values)
        .any(|value| anywhere(value, such))
}

/// Whether one of these operators has such an operand.
fn operand(found: &Difference, operators: &[&str], such: impl Fn(&Bson) -> bool + Copy) -> bool {
    let has = |document: &Document| {
        document
            .iter()
            .any(|(name, value)| operators.contains(&name.as_str()) && such(value))
    };
    let whole = found.case.questions().into_iter();
    whole.into_iter().any(has) || mentions(found, |value| value.as_document().is_some_and(has))
}

/// Whether the filter has a path of several components.
fn is_dotted(found: &Difference) -> bool {
    let has = |document: &Document| document.keys().any(|name| name.contains('.'));
    found.case.questions().into_iter().any(has) || mentions(found, |value| value.as_document().is_some_and(has))
}

fn anywhere(value: &Bson, such: impl Fn(&Bson) -> bool + Copy) -> bool {
    such(value)
        || match value {
            Bson::Document(document) => document.values().any(|value| anywhere(value, such)),
            Bson::Array(array) => array.iter().any(|value| anywhere(value, such)),
            _ => false,
        }
}

/// Whether an element of an array is such.
fn within(value: &Bson, such: impl Fn(&Bson) -> bool) -> bool {
    value.as_array().is_some_and(|array| array.iter().any(such))
}

fn is_array(value: &Bson) -> bool {
    value.as_array().is_some()
}

fn is_nested_array(value: &Bson) -> bool {
    within(value, is_array)
}

fn is_composite(value: &Bson) -> bool {
    is_array(value) || value.as_document().is_some()
}

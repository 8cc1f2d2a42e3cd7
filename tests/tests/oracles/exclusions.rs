//! Where the others differ from MongoDB's manual, and what they have not.

mod expressions;
mod filters;
mod pipelines;
mod projections;
mod sorts;
mod updates;

use bson::{Bson, Document};

use crate::case::Case;
use crate::oracle::Oracle;
use crate::oracle::Oracle::{Decimal, Mingo, Mongomock};
use crate::{Difference, Suite, same};

/// A difference that is theirs.
pub(crate) struct Exclusion {
    pub(crate) oracle: Oracle,
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
        // What is refused there is refused here.
        Decimal => &[],
    };
    words.iter().any(|words| message.contains(words))
}

/// Operators that are not there, or on which there is never an agreement for a reason below.
pub(crate) const NOT_THERE: &[(Oracle, Suite, &[&str])] = &[
    (Mongomock, Suite::Projections, &["$size"]),
    (Mongomock, Suite::Upserts, &["$mul"]),
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

/// The differences that are theirs.
pub(crate) fn exclusions(suite: Suite) -> &'static [Exclusion] {
    match suite {
        Suite::Filters => filters::EXCLUSIONS,
        Suite::TypedFilters => filters::TYPED,
        Suite::Projections => projections::EXCLUSIONS,
        Suite::Sorts => sorts::EXCLUSIONS,
        Suite::Updates => updates::EXCLUSIONS,
        Suite::Upserts => updates::UPSERTS,
        Suite::Expressions => expressions::EXCLUSIONS,
        Suite::Pipelines => pipelines::EXCLUSIONS,
        Suite::Decimals => &[],
    }
}

const fn of(oracle: Oracle, reason: &'static str, applies: fn(&Difference) -> bool) -> Exclusion {
    Exclusion {
        oracle,
        reason,
        applies,
    }
}

/// Operators that take elements of an array by their positions.
const POSITIONS: &[&str] = &["$arrayElemAt", "$slice", "$first", "$last", "$firstN", "$lastN"];

/// Whether null or what is missing is in the expression: the fields `z` and `u`.
fn mentions_nothing(found: &Difference) -> bool {
    mentions(found, |value| matches!(value.as_str(), Some("$z" | "$u")))
}

/// Whether all that differs is the order of fields.
fn is_of_order(found: &Difference) -> bool {
    match (&found.ours, &found.theirs) {
        (Ok(ours), Ok(theirs)) => same::but_for_the_order_of_fields(&found.case, ours, theirs),
        _ => false,
    }
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
        Case::Find { documents, .. }
        | Case::Project { documents, .. }
        | Case::Sort { documents, .. }
        | Case::Update { documents, .. }
        | Case::Upsert { documents, .. }
        | Case::Aggregate { documents, .. } => documents,
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

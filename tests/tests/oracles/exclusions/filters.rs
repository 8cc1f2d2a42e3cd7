//! Filters: each difference is one document about which there is no agreement, so what is said of documents is said of that one.

use bson::{Bson, Document};

use super::{Exclusion, holds, is_array, is_composite, is_dotted, is_nested_array, mentions, of, operand, within};
use crate::oracle::Oracle::{Mingo, Mongomock};

pub(super) const EXCLUSIONS: &[Exclusion] = &[
    of(
        Mingo,
        "what is no number has no bits and matches no $bits operator; it takes anything for a number",
        |found| {
            found
                .case
                .uses_any(&["$bitsAllSet", "$bitsAnySet", "$bitsAllClear", "$bitsAnyClear"])
        },
    ),
    of(
        Mingo,
        "$mod matches numbers only; it takes booleans, text and null for numbers",
        |found| found.case.uses("$mod"),
    ),
    of(
        Mingo,
        "expressions compare values of different types by their types; it finds none of them less",
        |found| found.case.uses("$expr"),
    ),
    of(
        Mingo,
        "neither paths nor conditions go into an array within an array; it flattens them",
        |found| holds(found, is_nested_array),
    ),
    of(
        Mingo,
        "$gte and $lte of null match what is null or missing; it has no order with null",
        |found| operand(found, &["$gte", "$lte"], |value| *value == Bson::Null),
    ),
    of(
        Mingo,
        "$all is an $and of equalities, also with null and with an array; it looks for elements only",
        |found| {
            operand(found, &["$all"], |value| {
                within(value, |value| *value == Bson::Null || is_array(value))
            })
        },
    ),
    of(
        Mingo,
        "arrays and documents have an order, whole and as elements; it has none",
        |found| operand(found, &["$gt", "$gte", "$lt", "$lte"], is_composite),
    ),
    of(
        Mingo,
        "$type asks for the array and for its elements, and int and double are types; it has numbers, and either or",
        |found| found.case.uses("$type"),
    ),
    of(
        Mingo,
        "a field that no element of an array has is missing; it is an empty array there",
        |found| {
            let empty = mentions(found, |value| value.as_array().is_some_and(Vec::is_empty));
            is_dotted(found) && holds(found, is_array) && (empty || found.case.uses("$size"))
        },
    ),
    of(
        Mingo,
        "null matches where one element of an array lacks the field, and no array that has no such element",
        |found| is_dotted(found) && holds(found, is_array) && mentions(found, |value| *value == Bson::Null),
    ),
    of(
        Mingo,
        "$elemMatch with fields is for elements that are documents; it looks into others too",
        |found| found.case.uses("$elemMatch"),
    ),
    of(
        Mingo,
        "an array in $in and $nin equals a whole array; it looks for it among the elements only",
        |found| operand(found, &["$in", "$nin"], |value| within(value, is_array)),
    ),
    of(
        Mingo,
        "a field below the elements of an array that are no documents is missing; $exists finds it there",
        |found| is_dotted(found) && found.case.uses("$exists") && holds(found, is_array),
    ),
    of(
        Mongomock,
        "neither paths nor conditions go into an array within an array; it does, now and then",
        |found| holds(found, is_nested_array),
    ),
    of(
        Mongomock,
        "what is below a scalar is missing, so $not holds; it never does",
        |found| is_dotted(found) && found.case.uses("$not"),
    ),
    of(
        Mongomock,
        "what is below a scalar is missing, and equals null; it does not",
        |found| is_dotted(found) && mentions(found, |value| *value == Bson::Null),
    ),
    of(
        Mongomock,
        "$gte and $lte of null match what is null or missing; it has no order with null",
        |found| operand(found, &["$gte", "$lte"], |value| *value == Bson::Null),
    ),
    of(
        Mongomock,
        "an empty document equals an empty document; it equals everything",
        |found| mentions(found, |value| value.as_document().is_some_and(Document::is_empty)),
    ),
    of(
        Mongomock,
        "$size is for arrays; it takes the length of documents and text, and 1 of others",
        |found| found.case.uses("$size"),
    ),
    of(
        Mongomock,
        "$all is an $and of equalities, also with null and with an array; it looks for elements only",
        |found| {
            operand(found, &["$all"], |value| {
                within(value, |value| *value == Bson::Null || is_array(value))
            })
        },
    ),
    of(
        Mongomock,
        "arrays and documents have an order, whole and as elements; it has none",
        |found| operand(found, &["$gt", "$gte", "$lt", "$lte"], is_composite),
    ),
    of(
        Mongomock,
        "$elemMatch with fields is for elements that are documents; it looks into others too",
        |found| found.case.uses("$elemMatch"),
    ),
    of(
        Mongomock,
        "an array in $in and $nin equals a whole array; it looks for it among the elements only",
        |found| operand(found, &["$in", "$nin"], |value| within(value, is_array)),
    ),
    of(
        Mongomock,
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
];

/// Of filters on ObjectIds, dates and other scalars.
pub(super) const TYPED: &[Exclusion] = &[
    of(
        Mongomock,
        "$gte and $lte of null match what is null or missing; it has no order with null",
        |found| operand(found, &["$gte", "$lte"], |value| *value == Bson::Null),
    ),
    of(
        Mongomock,
        "booleans and numbers are different types; in Python they are equal and have an order",
        |found| {
            let is_bool = |value: &Bson| value.as_bool().is_some();
            let is_number = |value: &Bson| matches!(value, Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_));
            (mentions(found, is_bool) && holds(found, is_number))
                || (mentions(found, is_number) && holds(found, is_bool))
        },
    ),
];

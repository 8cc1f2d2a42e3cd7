//! What is said of a document that does not match, clause by clause, in the words of MongoDB's `errInfo`.

use bson::{Bson, Document, RawDocumentBuf, bson, doc};
use tailwater_matcher::{Expression, MISMATCH_BYTES_MAX, explain_mismatch};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn details(filter: &Document, document: &Document) -> Document {
    let (filter, document) = (raw(filter), raw(document));
    let parsed = Expression::parse(&filter).unwrap();
    assert!(!parsed.matches(&document).unwrap_or(false), "{filter:?}");
    let mismatch = explain_mismatch(&filter, &document);
    assert!(!mismatch.truncated, "{filter:?}");
    Document::try_from(mismatch.details).unwrap()
}

/// What is said of one condition on a field.
fn leaf(operator: &str, filter: &Document, reason: &str, rest: Document) -> Document {
    let mut expected = doc! { "operatorName": operator, "specifiedAs": filter.clone(), "reason": reason };
    expected.extend(rest);
    expected
}

#[test]
fn conditions_on_fields_say_what_was_considered() {
    let failed = "comparison failed";
    let cases = [
        (
            doc! { "a": 2 },
            doc! { "a": 1 },
            "$eq",
            failed,
            doc! { "consideredValue": 1 },
        ),
        (doc! { "a": { "$eq": 2 } }, doc! {}, "$eq", "field was missing", doc! {}),
        (
            doc! { "a": { "$gt": 9 } },
            doc! { "a": [3, 4] },
            "$gt",
            failed,
            doc! { "consideredValues": [3, 4] },
        ),
        (
            doc! { "a": [1, 2] },
            doc! { "a": [] },
            "$eq",
            failed,
            doc! { "consideredValues": [] },
        ),
        (
            doc! { "a.b": 2 },
            doc! { "a": [{ "b": 3 }] },
            "$eq",
            failed,
            doc! { "consideredValue": 3 },
        ),
        (
            doc! { "a.b": 0 },
            doc! { "a": [{ "b": [1, 2] }, 7, { "b": 3 }] },
            "$eq",
            failed,
            doc! { "consideredValues": [1, 2, 3] },
        ),
        (
            doc! { "a": { "$ne": 2 } },
            doc! { "a": 2 },
            "$ne",
            "comparison succeeded",
            doc! { "consideredValue": 2 },
        ),
        (
            doc! { "a": { "$in": [1, 2] } },
            doc! { "a": 3 },
            "$in",
            "no matching value found in array",
            doc! { "consideredValue": 3 },
        ),
        (
            doc! { "a": { "$nin": [1, 2] } },
            doc! { "a": 1 },
            "$nin",
            "matching value found in array",
            doc! { "consideredValue": 1 },
        ),
        (
            doc! { "a": { "$exists": true } },
            doc! {},
            "$exists",
            "path does not exist",
            doc! {},
        ),
        (
            doc! { "a": { "$exists": false } },
            doc! { "a": 1 },
            "$exists",
            "path does exist",
            doc! {},
        ),
        (
            doc! { "a": { "$type": "string" } },
            doc! { "a": 1 },
            "$type",
            "type did not match",
            doc! { "consideredValue": 1, "consideredType": "int" },
        ),
        (
            doc! { "a": { "$size": 2 } },
            doc! { "a": [1] },
            "$size",
            "array length was not equal to given size",
            doc! { "consideredValue": [1] },
        ),
        (
            doc! { "a": { "$size": 2 } },
            doc! { "a": "x" },
            "$size",
            "type did not match",
            doc! { "consideredType": "string", "expectedType": "array", "consideredValue": "x" },
        ),
        (
            doc! { "a": { "$all": [1, 2] } },
            doc! { "a": [1] },
            "$all",
            "array did not contain all specified values",
            doc! { "consideredValue": [1] },
        ),
        (
            doc! { "a": { "$elemMatch": { "$gt": 1, "$lt": 3 } } },
            doc! { "a": [1, 3] },
            "$elemMatch",
            "array did not satisfy the child predicate",
            doc! { "consideredValue": [1, 3] },
        ),
        (
            doc! { "a": { "$mod": [2, 0] } },
            doc! { "a": "x" },
            "$mod",
            "type did not match",
            doc! {
                "consideredType": "string",
                "expectedTypes": ["decimal", "double", "int", "long"],
                "consideredValue": "x",
            },
        ),
        (
            doc! { "a": { "$regex": "^s", "$options": "i" } },
            doc! { "a": "fast" },
            "$regex",
            "regular expression did not match",
            doc! { "consideredValue": "fast" },
        ),
        (
            doc! { "a": { "$bitsAllSet": [0] } },
            doc! { "a": 2 },
            "$bitsAllSet",
            "bitwise operator failed to match",
            doc! { "consideredValue": 2 },
        ),
        (
            doc! { "a": { "$lt": 0 } },
            doc! { "a": (0..12).collect::<Vec<i32>>() },
            "$lt",
            failed,
            doc! { "consideredValues": (0..10).collect::<Vec<i32>>(), "consideredValuesTruncated": true },
        ),
    ];
    for (filter, document, operator, reason, rest) in cases {
        assert_eq!(
            details(&filter, &document),
            leaf(operator, &filter, reason, rest),
            "{filter}"
        );
    }
}

#[test]
fn clauses_are_told_by_their_place() {
    let at = |index: i32, details: Document| doc! { "index": index, "details": details };
    let of = |filter: &Document, operator, reason, value: i32| {
        leaf(operator, filter, reason, doc! { "consideredValue": value })
    };
    let (one, below) = (doc! { "a": 1 }, doc! { "a": { "$lt": 5 } });
    let nine = of(&below, "$lt", "comparison failed", 9);
    let cases = [
        // Each operator is a clause of its own, with or without $and.
        (
            doc! { "a": { "$gt": 1, "$lt": 5 }, "$comment": "not told" },
            doc! { "operatorName": "$and", "clausesNotSatisfied": [at(1, nine.clone())] },
        ),
        (
            doc! { "$and": [{ "b": 1 }, below.clone()] },
            doc! { "operatorName": "$and", "clausesNotSatisfied": [at(1, nine.clone())] },
        ),
        (
            doc! { "$or": [one.clone(), below.clone()] },
            doc! { "operatorName": "$or", "clausesNotSatisfied": [
                at(0, of(&one, "$eq", "comparison failed", 9)), at(1, nine.clone()),
            ] },
        ),
        (
            doc! { "$nor": [one.clone(), { "a": 9 }] },
            doc! { "operatorName": "$nor", "clausesSatisfied": [
                at(1, of(&doc! { "a": 9 }, "$eq", "comparison succeeded", 9)),
            ] },
        ),
        (
            doc! { "a": { "$not": { "$gt": 5 } } },
            doc! { "operatorName": "$not", "details": of(&doc! { "a": { "$gt": 5 } }, "$gt", "comparison succeeded", 9) },
        ),
        (
            doc! { "$nor": [{ "$jsonSchema": { "required": ["a"], "title": "has a" } }] },
            doc! { "operatorName": "$nor", "clausesSatisfied": [
                at(0, doc! { "operatorName": "$jsonSchema", "title": "has a", "reason": "schema matched" }),
            ] },
        ),
        (
            doc! { "$expr": { "$gt": ["$b", "$a"] } },
            doc! {
                "operatorName": "$expr", "specifiedAs": { "$expr": { "$gt": ["$b", "$a"] } },
                "reason": "expression did not match", "expressionResult": false,
            },
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(details(&filter, &doc! { "a": 9, "b": 1 }), expected, "{filter}");
    }
    // An expression that fails.
    let failed = details(&doc! { "$expr": { "$divide": [1, "$b"] } }, &doc! { "b": 0 });
    assert_eq!(
        failed.get_str("reason").unwrap(),
        "failed to evaluate aggregation expression"
    );
    assert!(
        !failed
            .get_document("details")
            .unwrap()
            .get_str("errmsg")
            .unwrap()
            .is_empty()
    );
}

/// What is said of `{v: value}` where the schema is about `v`.
fn of_value(schema: Document, value: impl Into<Bson>) -> Vec<Bson> {
    let filter = doc! { "$jsonSchema": { "properties": { "v": schema } } };
    let details = details(&filter, &doc! { "v": value.into() });
    assert_eq!(details.get_str("operatorName").unwrap(), "$jsonSchema");
    let rules = details.get_array("schemaRulesNotSatisfied").unwrap();
    let [Bson::Document(rule)] = &rules[..] else {
        panic!("{details}")
    };
    assert_eq!(rule.get_str("operatorName").unwrap(), "properties");
    let properties = rule.get_array("propertiesNotSatisfied").unwrap();
    let property = properties[0].as_document().unwrap();
    assert_eq!(property.get_str("propertyName").unwrap(), "v");
    property.get_array("details").unwrap().clone()
}

#[test]
fn keywords_say_which_rule_a_value_breaks() {
    let rule = |keyword: &str, given: Bson, reason: &str, rest: Document| {
        let mut rule = doc! { "operatorName": keyword, "specifiedAs": { keyword: given }, "reason": reason };
        rule.extend(rest);
        Bson::Document(rule)
    };
    let int = |value: Bson, name: &str| {
        let rest = doc! { "consideredValue": value, "consideredType": name };
        rule("bsonType", bson!("int"), "type did not match", rest)
    };
    let considered = |value: Bson| doc! { "consideredValue": value };
    let scalars = [
        (
            "pattern",
            bson!("^S"),
            bson!("slow"),
            "regular expression did not match",
            doc! {},
        ),
        (
            "minLength",
            bson!(4),
            bson!("foo"),
            "specified string length was not satisfied",
            doc! {},
        ),
        (
            "maxLength",
            bson!(2),
            bson!("foo"),
            "specified string length was not satisfied",
            doc! {},
        ),
        ("minimum", bson!(4), bson!(3), "comparison failed", doc! {}),
        ("maximum", bson!(2), bson!(3), "comparison failed", doc! {}),
        (
            "multipleOf",
            bson!(2),
            bson!(3),
            "considered value is not a multiple of the specified value",
            doc! {},
        ),
        ("enum", bson!([1, 2]), bson!(3), "value was not found in enum", doc! {}),
        (
            "type",
            bson!("string"),
            bson!(3),
            "type did not match",
            doc! { "consideredType": "int" },
        ),
        (
            "minItems",
            bson!(2),
            bson!([1]),
            "array did not match specified length",
            doc! { "numberOfItems": 1 },
        ),
        (
            "uniqueItems",
            bson!(true),
            bson!([1, 2, 1]),
            "found a duplicate item",
            doc! { "duplicatedValue": 1 },
        ),
    ];
    for (keyword, given, value, reason, rest) in scalars {
        let mut expected = considered(value.clone());
        expected.extend(rest);
        let found = of_value(doc! { keyword: given.clone() }, value);
        assert_eq!(found, [rule(keyword, given, reason, expected)], "{keyword}");
    }
    let exclusive = doc! { "minimum": 1, "exclusiveMinimum": true };
    assert_eq!(
        of_value(exclusive.clone(), 1),
        [bson!({
            "operatorName": "minimum", "specifiedAs": exclusive, "reason": "comparison failed", "consideredValue": 1,
        })]
    );
    let others = [
        (
            doc! { "minProperties": 2 },
            bson!({ "x": 1 }),
            bson!({
                "operatorName": "minProperties", "specifiedAs": { "minProperties": 2 },
                "reason": "specified number of properties was not satisfied", "numberOfProperties": 1,
            }),
        ),
        (
            doc! { "required": ["x", "y"] },
            bson!({ "x": 1 }),
            bson!({ "operatorName": "required", "specifiedAs": { "required": ["x", "y"] }, "missingProperties": ["y"] }),
        ),
        (
            doc! { "items": { "bsonType": "int" } },
            bson!([1, "x"]),
            bson!({
                "operatorName": "items", "reason": "At least one item did not match the sub-schema", "itemIndex": 1,
                "details": [int(bson!("x"), "string")],
            }),
        ),
        (
            doc! { "items": [{}, { "bsonType": "int" }] },
            bson!([1, "x"]),
            bson!({ "operatorName": "items", "details": [{ "itemIndex": 1, "details": [int(bson!("x"), "string")] }] }),
        ),
        (
            doc! { "items": [{}], "additionalItems": false },
            bson!([1, 2]),
            bson!({
                "operatorName": "additionalItems", "specifiedAs": { "additionalItems": false },
                "reason": "found additional items", "additionalItems": [2],
            }),
        ),
        (
            doc! { "items": [{}], "additionalItems": { "bsonType": "int" } },
            bson!(["y", 2, "x"]),
            bson!({
                "operatorName": "additionalItems",
                "reason": "At least one additional item did not match the sub-schema", "itemIndex": 2,
                "details": [int(bson!("x"), "string")],
            }),
        ),
        (
            doc! { "patternProperties": { "^n": { "bsonType": "int", "description": "a number" } } },
            bson!({ "n1": 1, "n2": "x", "o": "x" }),
            bson!({ "operatorName": "patternProperties", "details": [{
                "propertyName": "n2", "description": "a number", "regexMatched": "^n",
                "details": [int(bson!("x"), "string")],
            }] }),
        ),
        (
            doc! { "properties": { "x": {} }, "patternProperties": { "^n": {} }, "additionalProperties": false },
            bson!({ "x": 1, "n": 1, "y": 1 }),
            bson!({
                "operatorName": "additionalProperties", "specifiedAs": { "additionalProperties": false },
                "additionalProperties": ["y"],
            }),
        ),
        (
            doc! { "additionalProperties": { "bsonType": "int" } },
            bson!({ "x": 1, "y": "x" }),
            bson!({
                "operatorName": "additionalProperties",
                "reason": "at least one additional property did not match the subschema", "failingProperty": "y",
                "details": [int(bson!("x"), "string")],
            }),
        ),
        (
            doc! { "dependencies": { "x": ["y"], "z": ["y"] } },
            bson!({ "x": 1 }),
            bson!({ "operatorName": "dependencies", "failingDependencies": [
                { "conditionalProperty": "x", "missingProperties": ["y"] },
            ] }),
        ),
        (
            doc! { "anyOf": [{ "bsonType": "int" }, { "bsonType": "int" }] },
            bson!("x"),
            bson!({ "operatorName": "anyOf", "schemasNotSatisfied": [
                { "index": 0, "details": [int(bson!("x"), "string")] },
                { "index": 1, "details": [int(bson!("x"), "string")] },
            ] }),
        ),
        (
            doc! { "allOf": [{}, { "bsonType": "int" }] },
            bson!("x"),
            bson!({ "operatorName": "allOf", "schemasNotSatisfied": [
                { "index": 1, "details": [int(bson!("x"), "string")] },
            ] }),
        ),
        (
            doc! { "oneOf": [{ "minimum": 1 }, { "maximum": 3 }] },
            bson!(2),
            bson!({
                "operatorName": "oneOf", "reason": "more than one subschema matched", "matchingSchemaIndexes": [0, 1],
            }),
        ),
        (
            doc! { "not": { "bsonType": "int" } },
            bson!(2),
            bson!({ "operatorName": "not", "reason": "child expression matched" }),
        ),
    ];
    for (schema, value, expected) in others {
        assert_eq!(of_value(schema.clone(), value), [expected], "{schema}");
    }
}

/// The manual's own example (*Choose How to Handle Invalid Documents*), and the order of several rules.
#[test]
fn schemas_name_their_properties_with_title_and_description() {
    let schema = doc! {
        "bsonType": "object", "title": "contacts", "required": ["phone", "name"],
        "properties": {
            "phone": { "bsonType": "string", "description": "must be a string and is required" },
            "email": { "bsonType": "string", "pattern": "@mongodb\\.com$", "description": "must end with '@mongodb.com'" },
        },
    };
    let found = details(
        &doc! { "$jsonSchema": schema },
        &doc! { "_id": 1, "name": "Amanda", "email": "amanda@xyz.com" },
    );
    let expected = doc! { "operatorName": "$jsonSchema", "title": "contacts", "schemaRulesNotSatisfied": [
        { "operatorName": "properties", "propertiesNotSatisfied": [{
            "propertyName": "email", "description": "must end with '@mongodb.com'",
            "details": [{
                "operatorName": "pattern", "specifiedAs": { "pattern": "@mongodb\\.com$" },
                "reason": "regular expression did not match", "consideredValue": "amanda@xyz.com",
            }],
        }] },
        {
            "operatorName": "required", "specifiedAs": { "required": ["phone", "name"] },
            "missingProperties": ["phone"],
        },
    ] };
    assert_eq!(found, expected);
}

#[test]
fn what_would_be_too_large_is_left_out() {
    let long = "x".repeat(MISMATCH_BYTES_MAX);
    let filter = raw(&doc! { "$and": [{ "a": { "$lt": 5 } }, { "b": 1 }] });
    let mismatch = explain_mismatch(&filter, &raw(&doc! { "a": long.clone(), "b": 2 }));
    assert!(mismatch.truncated);
    let expected = doc! { "operatorName": "$and", "clausesNotSatisfied": [
        { "index": 0, "details": { "operatorName": "$lt", "reason": "comparison failed" } },
        { "index": 1, "details": { "operatorName": "$eq", "reason": "comparison failed" } },
    ] };
    assert_eq!(Document::try_from(mismatch.details).unwrap(), expected);
    // Many clauses, and names as long as they may be.
    let names: Vec<String> = (0..40).map(|n| format!("{n}{}", &long[..20_000])).collect();
    let document: Document = names.iter().map(|name| (name.clone(), Bson::from("x"))).collect();
    let properties: Document = names
        .iter()
        .map(|name| (name.clone(), bson!({ "bsonType": "int" })))
        .collect();
    let filter = raw(&doc! { "$jsonSchema": { "properties": properties } });
    let mismatch = explain_mismatch(&filter, &raw(&document));
    assert!(mismatch.truncated);
    assert!(mismatch.details.as_bytes().len() < 2 * MISMATCH_BYTES_MAX);
}

//! The manual's examples, operator by operator: which documents of a small collection a query finds.
//!
//! Documents and queries follow the pages under
//! <https://www.mongodb.com/docs/manual/reference/operator/query/>, cut down to what they show. Where
//! a page states a rule in words, a document for it has been added.

use crate::common;

use common::document;
use tailwater_matcher::Expression;

/// Checks which documents, numbered from 1, each query finds.
#[track_caller]
fn check(documents: &[&str], queries: &[(&str, &[usize])]) {
    for (query, expected) in queries {
        let expression = Expression::parse(&document(query)).unwrap_or_else(|error| panic!("{query}: {error}"));
        let again = Expression::parse(&expression.to_document()).unwrap();
        assert_eq!(again, expression, "{query}");
        let matching = documents.iter().enumerate();
        let found: Vec<usize> = matching
            .filter(|(_, json)| expression.matches(&document(json)).unwrap())
            .map(|(at, _)| at + 1)
            .collect();
        assert_eq!(found, *expected, "{query}");
    }
}

#[test]
fn all() {
    let inventory = [
        r#"{"code": "xyz", "tags": ["school", "book", "bag", "headphone", "appliance"],
            "qty": [{"size": "S", "num": 10, "color": "blue"}, {"size": "M", "num": 45, "color": "blue"},
                    {"size": "L", "num": 100, "color": "green"}]}"#,
        r#"{"code": "abc", "tags": ["appliance", "school", "book"],
            "qty": [{"size": "6", "num": 100, "color": "green"}, {"size": "6", "num": 50, "color": "blue"},
                    {"size": "8", "num": 100, "color": "brown"}]}"#,
        r#"{"code": "efg", "tags": ["school", "book"],
            "qty": [{"size": "S", "num": 10, "color": "blue"}, {"size": "M", "num": 100, "color": "blue"},
                    {"size": "L", "num": 100, "color": "green"}]}"#,
        r#"{"code": "ijk", "tags": ["electronics", "school"], "qty": [{"size": "M", "num": 100, "color": "green"}]}"#,
        r#"{"tags": "book", "qty": 50}"#,
        r#"{"tags": [["ssl", "security"], "x"]}"#,
    ];
    check(
        &inventory,
        &[
            (r#"{"tags": {"$all": ["appliance", "school", "book"]}}"#, &[1, 2]),
            (
                r#"{"qty": {"$all": [{"$elemMatch": {"size": "M", "num": {"$gt": 50}}},
                                     {"$elemMatch": {"num": 100, "color": "green"}}]}}"#,
                &[3, 4],
            ),
            (r#"{"tags": {"$all": ["book"]}}"#, &[1, 2, 3, 5]),
            (r#"{"qty": {"$all": [50]}}"#, &[5]),
            (r#"{"tags": {"$all": [["ssl", "security"]]}}"#, &[6]),
            (r#"{"tags": {"$all": []}}"#, &[]),
        ],
    );
}

#[test]
fn element_match() {
    check(
        &[
            r#"{"results": [82, 85, 88]}"#,
            r#"{"results": [75, 88, 89]}"#,
            r#"{"results": 82}"#,
            r#"{"results": [[82]]}"#,
        ],
        &[
            (r#"{"results": {"$elemMatch": {"$gte": 80, "$lt": 85}}}"#, &[1]),
            (r#"{"results": {"$gte": 80, "$lt": 85}}"#, &[1, 2, 3]),
            (r#"{"results": {"$elemMatch": {"$not": {"$lt": 88}}}}"#, &[1, 2, 4]),
            (r#"{"results": {"$elemMatch": {"$elemMatch": {"$eq": 82}}}}"#, &[4]),
            (
                r#"{"results": {"$not": {"$elemMatch": {"$gte": 80, "$lt": 85}}}}"#,
                &[2, 3, 4],
            ),
        ],
    );
    check(
        &[
            r#"{"results": [{"product": "abc", "score": 10}, {"product": "xyz", "score": 5}]}"#,
            r#"{"results": [{"product": "abc", "score": 8}, {"product": "xyz", "score": 7}]}"#,
            r#"{"results": [{"product": "abc", "score": 7}, {"product": "xyz", "score": 8}]}"#,
            r#"{"results": [{"product": "abc", "score": 7}, {"product": "def", "score": 8}]}"#,
            r#"{"results": {"product": "xyz", "score": 7}}"#,
        ],
        &[
            (
                r#"{"results": {"$elemMatch": {"product": "xyz", "score": {"$gte": 8}}}}"#,
                &[3],
            ),
            (r#"{"results": {"$elemMatch": {"product": "xyz"}}}"#, &[1, 2, 3]),
            (
                r#"{"results": {"$elemMatch": {"product": {"$ne": "xyz"}}}}"#,
                &[1, 2, 3, 4],
            ),
            (
                r#"{"results": {"$elemMatch": {"$or": [{"score": 5}, {"product": "def"}]}}}"#,
                &[1, 4],
            ),
        ],
    );
}

#[test]
fn size() {
    let documents = [
        r#"{"a": []}"#,
        r#"{"a": [1]}"#,
        r#"{"a": [1, [2, 3]]}"#,
        r#"{"a": 1}"#,
        r#"{"b": [{"a": [1, 2]}]}"#,
    ];
    check(
        &documents,
        &[
            (r#"{"a": {"$size": 0}}"#, &[1]),
            (r#"{"a": {"$size": 1}}"#, &[2]),
            (r#"{"a": {"$size": 2.0}}"#, &[3]),
            (r#"{"a.1": {"$size": 2}}"#, &[3]),
            (r#"{"b.a": {"$size": 2}}"#, &[5]),
            (r#"{"a": {"$not": {"$size": 0}}}"#, &[2, 3, 4, 5]),
        ],
    );
}

#[test]
fn types() {
    let address_book = [
        r#"{"zipCode": "2030055"}"#,
        r#"{"zipCode": 88602117}"#,
        r#"{"zipCode": {"$numberLong": "834847"}}"#,
        r#"{"zipCode": {"$numberDouble": "834847.0"}}"#,
        r#"{"zipCode": ["834847278", "1893289032"]}"#,
        r#"{"zipCode": [1, [2]]}"#,
        r#"{"zipCode": null}"#,
        r#"{"zipCode": {"$minKey": 1}}"#,
        "{}",
    ];
    check(
        &address_book,
        &[
            (r#"{"zipCode": {"$type": 2}}"#, &[1, 5]),
            (r#"{"zipCode": {"$type": "string"}}"#, &[1, 5]),
            (r#"{"zipCode": {"$type": 1}}"#, &[4]),
            (r#"{"zipCode": {"$type": "number"}}"#, &[2, 3, 4, 6]),
            (r#"{"zipCode": {"$type": ["string", "double"]}}"#, &[1, 4, 5]),
            (r#"{"zipCode": {"$type": [2, "long"]}}"#, &[1, 3, 5]),
            (r#"{"zipCode": {"$type": "array"}}"#, &[5, 6]),
            (r#"{"zipCode": {"$type": "null"}}"#, &[7]),
            (r#"{"zipCode": {"$type": -1}}"#, &[8]),
            (r#"{"zipCode": {"$type": "maxKey"}}"#, &[]),
        ],
    );
}

#[test]
fn modulo() {
    let inventory = [
        r#"{"qty": 0}"#,
        r#"{"qty": 5}"#,
        r#"{"qty": 12}"#,
        r#"{"qty": -5}"#,
        r#"{"qty": 4.9}"#,
        r#"{"qty": {"$numberDecimal": "12.5"}}"#,
        r#"{"qty": "12"}"#,
        r#"{"qty": {"$numberDouble": "NaN"}}"#,
        r#"{"qty": {"$numberDouble": "1e300"}}"#,
        r#"{"qty": {"$numberDecimal": "1E+40"}}"#,
        r#"{"qty": {"$numberLong": "-9223372036854775808"}}"#,
    ];
    check(
        &inventory,
        &[
            (r#"{"qty": {"$mod": [4, 0]}}"#, &[1, 3, 5, 6, 11]),
            (r#"{"qty": {"$mod": [4.9, 0.5]}}"#, &[1, 3, 5, 6, 11]),
            (r#"{"qty": {"$mod": [4, 1]}}"#, &[2]),
            (r#"{"qty": {"$mod": [4, -1]}}"#, &[4]),
            (r#"{"qty": {"$mod": [-1, 0]}}"#, &[1, 2, 3, 4, 5, 6, 11]),
        ],
    );
}

#[test]
fn bitwise() {
    let collection = [
        r#"{"a": 54}"#,
        r#"{"a": 20}"#,
        r#"{"a": 20.0}"#,
        r#"{"a": {"$binary": {"base64": "Zg==", "subType": "00"}}}"#,
        r#"{"a": -1}"#,
        r#"{"a": 20.5}"#,
        r#"{"a": "54"}"#,
    ];
    check(
        &collection,
        &[
            (r#"{"a": {"$bitsAllSet": [1, 5]}}"#, &[1, 4, 5]),
            (r#"{"a": {"$bitsAllSet": 50}}"#, &[1, 5]),
            (
                r#"{"a": {"$bitsAllSet": {"$binary": {"base64": "MA==", "subType": "00"}}}}"#,
                &[1, 5],
            ),
            (r#"{"a": {"$bitsAllClear": [1, 5]}}"#, &[2, 3]),
            (r#"{"a": {"$bitsAllClear": 35}}"#, &[2, 3]),
            (r#"{"a": {"$bitsAnySet": [1, 5]}}"#, &[1, 4, 5]),
            (r#"{"a": {"$bitsAnySet": 35}}"#, &[1, 4, 5]),
            (r#"{"a": {"$bitsAnyClear": [1, 5]}}"#, &[2, 3]),
            (r#"{"a": {"$bitsAnyClear": 35}}"#, &[1, 2, 3, 4]),
            // The sign goes on for ever; binary data goes on with zeros.
            (r#"{"a": {"$bitsAllSet": [200]}}"#, &[5]),
            (r#"{"a": {"$bitsAllClear": [200]}}"#, &[1, 2, 3, 4]),
            (r#"{"a": {"$bitsAllSet": []}}"#, &[1, 2, 3, 4, 5]),
            (r#"{"a": {"$bitsAnySet": []}}"#, &[]),
        ],
    );
}

#[test]
fn regex() {
    let products = [
        r#"{"sku": "abc123", "description": "Single line description."}"#,
        r#"{"sku": "abc789", "description": "First line\nSecond line"}"#,
        r#"{"sku": "xyz456", "description": "Many spaces before     line"}"#,
        r#"{"sku": "xyz789", "description": "Multiple\nline description"}"#,
        r#"{"sku": "Abc789", "description": "SKU starts with A"}"#,
        r#"{"sku": ["q", "end\n"]}"#,
        r#"{"sku": {"$regularExpression": {"pattern": "^ABC", "options": "i"}}}"#,
    ];
    check(
        &products,
        &[
            (r#"{"sku": {"$regex": "789$"}}"#, &[2, 4, 5]),
            (r#"{"sku": {"$regex": "^ABC", "$options": "i"}}"#, &[1, 2, 5, 7]),
            (r#"{"description": {"$regex": "^S", "$options": "m"}}"#, &[1, 2, 5]),
            (r#"{"description": {"$regex": "^S"}}"#, &[1, 5]),
            (r#"{"description": {"$regex": "m.*line", "$options": "si"}}"#, &[3, 4]),
            (r#"{"description": {"$regex": "m.*line"}}"#, &[]),
            (
                r#"{"sku": {"$regex": "abc #category code\n123 #item number", "$options": "x"}}"#,
                &[1],
            ),
            (r#"{"sku": {"$regex": "(?i)a(?-i)bc"}}"#, &[1, 2, 5]),
            (
                r#"{"sku": {"$in": [{"$regularExpression": {"pattern": "^abc", "options": ""}}, "q"]}}"#,
                &[1, 2, 6],
            ),
            (
                r#"{"sku": {"$nin": [{"$regularExpression": {"pattern": "^abc", "options": ""}}, "q"]}}"#,
                &[3, 4, 5, 7],
            ),
            (
                r#"{"sku": {"$not": {"$regularExpression": {"pattern": "^[aAx]", "options": ""}}}}"#,
                &[6, 7],
            ),
            (r#"{"sku": {"$not": {"$regex": "789"}}}"#, &[1, 3, 6, 7]),
            (r#"{"sku": {"$regex": "end$"}}"#, &[6]),
            (r#"{"sku": {"$regex": "end\\z"}}"#, &[]),
            (r#"{"sku": {"$regex": "abc(?=7)"}}"#, &[2]),
            (r#"{"sku": {"$regex": "(?<!abc)789"}}"#, &[4, 5]),
            (
                r#"{"sku": {"$all": [{"$regularExpression": {"pattern": "^q", "options": ""}},
                                  {"$regularExpression": {"pattern": "^e", "options": ""}}]}}"#,
                &[6],
            ),
        ],
    );
}

#[test]
fn exists_and_null() {
    check(
        &[r#"{"qty": 5}"#, r#"{"qty": null}"#, "{}", r#"{"qty": []}"#],
        &[
            (r#"{"qty": {"$exists": true, "$nin": [5, 15]}}"#, &[2, 4]),
            (r#"{"qty": {"$exists": false}}"#, &[3]),
            (r#"{"qty": null}"#, &[2, 3]),
            (r#"{"qty": {"$type": 10}}"#, &[2]),
            (r#"{"qty": {"$in": [null, 5]}}"#, &[1, 2, 3]),
            (
                r#"{"$nor": [{"qty": 5}, {"qty": {"$exists": false}}], "$comment": "why"}"#,
                &[2, 4],
            ),
        ],
    );
}

#[test]
fn json_schema() {
    let inventory = [
        r#"{"item": "journal", "qty": 25, "size": {"h": 14, "w": 21, "uom": "cm"}, "instock": true}"#,
        r#"{"item": "notebook", "qty": 50, "size": {"h": 8.5, "w": 11, "uom": "in"}, "instock": true}"#,
        r#"{"item": "paper", "qty": 100, "size": {"h": 8.5, "w": 11, "uom": "in"}, "instock": 1}"#,
        r#"{"item": "planner", "qty": 75, "size": {"h": 22.85, "w": 30, "uom": "cm"}, "instock": 1}"#,
        r#"{"item": "postcard", "qty": 45, "size": {"h": 10, "w": 15.25, "uom": "cm"}, "instock": true}"#,
        r#"{"item": "apple", "qty": 45, "status": "A", "instock": true}"#,
        r#"{"item": "pears", "qty": 50, "status": "A", "instock": true}"#,
    ];
    let schema = r#"{"$jsonSchema": {"required": ["item", "qty", "instock"], "properties": {
        "item": {"bsonType": "string"}, "qty": {"bsonType": "int"},
        "size": {"bsonType": "object", "required": ["uom"], "properties": {
            "uom": {"bsonType": "string"}, "h": {"bsonType": "double"}, "w": {"bsonType": "double"}}},
        "instock": {"bsonType": "bool"}}}}"#;
    check(
        &inventory,
        &[
            (schema, &[6, 7]),
            (&format!(r#"{{"$nor": [{schema}]}}"#), &[1, 2, 3, 4, 5]),
            (&format!(r#"{{"$and": [{schema}, {{"qty": 50}}]}}"#), &[7]),
        ],
    );
}

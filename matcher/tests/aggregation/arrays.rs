//! Arrays, sets and documents.

use crate::check;

#[test]
fn arrays_by_position() {
    check(&[
        (r#"{"$arrayElemAt": [[1, 2, 3], 0]}"#, "{}", "1"),
        (r#"{"$arrayElemAt": [[1, 2, 3], -2]}"#, "{}", "2"),
        (r#"{"$arrayElemAt": [[1, 2, 3], 15]}"#, "{}", "missing"),
        (r#"{"$arrayElemAt": [[1, 2, 3], 1.5]}"#, "{}", "error 28691"),
        (r#"{"$first": "$a"}"#, r#"{"a": [4, 5]}"#, "4"),
        (r#"{"$last": "$a"}"#, r#"{"a": [4, 5]}"#, "5"),
        (r#"{"$first": "$a"}"#, r#"{"a": []}"#, "missing"),
        (r#"{"$first": "$a"}"#, r#"{"a": 1}"#, "error 28689"),
        (r#"{"$slice": [[1, 2, 3], 1, 1]}"#, "{}", "[2]"),
        (r#"{"$slice": [[1, 2, 3], -2]}"#, "{}", "[2, 3]"),
        (r#"{"$slice": [[1, 2, 3], 15, 2]}"#, "{}", "[]"),
        (r#"{"$slice": [[1, 2, 3], -15, 2]}"#, "{}", "[1, 2]"),
        (r#"{"$slice": [[1, 2, 3], 1, 0]}"#, "{}", "error 28729"),
        (r#"{"$firstN": {"n": 2, "input": [1, 2, 3]}}"#, "{}", "[1, 2]"),
        (r#"{"$lastN": {"n": 2, "input": [1, 2, 3]}}"#, "{}", "[2, 3]"),
        (r#"{"$minN": {"n": 2, "input": [3, 1, null, 2]}}"#, "{}", "[1, 2]"),
        (r#"{"$maxN": {"n": 2, "input": [3, 1, null, 2]}}"#, "{}", "[3, 2]"),
        (r#"{"$firstN": {"n": 0, "input": []}}"#, "{}", "error 5787908"),
        (r#"{"$indexOfArray": [["a", "abc"], "a"]}"#, "{}", "0"),
        (r#"{"$indexOfArray": [["a", "abc", "b"], ["b"]]}"#, "{}", "-1"),
        (r#"{"$indexOfArray": [[1, 2, 1], 1, 1]}"#, "{}", "2"),
        (r#"{"$in": [2, [1, 2, 3]]}"#, "{}", "true"),
        (r#"{"$in": ["xy", ["abc"]]}"#, "{}", "false"),
        (r#"{"$in": [1, 2]}"#, "{}", "error 40081"),
        (r#"{"$isArray": "$a"}"#, r#"{"a": []}"#, "true"),
        (r#"{"$isArray": ["hello"]}"#, "{}", "false"),
        (r#"{"$size": "$a"}"#, r#"{"a": [1, 2]}"#, "2"),
        (r#"{"$size": "$a"}"#, "{}", "error 17124"),
        (r#"{"$reverseArray": [[1, 2, 3]]}"#, "{}", "[3, 2, 1]"),
        (r#"{"$reverseArray": "$none"}"#, "{}", "null"),
        (
            r#"{"$concatArrays": [["hello", " "], [["world"], "again"]]}"#,
            "{}",
            r#"["hello", " ", ["world"], "again"]"#,
        ),
        (r#"{"$concatArrays": [[1], "$none"]}"#, "{}", "null"),
        (r#"{"$range": [0, 10, 2]}"#, "{}", "[0, 2, 4, 6, 8]"),
        (r#"{"$range": [10, 0, -4]}"#, "{}", "[10, 6, 2]"),
        (r#"{"$range": [0, 10, -2]}"#, "{}", "[]"),
        (r#"{"$range": [0, 10, 0]}"#, "{}", "error 34449"),
        (r#"{"$range": [0, 2147483647]}"#, "{}", "error 146"),
    ]);
}

#[test]
fn arrays_as_a_whole() {
    check(&[
        (
            r#"{"$map": {"input": "$q", "as": "g", "in": {"$add": ["$$g", 2]}}}"#,
            r#"{"q": [5, 6]}"#,
            "[7, 8]",
        ),
        (r#"{"$map": {"input": [1], "in": "$$this"}}"#, "{}", "[1]"),
        (r#"{"$map": {"input": "$none", "in": 1}}"#, "{}", "null"),
        (r#"{"$map": {"input": 1, "in": 1}}"#, "{}", "error 16883"),
        (r#"{"$map": {"input": [], "in": "$$other"}}"#, "{}", "error 17276"),
        (
            r#"{"$filter": {"input": "$items", "as": "i", "cond": {"$gte": ["$$i.price", 100]}}}"#,
            r#"{"items": [{"price": 50}, {"price": 110}, {"price": 200}]}"#,
            r#"[{"price": 110}, {"price": 200}]"#,
        ),
        (
            r#"{"$filter": {"input": [1, 2, 3], "cond": {"$gt": ["$$this", 1]}, "limit": 1}}"#,
            "{}",
            "[2]",
        ),
        (
            r#"{"$filter": {"input": [1], "cond": true, "limit": 0}}"#,
            "{}",
            "error 327392",
        ),
        (
            r#"{"$reduce": {"input": ["a", "b", "c"], "initialValue": "", "in": {"$concat": ["$$value", "$$this"]}}}"#,
            "{}",
            r#""abc""#,
        ),
        (
            r#"{"$reduce": {"input": [1, 2, 3, 4], "initialValue": {"sum": 5, "product": 2}, "in": {"sum": {"$add": ["$$value.sum", "$$this"]}, "product": {"$multiply": ["$$value.product", "$$this"]}}}}"#,
            "{}",
            r#"{"sum": 15, "product": 48}"#,
        ),
        (
            r#"{"$reduce": {"input": "$none", "initialValue": 0, "in": 1}}"#,
            "{}",
            "null",
        ),
        (
            r#"{"$sortArray": {"input": [3, 1, "a", 2], "sortBy": 1}}"#,
            "{}",
            r#"[1, 2, 3, "a"]"#,
        ),
        (
            r#"{"$sortArray": {"input": "$t", "sortBy": {"age": -1, "name": 1}}}"#,
            r#"{"t": [{"name": "p", "age": 30}, {"name": "d", "age": 42}, {"name": "c", "age": 30}]}"#,
            r#"[{"name": "d", "age": 42}, {"name": "c", "age": 30}, {"name": "p", "age": 30}]"#,
        ),
        // An array is a value, as in `$push` with `$sort`.
        (
            r#"{"$sortArray": {"input": "$t", "sortBy": {"b": 1}}}"#,
            r#"{"t": [{"b": [5, 1]}, {"b": 3}, {}]}"#,
            r#"[{}, {"b": 3}, {"b": [5, 1]}]"#,
        ),
        (
            r#"{"$sortArray": {"input": "$t", "sortBy": {"b.1": 1}}}"#,
            r#"{"t": [{"b": [1, 5]}, {"b": [2, 4]}]}"#,
            r#"[{"b": [2, 4]}, {"b": [1, 5]}]"#,
        ),
        // A position is written without leading zeros, as in every other path: here the fields are missing.
        (
            r#"{"$sortArray": {"input": [{"b": [2, 9]}, {"b": [1, 0]}], "sortBy": {"b.00": 1}}}"#,
            "{}",
            r#"[{"b": [2, 9]}, {"b": [1, 0]}]"#,
        ),
        (r#"{"$sortArray": {"input": [1], "sortBy": 2}}"#, "{}", "error 15975"),
        (
            r#"{"$zip": {"inputs": [["a"], ["b"], ["c"]]}}"#,
            "{}",
            r#"[["a", "b", "c"]]"#,
        ),
        (
            r#"{"$zip": {"inputs": [[1], [2, 3]], "useLongestLength": true}}"#,
            "{}",
            "[[1, 2], [null, 3]]",
        ),
        (
            r#"{"$zip": {"inputs": [[1], [2, 3]], "useLongestLength": true, "defaults": ["a", "b"]}}"#,
            "{}",
            r#"[[1, 2], ["a", 3]]"#,
        ),
        (r#"{"$zip": {"inputs": [[1]], "defaults": [1]}}"#, "{}", "error 34466"),
    ]);
}

#[test]
fn sets() {
    check(&[
        (r#"{"$setUnion": [["b", "a"], ["c", "a"]]}"#, "{}", r#"["a", "b", "c"]"#),
        (r#"{"$setUnion": [[1], null]}"#, "{}", "null"),
        (
            r#"{"$setIntersection": [["a", "b", "a"], ["b", "a"]]}"#,
            "{}",
            r#"["a", "b"]"#,
        ),
        (r#"{"$setIntersection": [["a"], [["a"]]]}"#, "{}", "[]"),
        (r#"{"$setDifference": [["b", "a", "b"], ["a"]]}"#, "{}", r#"["b"]"#),
        (r#"{"$setEquals": [["a", "b", "a"], ["b", "a"]]}"#, "{}", "true"),
        (r#"{"$setEquals": [["a"], "$none"]}"#, "{}", "error 17044"),
        (r#"{"$setIsSubset": [["b"], ["a", "b"]]}"#, "{}", "true"),
        (r#"{"$allElementsTrue": [[true, 1, "x"]]}"#, "{}", "true"),
        (r#"{"$allElementsTrue": [[]]}"#, "{}", "true"),
        (r#"{"$allElementsTrue": [[null]]}"#, "{}", "false"),
        (r#"{"$anyElementTrue": [[false, 0, 1]]}"#, "{}", "true"),
        (r#"{"$anyElementTrue": [[]]}"#, "{}", "false"),
    ]);
}

#[test]
fn documents() {
    check(&[
        (r#"{"$mergeObjects": [{"a": 1}, null]}"#, "{}", r#"{"a": 1}"#),
        (
            r#"{"$mergeObjects": [{"a": 1, "b": 2}, {"a": 3, "c": 4}]}"#,
            "{}",
            r#"{"a": 3, "b": 2, "c": 4}"#,
        ),
        (r#"{"$mergeObjects": [1]}"#, "{}", "error 40400"),
        (r#"{"$getField": "a.b"}"#, r#"{"a.b": 1}"#, "1"),
        (
            r#"{"$getField": {"field": {"$literal": "$p"}, "input": "$x"}}"#,
            r#"{"x": {"$p": 2}}"#,
            "2",
        ),
        (r#"{"$getField": {"field": "a", "input": null}}"#, "{}", "null"),
        (r#"{"$getField": 5}"#, "{}", "error 5654602"),
        (
            r#"{"$setField": {"field": "a.b", "input": "$$ROOT", "value": 2}}"#,
            r#"{"a.b": 1, "c": 3}"#,
            r#"{"a.b": 2, "c": 3}"#,
        ),
        (
            r#"{"$unsetField": {"field": "a.b", "input": "$$ROOT"}}"#,
            r#"{"a.b": 1, "c": 3}"#,
            r#"{"c": 3}"#,
        ),
        (
            r#"{"$objectToArray": "$d"}"#,
            r#"{"d": {"l": 25, "w": 10}}"#,
            r#"[{"k": "l", "v": 25}, {"k": "w", "v": 10}]"#,
        ),
        (r#"{"$objectToArray": 1}"#, "{}", "error 40390"),
        (
            r#"{"$arrayToObject": [[["item", "abc"], ["qty", 25]]]}"#,
            "{}",
            r#"{"item": "abc", "qty": 25}"#,
        ),
        (
            r#"{"$arrayToObject": [[{"k": "a", "v": 1}, {"k": "a", "v": 2}]]}"#,
            "{}",
            r#"{"a": 2}"#,
        ),
        (r#"{"$arrayToObject": [[["a"]]]}"#, "{}", "error 40397"),
        (r#"{"$arrayToObject": [[{"k": "a"}]]}"#, "{}", "error 40392"),
        (r#"{"$arrayToObject": [[[1, 2]]]}"#, "{}", "error 40395"),
    ]);
}

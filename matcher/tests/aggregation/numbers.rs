//! Arithmetic and functions of numbers.

use crate::check;

#[test]
fn arithmetic_keeps_and_widens_types() {
    check(&[
        (r#"{"$add": ["$price", "$fee"]}"#, r#"{"price": 10, "fee": 2}"#, "12"),
        (r#"{"$add": [1, 2.5]}"#, "{}", "3.5"),
        (r#"{"$add": [1, null]}"#, "{}", "null"),
        (r#"{"$add": []}"#, "{}", "0"),
        (r#"{"$add": [2147483647, 1]}"#, "{}", r#"{"$numberLong": "2147483648"}"#),
        (
            r#"{"$add": [{"$numberLong": "9223372036854775807"}, 1]}"#,
            "{}",
            "9223372036854775808.0",
        ),
        (
            r#"{"$add": [{"$numberDecimal": "1.0"}, {"$numberDecimal": "2.00"}]}"#,
            "{}",
            r#"{"$numberDecimal": "3.00"}"#,
        ),
        (
            r#"{"$add": ["$d", 10800000]}"#,
            r#"{"d": {"$date": "2014-03-01T08:00:00Z"}}"#,
            r#"{"$date": "2014-03-01T11:00:00Z"}"#,
        ),
        (
            r#"{"$add": ["$d", "$d"]}"#,
            r#"{"d": {"$date": "2014-03-01T08:00:00Z"}}"#,
            "error 16612",
        ),
        (r#"{"$add": ["x", 1]}"#, "{}", "error 16554"),
        (r#"{"$subtract": [10, 2]}"#, "{}", "8"),
        (
            r#"{"$subtract": [-2147483648, 1]}"#,
            "{}",
            r#"{"$numberLong": "-2147483649"}"#,
        ),
        (
            r#"{"$subtract": [{"$date": "2014-03-01T09:00:00Z"}, {"$date": "2014-03-01T08:00:00Z"}]}"#,
            "{}",
            r#"{"$numberLong": "3600000"}"#,
        ),
        (r#"{"$subtract": ["x", 1]}"#, "{}", "error 16556"),
        (r#"{"$multiply": [3, 4]}"#, "{}", "12"),
        (
            r#"{"$multiply": [65536, 65536]}"#,
            "{}",
            r#"{"$numberLong": "4294967296"}"#,
        ),
        (r#"{"$multiply": ["x", 4]}"#, "{}", "error 16555"),
        (r#"{"$divide": [80, 8]}"#, "{}", "10.0"),
        (r#"{"$divide": [1, 0]}"#, "{}", "error 16608"),
        (
            r#"{"$divide": [{"$numberDecimal": "1"}, 3]}"#,
            "{}",
            r#"{"$numberDecimal": "0.3333333333333333333333333333333333"}"#,
        ),
        (r#"{"$mod": [80, 7]}"#, "{}", "3"),
        (r#"{"$mod": [-80, 7.0]}"#, "{}", "-3.0"),
        (r#"{"$mod": [1, 0]}"#, "{}", "error 16610"),
        (r#"{"$mod": ["a", 1]}"#, "{}", "error 16611"),
        (r#"{"$subtract": [1]}"#, "{}", "error 16020"),
        (r#"{"$bitAnd": [12, 10]}"#, "{}", "8"),
        (r#"{"$bitOr": [12, 10]}"#, "{}", "14"),
        (
            r#"{"$bitXor": [12, {"$numberLong": "10"}]}"#,
            "{}",
            r#"{"$numberLong": "6"}"#,
        ),
        (r#"{"$bitNot": 5}"#, "{}", "-6"),
        (r#"{"$bitAnd": [1.5, 1]}"#, "{}", "error 14"),
    ]);
}

#[test]
fn functions_of_numbers() {
    check(&[
        (r#"{"$abs": -1}"#, "{}", "1"),
        (r#"{"$abs": -2147483648}"#, "{}", r#"{"$numberLong": "2147483648"}"#),
        (
            r#"{"$abs": {"$numberLong": "-9223372036854775808"}}"#,
            "{}",
            "error 28680",
        ),
        (r#"{"$abs": "x"}"#, "{}", "error 28765"),
        (r#"{"$abs": null}"#, "{}", "null"),
        (r#"{"$ceil": 7.8}"#, "{}", "8.0"),
        (r#"{"$ceil": -2.8}"#, "{}", "-2.0"),
        (r#"{"$floor": 7.8}"#, "{}", "7.0"),
        (
            r#"{"$floor": {"$numberDecimal": "-2.5"}}"#,
            "{}",
            r#"{"$numberDecimal": "-3"}"#,
        ),
        (r#"{"$round": 10.5}"#, "{}", "10.0"),
        (r#"{"$round": 11.5}"#, "{}", "12.0"),
        (r#"{"$round": [19.25, 1]}"#, "{}", "19.2"),
        (r#"{"$round": [10, -1]}"#, "{}", "10"),
        (r#"{"$round": [15, -1]}"#, "{}", "20"),
        (r#"{"$round": [-45.39, -1]}"#, "{}", "-50.0"),
        (r#"{"$trunc": [-45.39, -1]}"#, "{}", "-40.0"),
        (r#"{"$trunc": [19.25, 1]}"#, "{}", "19.2"),
        (r#"{"$trunc": [1, 101]}"#, "{}", "error 51083"),
        (r#"{"$trunc": [1, 1.5]}"#, "{}", "error 51082"),
        (r#"{"$sqrt": 100}"#, "{}", "10.0"),
        (
            r#"{"$sqrt": {"$numberDecimal": "4"}}"#,
            "{}",
            r#"{"$numberDecimal": "2"}"#,
        ),
        (r#"{"$sqrt": -1}"#, "{}", "error 28714"),
        (r#"{"$exp": 0}"#, "{}", "1.0"),
        (r#"{"$ln": 1}"#, "{}", "0.0"),
        (r#"{"$ln": 0}"#, "{}", "error 28766"),
        (r#"{"$log10": 1000}"#, "{}", "3.0"),
        (r#"{"$log": [100, 10]}"#, "{}", "2.0"),
        (r#"{"$log": [100, 1]}"#, "{}", "error 28759"),
        (r#"{"$pow": [5, 2]}"#, "{}", "25"),
        (r#"{"$pow": [2, 40]}"#, "{}", r#"{"$numberLong": "1099511627776"}"#),
        (r#"{"$pow": [2, -1]}"#, "{}", "0.5"),
        (r#"{"$pow": [0, -1]}"#, "{}", "error 28764"),
        (r#"{"$pow": [10, 30]}"#, "{}", "1e30"),
        (
            r#"{"$pow": [{"$numberDecimal": "1.1"}, 2]}"#,
            "{}",
            r#"{"$numberDecimal": "1.21"}"#,
        ),
        (r#"{"$exp": {"$numberDecimal": "1"}}"#, "{}", "error 238"),
        (r#"{"$sin": 0}"#, "{}", "0.0"),
        (r#"{"$acos": 2}"#, "{}", "error 50989"),
        (r#"{"$asin": 0}"#, "{}", "0.0"),
        (r#"{"$asin": 2}"#, "{}", "error 50989"),
        (r#"{"$acosh": 1}"#, "{}", "0.0"),
        (r#"{"$acosh": 0}"#, "{}", "error 50989"),
        (r#"{"$atanh": 0}"#, "{}", "0.0"),
        (r#"{"$atanh": 2}"#, "{}", "error 50989"),
        (r#"{"$atan2": [0, 1]}"#, "{}", "0.0"),
        (
            r#"{"$eq": [{"$atan2": ["$y", "$x"]}, {"$degreesToRadians": 45}]}"#,
            r#"{"x": 2, "y": 2}"#,
            "true",
        ),
        (r#"{"$cosh": 0}"#, "{}", "1.0"),
        (r#"{"$type": {"$rand": {}}}"#, "{}", r#""double""#),
        (
            r#"{"$let": {"vars": {"r": {"$rand": {}}}, "in": {"$and": [{"$gte": ["$$r", 0]}, {"$lt": ["$$r", 1]}]}}}"#,
            "{}",
            "true",
        ),
        (r#"{"$rand": {"a": 1}}"#, "{}", "error 3040501"),
    ]);
}

#[test]
fn accumulators_as_expressions() {
    check(&[
        (r#"{"$sum": "$q"}"#, r#"{"q": [10, 6, "x", 7]}"#, "23"),
        (r#"{"$sum": ["$f", "$m"]}"#, r#"{"f": 80, "m": 75}"#, "155"),
        (r#"{"$sum": ["$q", 1]}"#, r#"{"q": [10]}"#, "1"),
        (r#"{"$avg": "$q"}"#, r#"{"q": [1, 2]}"#, "1.5"),
        (r#"{"$avg": "$q"}"#, r#"{"q": ["x"]}"#, "null"),
        (r#"{"$min": "$q"}"#, r#"{"q": [3, null, 1]}"#, "1"),
        (r#"{"$max": ["$a", "$b"]}"#, r#"{"a": 1, "b": "x"}"#, r#""x""#),
        (r#"{"$stdDevPop": [1, 3]}"#, "{}", "1.0"),
        (r#"{"$stdDevSamp": [1]}"#, "{}", "null"),
        (r#"{"$sum": [0.1, 0.2, 0.3]}"#, "{}", "0.6"),
    ]);
}

#[test]
fn percentiles_of_one_document() {
    let scores = r#"{"test01": 62, "test02": 81, "test03": 80, "all": [62, 81, 80, "x", null]}"#;
    check(&[
        (
            r#"{"$median": {"input": ["$test01", "$test02", "$test03"], "method": "approximate"}}"#,
            scores,
            "80.0",
        ),
        (
            r#"{"$percentile": {"input": ["$test01", "$test02", "$test03"], "p": [0.5, 0.95], "method": "approximate"}}"#,
            scores,
            "[80.0, 81.0]",
        ),
        (
            r#"{"$percentile": {"input": "$all", "p": [0.34, 0.33], "method": "approximate"}}"#,
            scores,
            "[80.0, 62.0]",
        ),
        // A number alone is the only one; nothing else has a median.
        (
            r#"{"$median": {"input": "$test01", "method": "approximate"}}"#,
            scores,
            "62.0",
        ),
        (
            r#"{"$median": {"input": "$none", "method": "approximate"}}"#,
            scores,
            "null",
        ),
        (r#"{"$median": {"input": [], "method": "approximate"}}"#, "{}", "null"),
        (
            r#"{"$median": {"input": ["$all"], "method": "approximate"}}"#,
            scores,
            "null",
        ),
        (
            r#"{"$percentile": {"input": "text", "p": [0, 1], "method": "approximate"}}"#,
            "{}",
            "[null, null]",
        ),
        (r#"{"$median": [1, 2]}"#, "{}", "error 7436201"),
        (r#"{"$percentile": 1}"#, "{}", "error 7436200"),
        (r#"{"$median": {"input": 1}}"#, "{}", "error 40414"),
        (r#"{"$median": {"method": "approximate"}}"#, "{}", "error 40414"),
        (
            r#"{"$median": {"input": 1, "method": "approximate", "p": [0.5]}}"#,
            "{}",
            "error 40415",
        ),
        (r#"{"$median": {"input": 1, "method": "continuous"}}"#, "{}", "error 2"),
        (r#"{"$median": {"input": 1, "method": 1}}"#, "{}", "error 14"),
        (
            r#"{"$let": {"vars": {"ps": [0.5]}, "in": {"$percentile": {"input": 1, "p": "$$ps", "method": "approximate"}}}}"#,
            "{}",
            "error 7750300",
        ),
        (
            r#"{"$percentile": {"input": 1, "p": [], "method": "approximate"}}"#,
            "{}",
            "error 7750301",
        ),
        (
            r#"{"$percentile": {"input": 1, "p": 0.5, "method": "approximate"}}"#,
            "{}",
            "error 7750301",
        ),
        (
            r#"{"$percentile": {"input": 1, "p": ["a"], "method": "discrete"}}"#,
            "{}",
            "error 7750302",
        ),
        (
            r#"{"$percentile": {"input": 1, "p": [-0.1], "method": "approximate"}}"#,
            "{}",
            "error 7750303",
        ),
    ]);
}

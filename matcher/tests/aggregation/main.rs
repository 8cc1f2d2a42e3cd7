//! What each aggregation operator computes, one table per family; the cases follow the examples of
//! MongoDB's manual. `missing` stands for no value, `error N` for MongoDB's error of that number.

#[path = "../common/mod.rs"]
mod common;

mod arrays;
mod dates;
mod numbers;
mod text;
mod values;

use bson::RawBson;
use common::document;
use tailwater_matcher::{EvaluateErrorKind, ParseError, ValueExpression, Variables};

/// A value from Extended JSON, in which a negative number without a fraction is an int like others.
fn value(json: &str) -> RawBson {
    let json: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json}"));
    RawBson::try_from(bson::Bson::try_from(json).unwrap()).unwrap()
}

/// What the expression yields on the document, as text that tells types apart.
fn outcome(expression: &str, json: &str) -> String {
    let source = value(expression);
    let root = document(json);
    let parsed = match ValueExpression::parse(source.as_raw_bson_ref()) {
        Ok(parsed) => parsed,
        Err(ParseError::Aggregation { kind, .. }) => return format!("error {}", kind.code()),
        Err(error) => return format!("unexpected {error}"),
    };
    match parsed.evaluate(&Variables::new(&root)) {
        Ok(value) => show(value.into_bson().unwrap()),
        Err(error) => match error.kind() {
            EvaluateErrorKind::Aggregation(error) => format!("error {}", error.code()),
            other => format!("unexpected {other}"),
        },
    }
}

fn show(value: Option<RawBson>) -> String {
    value.map_or("missing".to_owned(), |value| {
        bson::Bson::try_from(value)
            .unwrap()
            .into_canonical_extjson()
            .to_string()
    })
}

#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (expression, json, expected) in cases {
        let expected = if *expected == "missing" || expected.starts_with("error") {
            (*expected).to_owned()
        } else {
            show(Some(value(expected)))
        };
        let found = outcome(expression, json);
        if found != expected {
            wrong.push(format!("{expression} on {json}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

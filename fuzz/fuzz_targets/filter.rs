//! The text filter language: any text, and what it is rendered as.
#![no_main]

use bson::rawdoc;
use libfuzzer_sys::fuzz_target;
use tailwater_matcher::{Expression, parse_filter};

fuzz_target!(|text: &str| {
    let Ok(expression) = parse_filter(text) else {
        return;
    };
    let again = Expression::parse(&expression.to_document()).expect("what was rendered can be parsed");
    let documents = [
        rawdoc! {},
        rawdoc! { "a": 1, "b": "x", "c": [1, 2.5, null], "d": { "a": true } },
    ];
    for document in &documents {
        assert_eq!(expression.matches(document), again.matches(document));
    }
});

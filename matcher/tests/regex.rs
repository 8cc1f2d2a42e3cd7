//! Regular expressions as PCRE reads them, where the engine would read them otherwise; and their limits.

use bson::raw::CString;
use bson::{Regex, rawdoc};
use tailwater_matcher::{EXPRESSION_REGEXES_MAX, EvaluateErrorKind, Expression, ParseError, PatternError};

fn regex(pattern: &str) -> Regex {
    Regex {
        pattern: CString::try_from(pattern).unwrap(),
        options: CString::try_from("").unwrap(),
    }
}

#[track_caller]
fn check(pattern: &str, options: &str, text: &str, expected: bool) {
    let filter = rawdoc! { "a": { "$regex": pattern, "$options": options } };
    let expression = Expression::parse(&filter).unwrap_or_else(|error| panic!("/{pattern}/{options}: {error}"));
    let found = expression.matches(&rawdoc! { "a": text });
    assert_eq!(found, Ok(expected), "/{pattern}/{options} in {text:?}");
}

#[test]
fn notations_mean_what_they_mean_to_pcre() {
    for (pattern, options, text, expected) in [
        // Classes know ASCII.
        (r"^\d+$", "", "42", true),
        (r"^\d+$", "", "٤٢", false),
        (r"^\w+$", "", "a_1", true),
        (r"^\w+$", "", "ß", false),
        (r"^[\w-]+$", "", "a-b", true),
        (r"^[^\s]\S\D\W$", "", "abc!", true),
        (r"^a\hb\vc\Rd$", "", "a\tb\nc\r\nd", true),
        // Quoting.
        (r"^\Qa.b\E.$", "", "a.bc", true),
        (r"^\Qa.b\E$", "", "axb", false),
        (r"\<a\>", "", "<a>", true),
        // Members of a class that are operators elsewhere.
        (r"^[[&&~~]+$", "", "[&~", true),
        (r"^[]a]$", "", "]", true),
        (r"^[[:digit:]x]+$", "", "1x2", true),
        (r"^[ #]$", "x", "#", true),
        ("a{", "", "a{", true),
        // The end of the text.
        ("a$", "", "a\n", true),
        ("a$", "", "a\n\n", false),
        (r"a\z", "", "a\n", false),
        (r"a\Z", "", "a\n", true),
        ("(?m)a$", "", "a\nb", true),
        (r"[$]a\$", "", "$a$", true),
        // Options.
        ("A.C", "is", "xa\nc", true),
        ("^b", "m", "a\nb", true),
        ("a b # c\n d", "x", "abd", true),
        ("ß", "iu", "ß", true),
        // What backtracks.
        (r"(\w)\1", "", "hello", true),
        ("(?>a+)b", "", "aab", true),
        ("a++a", "", "aaa", false),
        ("(?<=a)b(?!c)", "", "abd", true),
    ] {
        check(pattern, options, text, expected);
    }
}

#[test]
fn limits_are_errors() {
    let parse = |pattern: &str| Expression::parse(&rawdoc! { "a": { "$regex": pattern } });
    let source = |error| match error {
        ParseError::Regex { path, source } => {
            assert_eq!(path, "a");
            source
        }
        other => panic!("{other}"),
    };
    let long = source(parse(&"a".repeat(40_000)).unwrap_err());
    assert_eq!(long, PatternError::TooLong { found: 40_000 });
    for pattern in [
        r"(\pL{1000}){1000}",
        &"(".repeat(1_000),
        &"(?=".repeat(10_000),
        "a)",
        "*",
    ] {
        let error = source(parse(pattern).unwrap_err());
        assert!(matches!(error, PatternError::Syntax { .. }), "{error}");
    }
    let mut many = bson::RawArrayBuf::new();
    for _ in 0..=EXPRESSION_REGEXES_MAX {
        many.push(regex("a"));
    }
    let many = Expression::parse(&rawdoc! { "a": { "$in": many } });
    assert_eq!(many, Err(ParseError::TooManyRegexes));
}

#[test]
fn a_pattern_that_gives_up_is_an_error_and_not_a_miss() {
    let hopeless = "ab".repeat(60) + "!d";
    let pattern = regex(r"^(x?)(a|b|ab)*\1d");
    for filter in [
        rawdoc! { "a.b": pattern.clone() },
        rawdoc! { "$nor": [{ "a.b": { "$in": [pattern.clone()] } }] },
        rawdoc! { "a": { "$elemMatch": { "b": pattern.clone() } } },
    ] {
        let expression = Expression::parse(&filter).unwrap();
        let error = expression
            .matches(&rawdoc! { "a": [{ "b": hopeless.as_str() }] })
            .unwrap_err();
        assert!(matches!(error.kind(), EvaluateErrorKind::Regex { .. }), "{error}");
        assert!(expression.matches(&rawdoc! { "a": [{ "b": 1 }] }).is_ok());
    }
}

//! Where a fault is said to be, in every layout.

use super::{Trickle, read_error, read_from};

/// `documents` come out of `input`, then an error that reads `message`; byte by
/// byte as well as at once.
#[track_caller]
fn check(input: impl AsRef<[u8]>, documents: usize, message: &str) {
    let input = input.as_ref();
    let shown = String::from_utf8_lossy(input);
    let found = read_error(input);
    assert_eq!(found, (message.to_owned(), documents), "{shown:?}");
    let (slow, error) = read_from(Trickle(input));
    assert_eq!(slow.len(), documents, "{shown:?}, byte by byte");
    assert_eq!(error.expect("an error").to_string(), message, "{shown:?}, byte by byte");
}

#[test]
fn something_other_than_a_document() {
    for (input, message) in [
        ("5", "line 1, column 1: expected a document, found a number"),
        ("-", "line 1, column 1: expected a document, found a number"),
        ("\"a\"", "line 1, column 1: expected a document, found a string"),
        ("\n true", "line 2, column 2: expected a document, found a boolean"),
        ("null", "line 1, column 1: expected a document, found null"),
        ("}", "line 1, column 1: expected '{', found '}'"),
        ("\u{feff}x", "line 1, column 1: expected '{', found 'x'"),
        ("é", "line 1, column 1: expected '{', found byte 0xc3"),
        ("[1]", "line 1, column 2: expected a document, found a number"),
        ("[[]]", "line 1, column 2: expected a document, found an array"),
        ("[,]", "line 1, column 2: expected '{' or ']', found ','"),
    ] {
        check(input, 0, message);
    }
    check(
        "{}\n{}\n[{}]",
        2,
        "line 3, column 1: expected a document, found an array",
    );
    check("{},{}", 1, "line 1, column 3: expected '{', found ','");
    check(
        r#"{"$oid": "5f0c1e2d3b4a59687786a5b4"}"#,
        0,
        "line 1, column 1: expected a document, found an Extended JSON value",
    );
}

#[test]
fn faults_between_the_documents_of_an_array() {
    check("[", 0, "line 1, column 2: expected '{' or ']', found end of input");
    check("[{}", 1, "line 1, column 4: expected ',' or ']', found end of input");
    check("[{}\n{}]", 1, "line 2, column 1: expected ',' or ']', found '{'");
    check("[{},", 1, "line 1, column 5: expected '{', found end of input");
    check("[{},]", 1, "line 1, column 5: expected '{', found ']'");
    check(
        "[{}]\n{}",
        1,
        "line 2, column 1: expected nothing after the array, found '{'",
    );
    check(
        "[]]",
        0,
        "line 1, column 3: expected nothing after the array, found ']'",
    );
}

#[test]
fn unterminated_documents() {
    for (input, message) in [
        ("{", "line 1, column 2: expected a key or '}', found end of input"),
        ("{\"a", "line 1, column 4: expected '\"', found end of input"),
        ("{\"a\\", "line 1, column 5: expected an escape, found end of input"),
        ("{\"\\ud83d", "line 1, column 9: expected an escape, found end of input"),
        ("{\"a\"", "line 1, column 5: expected ':', found end of input"),
        ("{\"a\":", "line 1, column 6: expected a value, found end of input"),
        ("{\"a\":tr", "line 1, column 8: expected true, found end of input"),
        ("{\"a\":{}", "line 1, column 8: expected ',' or '}', found end of input"),
        (
            "{\"a\":[{}",
            "line 1, column 9: expected ',' or ']', found end of input",
        ),
        ("{\"a\":{}, ", "line 1, column 10: expected a key, found end of input"),
        (
            "{\"a\":{\"$oid\":",
            "line 1, column 14: expected a string, found end of input",
        ),
    ] {
        check(input, 0, message);
    }
    check(
        "{}\n{\"a\": 1\n",
        1,
        "line 3, column 1: expected ',' or '}', found end of input document_line=2",
    );
}

#[test]
fn faults_inside_documents() {
    for (input, message) in [
        ("{a: 1}", "line 1, column 2: expected a key or '}', found 'a'"),
        ("{'a': 1}", "line 1, column 2: expected a key or '}', found '''"),
        ("{\"a\" 1}", "line 1, column 6: expected ':', found '1'"),
        (
            "{\"a\": 1 \"b\": 2}",
            "line 1, column 9: expected ',' or '}', found '\"'",
        ),
        ("{\"a\": 1,}", "line 1, column 9: expected a key, found '}'"),
        ("{\"a\": [1 2]}", "line 1, column 10: expected ',' or ']', found '2'"),
        ("{\"a\": [1,]}", "line 1, column 10: expected a value, found ']'"),
        ("{\"a\": nul}", "line 1, column 10: expected null, found '}'"),
        ("{\"é\": x}", "line 1, column 7: expected a value, found 'x'"),
        ("{\"a\": 1, // no\n}", "line 1, column 10: expected a key, found '/'"),
        (
            "{\"a\u{0}\": 1}",
            "line 1, column 4: control character 0x00 in a string",
        ),
        ("{\"a\\u0000\": 1}", "line 1, column 2: NUL in key \"a\\0\""),
    ] {
        check(input, 0, message);
    }
    check(b"{\"a\": \"b\xff\"}", 0, "line 1, column 9: invalid UTF-8 in a string");
}

#[test]
fn a_fault_is_counted_from_the_start_of_its_line() {
    check(
        "{\"a\": 1}\r\n{\"b\": 2} {\"c\"\r\n:\r\n  oops}\r\n",
        2,
        "line 4, column 3: expected a value, found 'o' document_line=2",
    );
    check(
        "[{\"ä\": 1},\n {\"b\": 2}, {\"ü\": ?}]",
        2,
        "line 2, column 18: expected a value, found '?'",
    );
    let lines = "{\"a\": 1}\n".repeat(16);
    check(
        format!("{lines}{{\"name\": \"some words of a text here\" 7}}"),
        16,
        "line 17, column 38: expected ',' or '}', found '7'",
    );
}

#[test]
fn a_forgotten_quote_does_not_swallow_the_next_line() {
    check(
        "{\"a\": \"b}\n{\"a\": \"b\"}\n",
        0,
        "line 1, column 10: control character 0x0a in a string",
    );
}

#[test]
fn a_bracket_of_the_wrong_kind_is_found_in_its_own_line() {
    check(
        "{\"a\": [1}\n{\"a\": [1]}\n{\"b\": 1}\n]}",
        0,
        "line 1, column 9: expected ',' or ']', found '}'",
    );
}

#[test]
fn a_forgotten_brace_is_found_without_reading_on() {
    let mut input = b"{\"a\": {\"b\": 1}\n".to_vec();
    input.extend_from_slice(&b"{\"a\": {\"b\": 1}}\n".repeat(1_000_000));
    let mut rest = &input[..];
    let (documents, error) = read_from(&mut rest);
    assert!(documents.is_empty());
    assert_eq!(
        error.expect("an error").to_string(),
        "line 2, column 1: expected ',' or '}', found '{' document_line=1"
    );
    assert!(rest.len() > 15_000_000, "{} bytes were left", rest.len());
}

#[test]
fn duplicate_keys_are_refused() {
    check(
        "{\"a\": 1, \"b\": 2, \"b\": 3, \"a\": 4}",
        0,
        "line 1, column 18: duplicate key \"b\"",
    );
    check(
        "{\"a\": {\"x\": 1, \"\\u0078\": 2}}",
        0,
        "line 1, column 16: duplicate key \"x\"",
    );
    let (documents, error) = read_from(&br#"{"a": {"a": [{"a": 1}, {"a": 1}]}, "b": {"a": 1}}"#[..]);
    assert!(error.is_none(), "equal keys of different documents");
    assert_eq!(documents.len(), 1);
}

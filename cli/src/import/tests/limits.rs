//! Depth, size and length: the last that is allowed, and the first that is not.

use std::{fmt::Write as _, io::Read};

use super::{
    super::{
        parser::{DOCUMENT_BYTES_MAX, LEVELS_MAX},
        reader::TEXT_BYTES_MAX,
    },
    read_error, read_from,
};

#[test]
fn nesting_to_the_limit() {
    let documents = |levels: usize| {
        let inner = levels - 1;
        let date = r#"{"$date":{"$numberLong":"1"}}"#;
        format!("{}{{\"d\":{date}}}{}", "{\"a\":".repeat(inner), "}".repeat(inner))
    };
    let arrays = |levels: usize| {
        let inner = levels - 1;
        format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
    };
    let scopes = |levels: usize| {
        let inner = levels - 2;
        let open = "{\"c\":{\"$code\":\"\",\"$scope\":";
        format!("{{\"a\":{}{{}}{}}}", open.repeat(inner), "}}".repeat(inner))
    };
    for text in [documents(LEVELS_MAX), arrays(LEVELS_MAX), scopes(LEVELS_MAX)] {
        let (read, error) = read_from(text.as_bytes());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(read.len(), 1);
    }
    for text in [
        documents(LEVELS_MAX + 1),
        arrays(LEVELS_MAX + 1),
        scopes(LEVELS_MAX + 1),
    ] {
        let (message, _) = read_error(&text);
        assert!(message.ends_with("nested too deeply levels_max=100"), "{message}");
    }
}

#[test]
fn endless_nesting_is_refused_early() {
    for opening in ["[", "{\"a\":", "{\"a\":{\"$code\":\"\",\"$scope\":"] {
        let text = format!("{{\"a\":{}", opening.repeat(1_000_000));
        let (message, _) = read_error(&text);
        assert!(message.contains("nested too deeply"), "{message}");
    }
}

#[test]
fn typed_values_do_not_nest_without_documents_between() {
    for key in ["$scope", "$date", "$dbPointer", "$binary"] {
        let opening = format!("{{\"{key}\":");
        let (message, _) = read_error(format!("{{\"a\":{}", opening.repeat(1_000_000)));
        assert!(
            message.contains("expected a document") || message.contains("invalid $"),
            "{message}"
        );
    }
    let code = "{\"$code\":\"\",\"$scope\":".repeat(1_000_000);
    let (message, _) = read_error(format!("{{\"a\":{code}"));
    assert!(message.ends_with("expected a document, found an Extended JSON value"));
}

#[test]
fn a_document_as_large_as_bson_allows() {
    // Length, type, "s" and NUL, length of the string, its NUL, the last NUL.
    let bytes = DOCUMENT_BYTES_MAX - (4 + 1 + 2 + 4 + 1 + 1);
    let (documents, error) = read_from(format!("{{\"s\":\"{}\"}}", "x".repeat(bytes)).as_bytes());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(documents[0].as_bytes().len(), DOCUMENT_BYTES_MAX);

    let (message, _) = read_error(format!("{{\"s\":\"{}\"}}", "x".repeat(bytes + 1)));
    assert!(message.ends_with("document too large bytes_max=16777216"), "{message}");
}

#[test]
fn many_small_elements_meet_the_same_limit() {
    let text = format!("{{\"a\":[0{}]}}", ",0".repeat(5_000_000));
    let (message, _) = read_error(&text);
    assert!(message.contains("document too large"), "{message}");
}

#[test]
fn the_text_of_a_document_has_a_limit() {
    let endless = b"{\"s\":\"".chain(std::io::repeat(b'x'));
    let (documents, error) = read_from(endless);
    assert!(documents.is_empty());
    assert_eq!(
        error.expect("an error").to_string(),
        format!("line 1, column 1: text of one document too long bytes_max={TEXT_BYTES_MAX}")
    );
    let blank = b"{\"s\":1".chain(std::io::repeat(b' ').take(TEXT_BYTES_MAX as u64));
    let (_, error) = read_from(blank.chain(&b"}"[..]));
    assert!(error.is_some());
}

#[test]
fn white_space_between_documents_has_none() {
    let blank = std::io::repeat(b'\n').take(2 * TEXT_BYTES_MAX as u64);
    let (documents, error) = read_from(b"{}".chain(blank).chain(&b"{}"[..]));
    assert!(error.is_none());
    assert_eq!(documents.len(), 2);
}

#[test]
fn many_keys_stay_cheap() {
    let mut text = String::from("{\"k\":0");
    for index in 0..300_000 {
        write!(text, ",\"k{index}\":0").expect("writing to memory");
    }
    let (documents, error) = read_from(format!("{text}}}").as_bytes());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(documents.len(), 1);
    let (message, _) = read_error(format!("{text},\"k7\":1}}"));
    assert!(message.ends_with("duplicate key \"k7\""), "{message}");
}

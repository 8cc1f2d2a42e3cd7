//! Hostile and damaged bytes: the validator, and everything that reads without it.

use crate::common;

use bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use common::{any_value, decodes_deep, document, match_document, raw_document};
use proptest::prelude::*;
use tailwater_matcher::{
    DEPTH_MAX, DOCUMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, ENVELOPE_DEPTH_MAX, Expression, KeyString,
    ValidateErrorKind as Kind, compare, validate, validate_envelope,
};

#[track_caller]
fn check(bytes: &[u8], offset: usize, kind: Kind) {
    let error = validate(bytes).expect_err("should be refused");
    assert_eq!((error.offset, error.kind), (offset, kind));
}

#[test]
fn well_formed_documents_pass() {
    for bytes in [
        document("{}").into_bytes(),
        document(r#"{"a": [1, {"b": "x"}], "c": {"$code": "f", "$scope": {"d": [1]}}}"#).into_bytes(),
        document(r#"{"a": {"$binary": {"base64": "AAECAw==", "subType": "02"}}}"#).into_bytes(),
    ] {
        assert_eq!(validate(&bytes).unwrap().as_bytes(), bytes);
    }
}

#[test]
fn damage_is_named_with_its_offset() {
    check(&[], 0, Kind::Truncated);
    check(&[5, 0, 0], 0, Kind::Truncated);
    check(&[4, 0, 0, 0], 0, Kind::Length { found: 4 });
    check(&[6, 0, 0, 0, 0], 0, Kind::Length { found: 6 });
    check(&[5, 0, 0, 0, 0, 0], 0, Kind::Length { found: 5 });
    check(&[255, 255, 255, 255, 0], 0, Kind::Length { found: -1 });
    check(&[5, 0, 0, 0, 1], 4, Kind::Terminator);
    // An element type, its name, and no terminator for the name.
    check(&[7, 0, 0, 0, 10, 97, 0], 5, Kind::Truncated);
    check(&[8, 0, 0, 0, 0x42, 97, 0, 0], 4, Kind::Type { found: 0x42 });
    check(&[9, 0, 0, 0, 8, 97, 0, 2, 0], 7, Kind::Boolean { found: 2 });
    check(&[8, 0, 0, 0, 10, 0xff, 0, 0], 5, Kind::Utf8);
    // A terminator before the end.
    check(&[8, 0, 0, 0, 0, 10, 0, 0], 4, Kind::Terminator);
    // Strings: length 0, beyond the end, unterminated, not UTF-8.
    check(&[12, 0, 0, 0, 2, 97, 0, 0, 0, 0, 0, 0], 7, Kind::Length { found: 0 });
    check(&[13, 0, 0, 0, 2, 97, 0, 3, 0, 0, 0, 0, 0], 11, Kind::Truncated);
    check(&[13, 0, 0, 0, 2, 97, 0, 1, 0, 0, 0, 1, 0], 11, Kind::Terminator);
    check(&[14, 0, 0, 0, 2, 97, 0, 2, 0, 0, 0, 0xff, 0, 0], 11, Kind::Utf8);
    // Binary: negative, and an old subtype whose inner length disagrees.
    check(
        &[13, 0, 0, 0, 5, 97, 0, 255, 255, 255, 255, 0, 0],
        7,
        Kind::Length { found: -1 },
    );
    let old = [17, 0, 0, 0, 5, 97, 0, 4, 0, 0, 0, 2, 1, 0, 0, 0, 0];
    check(&old, 12, Kind::Length { found: 1 });
    // A nested document that would swallow the outer terminator.
    check(&[13, 0, 0, 0, 3, 97, 0, 6, 0, 0, 0, 0, 0], 7, Kind::Length { found: 6 });
}

#[test]
fn nesting_is_limited_at_the_documented_level() {
    let nested = |levels: usize| (1..levels).fold(RawDocumentBuf::new(), |inner, _| rawdoc! { "a": inner });
    assert!(validate(nested(DEPTH_MAX).as_bytes()).is_ok());
    let error = validate(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error.kind, Kind::TooDeep);
}

#[test]
fn what_carries_documents_may_be_larger_and_deeper_by_what_it_adds() {
    let nested = |levels: usize| (1..levels).fold(RawDocumentBuf::new(), |inner, _| rawdoc! { "a": inner });
    assert!(validate_envelope(nested(ENVELOPE_DEPTH_MAX).as_bytes()).is_ok());
    let error = validate_envelope(nested(ENVELOPE_DEPTH_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error.kind, Kind::TooDeep);

    let sized = |bytes: usize| rawdoc! { "a": "x".repeat(bytes - rawdoc! { "a": "" }.as_bytes().len()) };
    assert!(validate_envelope(sized(ENVELOPE_BYTES_MAX).as_bytes()).is_ok());
    let error = validate_envelope(sized(ENVELOPE_BYTES_MAX + 1).as_bytes()).unwrap_err();
    assert!(matches!(error.kind, Kind::TooLarge { .. }), "{error}");
}

#[test]
fn size_is_limited() {
    let bytes = vec![0; DOCUMENT_BYTES_MAX + 1];
    check(
        &bytes,
        0,
        Kind::TooLarge {
            found: DOCUMENT_BYTES_MAX + 1,
        },
    );
}

#[test]
fn bottomless_nesting_does_not_exhaust_the_stack() {
    // A reader that recursed into all of these levels would overflow its stack.
    let mut bytes = Vec::new();
    let levels = 100_000usize;
    let size = |level: usize| 5 + level * 8;
    for level in (1..=levels).rev() {
        bytes.extend_from_slice(&(size(level) as i32).to_le_bytes());
        bytes.extend_from_slice(&[3, b'a', 0]);
    }
    bytes.extend_from_slice(&[5, 0, 0, 0, 0]);
    bytes.extend(std::iter::repeat_n(0, levels));
    let deep = RawDocument::from_bytes(&bytes).unwrap();
    assert_eq!(validate(&bytes).unwrap_err().kind, Kind::TooDeep);
    let value = bson::RawBsonRef::Document(deep);
    assert!(compare(value, value).is_eq());
    assert!(!KeyString::new(value).as_bytes().is_empty());
    assert!(Expression::parse(deep).is_err());
    let filter = Expression::parse(&rawdoc! { "a.a.a": { "$gt": { "a": 1 } } }).unwrap();
    assert!(filter.matches(deep).unwrap());
}

/// A document with a few bytes overwritten.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), 0u8..20]);
    let fields = prop::collection::vec(("[ab]{1,2}", any_value()), 0..4);
    (fields, prop::collection::vec(change, 0..4)).prop_map(|(fields, changes)| {
        let mut document = Document::new();
        document.extend(fields);
        let mut bytes = raw_document(&document).into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn what_validates_decodes_and_the_other_way_round(bytes in damaged()) {
        let decodes = RawDocument::from_bytes(&bytes).is_ok_and(decodes_deep);
        match validate(&bytes) {
            Ok(document) => prop_assert!(decodes, "{:?}", document),
            Err(error) => {
                prop_assert!(error.offset <= bytes.len());
                prop_assert!(!decodes, "{} in {:?}", error, bytes);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = validate(&bytes);
    }

    #[test]
    fn damaged_documents_never_panic(
        a in damaged(),
        b in damaged(),
        filter in match_document(),
    ) {
        let filter = Expression::parse(&raw_document(&filter)).unwrap();
        let a = RawDocument::from_bytes(&a);
        let b = RawDocument::from_bytes(&b);
        if let (Ok(a), Ok(b)) = (a, b) {
            filter.matches(a).unwrap();
            let _ = Expression::parse(a);
            let (a, b) = (bson::RawBsonRef::Document(a), bson::RawBsonRef::Document(b));
            let order = compare(a, b);
            prop_assert_eq!(order, compare(b, a).reverse());
            prop_assert_eq!(KeyString::new(a).cmp(&KeyString::new(b)), order);
        }
    }

    #[test]
    fn damaged_filters_never_panic(filter in match_document(), at: prop::sample::Index, byte: u8) {
        let mut bytes = raw_document(&filter).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let Ok(document) = RawDocument::from_bytes(&bytes) else { return Ok(()) };
        if let Ok(expression) = Expression::parse(document) {
            expression.matches(&raw_document(&doc! { "a": [1, { "b": null }] })).unwrap();
        }
    }
}

//! The comparison order and the keys that follow it.

use crate::common;

use std::cmp::Ordering;

use bson::{Bson, RawBson, RawBsonRef};
use common::{any_value, decimal, number, raw, value};
use proptest::prelude::*;
use tailwater_matcher::{KeyString, compare, encode_key, encode_key_descending, key_place};

fn order(a: &RawBson, b: &RawBson) -> Ordering {
    compare(a.as_raw_bson_ref(), b.as_raw_bson_ref())
}

fn key(value: &RawBson) -> KeyString {
    KeyString::new(value.as_raw_bson_ref())
}

/// Checks that the values ascend strictly, by comparison and by key.
fn check_ascending(values: &[RawBson]) {
    for (at, a) in values.iter().enumerate() {
        for (other, b) in values.iter().enumerate() {
            assert_eq!(order(a, b), at.cmp(&other), "{a:?} against {b:?}");
            assert_eq!(key(a).cmp(&key(b)), at.cmp(&other), "keys of {a:?} and {b:?}");
        }
    }
}

fn check_equal(a: &RawBson, b: &RawBson) {
    assert_eq!(order(a, b), Ordering::Equal, "{a:?} against {b:?}");
    assert_eq!(key(a), key(b), "keys of {a:?} and {b:?}");
}

#[test]
fn types_are_ordered_as_in_mongodb() {
    let json = [
        r#"{"$minKey": 1}"#,
        r#"{"$undefined": true}"#,
        "null",
        r#"{"$numberDouble": "NaN"}"#,
        "7",
        r#""text""#,
        r#"{"a": 1}"#,
        "[1]",
        r#"{"$binary": {"base64": "AA==", "subType": "00"}}"#,
        r#"{"$oid": "000000000000000000000000"}"#,
        "false",
        "true",
        r#"{"$date": "1960-01-01T00:00:00Z"}"#,
        r#"{"$timestamp": {"t": 0, "i": 1}}"#,
        r#"{"$regularExpression": {"pattern": "a", "options": ""}}"#,
        r#"{"$dbPointer": {"$ref": "a", "$id": {"$oid": "000000000000000000000000"}}}"#,
        r#"{"$code": "a"}"#,
        r#"{"$code": "a", "$scope": {}}"#,
        r#"{"$maxKey": 1}"#,
    ];
    check_ascending(&json.map(value));
}

#[test]
fn numbers_are_compared_exactly_across_types() {
    let int = |n: i64| RawBson::Int64(n);
    let double = RawBson::Double;
    let decimal = |text: &str| raw(&decimal(text));
    check_ascending(&[
        double(f64::NAN),
        double(f64::NEG_INFINITY),
        decimal("-1E+6000"),
        double(f64::MIN),
        decimal("-1E+20"),
        int(i64::MIN),
        int(i64::MIN + 1),
        int(-(1 << 53) - 1),
        double(-9_007_199_254_740_992.0),
        int(-1),
        double(-5e-324),
        decimal("-1E-6000"),
        int(0),
        decimal("1E-6000"),
        double(5e-324),
        decimal("0.1"),
        double(0.1),
        decimal("0.1000000000000000055511151231257828"),
        RawBson::Int32(1),
        double(9_007_199_254_740_992.0),
        int((1 << 53) + 1),
        decimal("9007199254740993.5"),
        int((1 << 53) + 2),
        int(i64::MAX),
        decimal("9223372036854775807.5"),
        double(9_223_372_036_854_775_808.0),
        decimal("9223372036854775808.5"),
        double(f64::MAX),
        decimal("1E+6000"),
        double(f64::INFINITY),
    ]);
}

#[test]
fn equal_numbers_are_one_key() {
    let one = RawBson::Int32(1);
    for other in [
        RawBson::Int64(1),
        RawBson::Double(1.0),
        raw(&decimal("1")),
        raw(&decimal("1.000")),
        raw(&decimal("0.1E+1")),
    ] {
        check_equal(&one, &other);
    }
    check_equal(&RawBson::Double(0.0), &RawBson::Double(-0.0));
    check_equal(&RawBson::Int32(0), &raw(&decimal("-0E+3")));
    check_equal(&RawBson::Double(0.5), &raw(&decimal("0.50")));
    check_equal(&RawBson::Double(f64::NAN), &raw(&decimal("NaN")));
    check_equal(&RawBson::Double(f64::INFINITY), &raw(&decimal("Infinity")));
    check_equal(&RawBson::Double(f64::NEG_INFINITY), &raw(&decimal("-Infinity")));
    check_equal(&RawBson::Int64((1 << 53) + 1), &raw(&decimal("9007199254740993")));
}

#[test]
fn strings_and_symbols_are_compared_by_bytes() {
    check_ascending(&[
        RawBson::String(String::new()),
        RawBson::String("a".into()),
        RawBson::Symbol("a\0".into()),
        RawBson::String("a\0a".into()),
        RawBson::String("a\u{1}".into()),
        RawBson::String("b".into()),
        RawBson::String("é".into()),
    ]);
    check_equal(&RawBson::String("a".into()), &RawBson::Symbol("a".into()));
}

#[test]
fn documents_are_compared_by_type_then_name_then_value() {
    check_ascending(&[
        value("{}"),
        value(r#"{"b": 1}"#),
        value(r#"{"b": 1, "a": 1}"#),
        value(r#"{"b": 2}"#),
        value(r#"{"c": 0}"#),
        // A string beats a number before names are looked at.
        value(r#"{"a": "x"}"#),
        value("[]"),
        value("[1]"),
        value("[1, 1]"),
        value("[2]"),
        value("[[]]"),
    ]);
}

#[test]
fn binary_is_compared_by_length_first() {
    check_ascending(&[
        value(r#"{"$binary": {"base64": "", "subType": "00"}}"#),
        value(r#"{"$binary": {"base64": "/w==", "subType": "00"}}"#),
        value(r#"{"$binary": {"base64": "AA==", "subType": "80"}}"#),
        value(r#"{"$binary": {"base64": "AAA=", "subType": "00"}}"#),
    ]);
}

#[test]
fn the_bytes_of_keys_are_pinned() {
    let hex = |value: &RawBson| {
        key(value)
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(hex(&RawBson::Null), "18");
    assert_eq!(hex(&RawBson::Int32(1)), "20bff000000000000000");
    assert_eq!(hex(&RawBson::Int32(-1)), "20400fffffffffffff00");
    // 2^53, then the whole number as 9007199254740993000… * 10^-18.
    assert_eq!(
        hex(&RawBson::Int64((1 << 53) + 1)),
        "20c340000000000000013fee0001bc16d674ec800de0b6b3a7640000"
    );
    assert_eq!(hex(&RawBson::String("a\0".into())), "286100ff0000");
    assert_eq!(hex(&value(r#"{"a": true}"#)), "30506100".to_owned() + "0100");
    assert_eq!(hex(&value("[null]")), "381800");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn comparison_is_a_total_order(a in any_value(), b in any_value(), c in any_value()) {
        check_total_order(&raw(&a), &raw(&b), &raw(&c))?;
    }

    #[test]
    fn comparison_of_numbers_is_a_total_order(a in number(), b in number(), c in number()) {
        check_total_order(&raw(&a), &raw(&b), &raw(&c))?;
    }

    #[test]
    fn keys_sort_as_values_do(a in any_value(), b in any_value()) {
        check_keys(&raw(&a), &raw(&b))?;
    }

    #[test]
    fn keys_of_numbers_sort_as_numbers_do(a in number(), b in number()) {
        check_keys(&raw(&a), &raw(&b))?;
    }

    #[test]
    fn compound_keys_sort_by_the_first_difference(
        a in prop::collection::vec(any_value(), 2),
        b in prop::collection::vec(any_value(), 2),
    ) {
        let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(raw).collect(), b.iter().map(raw).collect());
        let expected = order(&a[0], &b[0]).then_with(|| order(&a[1], &b[1]));
        let compound =
            |values: &[RawBson]| KeyString::compound(values.iter().map(RawBson::as_raw_bson_ref));
        prop_assert_eq!(compound(&a).cmp(&compound(&b)), expected);
    }

    #[test]
    fn a_value_equals_itself_as_a_double_only_if_exact(n in any::<i64>()) {
        let exact = n as f64 as i128 == i128::from(n);
        let equal = compare(RawBsonRef::Int64(n), RawBsonRef::Double(n as f64)).is_eq();
        prop_assert_eq!(exact, equal);
    }
}

fn check_total_order(a: &RawBson, b: &RawBson, c: &RawBson) -> Result<(), TestCaseError> {
    prop_assert_eq!(order(a, a), Ordering::Equal);
    prop_assert_eq!(order(a, b), order(b, a).reverse());
    if order(a, b) != Ordering::Greater && order(b, c) != Ordering::Greater {
        prop_assert_ne!(order(a, c), Ordering::Greater);
        if order(a, b) == Ordering::Less || order(b, c) == Ordering::Less {
            prop_assert_eq!(order(a, c), Ordering::Less);
        }
    }
    Ok(())
}

fn check_keys(a: &RawBson, b: &RawBson) -> Result<(), TestCaseError> {
    prop_assert_eq!(key(a).cmp(&key(b)), order(a, b));
    let (mut down_a, mut down_b) = (Vec::new(), Vec::new());
    encode_key_descending(a.as_raw_bson_ref(), &mut down_a);
    encode_key_descending(b.as_raw_bson_ref(), &mut down_b);
    prop_assert_eq!(down_a.cmp(&down_b), order(b, a));
    let mut appended = vec![1, 2];
    encode_key(a.as_raw_bson_ref(), &mut appended);
    prop_assert_eq!(appended.split_off(2), key(a).into_bytes());
    let mut place = key(a).into_bytes().split_off(1);
    place.resize(8, 0);
    prop_assert_eq!(
        key_place(a.as_raw_bson_ref(), &mut Vec::new()).to_be_bytes().to_vec(),
        place
    );
    Ok(())
}

#[test]
fn any_decimal_bits_have_a_place() {
    // Encodings of coefficients that are too large stand for zero.
    let odd = Bson::Decimal128(bson::Decimal128::from_bytes([
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x6f,
    ]));
    check_equal(&raw(&odd), &RawBson::Int32(0));
}

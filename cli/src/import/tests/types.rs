//! One table row for each type of Extended JSON, and for each way to get it
//! wrong.

use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawBson, Regex, Timestamp, doc,
    oid::ObjectId, spec::BinarySubtype,
};

use super::{read, read_error};

/// `json` must become `expected`, as a field and as an element of an array.
#[track_caller]
fn check(json: &str, expected: impl Into<Bson>) {
    let expected = expected.into();
    let documents = read(format!(r#"{{"v": {json}, "a": [0, {json}]}}"#));
    let wanted = doc! { "v": expected.clone(), "a": [0, expected] };
    // Compared as text, because a NaN differs from itself and a zero does not
    // differ from its negative.
    assert_eq!(format!("{documents:?}"), format!("{:?}", [wanted]), "{json}");
}

#[track_caller]
fn check_invalid(json: &str, message: &str) {
    let (found, documents) = read_error(format!(r#"{{"v":{json}}}"#));
    assert_eq!(documents, 0);
    assert!(found.contains(message), "{json}: {found}");
}

#[test]
fn plain_values() {
    check("null", Bson::Null);
    check("true", true);
    check("false", false);
    check(r#""text""#, "text");
    check(r#""""#, "");
    check("{}", doc! {});
    check("[]", Bson::Array(vec![]));
    check(
        r#"{"b": [[1], {"a": 2}], "a": {}}"#,
        doc! {"b": [[1], {"a": 2}], "a": {}},
    );
}

#[test]
fn numbers_take_the_narrowest_type() {
    check("0", 0);
    check("-0", 0);
    check("2147483647", i32::MAX);
    check("-2147483648", i32::MIN);
    check("2147483648", 2_147_483_648_i64);
    check("-2147483649", -2_147_483_649_i64);
    check("9223372036854775807", i64::MAX);
    check("-9223372036854775808", i64::MIN);
    check("1.0", 1.0);
    check("-0.0", -0.0);
    check("1e3", 1000.0);
    check("2.5E-1", 0.25);
    check("1e+2", 100.0);
    check("5e-324", 5e-324);
    check("0.1", 0.1);
}

#[test]
fn integers_beyond_64_bits_become_doubles() {
    check("9223372036854775808", 9_223_372_036_854_775_808.0);
    check("-9223372036854775809", -9_223_372_036_854_775_808.0);
    check_invalid("1e309", "number out of range");
    check_invalid(&"9".repeat(400), "number out of range");
}

#[test]
fn malformed_numbers() {
    for (json, message) in [
        ("-", "expected a digit, found '}'"),
        ("01", "expected ',' or '}', found '1'"),
        ("1.", "expected a digit, found '}'"),
        (".5", "expected a value, found '.'"),
        ("+1", "expected a value, found '+'"),
        ("1e", "expected a digit, found '}'"),
        ("NaN", "expected a value, found 'N'"),
        ("0x10", "expected ',' or '}', found 'x'"),
    ] {
        check_invalid(json, message);
    }
}

#[test]
fn strings_and_their_escapes() {
    check(r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t");
    check(r#""a\u0041\u00e9\u20acz""#, "aAé€z");
    check(r#""\ud83d\ude00""#, "😀");
    check(r#""\u0000""#, "\0");
    check("\"grüße 😀\"", "grüße 😀");
    for json in [
        r#""\x""#,
        r#""\u12g4""#,
        r#""\ud83d""#,
        r#""\ud83d\n""#,
        r#""\ud83d\u0041""#,
        r#""\ude00""#,
    ] {
        check_invalid(json, "column 7: invalid escape in a string");
    }
    check_invalid("\"a\tb\"", "control character 0x09 in a string");
}

#[test]
fn numbers_with_a_type() {
    check(r#"{"$numberInt": "42"}"#, 42);
    check(r#"{"$numberInt": "-2147483648"}"#, i32::MIN);
    check(r#"{"$numberLong": "42"}"#, 42_i64);
    check(r#"{"$numberLong": "-9223372036854775808"}"#, i64::MIN);
    check(r#"{"$numberDouble": "42"}"#, 42.0);
    check(r#"{"$numberDouble": "-1.5e-3"}"#, -0.0015);
    check(r#"{"$numberDouble": "-0.0"}"#, -0.0);
    check(r#"{"$numberDouble": "Infinity"}"#, f64::INFINITY);
    check(r#"{"$numberDouble": "-Infinity"}"#, f64::NEG_INFINITY);
    check(r#"{"$numberDouble": "NaN"}"#, f64::NAN);
    for json in [
        r#"{"$numberInt": 42}"#,
        r#"{"$numberInt": "2147483648"}"#,
        r#"{"$numberInt": "+1"}"#,
        r#"{"$numberInt": ""}"#,
        r#"{"$numberLong": "9223372036854775808"}"#,
        r#"{"$numberLong": "1.0"}"#,
        r#"{"$numberDouble": "inf"}"#,
        r#"{"$numberDouble": "1e999"}"#,
        r#"{"$numberDouble": "one"}"#,
        r#"{"$numberDouble": null}"#,
    ] {
        check_invalid(json, "invalid $number");
    }
}

#[test]
fn decimals() {
    for text in ["0", "-1.50", "9.999E+6000", "1E-6176", "NaN", "Infinity"] {
        let decimal: Decimal128 = text.parse().expect("a decimal");
        check(&format!(r#"{{"$numberDecimal": "{text}"}}"#), decimal);
    }
    for text in [
        "",
        ".",
        "-+5",
        "e5",
        "1e",
        "1E+9999",
        "one",
        "12345678901234567890123456789012345",
        "1e-170141183460469231731687303715884105728",
        "1e170141183460469231731687303715884105727",
    ] {
        let json = format!(r#"{{"$numberDecimal": "{text}"}}"#);
        check_invalid(&json, "invalid $numberDecimal: expected a string that");
    }
}

#[test]
fn identifiers() {
    let id = ObjectId::parse_str("5f0c1e2d3b4a59687786a5b4").expect("an id");
    check(r#"{"$oid": "5f0c1e2d3b4a59687786a5b4"}"#, id);
    check(r#"{"$oid": "5F0C1E2D3B4A59687786A5B4"}"#, id);
    check_invalid(
        r#"{"$oid": "5f0c"}"#,
        "column 15: invalid $oid: expected a string of 24",
    );
    check_invalid(r#"{"$oid": "zz0c1e2d3b4a59687786a5b4"}"#, "invalid $oid");
    check_invalid(r#"{"$oid": {}}"#, "invalid $oid");

    let uuid = bson::Uuid::parse_str("c8edabc3-f738-4ca3-b68d-ab92a91478a3").expect("a uuid");
    check(
        r#"{"$uuid": "c8edabc3-f738-4ca3-b68d-ab92a91478a3"}"#,
        Binary::from(uuid),
    );
    check_invalid(r#"{"$uuid": "c8edabc3f7384ca3b68dab92a91478a3"}"#, "invalid $uuid");
}

#[test]
fn dates() {
    let date = DateTime::from_millis(1_325_376_000_123);
    check(r#"{"$date": "2012-01-01T00:00:00.123Z"}"#, date);
    check(r#"{"$date": "2012-01-01T02:00:00.123+02:00"}"#, date);
    check(r#"{"$date": {"$numberLong": "1325376000123"}}"#, date);
    check(r#"{ "$date" : { "$numberLong" : "1325376000123" } }"#, date);
    check(r#"{"$date": 1325376000123}"#, date);
    check(r#"{"$date": {"$numberLong": "-1"}}"#, DateTime::from_millis(-1));
    check(r#"{"$date": {"$numberLong": "9223372036854775807"}}"#, DateTime::MAX);
    for json in [
        r#"{"$date": "2012-01-01"}"#,
        r#"{"$date": "2012-13-01T00:00:00Z"}"#,
        r#"{"$date": 1.5}"#,
        r#"{"$date": {"$numberInt": "1"}}"#,
        r#"{"$date": null}"#,
    ] {
        check_invalid(json, "invalid $date: expected an RFC 3339");
    }
}

#[test]
fn binary_data() {
    let binary = |subtype, bytes: &[u8]| Binary {
        subtype,
        bytes: bytes.to_vec(),
    };
    check(
        r#"{"$binary": {"base64": "AQID", "subType": "00"}}"#,
        binary(BinarySubtype::Generic, &[1, 2, 3]),
    );
    check(
        r#"{"$binary": {"subType": "80", "base64": ""}}"#,
        binary(BinarySubtype::UserDefined(0x80), &[]),
    );
    check(
        r#"{"$binary": {"base64": "//8=", "subType": "5"}}"#,
        binary(BinarySubtype::Md5, &[255, 255]),
    );
    check(
        r#"{"$binary": {"base64": "AQID", "subType": "02"}}"#,
        binary(BinarySubtype::BinaryOld, &[1, 2, 3]),
    );
    for json in [
        r#"{"$binary": "AQID"}"#,
        r#"{"$binary": {"base64": "AQID"}}"#,
        r#"{"$binary": {"base64": "AQI", "subType": "00"}}"#,
        r#"{"$binary": {"base64": "AQID", "subType": "100"}}"#,
        r#"{"$binary": {"base64": "AQID", "subType": ""}}"#,
        r#"{"$binary": {"base64": "AQID", "subType": "00", "more": 1}}"#,
        r#"{"$binary": {"base64": "AQID", "base64": "AQID"}}"#,
    ] {
        check_invalid(json, "invalid $binary: expected an object of base64");
    }
}

#[test]
fn the_rarer_types() {
    check(
        r#"{"$timestamp": {"t": 4294967295, "i": 1}}"#,
        Timestamp {
            time: u32::MAX,
            increment: 1,
        },
    );
    check(
        r#"{"$timestamp": {"i": 1, "t": 2}}"#,
        Timestamp { time: 2, increment: 1 },
    );
    check_invalid(r#"{"$timestamp": {"t": -1, "i": 1}}"#, "invalid $timestamp");
    check_invalid(r#"{"$timestamp": {"t": 1}}"#, "invalid $timestamp");

    let regex = Regex {
        pattern: bson::raw::cstr!("^a.*\"").into(),
        options: bson::raw::cstr!("im").into(),
    };
    check(
        r#"{"$regularExpression": {"pattern": "^a.*\"", "options": "mi"}}"#,
        regex,
    );
    check_invalid(
        r#"{"$regularExpression": {"pattern": "a\u0000", "options": ""}}"#,
        "invalid $regularExpression",
    );

    check(r#"{"$minKey": 1}"#, Bson::MinKey);
    check(r#"{"$maxKey": 1}"#, Bson::MaxKey);
    check_invalid(r#"{"$maxKey": 2}"#, "invalid $maxKey: expected 1");
    check(r#"{"$undefined": true}"#, Bson::Undefined);
    check_invalid(r#"{"$undefined": false}"#, "invalid $undefined");
    check(r#"{"$symbol": "s"}"#, Bson::Symbol("s".into()));
}

#[test]
fn code_with_and_without_scope() {
    check(r#"{"$code": "f()"}"#, Bson::JavaScriptCode("f()".into()));
    let scoped = JavaScriptCodeWithScope {
        code: "f(x)".into(),
        scope: doc! { "x": 1, "y": { "z": [2] } },
    };
    let scope = r#""$scope": {"x": 1, "y": {"z": [2]}}"#;
    check(&format!(r#"{{"$code": "f(x)", {scope}}}"#), scoped.clone());
    check(&format!(r#"{{{scope}, "$code": "f(x)"}}"#), scoped);
    check_invalid(r#"{"$scope": {}}"#, "invalid $scope");
    check_invalid(r#"{"$code": "f", "$scope": 1}"#, "invalid $scope");
    check_invalid(r#"{"$code": "f", "$code": "g"}"#, "cannot be mixed");
    check_invalid(r#"{"$code": "f", "$scope": {}, "more": 1}"#, "cannot be mixed");
}

#[test]
fn database_pointer() {
    let pointer = r#"{"$dbPointer": {"$ref": "db.c", "$id": {"$oid": "5f0c1e2d3b4a59687786a5b4"}}}"#;
    let documents = super::read_from(format!(r#"{{"v": {pointer}}}"#).as_bytes()).0;
    let value = documents[0].get("v").expect("BSON").expect("the field");
    let value: Bson = RawBson::from(value).try_into().expect("BSON");
    assert_eq!(
        value.into_canonical_extjson().to_string().len(),
        pointer.replace(' ', "").len()
    );
    check_invalid(r#"{"$dbPointer": {"$ref": "c"}}"#, "invalid $dbPointer");
    check_invalid(
        r#"{"$dbPointer": {"$ref": "c", "$id": {"x": 1}}}"#,
        "invalid $dbPointer",
    );
}

#[test]
fn a_type_key_stands_alone() {
    let mixed = r#"key "$oid" cannot be mixed with others"#;
    check_invalid(r#"{"$oid": "5f0c1e2d3b4a59687786a5b4", "a": 1}"#, mixed);
    check_invalid(r#"{"a": 1, "$oid": "5f0c1e2d3b4a59687786a5b4"}"#, mixed);
}

#[test]
fn other_dollar_keys_are_fields() {
    let reference = doc! { "$ref": "c", "$id": 1, "$db": "d" };
    check(r#"{"$ref": "c", "$id": 1, "$db": "d"}"#, reference);
    check(
        r#"{"$regex": "a", "$options": "i"}"#,
        doc! {"$regex": "a", "$options": "i"},
    );
    check(r#"{"$gt": {"$numberLong": "1"}}"#, doc! { "$gt": 1_i64 });
}

#[test]
fn fields_keep_their_order() {
    let documents = read(r#"{"z": 1, "a": {"y": 1, "b": 2}, "m": 3, "_id": 4, "": 5}"#);
    let keys = |document: &Document| document.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&documents[0]), ["z", "a", "m", "_id", ""]);
    let inner = documents[0].get_document("a").expect("a document");
    assert_eq!(keys(inner), ["y", "b"]);
}

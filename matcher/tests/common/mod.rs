//! What the test files share: documents from JSON, and random BSON.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{
    Binary, Bson, DateTime, DbPointer, Decimal128, Document, JavaScriptCodeWithScope, RawBson, RawBsonRef,
    RawDocumentBuf, Regex, Timestamp,
};
use proptest::prelude::*;

/// A document from relaxed Extended JSON.
pub(crate) fn document(json: &str) -> RawDocumentBuf {
    // Straight into a document: a `serde_json::Value` would sort the names.
    let document: Document = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json}"));
    raw_document(&document)
}

/// A single value from relaxed Extended JSON.
pub(crate) fn value(json: &str) -> RawBson {
    let document = document(&format!("{{\"v\": {json}}}"));
    document.get("v").unwrap().unwrap().into()
}

pub(crate) fn raw(value: &Bson) -> RawBson {
    RawBson::try_from(value.clone()).unwrap()
}

pub(crate) fn raw_document(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// Numbers that meet: the same values in several types, and their neighbours.
pub(crate) fn number() -> impl Strategy<Value = Bson> {
    let edges = prop_oneof![
        Just(0i64),
        Just(1),
        Just(-1),
        Just(1 << 53),
        Just((1 << 53) + 1),
        Just(-(1 << 53) - 1),
        Just(i64::MAX),
        Just(i64::MAX - 1),
        Just(i64::MIN),
        Just(i64::MIN + 1),
        -3i64..3,
        any::<i64>(),
    ];
    let doubles = prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(0.1),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MAX),
        Just(f64::MIN),
        Just(f64::MIN_POSITIVE),
        Just(5e-324),
        Just(-5e-324),
        Just(9_007_199_254_740_992.0),
        Just(9_223_372_036_854_775_808.0),
        (-12i64..12).prop_map(|n| n as f64 / 4.0),
        any::<f64>(),
    ];
    prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        (-3..3i32).prop_map(Bson::Int32),
        edges.clone().prop_map(Bson::Int64),
        edges.clone().prop_map(|n| Bson::Double(n as f64)),
        doubles.clone().prop_map(Bson::Double),
        edges.prop_map(|n| decimal(&n.to_string())),
        // A double's own decimal expansion, cut at 34 digits: equal to it or just below.
        doubles.prop_map(|n| decimal(&decimal_digits(n))),
        (any::<u128>(), -6200i32..6150)
            .prop_map(|(digits, power)| decimal(&format!("{}E{power}", digits % 10u128.pow(34)))),
        (any::<i64>(), -330i32..320).prop_map(|(digits, e)| decimal(&format!("{digits}E{e}"))),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(Decimal128::from_bytes(bytes))),
    ]
}

fn decimal_digits(n: f64) -> String {
    if !n.is_finite() {
        return if n.is_nan() {
            "NaN".into()
        } else if n > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        };
    }
    format!("{n:.33e}")
}

pub(crate) fn decimal(text: &str) -> Bson {
    match text.parse() {
        Ok(decimal) => Bson::Decimal128(decimal),
        // Too small or too large for the type.
        Err(_) => Bson::Decimal128("0".parse().unwrap()),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("a".into()),
        Just("a\0".into()),
        Just("a\0b".into()),
        Just("a\u{1}".into()),
        Just("aé".into()),
        "[abc]{0,3}",
    ]
}

/// Values of every type; few of each, so that equal ones meet.
pub(crate) fn leaf() -> impl Strategy<Value = Bson> {
    prop_oneof![
        8 => number(),
        3 => text().prop_map(Bson::String),
        1 => text().prop_map(Bson::Symbol),
        2 => Just(Bson::Null),
        1 => Just(Bson::Undefined),
        1 => Just(Bson::MinKey),
        1 => Just(Bson::MaxKey),
        1 => any::<bool>().prop_map(Bson::Boolean),
        1 => prop_oneof![-2i64..2, any::<i64>()]
            .prop_map(|ms| Bson::DateTime(DateTime::from_millis(ms))),
        1 => (0u32..3, 0u32..3)
            .prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        1 => (0u8..3).prop_map(|n| Bson::ObjectId(ObjectId::from_bytes([n; 12]))),
        1 => (0u8..4, prop::collection::vec(0u8..3, 0..6)).prop_map(|(subtype, bytes)| {
            Bson::Binary(Binary { subtype: BinarySubtype::from(subtype), bytes })
        }),
        1 => ("[ab]{0,2}", "[im]{0,1}").prop_map(|(pattern, options)| {
            Bson::RegularExpression(Regex {
                pattern: pattern.try_into().unwrap(),
                options: options.try_into().unwrap(),
            })
        }),
        1 => text().prop_map(Bson::JavaScriptCode),
        1 => (0u8..3, "[ab]{0,2}").prop_map(|(id, ns)| Bson::DbPointer(db_pointer(&ns, id))),
    ]
}

/// `bson` has no constructor for this deprecated type; Extended JSON has a form for it.
fn db_pointer(namespace: &str, id: u8) -> DbPointer {
    let json = serde_json::json!({
        "$dbPointer": { "$ref": namespace, "$id": { "$oid": format!("{id:02x}").repeat(12) } }
    });
    match Bson::try_from(json) {
        Ok(Bson::DbPointer(pointer)) => pointer,
        other => panic!("not a DBPointer: {other:?}"),
    }
}

/// Values of every type, nested.
pub(crate) fn any_value() -> impl Strategy<Value = Bson> {
    leaf().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            fields(inner.clone()).prop_map(Bson::Document),
            ("[ab]{0,1}", fields(inner))
                .prop_map(|(code, scope)| { Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code, scope }) }),
        ]
    })
}

fn fields(value: impl Strategy<Value = Bson>) -> impl Strategy<Value = Document> {
    prop::collection::vec(("[ab]{1,2}", value), 0..4).prop_map(|fields| {
        let mut document = Document::new();
        document.extend(fields);
        document
    })
}

/// Documents with few names, few values and arrays of documents, so that predicates often hold.
pub(crate) fn small_document() -> impl Strategy<Value = Document> {
    fields(small_value())
}

pub(crate) fn small_value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        4 => (0i32..4).prop_map(Bson::Int32),
        1 => (0i64..4).prop_map(|n| Bson::Double(n as f64)),
        1 => Just(Bson::Double(f64::NAN)),
        2 => Just(Bson::Null),
        2 => "[ab]{0,1}".prop_map(Bson::String),
        1 => any::<bool>().prop_map(Bson::Boolean),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            fields(inner).prop_map(Bson::Document),
        ]
    })
}

/// `$match` documents over the names and values of [`small_document`].
pub(crate) fn match_document() -> impl Strategy<Value = Document> {
    let path = prop_oneof![
        4 => "[ab]{1,2}",
        2 => "[ab]{1,2}\\.[ab]{1,2}",
        1 => "[ab]\\.[01]",
        1 => "[ab]\\.[01]\\.[ab]",
    ];
    let comparison = (
        prop_oneof![
            Just("$eq"),
            Just("$ne"),
            Just("$gt"),
            Just("$gte"),
            Just("$lt"),
            Just("$lte")
        ],
        small_value(),
    )
        .prop_map(|(operator, value)| (operator.to_owned(), value));
    let list = (
        prop_oneof![Just("$in"), Just("$nin")],
        prop::collection::vec(small_value(), 0..4),
    )
        .prop_map(|(operator, values)| (operator.to_owned(), Bson::Array(values)));
    let exists = any::<bool>().prop_map(|value| ("$exists".to_owned(), Bson::Boolean(value)));
    let operator = prop_oneof![4 => comparison, 2 => list, 1 => exists, 3 => other_operator()].boxed();
    let operators = prop::collection::vec(operator, 1..3).prop_map(document_of).boxed();
    let element_value = operators.clone();
    let condition = prop_oneof![
        3 => small_value(),
        5 => operators.clone().prop_map(Bson::Document),
        1 => operators.prop_map(|inner| Bson::Document(bson::doc! { "$not": inner })),
        1 => element_value.prop_map(|inner| Bson::Document(bson::doc! { "$elemMatch": inner })),
    ];
    let fields = prop::collection::vec((path, condition), 0..3).prop_map(document_of);
    fields.prop_recursive(3, 12, 3, |inner| {
        (
            prop_oneof![Just("$and"), Just("$or"), Just("$nor")],
            prop::collection::vec(inner.clone(), 1..3),
            inner.clone(),
            prop::option::of(inner),
        )
            .prop_map(|(operator, parts, mut document, element)| {
                document.insert(operator, parts);
                if let Some(element) = element {
                    document.insert("b", bson::doc! { "$elemMatch": element });
                }
                document
            })
    })
}

fn other_operator() -> impl Strategy<Value = (String, Bson)> {
    let named = |name: &'static str| move |value: Bson| (name.to_owned(), value);
    let pattern = prop::sample::select(vec!["^a", "a$", "^ab?", "(?=b)b", "b|^a", "x"]);
    let alias = prop::sample::select(vec!["number", "string", "array", "object", "null", "bool", "int"]);
    prop_oneof![
        pattern.prop_map(|pattern| ("$regex".to_owned(), Bson::from(pattern))),
        alias.prop_map(|alias| ("$type".to_owned(), Bson::from(alias))),
        (0..3i32).prop_map(Bson::from).prop_map(named("$size")),
        (1..4i32, 0..3i32).prop_map(|(divisor, rest)| ("$mod".to_owned(), bson::bson!([divisor, rest]))),
        prop::collection::vec(small_value(), 0..3)
            .prop_map(Bson::Array)
            .prop_map(named("$all")),
        (0..4i32).prop_map(Bson::from).prop_map(named("$bitsAllSet")),
        (0..4i32).prop_map(Bson::from).prop_map(named("$bitsAnyClear")),
    ]
}

fn document_of(fields: Vec<(String, Bson)>) -> Document {
    let mut document = Document::new();
    document.extend(fields);
    document
}

/// Decodes everything in the document through `bson`, or says that it cannot.
pub(crate) fn decodes_deep(document: &bson::RawDocument) -> bool {
    document
        .iter()
        .all(|element| element.is_ok_and(|(_, value)| value_decodes(value)))
}

fn value_decodes(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Document(inner) => decodes_deep(inner),
        RawBsonRef::Array(inner) => inner.into_iter().all(|value| value.is_ok_and(value_decodes)),
        RawBsonRef::JavaScriptCodeWithScope(code) => decodes_deep(code.scope),
        _ => true,
    }
}

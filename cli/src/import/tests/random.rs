//! Random bytes never panic; random documents survive the way through text.

use std::fmt::Write as _;

use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex, Timestamp,
    oid::ObjectId,
};
use proptest::{collection::vec, prelude::*};

use super::{Trickle, read_from};

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        same_at_once_and_byte_by_byte(&bytes)?;
    }

    /// Nearly right texts get further than arbitrary bytes do.
    #[test]
    fn scraps_of_extended_json_never_panic(scraps in vec(scrap(), 0..30)) {
        same_at_once_and_byte_by_byte(scraps.concat().as_bytes())?;
    }

    #[test]
    fn damaged_documents_never_panic(
        document in document(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut text = canonical(&Bson::Document(document)).into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        same_at_once_and_byte_by_byte(&text)?;
        text.truncate(at);
        same_at_once_and_byte_by_byte(&text)?;
    }

    #[test]
    fn strings_of_numbers_never_panic(text in "[-+0-9.eEinfatysNI]{0,60}") {
        for key in ["Int", "Long", "Double", "Decimal"] {
            let text = format!("{{\"v\":{{\"$number{key}\":\"{text}\"}}}}");
            read_from(text.as_bytes());
        }
        read_from(format!("{{\"v\":{text}}}").as_bytes());
        read_from(format!("{{\"v\":{{\"$date\":\"{text}\"}}}}").as_bytes());
    }

    #[test]
    fn documents_survive_canonical_text(documents in vec(document(), 0..4), array: bool) {
        let texts: Vec<String> = documents
            .iter()
            .map(|document| canonical(&Bson::Document(document.clone())))
            .collect();
        let text = if array {
            format!("[{}]", texts.join(","))
        } else {
            texts.join("\n")
        };
        let (read, error) = read_from(text.as_bytes());
        prop_assert!(error.is_none(), "{}\n{text}", error.expect("is an error"));
        prop_assert_eq!(read.len(), documents.len());
        for (read, document) in read.iter().zip(&documents) {
            let written = RawDocumentBuf::try_from(document).expect("BSON");
            prop_assert_eq!(read.as_bytes(), written.as_bytes(), "{}", text);
        }
    }
}

fn same_at_once_and_byte_by_byte(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (documents, error) = read_from(bytes);
    let (slow_documents, slow_error) = read_from(Trickle(bytes));
    prop_assert_eq!(&documents, &slow_documents);
    prop_assert_eq!(
        error.map(|error| error.to_string()),
        slow_error.map(|error| error.to_string())
    );
    for document in &documents {
        prop_assert!(Document::try_from(document).is_ok(), "not BSON");
    }
    Ok(())
}

fn scrap() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u",
        "\\ud83d",
        "\n",
        " ",
        "1",
        "-",
        ".",
        "e5",
        "true",
        "null",
        "\"a\"",
        "\"b\":",
        "{\"a\":",
        "{\"$oid\":",
        "{\"$date\":",
        "{\"$code\":",
        "\"$scope\":",
        "{\"$binary\":",
        "{\"$numberLong\":",
        "{\"$timestamp\":",
        "\"t\":",
        "\"i\":",
        "\"base64\":",
        "\"subType\":",
        "\"00\"",
        "\u{feff}",
        "é",
        "5f0c1e2d3b4a59687786a5b4",
    ]);
    prop_oneof![fixed.prop_map(str::to_owned), ".{0,3}"]
}

/// Canonical text with the order of fields kept, which the crate's own way
/// through a JSON map does not promise.
fn canonical(value: &Bson) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Bson, text: &mut String) {
    match value {
        Bson::Document(document) => {
            text.push('{');
            for (index, (key, value)) in document.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                write!(text, "{comma}{}:", serde_json::json!(key)).expect("writing to memory");
                write_canonical(value, text);
            }
            text.push('}');
        }
        Bson::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            write!(text, "[{}]", items.join(",")).expect("writing to memory");
        }
        Bson::JavaScriptCodeWithScope(code) => {
            let (scope, code) = (
                canonical(&Bson::Document(code.scope.clone())),
                serde_json::json!(code.code),
            );
            write!(text, "{{\"$code\":{code},\"$scope\":{scope}}}").expect("writing to memory");
        }
        scalar => {
            let scalar = scalar.clone().into_canonical_extjson();
            write!(text, "{scalar}").expect("writing to memory");
        }
    }
}

fn document() -> impl Strategy<Value = Document> {
    fields(value()).prop_map(Document::from_iter)
}

fn fields(value: impl Strategy<Value = Bson>) -> impl Strategy<Value = Vec<(String, Bson)>> {
    // No dollar sign comes first: type keys are refused as fields.
    vec(("([a-zA-Zé_.\"\\\\][a-z$]{0,6})?", value), 0..6)
}

fn value() -> impl Strategy<Value = Bson> {
    scalar().prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Bson::Array),
            fields(inner.clone()).prop_map(|fields| Bson::Document(Document::from_iter(fields))),
            (".{0,9}", fields(inner)).prop_map(|(code, fields)| {
                let scope = Document::from_iter(fields);
                Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code, scope })
            }),
        ]
    })
}

fn scalar() -> impl Strategy<Value = Bson> {
    prop_oneof![
        prop::sample::select(vec![Bson::Null, Bson::Undefined, Bson::MinKey, Bson::MaxKey]),
        any::<bool>().prop_map(Bson::Boolean),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_map(Bson::Double),
        any::<String>().prop_map(Bson::String),
        any::<String>().prop_map(Bson::Symbol),
        any::<String>().prop_map(Bson::JavaScriptCode),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        any::<i64>().prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
        (0_i64..=253_402_300_799_999).prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
        (any::<i64>(), -6000_i32..6000).prop_map(|(coefficient, exponent)| {
            let decimal: Decimal128 = format!("{coefficient}E{exponent}").parse().expect("decimal");
            Bson::Decimal128(decimal)
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        (any::<u8>(), vec(any::<u8>(), 0..40)).prop_map(|(subtype, bytes)| {
            let subtype = subtype.into();
            Bson::Binary(Binary { subtype, bytes })
        }),
        ("[^\0]{0,20}", prop::sample::select(vec!["", "i", "imsx"])).prop_map(|(pattern, options)| {
            let regex = Regex {
                pattern: pattern.try_into().expect("no NUL"),
                options: options.to_owned().try_into().expect("no NUL"),
            };
            Bson::RegularExpression(regex)
        }),
    ]
}

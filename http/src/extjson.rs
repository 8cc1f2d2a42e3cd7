//! Extended JSON, written as it is read from BSON (MongoDB manual: *MongoDB Extended JSON*).
//!
//! Nothing is made of a document in between: writing one takes no memory beside its text, however many small values it has. What
//! a value other than a document, an array or a string looks like is decided by the `bson` crate.

use std::fmt;
use std::io::{self, Write};

use bson::{Bson, RawBsonRef, RawDocument};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

/// Levels of nesting that are written. What a store takes has fewer, with what an event puts around it.
const DEPTH_MAX: usize = 300;

/// How BSON is written as JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Json {
    /// Readable; the number types that JSON cannot tell apart look alike.
    Relaxed,
    /// Every type exactly.
    Canonical,
}

/// A value that is written as Extended JSON.
///
/// # Errors
///
/// Serializing fails when the value is malformed, or nests too deep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extended<'a> {
    value: RawBsonRef<'a>,
    json: Json,
    depth: usize,
}

impl<'a> Extended<'a> {
    pub(crate) fn new(value: RawBsonRef<'a>, json: Json) -> Extended<'a> {
        Extended { value, json, depth: 0 }
    }

    pub(crate) fn of(document: &'a RawDocument, json: Json) -> Extended<'a> {
        Extended::new(RawBsonRef::Document(document), json)
    }

    fn within(self, value: RawBsonRef<'a>) -> Extended<'a> {
        Extended {
            value,
            json: self.json,
            depth: self.depth + 1,
        }
    }
}

impl Serialize for Extended<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.depth > DEPTH_MAX {
            return Err(S::Error::custom("the document nests too deep"));
        }
        match self.value {
            RawBsonRef::String(text) => serializer.serialize_str(text),
            RawBsonRef::Document(document) => {
                let mut map = serializer.serialize_map(None)?;
                for element in document {
                    let (name, value) = element.map_err(S::Error::custom)?;
                    map.serialize_entry(name.as_str(), &self.within(value))?;
                }
                map.end()
            }
            RawBsonRef::Array(array) => {
                let mut seq = serializer.serialize_seq(None)?;
                for value in array {
                    seq.serialize_element(&self.within(value.map_err(S::Error::custom)?))?;
                }
                seq.end()
            }
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("$code", code.code)?;
                map.serialize_entry("$scope", &self.within(RawBsonRef::Document(code.scope)))?;
                map.end()
            }
            scalar => {
                let scalar = Bson::try_from(scalar).map_err(S::Error::custom)?;
                let value = match self.json {
                    Json::Relaxed => scalar.into_relaxed_extjson(),
                    Json::Canonical => scalar.into_canonical_extjson(),
                };
                value.serialize(serializer)
            }
        }
    }
}

/// A value whose Extended JSON is written as a string of JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a>(pub(crate) Extended<'a>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde_json::to_writer(Formatted(formatter), &self.0).map_err(|_| fmt::Error)
    }
}

/// A formatter that takes what JSON is made of.
struct Formatted<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Formatted<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each piece that is written is text by itself.
        let text = str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what is written, and keeps nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(pub(crate) usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::spec::BinarySubtype;
    use bson::{Binary, DateTime, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex, Timestamp, doc};

    use super::*;

    fn everything() -> Document {
        let scope = doc! { "n": 1_i64, "nested": { "date": DateTime::from_millis(-1) } };
        doc! {
            "": "", "text": "line\n\"quoted\" \\ \u{1} é 😀", "key \"\n\u{2}": true,
            "int": 1, "long": i64::MAX, "double": 0.1, "whole": 5.0, "zero": -0.0, "nan": f64::NAN, "inf": f64::NEG_INFINITY,
            "decimal": "1.50".parse::<bson::Decimal128>().unwrap(),
            "date": DateTime::from_millis(1_234), "far": DateTime::from_millis(i64::MAX), "before": DateTime::from_millis(-5),
            "binary": Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] },
            "id": ObjectId::from_bytes([9; 12]), "time": Timestamp { time: 1, increment: 2 },
            "regex": Regex { pattern: "^a\"b".try_into().unwrap(), options: "ix".try_into().unwrap() },
            "code": Bson::JavaScriptCode("f()".into()),
            "scoped": JavaScriptCodeWithScope { code: "g()".into(), scope },
            "symbol": Bson::Symbol("s".into()), "undefined": Bson::Undefined,
            "min": Bson::MinKey, "max": Bson::MaxKey, "null": Bson::Null,
            "array": [1, [2_i64, { "three": 3.5 }], [], {}], "empty": {},
        }
    }

    #[test]
    fn it_is_the_json_that_the_bson_crate_makes() {
        let document = everything();
        let raw = RawDocumentBuf::try_from(&document).unwrap();
        let value = Bson::Document(document);
        for (json, expected) in [
            (Json::Relaxed, value.clone().into_relaxed_extjson()),
            (Json::Canonical, value.into_canonical_extjson()),
        ] {
            let extended = Extended::of(&raw, json);
            let expected = expected.to_string();
            assert_eq!(serde_json::to_string(&extended).unwrap(), expected);
            let text = serde_json::to_string(&Text(extended)).unwrap();
            assert_eq!(text, serde_json::to_string(&expected).unwrap());
            let mut counter = Counter::default();
            serde_json::to_writer(&mut counter, &Text(extended)).unwrap();
            assert_eq!(counter.0, text.len());
        }
    }

    #[test]
    fn what_nests_too_deep_is_refused() {
        let mut document = RawDocumentBuf::new();
        for _ in 0..DEPTH_MAX {
            let mut outer = RawDocumentBuf::new();
            outer.append(bson::raw::cstr!("a"), document);
            document = outer;
        }
        assert!(serde_json::to_string(&Extended::of(&document, Json::Relaxed)).is_ok());
        let mut outer = RawDocumentBuf::new();
        outer.append(bson::raw::cstr!("a"), document);
        assert!(serde_json::to_string(&Extended::of(&outer, Json::Relaxed)).is_err());
    }
}

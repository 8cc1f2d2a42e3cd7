//! BSON as it comes in a message: what the validator takes can be read in all its depth by whoever reads documents, and what it
//! refuses is refused whatever stands around it.
#![no_main]

use bson::{Document, RawBsonRef, RawDocument, rawdoc};
use libfuzzer_sys::fuzz_target;
use tailwater_matcher::validate;
use tailwater_wire::{HEADER_BYTES, Header, Msg};

/// Reads everything, with a stack of its own; how many values there are.
fn read(document: &RawDocument) -> usize {
    let (mut ahead, mut values) = (vec![document], 0);
    while let Some(document) = ahead.pop() {
        for field in document {
            let (name, value) = field.expect("a validated document can be read");
            assert!(!name.as_str().contains('\0'));
            values += 1;
            match value {
                RawBsonRef::Document(inner) => ahead.push(inner),
                RawBsonRef::Array(inner) => ahead.push(RawDocument::from_bytes(inner.as_bytes()).unwrap()),
                RawBsonRef::JavaScriptCodeWithScope(code) => ahead.push(code.scope),
                _ => {}
            }
        }
    }
    values
}

fuzz_target!(|data: &[u8]| {
    let valid = validate(data);
    if let Ok(document) = &valid {
        read(document);
        // Owned parsing recurses: no deeper than the validator lets it.
        let _ = Document::try_from(*document);
    }
    let Ok(document) = RawDocument::from_bytes(data) else {
        assert!(valid.is_err(), "the validator takes what is no document");
        return;
    };
    // As a command's body, and as a field of one.
    let wrapped = rawdoc! { "insert": "c", "documents": [document.to_owned()], "$db": "test" };
    assert!(validate(wrapped.as_bytes()).is_err() || valid.is_ok());
    let bytes = Msg::new(document).to_bytes(1, 0);
    if let Ok(bytes) = bytes {
        let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
        let _ = Msg::parse(&Header::parse(head).unwrap(), rest);
    }
});

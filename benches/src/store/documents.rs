//! The documents of this suite: 208 bytes, eight fields, all alike but for four of them.
//!
//! They are written over a template, so that making one costs a copy and a few numbers, and no figure measures it.

use std::ops::Range;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::encode_key;

use crate::harness::Result;

/// Documents of a batch.
pub(crate) const BATCH: usize = 1_000;
/// Field `n` has so many different values, which follow each other.
pub(crate) const GROUPS: u64 = 1_000;

/// Bytes of the text that makes up the rest of a document.
const NOTE_BYTES: usize = 88;

/// A document to write over: `_id` (a 64-bit integer) is its number, `code` another one that no other document has and that
/// is in no order, `n` its number modulo [`GROUPS`], and `note` is text that does not compress.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    id: usize,
    code: usize,
    n: usize,
    note: usize,
}

impl Template {
    pub(crate) fn new() -> Template {
        let document = rawdoc! {
            "_id": 0_i64, "code": 0_i64, "n": 0, "name": "Ada Lovelace", "city": "Amsterdam", "price": 19.5,
            "at": bson::DateTime::from_millis(1_700_000_000_000), "note": "x".repeat(NOTE_BYTES),
        };
        let bytes = document.into_bytes();
        Template {
            id: value_at(&bytes, b"\x12_id\0"),
            code: value_at(&bytes, b"\x12code\0"),
            n: value_at(&bytes, b"\x10n\0"),
            // Behind the text's length.
            note: value_at(&bytes, b"\x02note\0") + 4,
            bytes,
        }
    }

    /// Bytes of a document.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes document `number` to `out`, which already is one of this template.
    fn write(&self, number: u64, out: &mut [u8]) {
        out[self.id..self.id + 8].copy_from_slice(&number.to_le_bytes());
        out[self.code..self.code + 8].copy_from_slice(&code(number).to_le_bytes());
        out[self.n..self.n + 4].copy_from_slice(&((number % GROUPS) as u32).to_le_bytes());
        let mut word = number;
        for chunk in out[self.note..self.note + NOTE_BYTES].chunks_exact_mut(8) {
            word = scatter(word.wrapping_add(1));
            // Sixteen letters, `a` to `p`.
            let letters = (word & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161;
            chunk.copy_from_slice(&letters.to_le_bytes());
        }
    }
}

/// A batch of documents that follow each other.
#[derive(Debug)]
pub(crate) struct Batch {
    template: Template,
    bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn new(documents: usize) -> Batch {
        let template = Template::new();
        Batch {
            bytes: template.bytes.repeat(documents),
            template,
        }
    }

    /// Makes it the documents from `first` on.
    pub(crate) fn fill(&mut self, first: u64) {
        let documents = self.bytes.chunks_exact_mut(self.template.len());
        for (number, document) in (first..).zip(documents) {
            self.template.write(number, document);
        }
    }

    /// The documents.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &RawDocument> {
        let documents = self.bytes.chunks_exact(self.template.len());
        documents.map(|bytes| RawDocument::from_bytes(bytes).expect("a copy of a document"))
    }
}

/// The first number of each batch.
pub(crate) fn batches(numbers: Range<u64>) -> impl Iterator<Item = u64> {
    numbers.step_by(BATCH)
}

/// A filter `{name: <64-bit integer>}` to write over, so that a look-up does not measure making one.
#[derive(Debug)]
pub(crate) struct Filter {
    document: Vec<u8>,
    at: usize,
}

impl Filter {
    pub(crate) fn by_id() -> Filter {
        Filter::new(&rawdoc! { "_id": 0_i64 }, b"\x12_id\0")
    }

    pub(crate) fn by_code() -> Filter {
        Filter::new(&rawdoc! { "code": 0_i64 }, b"\x12code\0")
    }

    fn new(document: &RawDocumentBuf, name: &[u8]) -> Filter {
        Filter {
            document: document.as_bytes().to_vec(),
            at: value_at(document.as_bytes(), name),
        }
    }

    pub(crate) fn with(&mut self, value: i64) -> Result<&RawDocument> {
        self.document[self.at..self.at + 8].copy_from_slice(&value.to_le_bytes());
        Ok(RawDocument::from_bytes(&self.document)?)
    }
}

/// Field `code` of document `number`: no two have the same.
pub(crate) fn code(number: u64) -> i64 {
    scatter(number).cast_signed()
}

/// The store's key for an integer.
pub(crate) fn key(number: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    encode_key(bson::raw::RawBsonRef::Int64(number), &mut key);
    key
}

/// A permutation of all numbers, in no order (Steele and others, *Fast splittable pseudorandom number generators*, 2014).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Where the value begins whose type and name are these bytes.
fn value_at(document: &[u8], element: &[u8]) -> usize {
    let at = document.windows(element.len()).position(|bytes| bytes == element);
    at.expect("the document has the field") + element.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_documents_that_tell_their_number() {
        let mut batch = Batch::new(3);
        batch.fill(1_999);
        let found: Vec<_> = batch
            .documents()
            .map(|document| {
                assert_eq!(document.as_bytes().len(), 208);
                assert_eq!(document.get_str("note").unwrap().len(), NOTE_BYTES);
                let number = |name| document.get_i64(name).unwrap();
                (number("_id"), number("code"), document.get_i32("n").unwrap())
            })
            .collect();
        assert_eq!(
            found,
            [
                (1_999, code(1_999), 999),
                (2_000, code(2_000), 0),
                (2_001, code(2_001), 1)
            ]
        );
    }
}

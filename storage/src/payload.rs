//! An entry's payload, on its way into the log and as the state keeps it until the engine has it.
//!
//! The bytes are written once and then shared: by the entry that is to be appended, by the write that has staged the document
//! and by the overlay. So a recent document is in memory once, and nobody has to read it back from the log, whose newest
//! bytes may still be on their way into a segment.

use std::ops::Range;
use std::sync::Arc;

use tailwater_oplog::entry::StoreEntry;

/// See the module documentation. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    bytes: Arc<[u8]>,
    /// Where the document lies in them; nowhere, when there is none.
    document: Range<usize>,
}

impl Payload {
    /// The payload of an entry that is to be written.
    pub(crate) fn encode(entry: &StoreEntry<'_>) -> Payload {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        Payload::copy(&bytes)
    }

    /// A payload that was read.
    pub(crate) fn copy(bytes: &[u8]) -> Payload {
        let document = StoreEntry::decode(bytes).ok().and_then(|entry| entry.document);
        Payload {
            document: document.map_or(0..0, |document| place(document.as_bytes(), bytes)),
            bytes: bytes.into(),
        }
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The document's bytes; none when it has no document.
    pub(crate) fn document(&self) -> Option<&[u8]> {
        Some(&self.bytes[self.document.clone()]).filter(|bytes| !bytes.is_empty())
    }

    /// Whether both are the payload of one and the same entry.
    pub(crate) fn is_same(&self, other: &Payload) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }
}

/// Where a part lies in the whole that it was borrowed from.
fn place(part: &[u8], whole: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn the_document_is_found_behind_whatever_comes_first() {
        let (document, key) = (rawdoc! { "_id": 1, "a": "b" }, rawdoc! { "_id": 1 });
        for (key, document) in [
            (None, Some(&document)),
            (Some(&key), Some(&document)),
            (Some(&key), None),
        ] {
            let entry = StoreEntry {
                database: "db",
                collection: "c",
                key: key.map(AsRef::as_ref),
                document: document.map(AsRef::as_ref),
                pre_image: Some(&rawdoc! {}),
                ..StoreEntry::default()
            };
            let payload = Payload::encode(&entry);
            assert_eq!(payload.document(), document.map(|document| document.as_bytes()));
            let read = Payload::copy(payload.bytes());
            assert_eq!(read.document(), payload.document());
            assert!(payload.is_same(&payload.clone()) && !read.is_same(&payload));
        }
    }
}

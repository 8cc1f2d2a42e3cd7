//! The entry schema: how the payloads of the document store's entries are laid out. `docs/oplog-format.md` (*Entries*) is
//! the authority.
//!
//! Decoding reads lengths and borrows; it does not look into the BSON documents. Their bytes come from this log, whose
//! checksums hold, and were validated before they were appended.

use bson::RawDocument;

use crate::error::{Error, Result};

/// Longest database name in bytes.
pub const DATABASE_NAME_BYTES_MAX: usize = 63;
/// Longest namespace in bytes: both names and the dot between them, as in MongoDB.
pub const NAMESPACE_BYTES_MAX: usize = 255;

const HEAD_BYTES: usize = 20;

/// The kind of an entry that a partial log does not have: only its place and time are there, with an empty payload.
pub const ELIDED: u8 = 32;

/// Whether entries of that kind are only in partial logs: in them they stand where another log has more.
pub(crate) fn is_partial(kind: u8) -> bool {
    kind == ELIDED || kind == EntryKind::Leave.number()
}

/// What an entry of the document store did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum EntryKind {
    /// A document was inserted: *document*.
    Insert = 1,
    /// A document was changed: *key*, *diff* and *document*, the post-image.
    Update = 2,
    /// A document was replaced: *document*.
    Replace = 3,
    /// A document was deleted: *key*.
    Delete = 4,
    /// A collection was created: *detail* has its options.
    Create = 8,
    /// A collection was dropped.
    Drop = 9,
    /// A collection was renamed: *detail* has `to` and `dropTarget`.
    Rename = 10,
    /// A database was dropped, after its collections.
    DropDatabase = 11,
    /// Indexes are being built, and maintained from here on: *detail* has `indexes`.
    StartIndexBuild = 12,
    /// Indexes are complete: *detail* has `indexes`. Without a start before it, the state of here is indexed.
    CreateIndexes = 13,
    /// Indexes were dropped: *detail* has `indexes`.
    DropIndexes = 14,
    /// Indexes that were being built are given up: *detail* has `indexes`.
    AbortIndexBuild = 15,
    /// Nothing: a mark in the log.
    Noop = 16,
    /// Options of a collection or an index were changed: *detail* has all `options` as they are now, or `index` as it is now,
    /// and what they were before in `before`.
    Modify = 17,
    /// Statements of a session's write were carried out, which its sender may send again, or a session's transaction was
    /// committed: *detail* is the record of that; or it names sessions whose records are no longer kept.
    SessionWrite = 18,
    /// In a partial log: with *key*, whatever was done to that document here, it is none of this part's from now on; without,
    /// so is the collection, or, with a *detail*, one has come to be of this part whose documents the entry does not have.
    Leave = 19,
}

impl EntryKind {
    /// The kind with this number, when it is one of the document store's.
    #[must_use]
    pub fn from_number(number: u8) -> Option<EntryKind> {
        Some(match number {
            1 => EntryKind::Insert,
            2 => EntryKind::Update,
            3 => EntryKind::Replace,
            4 => EntryKind::Delete,
            8 => EntryKind::Create,
            9 => EntryKind::Drop,
            10 => EntryKind::Rename,
            11 => EntryKind::DropDatabase,
            12 => EntryKind::StartIndexBuild,
            13 => EntryKind::CreateIndexes,
            14 => EntryKind::DropIndexes,
            15 => EntryKind::AbortIndexBuild,
            16 => EntryKind::Noop,
            17 => EntryKind::Modify,
            18 => EntryKind::SessionWrite,
            19 => EntryKind::Leave,
            _ => return None,
        })
    }

    /// Its number in the frame.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its name in the format document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EntryKind::Insert => "insert",
            EntryKind::Update => "update",
            EntryKind::Replace => "replace",
            EntryKind::Delete => "delete",
            EntryKind::Create => "create",
            EntryKind::Drop => "drop",
            EntryKind::Rename => "rename",
            EntryKind::DropDatabase => "dropDatabase",
            EntryKind::StartIndexBuild => "startIndexBuild",
            EntryKind::CreateIndexes => "createIndexes",
            EntryKind::DropIndexes => "dropIndexes",
            EntryKind::AbortIndexBuild => "abortIndexBuild",
            EntryKind::Noop => "noop",
            EntryKind::Modify => "modify",
            EntryKind::SessionWrite => "sessionWrite",
            EntryKind::Leave => "leave",
        }
    }
}

/// The payload of one entry of the document store, borrowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreEntry<'a> {
    /// Database name.
    pub database: &'a str,
    /// Collection name; empty where there is none.
    pub collection: &'a str,
    /// The collection's UUID; zero where there is none.
    pub collection_id: [u8; 16],
    /// The document key, `{_id: …}`.
    pub key: Option<&'a RawDocument>,
    /// The document as it is after the operation.
    pub document: Option<&'a RawDocument>,
    /// `{updatedFields, removedFields, truncatedArrays}`.
    pub diff: Option<&'a RawDocument>,
    /// The document as it was before the operation.
    pub pre_image: Option<&'a RawDocument>,
    /// `{lsid, txnNumber}`.
    pub session: Option<&'a RawDocument>,
    /// What a definition changed.
    pub detail: Option<&'a RawDocument>,
}

impl<'a> StoreEntry<'a> {
    fn sections(&self) -> [Option<&'a RawDocument>; 6] {
        [
            self.key,
            self.document,
            self.diff,
            self.pre_image,
            self.session,
            self.detail,
        ]
    }

    /// Appends the payload's bytes to `out`.
    ///
    /// # Panics
    ///
    /// When a name is longer than 255 bytes; the store refuses such names before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name_byte = |name: &str| u8::try_from(name.len()).expect("names are checked by the store");
        let sections = self.sections();
        let present = sections.iter().enumerate().filter(|(_, s)| s.is_some());
        let bits = present.fold(0u16, |bits, (i, _)| bits | 1 << i);
        let documents = sections.iter().flatten().map(|section| section.as_bytes().len());
        out.reserve(HEAD_BYTES + self.database.len() + self.collection.len() + documents.sum::<usize>());
        out.extend_from_slice(&[name_byte(self.database), name_byte(self.collection)]);
        out.extend_from_slice(&bits.to_le_bytes());
        out.extend_from_slice(&self.collection_id);
        out.extend_from_slice(self.database.as_bytes());
        out.extend_from_slice(self.collection.as_bytes());
        for section in sections.into_iter().flatten() {
            out.extend_from_slice(section.as_bytes());
        }
    }

    /// The part of a payload that names the namespace: the length of the database's name, and both names, one behind the
    /// other. Of two payloads it is equal exactly when the namespaces are. `None` when the payload is cut short there; that
    /// it can be decoded it does not say.
    #[must_use]
    #[inline]
    pub fn namespace_bytes(payload: &[u8]) -> Option<(u8, &[u8])> {
        let (&[database, collection, ..], names) = payload.split_first_chunk::<HEAD_BYTES>()?;
        let names = names.get(..usize::from(database) + usize::from(collection))?;
        Some((database, names))
    }

    /// The document of a payload, without looking at what comes behind it.
    ///
    /// # Errors
    ///
    /// As [`StoreEntry::decode`], of which this finds less.
    pub fn decode_document(payload: &'a [u8]) -> Result<Option<&'a RawDocument>> {
        let document = StoreEntry::document_bytes(payload)?;
        Ok(document.map(take_document).transpose()?.map(|(document, _)| document))
    }

    /// The bytes of a payload's document, of which only the length has been looked at: the rest may lie in memory that nobody
    /// has asked for yet.
    ///
    /// # Errors
    ///
    /// As [`StoreEntry::decode_document`], of which this finds less.
    #[inline]
    pub fn document_bytes(payload: &'a [u8]) -> Result<Option<&'a [u8]>> {
        const KEY: u16 = 1;
        const DOCUMENT: u16 = 2;
        let cut = || Error::MalformedEntry {
            what: "shorter than its head",
        };
        let head: &[u8; HEAD_BYTES] = payload.first_chunk().ok_or_else(cut)?;
        let bits = u16::from_le_bytes([head[2], head[3]]);
        if bits & DOCUMENT == 0 {
            return Ok(None);
        }
        let names = usize::from(head[0]) + usize::from(head[1]);
        let mut rest = payload.get(HEAD_BYTES + names..).ok_or_else(cut)?;
        if bits & KEY != 0 {
            rest = split_document(rest)?.1;
        }
        Ok(Some(split_document(rest)?.0))
    }

    /// Reads a payload. The documents are borrowed as they lie; only their lengths are checked.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedEntry`].
    pub fn decode(payload: &'a [u8]) -> Result<StoreEntry<'a>> {
        let malformed = |what| Error::MalformedEntry { what };
        let head: &[u8; HEAD_BYTES] = payload
            .first_chunk()
            .ok_or_else(|| malformed("shorter than its head"))?;
        let (database, rest) = take_name(&payload[HEAD_BYTES..], head[0])?;
        let (collection, mut rest) = take_name(rest, head[1])?;
        let bits = u16::from_le_bytes([head[2], head[3]]);
        if bits >> 6 != 0 {
            return Err(malformed("unknown sections"));
        }
        let mut sections = [None; 6];
        let mut left = bits;
        while left != 0 {
            let (document, after) = take_document(rest)?;
            sections[left.trailing_zeros() as usize] = Some(document);
            rest = after;
            left &= left - 1;
        }
        if !rest.is_empty() {
            return Err(malformed("bytes left over"));
        }
        let mut collection_id = [0; 16];
        collection_id.copy_from_slice(&head[4..]);
        let [key, document, diff, pre_image, session, detail] = sections;
        Ok(StoreEntry {
            database,
            collection,
            collection_id,
            key,
            document,
            diff,
            pre_image,
            session,
            detail,
        })
    }
}

fn take_name(bytes: &[u8], length: u8) -> Result<(&str, &[u8])> {
    let cut = || Error::MalformedEntry {
        what: "a name is cut short",
    };
    let (name, rest) = bytes.split_at_checked(length.into()).ok_or_else(cut)?;
    let name = std::str::from_utf8(name).map_err(|_| Error::MalformedEntry {
        what: "a name is not UTF-8",
    })?;
    Ok((name, rest))
}

fn take_document(bytes: &[u8]) -> Result<(&RawDocument, &[u8])> {
    let (document, rest) = split_document(bytes)?;
    let document = RawDocument::from_bytes(document).map_err(|_| document_cut())?;
    Ok((document, rest))
}

/// As [`take_document`], without a look at the document.
#[inline]
fn split_document(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let length = bytes.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize);
    length
        .and_then(|length| bytes.split_at_checked(length))
        .ok_or_else(document_cut)
}

#[cold]
fn document_cut() -> Error {
    Error::MalformedEntry {
        what: "a document is cut short",
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn the_payload_is_golden() {
        let key = rawdoc! { "_id": 1 };
        let entry = StoreEntry {
            database: "db",
            collection: "c",
            collection_id: [7; 16],
            key: Some(&key),
            ..StoreEntry::default()
        };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        let mut expected = vec![2, 1, 1, 0];
        expected.extend_from_slice(&[7; 16]);
        expected.extend_from_slice(b"dbc");
        expected.extend_from_slice(&[14, 0, 0, 0, 0x10, b'_', b'i', b'd', 0, 1, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn every_section_round_trips() {
        let documents: Vec<_> = (0..6).map(|n| rawdoc! { "section": n }).collect();
        let entry = StoreEntry {
            database: "shop",
            collection: "orders",
            collection_id: [1; 16],
            key: Some(&documents[0]),
            document: Some(&documents[1]),
            diff: Some(&documents[2]),
            pre_image: Some(&documents[3]),
            session: Some(&documents[4]),
            detail: Some(&documents[5]),
        };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        let decoded = StoreEntry::decode(&bytes).unwrap();
        assert_eq!((decoded.database, decoded.collection), ("shop", "orders"));
        assert_eq!(StoreEntry::namespace_bytes(&bytes), Some((4, &b"shoporders"[..])));
        assert_eq!(StoreEntry::namespace_bytes(&bytes[..29]), None);
        assert_eq!(StoreEntry::decode_document(&bytes).unwrap(), Some(&*documents[1]));
        assert_eq!(
            StoreEntry::document_bytes(&bytes).unwrap(),
            Some(documents[1].as_bytes())
        );
        let without = StoreEntry { key: None, ..entry };
        let mut keyless = Vec::new();
        without.encode(&mut keyless);
        assert_eq!(StoreEntry::decode_document(&keyless).unwrap(), Some(&*documents[1]));
        let sections: Vec<_> = decoded.sections().into_iter().map(Option::unwrap).collect();
        assert_eq!(sections, documents.iter().map(|d| &**d).collect::<Vec<_>>());
    }

    #[test]
    fn a_cut_payload_is_refused_at_every_length() {
        let document = rawdoc! { "_id": 1, "name": "Ada" };
        let entry = StoreEntry {
            database: "d",
            collection: "c",
            document: Some(&document),
            ..StoreEntry::default()
        };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        for length in 0..bytes.len() {
            assert!(StoreEntry::decode(&bytes[..length]).is_err(), "{length} bytes");
            assert!(StoreEntry::decode_document(&bytes[..length]).is_err(), "{length} bytes");
        }
        bytes.push(0);
        assert!(StoreEntry::decode(&bytes).is_err(), "one byte too many");
    }
}

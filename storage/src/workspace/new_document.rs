//! A document that is to be inserted: what can be done for it before the lock is taken that all writers take.
//!
//! It is checked, gets its `_id` and its key, and is written into the payload of its entry. What is left for the lock is to
//! look whether the key is taken.

use std::borrow::Cow;

use bson::RawDocument;
use bson::raw::RawBsonRef;
use tailwater_matcher::validate;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use super::with_id_first;
use crate::catalog::{CollectionInfo, Namespace};
use crate::document_id::{self, document_key};
use crate::error::Result;
use crate::store::{Draft, entry_for};

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct NewDocument<'d> {
    document: Cow<'d, RawDocument>,
    key: Vec<u8>,
    /// Its entry, for a collection that it was written for.
    entry: Option<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    id: [u8; 16],
    namespace: Namespace,
    draft: Draft,
}

impl<'d> NewDocument<'d> {
    /// Checks a document, [identified](identified).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidDocument`](crate::Error::InvalidDocument), [`Error::InvalidId`](crate::Error::InvalidId).
    pub(crate) fn check(document: &'d RawDocument) -> Result<NewDocument<'d>> {
        let document = identified(document)?;
        let key = document_key(id_of(&document))?;
        Ok(NewDocument {
            document,
            key,
            entry: None,
        })
    }

    /// The same, with its entry for a collection, if that is the one it gets into.
    pub(crate) fn prepared_for(mut self, info: &CollectionInfo) -> NewDocument<'d> {
        let entry = StoreEntry {
            document: Some(&self.document),
            ..entry_for(info)
        };
        self.entry = Some(Prepared {
            draft: Draft::new(EntryKind::Insert, &entry),
            id: info.id,
            namespace: info.namespace.clone(),
        });
        self
    }

    pub(crate) fn document(&self) -> &RawDocument {
        &self.document
    }

    pub(crate) fn id(&self) -> RawBsonRef<'_> {
        id_of(&self.document)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its key, and its entry for a collection: the one that was prepared, if it fits.
    pub(super) fn into_entry(self, info: &CollectionInfo, session: Option<&RawDocument>) -> (Vec<u8>, Draft) {
        let draft = match self.entry {
            Some(prepared) if session.is_none() && prepared.id == info.id && prepared.namespace == info.namespace => {
                prepared.draft
            }
            _ => {
                let entry = StoreEntry {
                    document: Some(&self.document),
                    session,
                    ..entry_for(info)
                };
                Draft::new(EntryKind::Insert, &entry)
            }
        };
        (self.key, draft)
    }
}

/// Checks a document. Without an `_id` it gets an ObjectId; wherever it is, the `_id` comes to the front.
///
/// # Errors
///
/// [`Error::InvalidDocument`](crate::Error::InvalidDocument), [`Error::IdTwice`](crate::Error::IdTwice).
pub(crate) fn identified(document: &RawDocument) -> Result<Cow<'_, RawDocument>> {
    validate(document.as_bytes())?;
    document_id::check_single(document)?;
    if let Some(Ok((name, _))) = document.iter().next()
        && name.as_str() == "_id"
    {
        return Ok(Cow::Borrowed(document));
    }
    let id = document.get("_id").ok().flatten();
    let id = id.unwrap_or_else(|| RawBsonRef::ObjectId(bson::oid::ObjectId::new()));
    let made = with_id_first(document, id);
    validate(made.as_bytes())?;
    Ok(Cow::Owned(made))
}

fn id_of(document: &RawDocument) -> RawBsonRef<'_> {
    document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null)
}

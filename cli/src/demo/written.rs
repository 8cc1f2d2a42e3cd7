//! What one write did to one document, in decoded form: the shape in which plan, log and events are compared.
//!
//! Nothing here uses the matcher or the change streams: a proof that asked the suspect would be none.

use std::fmt::Write as _;

use bson::{Document, RawDocumentBuf, doc};
use sha2::{Digest, Sha256};

use super::plan::{COLLECTION, DATABASE};
use crate::failure::{Exit, Failure, Outcome};

/// One write: as the plan wants it, or as the log has it.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The operation type of its event.
    pub(crate) operation: &'static str,
    /// The document's `_id`.
    pub(crate) day: String,
    /// The document afterwards; none after a deletion.
    pub(crate) document: Option<Document>,
    /// For an update: `{updatedFields, removedFields, truncatedArrays}`.
    pub(crate) diff: Option<Document>,
}

impl Written {
    /// Whether both are the same to the last byte, the order of fields included.
    pub(crate) fn equals(&self, other: &Written) -> Outcome<bool> {
        let same = |a: &Option<Document>, b: &Option<Document>| -> Outcome<bool> {
            match (a, b) {
                (None, None) => Ok(true),
                (Some(a), Some(b)) => Ok(bytes(a)? == bytes(b)?),
                _ => Ok(false),
            }
        };
        Ok((self.operation, &self.day) == (other.operation, &other.day)
            && same(&self.document, &other.document)?
            && same(&self.diff, &other.diff)?)
    }

    /// The event that a watcher has to see, without what depends on the run: token and times.
    fn event(&self, shows_document: bool) -> Document {
        let mut event = doc! { "operationType": self.operation };
        if let Some(document) = self.document.as_ref().filter(|_| shows_document) {
            event.insert("fullDocument", document.clone());
        }
        event.insert("ns", doc! { "db": DATABASE, "coll": COLLECTION });
        event.insert("documentKey", doc! { "_id": &self.day });
        if let Some(diff) = &self.diff {
            event.insert("updateDescription", diff.clone());
        }
        event
    }

    /// What a watcher has to have noted of it.
    pub(crate) fn seen(&self, op_id: u64, shows_document: bool) -> Outcome<Seen> {
        Ok(Seen {
            op_id,
            operation: self.operation.to_owned(),
            day: self.day.clone(),
            digest: digest(&self.event(shows_document))?,
        })
    }
}

/// What a watcher has noted of one event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) op_id: u64,
    pub(crate) operation: String,
    pub(crate) day: String,
    /// SHA-256 of the event without token and times.
    pub(crate) digest: String,
}

/// The document's bytes.
pub(crate) fn bytes(document: &Document) -> Outcome<Vec<u8>> {
    let raw = RawDocumentBuf::try_from(document);
    raw.map(RawDocumentBuf::into_bytes)
        .map_err(|e| Failure::new(Exit::Failure, format!("cannot encode a document: {e}")))
}

/// SHA-256 of the document's bytes, in hexadecimal.
pub(crate) fn digest(document: &Document) -> Outcome<String> {
    Ok(hexadecimal(&Sha256::digest(bytes(document)?)))
}

/// SHA-256 over everything seen, in order: equal for equal sequences only.
pub(crate) fn digest_of_all(all: &[Seen]) -> String {
    let mut hash = Sha256::new();
    for seen in all {
        let Seen {
            op_id,
            operation,
            day,
            digest,
        } = seen;
        hash.update(format!("{op_id}\t{operation}\t{day}\t{digest}\n"));
    }
    hexadecimal(&hash.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! What writes have done.

use std::collections::BTreeMap;

use bson::Bson;
use tailwater_oplog::OpId;

use crate::error::{Error, ErrorCode};
use crate::write::Modified;

/// What an insert has done.
#[derive(Clone, PartialEq, Debug)]
pub struct InsertOutcome {
    /// The documents' `_id`s, in order; made up where a document had none.
    pub inserted_ids: Vec<Bson>,
    /// The last entry it wrote.
    pub op_id: OpId,
}

/// How large a collection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CollectionSize {
    /// How many documents it has.
    pub documents: u64,
    /// Bytes of BSON that they are.
    pub data_bytes: u64,
}

/// What an update, replacement or deletion has done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WriteOutcome {
    /// Documents that matched the filter.
    pub matched: u64,
    /// Documents that were changed or deleted; an update that changes nothing writes nothing.
    pub modified: u64,
    /// The `_id` of the document that an upsert has inserted, as nothing matched.
    pub upserted_id: Option<Bson>,
    /// The last entry it wrote, if any.
    pub op_id: Option<OpId>,
}

impl WriteOutcome {
    /// Counts what has become of one more document.
    pub(crate) fn add(&mut self, modified: Modified) {
        self.matched += u64::from(modified.matched);
        self.modified += u64::from(modified.matched && modified.changed);
        self.upserted_id = modified.upserted_id.or(self.upserted_id.take());
        self.op_id = modified.op_id.or(self.op_id);
    }
}

/// What several writes have done together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BulkWriteOutcome {
    /// Documents that were inserted, upserts left out.
    pub inserted: u64,
    /// Documents that updates and replacements have matched.
    pub matched: u64,
    /// Documents that updates and replacements have changed.
    pub modified: u64,
    /// Documents that were deleted.
    pub deleted: u64,
    /// Documents that upserts have inserted.
    pub upserted: u64,
    /// The `_id`s of inserted documents, by the index of their write.
    pub inserted_ids: BTreeMap<usize, Bson>,
    /// The `_id`s of documents that upserts have inserted, by the index of their write.
    pub upserted_ids: BTreeMap<usize, Bson>,
    /// The last entry that was written, if any.
    pub op_id: Option<OpId>,
}

impl BulkWriteOutcome {
    pub(crate) fn add_insert(&mut self, index: usize, id: Bson) {
        self.inserted += 1;
        self.inserted_ids.insert(index, id);
    }

    /// Counts an update, a replacement or a deletion.
    pub(crate) fn add(&mut self, index: usize, is_delete: bool, outcome: WriteOutcome) {
        if is_delete {
            self.deleted += outcome.modified;
        } else {
            self.matched += outcome.matched;
            self.modified += outcome.modified;
        }
        if let Some(id) = outcome.upserted_id {
            self.upserted += 1;
            self.upserted_ids.insert(index, id);
        }
        self.op_id = outcome.op_id.or(self.op_id);
    }
}

/// One of several writes, which failed.
#[derive(Clone, Debug)]
pub struct WriteError {
    /// Its index among them.
    pub index: usize,
    /// Why it failed. Its text is MongoDB's `errmsg`.
    pub error: Error,
}

impl WriteError {
    /// MongoDB's code for the error, if it has one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.error.code()
    }
}

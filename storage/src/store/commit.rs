//! Entries on their way into the log, and the commit that takes them there.

use std::sync::{Arc, MutexGuard};

use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{AppendOutcome, Durability, OpId, Record};

use super::apply::Logged;
use super::shared::{Ahead, Core};
use crate::catalog::{Catalog, CollectionInfo};
use crate::error::Result;
use crate::payload::Payload;
use crate::state::Stored;

/// The right to change the store, held by one writer at a time.
pub(crate) struct Commit<'a> {
    pub(super) ahead: MutexGuard<'a, Ahead>,
}

impl Commit<'_> {
    /// The catalogue as this writer finds it.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.ahead.catalog)
    }
}

/// An entry about to be appended.
#[derive(Debug)]
pub(crate) struct Draft {
    kind: EntryKind,
    payload: Payload,
    /// The document as it was, where there was one.
    before: Option<Stored>,
}

impl Draft {
    pub(crate) fn new(kind: EntryKind, entry: &StoreEntry<'_>) -> Draft {
        Draft {
            kind,
            payload: Payload::encode(entry),
            before: None,
        }
    }

    /// An entry that takes the place of a document, or takes it away.
    pub(crate) fn over(kind: EntryKind, entry: &StoreEntry<'_>, before: Stored) -> Draft {
        Draft {
            before: Some(before),
            ..Draft::new(kind, entry)
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.payload.bytes().len()
    }

    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }
}

/// An entry's payload for a collection, with no sections yet.
pub(crate) fn entry_for(info: &CollectionInfo) -> StoreEntry<'_> {
    StoreEntry {
        database: &info.namespace.database,
        collection: &info.namespace.collection,
        collection_id: info.id,
        ..StoreEntry::default()
    }
}

impl Core {
    /// Appends entries as one batch, applies them, and shows them to readers as one.
    pub(crate) fn commit(&self, commit: &mut Commit<'_>, drafts: &[Draft]) -> Result<AppendOutcome> {
        let layers = self.layers()?;
        let payloads: Vec<[&[u8]; 1]> = drafts.iter().map(|draft| [draft.payload.bytes()]).collect();
        let records: Vec<Record<'_>> = drafts
            .iter()
            .zip(&payloads)
            .map(|(draft, payload)| Record {
                kind: draft.kind.number(),
                payload,
            })
            .collect();
        let outcome = self.log.append_batch(&records, Durability::Memory)?;
        let generation = &layers.generations[0];
        let before = generation.bytes();
        for (op_id, draft) in (outcome.first.get()..).map(OpId::new).zip(drafts) {
            let entry = Logged {
                op_id,
                kind: draft.kind.number(),
                payload: &draft.payload,
            };
            self.apply(&mut commit.ahead, &layers, &entry, Some(draft.before.as_ref()))?;
        }
        self.publish(&commit.ahead, outcome.last);
        self.wake_if_due(generation, before);
        Ok(outcome)
    }
}

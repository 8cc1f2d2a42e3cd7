//! Entries on their way into the log, and the commit that takes them there.

use std::sync::{Arc, MutexGuard};

use smallvec::SmallVec;
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{AppendOutcome, Durability, OpId, Record};

use super::apply::Logged;
use super::shared::{Ahead, Core};
use crate::catalog::{Catalog, CollectionInfo, CollectionNumber, Size};
use crate::engine::{Slice, StateKey};
use crate::error::{Error, Result};
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
    payload: Vec<u8>,
    /// The document as it will be, where there is one.
    document: Option<Slice>,
    /// The document as it was, where there was one.
    before: Option<Stored>,
}

impl Draft {
    pub(crate) fn new(kind: EntryKind, entry: &StoreEntry<'_>) -> Draft {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        Draft {
            kind,
            payload,
            document: entry.document.map(|document| Slice::new(document.as_bytes())),
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
        self.payload.len()
    }

    /// The entry, once it is in the log.
    fn logged(&self, op_id: OpId) -> Logged<'_> {
        Logged {
            op_id,
            kind: self.kind.number(),
            payload: &self.payload,
            document: self.document.as_ref(),
        }
    }

    pub(crate) fn document(&self) -> Option<&Slice> {
        self.document.as_ref()
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

/// Stands between an append and the moment when all that was appended shows in the state. If that moment does not come, because
/// of an error or a panic, log and state have parted: the store takes no more writes, whose entries would hide the gap, and
/// gives nothing of the generation to the engine. The next opening replays the log.
pub(super) struct Unapplied<'a> {
    core: &'a Core,
    is_applied: bool,
}

impl<'a> Unapplied<'a> {
    /// The caller holds the commit lock, and keeps it longer than this.
    pub(super) fn new(core: &'a Core) -> Unapplied<'a> {
        Unapplied {
            core,
            is_applied: false,
        }
    }

    /// Everything is in the state, and published.
    pub(super) fn applied(mut self) {
        self.is_applied = true;
    }

    /// Notes why applying has failed.
    pub(super) fn check<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.core.fail(error.clone()))
    }
}

impl Drop for Unapplied<'_> {
    fn drop(&mut self) {
        if !self.is_applied {
            self.core.fail(Error::Interrupted {
                what: "applying an entry",
            });
        }
    }
}

/// As many things as documents are inserted. Most inserts are of one, and then such a list needs no allocation.
pub(crate) type Few<T> = SmallVec<[T; 1]>;

/// Inserts into a collection without indexes, of documents that are known not to be there.
#[derive(Debug)]
pub(crate) struct Inserts {
    pub(crate) number: CollectionNumber,
    /// The entries' payloads, one behind the other, and where each ends.
    pub(crate) payloads: Vec<u8>,
    pub(crate) ends: Few<usize>,
    /// No two are alike.
    pub(crate) keys: Few<StateKey>,
    pub(crate) documents: Few<Slice>,
    /// What the session keeps of them whose write they are.
    pub(crate) records: Vec<Draft>,
}

impl Inserts {
    /// By how much the collection grows.
    fn size(&self) -> Size {
        let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        Size {
            documents: signed(self.documents.len()),
            bytes: signed(self.documents.iter().map(|document| document.len()).sum()),
        }
    }
}

impl Core {
    /// Appends entries as one batch, applies them, and shows them to readers as one.
    ///
    /// # Errors
    ///
    /// Those of the append: then nothing was written. Those of applying, which are the engine's: then the entries are in the
    /// log, and the store takes no more writes.
    pub(crate) fn commit(&self, commit: &mut Commit<'_>, drafts: &[Draft]) -> Result<AppendOutcome> {
        let layers = self.layers()?;
        let payloads: Few<[&[u8]; 1]> = drafts.iter().map(|draft| [&draft.payload[..]]).collect();
        let kinds = drafts.iter().map(|draft| draft.kind);
        let outcome = self.append(kinds, &payloads)?;
        let unapplied = Unapplied::new(self);
        let generation = &layers.generations[0];
        let before = generation.bytes();
        for (op_id, draft) in (outcome.first.get()..).map(OpId::new).zip(drafts) {
            let before = Some(draft.before.as_ref());
            unapplied.check(self.apply(&mut commit.ahead, &layers, &draft.logged(op_id), before))?;
        }
        self.publish(&commit.ahead, outcome.last);
        unapplied.applied();
        self.wake_if_due(generation, before);
        Ok(outcome)
    }

    /// The same for inserts, about which everything is known that [`Core::apply`] would find out of each: they go into the
    /// overlay as they are. `Inserts::number` is that of a collection of this commit's catalogue.
    pub(crate) fn commit_inserts(&self, commit: &mut Commit<'_>, inserts: Inserts) -> Result<AppendOutcome> {
        let layers = self.layers()?;
        let starts = std::iter::once(0).chain(inserts.ends.iter().copied());
        let ranges = starts.zip(&inserts.ends);
        let mut payloads: Few<[&[u8]; 1]> = ranges.map(|(start, end)| [&inserts.payloads[start..*end]]).collect();
        payloads.extend(inserts.records.iter().map(|record| [&record.payload[..]]));
        let of_documents = inserts.documents.iter().map(|_| EntryKind::Insert);
        let kinds = of_documents.chain(inserts.records.iter().map(|record| record.kind));
        let outcome = self.append(kinds, &payloads)?;
        let unapplied = Unapplied::new(self);
        let generation = &layers.generations[0];
        let before = generation.bytes();
        self.grow(generation, inserts.number, inserts.size());
        let behind = outcome.first.get() + inserts.documents.len() as u64;
        generation.put_all(outcome.first, inserts.keys, inserts.documents);
        for (op_id, record) in (behind..).map(OpId::new).zip(&inserts.records) {
            unapplied.check(self.apply(&mut commit.ahead, &layers, &record.logged(op_id), None))?;
        }
        generation.cover(outcome.last);
        self.publish(&commit.ahead, outcome.last);
        unapplied.applied();
        self.wake_if_due(generation, before);
        Ok(outcome)
    }

    fn append(&self, kinds: impl Iterator<Item = EntryKind>, payloads: &[[&[u8]; 1]]) -> Result<AppendOutcome> {
        let records = kinds.zip(payloads).map(|(kind, payload)| Record {
            kind: kind.number(),
            payload,
        });
        let records: Few<Record<'_>> = records.collect();
        Ok(self.log.append_batch(&records, Durability::Memory)?)
    }
}

//! Indexes whose entries another version of this program has made by other rules ([`keys::RULES`], or the sort keys of another
//! version of ICU, [`Collation::KEYS`](tailwater_matcher::Collation::KEYS)): they are made anew when the store is opened, before anything reads them or the log is replayed over them.
//!
//! All entries are removed, then those of every document are put, then the catalogue says so, each in commits of the engine that
//! leave the OpID as it is. A crash in between leaves the index as outdated as it was, and the next opening begins again. An index
//! that is still being built is emptied only: whoever builds it begins again anyway.
//!
//! It takes as long as building the index, once; only indexes whose keys the new rules can change are concerned.

use std::ops::Bound;
use std::sync::Arc;

use crate::catalog::{Catalog, CollectionInfo, IndexInfo, IndexState};
use crate::engine::{Engine, EngineBatch, Slice, StateKey};
use crate::error::Result;
use crate::index::keys;
use crate::state::Stored;

/// Entries that are removed in one commit.
const REMOVED_AT_ONCE: usize = 4096;
/// Bytes of entries that are put in one commit.
const BATCH_BYTES: usize = 4 << 20;

/// Makes the entries of all outdated indexes anew.
///
/// # Errors
///
/// The engine's, and those of [`keys::of`].
pub(super) fn renew_indexes(engine: &Engine) -> Result<()> {
    let mut catalog = Catalog::load(&engine.snapshot())?;
    let is_concerned = |info: &&Arc<CollectionInfo>| info.indexes.iter().any(|index| index.outdated);
    let concerned: Vec<_> = catalog.collections().filter(is_concerned).cloned().collect();
    for info in concerned {
        for index in info.indexes.iter().filter(|index| index.outdated) {
            tracing::info!(namespace = %info.namespace, index = index.definition.name, "making an index anew by today's rules");
            while engine.drop_collection_chunk(index.number.0, REMOVED_AT_ONCE)? > 0 {}
            if index.state == IndexState::Ready {
                put_entries(engine, &info, index)?;
            }
        }
        let mut batch = EngineBatch::new();
        let renewed = catalog.modify(&info.id, |info| {
            info.indexes.iter_mut().for_each(|index| index.outdated = false);
        });
        if let Some(change) = renewed {
            change.record(&mut batch);
        }
        engine.commit(batch, engine.applied())?;
    }
    Ok(())
}

fn put_entries(engine: &Engine, info: &CollectionInfo, index: &IndexInfo) -> Result<()> {
    let documents = engine.snapshot();
    let mut batch = EngineBatch::new();
    for found in documents.scan(info.number.0, Bound::Unbounded, Bound::Unbounded) {
        let (key, stored) = found?;
        let stored = Stored::Engine(stored);
        for values in keys::of(&index.definition, stored.document()?)?.values {
            let length = u32::try_from(values.len()).unwrap_or(u32::MAX);
            let entry = keys::entry_key(&values, key.key());
            batch.put(StateKey::new(index.number.0, &entry), Slice::new(&length.to_le_bytes()));
        }
        if batch.bytes() >= BATCH_BYTES {
            engine.commit(std::mem::take(&mut batch), engine.applied())?;
        }
    }
    Ok(engine.commit(batch, engine.applied())?)
}

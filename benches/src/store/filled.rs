//! Stores and bare engines with documents in them, as the workloads that read find them: closed and opened again, so that
//! the documents lie in the engine and not among recent writes.

use std::ops::Range;
use std::path::Path;

use tailwater::{Collection, Durability, Store};

use super::bare::Bare;
use super::documents::{BATCH, Batch, batches};
use crate::harness::Result;

/// The collection of all workloads, whose writes return when they survive the process.
pub(crate) fn collection(store: &Store) -> Result<Collection> {
    let collection = store.collection("bench", "documents")?;
    Ok(collection.with_durability(Durability::Memory))
}

/// Inserts the documents with these numbers in batches of [`BATCH`].
pub(crate) fn insert(collection: &Collection, numbers: Range<u64>) -> Result<()> {
    let mut batch = Batch::new(BATCH);
    for first in batches(numbers) {
        batch.fill(first);
        collection.insert_many(batch.documents())?;
    }
    Ok(())
}

/// A store in `dir` with so many documents.
pub(crate) fn store(dir: &Path, documents: u64) -> Result<Store> {
    let store = Store::open(dir)?;
    insert(&collection(&store)?, 0..documents)?;
    store.close()?;
    Ok(Store::open(dir)?)
}

/// A bare engine in `dir` with so many documents.
pub(crate) fn bare(dir: &Path, documents: u64, indexed: bool) -> Result<Bare> {
    let bare = Bare::open(dir)?;
    let mut batch = Batch::new(BATCH);
    for first in batches(0..documents) {
        batch.fill(first);
        bare.insert(first, &batch, indexed)?;
    }
    drop(bare);
    Bare::open(dir)
}

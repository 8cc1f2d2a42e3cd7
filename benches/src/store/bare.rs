//! The key-value engine by itself: what the store's figures stand beside. The same settings as in the store, the same keys,
//! the same documents, and nothing else.

use std::hint::black_box;
use std::path::Path;

use fjall::config::{CompressionPolicy, RestartIntervalPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions};

use super::documents::{Batch, code, key};
use crate::harness::Result;

/// The engine's name in the results.
pub(crate) const BARE: &str = "fjall";
/// The cache, as the store has it by default.
pub(crate) const CACHE_BYTES: u64 = 256 << 20;

/// What the keys of documents begin with, and those of index entries.
const DOCUMENTS: [u8; 4] = [0, 0, 0, 1];
const INDEX: [u8; 4] = [0, 0, 0, 2];

/// An open engine.
pub(crate) struct Bare {
    database: Database,
    documents: Keyspace,
}

impl Bare {
    pub(crate) fn open(dir: &Path) -> Result<Bare> {
        let database = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(64 << 20)
            .worker_threads(3)
            .open()?;
        let documents = database.keyspace("documents", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(32 << 20)
                .data_block_restart_interval_policy(RestartIntervalPolicy::all(4))
                .data_block_compression_policy(CompressionPolicy::new([
                    CompressionType::None,
                    CompressionType::None,
                    CompressionType::Lz4,
                ]))
        })?;
        Ok(Bare { database, documents })
    }

    /// Inserts a batch of documents that begins with `first`, with entries of an index on `code` if `indexed`.
    pub(crate) fn insert(&self, first: u64, batch: &Batch, indexed: bool) -> Result<()> {
        let mut write = self.database.batch();
        for (number, document) in (first..).zip(batch.documents()) {
            let id = key(number.cast_signed());
            if indexed {
                let entry = [&INDEX[..], &key(code(number)), &id].concat();
                write.insert(&self.documents, entry, [0; 4]);
            }
            write.insert(&self.documents, [&DOCUMENTS[..], &id].concat(), document.as_bytes());
        }
        Ok(write.commit()?)
    }

    /// Bytes of the document under an `_id`.
    pub(crate) fn by_id(&self, id: i64) -> Result<usize> {
        self.get(&key(id))
    }

    /// Bytes of the first document that an index entry with this value leads to.
    pub(crate) fn by_code(&self, code: i64) -> Result<usize> {
        let values = [&INDEX[..], &key(code)].concat();
        let entry = self
            .documents
            .prefix(&values)
            .next()
            .ok_or("an index entry is missing")?;
        self.get(&entry.key()?[values.len()..])
    }

    fn get(&self, id: &[u8]) -> Result<usize> {
        let document = self.documents.get([&DOCUMENTS[..], id].concat())?;
        Ok(black_box(document.ok_or("a document is missing")?).len())
    }

    /// Reads every document in order, and counts them.
    pub(crate) fn scan(&self) -> Result<u64> {
        let mut count = 0;
        for entry in self.documents.prefix(DOCUMENTS) {
            black_box(entry.into_inner()?);
            count += 1;
        }
        Ok(count)
    }
}

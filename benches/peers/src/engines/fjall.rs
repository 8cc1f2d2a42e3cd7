//! `fjall`: a log-structured tree; the entry's number, big-endian, is the key.
//!
//! Default options, but without compression: it would profit from entries that are all the same. `PersistMode::Buffer`, the default, hands every write to the system before it
//! returns: it survives the death of the process. `PersistMode::SyncData` on the batch survives power loss. Blocks read
//! from tables are verified when they are loaded, not when they come from the cache or from memory.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tailwater_benches::harness::Result;

use crate::peer::{Guarantee, Log, Memory, Peer};

pub(crate) struct Fjall;

impl Peer for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn remarks(&self) -> &'static str {
        "a store; reads verify a block when it is loaded into the cache"
    }

    fn memory(&self) -> Memory {
        Memory::Kept
    }

    fn open(&self, dir: &Path, guarantee: Guarantee) -> Result<Box<dyn Log>> {
        let database = Database::builder(dir)
            .journal_compression(CompressionType::None)
            .open()?;
        let entries = database.keyspace("log", || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        })?;
        let last = match entries.last_key_value() {
            Some(entry) => u64::from_be_bytes(entry.key()?[..].try_into()?),
            None => 0,
        };
        Ok(Box::new(Open {
            database,
            entries,
            last: AtomicU64::new(last),
            guarantee,
        }))
    }
}

struct Open {
    database: Database,
    entries: Keyspace,
    last: AtomicU64,
    guarantee: Guarantee,
}

impl Open {
    fn key(&self) -> [u8; 8] {
        (self.last.fetch_add(1, Ordering::Relaxed) + 1).to_be_bytes()
    }
}

impl Log for Open {
    fn append(&self, _: u64, payload: &[u8]) -> Result<()> {
        match self.guarantee {
            Guarantee::Process => Ok(self.entries.insert(self.key(), payload)?),
            Guarantee::Power => self.append_batch(payload, 1),
        }
    }

    fn append_batch(&self, payload: &[u8], count: usize) -> Result<()> {
        let mut batch = self.database.batch();
        if self.guarantee == Guarantee::Power {
            batch = batch.durability(Some(PersistMode::SyncData));
        }
        for _ in 0..count {
            batch.insert(&self.entries, self.key(), payload);
        }
        Ok(batch.commit()?)
    }

    fn read_all(&self) -> Result<u64> {
        let mut count = 0;
        for entry in self.entries.iter() {
            std::hint::black_box(entry.value()?);
            count += 1;
        }
        Ok(count)
    }

    fn get(&self, number: u64) -> Result<Option<u8>> {
        let value = self.entries.get(number.to_be_bytes())?;
        Ok(value.and_then(|value| value.last().copied()))
    }
}

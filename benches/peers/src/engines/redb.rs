//! `redb`: a copy-on-write B-tree in one file; the entry's number is the key, each append or batch a transaction.
//!
//! `Durability::Immediate`, the default, survives power loss. `Durability::None` is the only other one, and such a commit
//! stays in the process's memory until an immediate one follows: it does not survive the death of the process. Default
//! options otherwise; without quick repair, whose commits are slower, opening after a crash walks the whole file. Reading
//! does not verify checksums.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tailwater_benches::harness::Result;

use crate::peer::{Guarantee, Log, Memory, Peer};

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

pub(crate) struct Redb;

impl Peer for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn remarks(&self) -> &'static str {
        "a store; reads verify nothing"
    }

    fn memory(&self) -> Memory {
        Memory::Lost
    }

    fn open(&self, dir: &Path, guarantee: Guarantee) -> Result<Box<dyn Log>> {
        let database = Database::create(dir.join("log.redb"))?;
        let last = match database.begin_read()?.open_table(ENTRIES) {
            Ok(table) => table.last()?.map_or(0, |(key, _)| key.value()),
            Err(TableError::TableDoesNotExist(_)) => 0,
            Err(error) => return Err(error.into()),
        };
        let durability = match guarantee {
            Guarantee::Process => Durability::None,
            Guarantee::Power => Durability::Immediate,
        };
        Ok(Box::new(Open {
            database,
            last: AtomicU64::new(last),
            durability,
        }))
    }
}

struct Open {
    database: Database,
    last: AtomicU64,
    durability: Durability,
}

impl Log for Open {
    fn append(&self, _: u64, payload: &[u8]) -> Result<()> {
        self.append_batch(payload, 1)
    }

    fn append_batch(&self, payload: &[u8], count: usize) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(ENTRIES)?;
            for _ in 0..count {
                table.insert(self.last.fetch_add(1, Ordering::Relaxed) + 1, payload)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read_all(&self) -> Result<u64> {
        let table = self.database.begin_read()?.open_table(ENTRIES)?;
        let mut count = 0;
        for entry in table.iter()? {
            std::hint::black_box(entry?.1.value());
            count += 1;
        }
        Ok(count)
    }

    fn get(&self, number: u64) -> Result<Option<u8>> {
        let table = self.database.begin_read()?.open_table(ENTRIES)?;
        let value = table.get(number)?;
        Ok(value.and_then(|value| value.value().last().copied()))
    }
}

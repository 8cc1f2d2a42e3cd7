//! `rusqlite`: SQLite with a write-ahead log; the entry's number is the row's, each append or batch a transaction.
//!
//! `journal_mode = WAL`. With `synchronous = NORMAL` a commit hands its pages to the system and syncs only at checkpoints:
//! it survives the death of the process. With `FULL` it also waits for a sync of the log, and survives power loss. There
//! is one writer at a time, so the writers share a connection behind a lock, which is quicker than connections that wait
//! for each other. Statements are prepared once, `mmap_size` lets it read from mapped memory. Pages read from the database
//! have no checksums.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use tailwater_benches::harness::Result;

use crate::peer::{Guarantee, Log, Memory, Peer};

pub(crate) struct Sqlite;

impl Peer for Sqlite {
    fn name(&self) -> &'static str {
        "rusqlite"
    }

    fn remarks(&self) -> &'static str {
        "a store, bundled SQLite in WAL mode; reads verify nothing"
    }

    fn memory(&self) -> Memory {
        Memory::Kept
    }

    fn open(&self, dir: &Path, guarantee: Guarantee) -> Result<Box<dyn Log>> {
        let connection = Connection::open(dir.join("log.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = match guarantee {
            Guarantee::Process => "NORMAL",
            Guarantee::Power => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "mmap_size", 1 << 30)?;
        connection
            .execute_batch("CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY, payload BLOB NOT NULL)")?;
        Ok(Box::new(Open(Mutex::new(connection))))
    }
}

struct Open(Mutex<Connection>);

const INSERT: &str = "INSERT INTO log (payload) VALUES (?1)";

impl Log for Open {
    fn append(&self, _: u64, payload: &[u8]) -> Result<()> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.prepare_cached(INSERT)?.execute([payload])?;
        Ok(())
    }

    fn append_batch(&self, payload: &[u8], count: usize) -> Result<()> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            for _ in 0..count {
                insert.execute([payload])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read_all(&self) -> Result<u64> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut select = connection.prepare_cached("SELECT payload FROM log ORDER BY number")?;
        let mut rows = select.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            std::hint::black_box(row.get_ref(0)?.as_blob()?);
            count += 1;
        }
        Ok(count)
    }

    fn get(&self, number: u64) -> Result<Option<u8>> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut select = connection.prepare_cached("SELECT payload FROM log WHERE number = ?1")?;
        let last = select.query_row([number as i64], |row| Ok(row.get_ref(0)?.as_blob()?.last().copied()))?;
        Ok(last)
    }
}

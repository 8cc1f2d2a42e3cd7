//! `commitlog`: segments written with `write`, an index in mapped memory.
//!
//! Default options: segments of 1 GB. The bytes of an append are in the page cache when it returns, so they survive the
//! death of the process. Nothing survives power loss for certain: `flush` calls `File::flush`, which does nothing for a
//! file, and syncs the index only. Every read verifies CRC-32C.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{LogOptions, ReadLimit};
use tailwater_benches::harness::Result;

use crate::peer::{Guarantee, Log, Memory, Peer};

pub(crate) struct CommitLog;

impl Peer for CommitLog {
    fn name(&self) -> &'static str {
        "commitlog"
    }

    fn remarks(&self) -> &'static str {
        "reads verify CRC-32C"
    }

    fn memory(&self) -> Memory {
        Memory::Kept
    }

    fn disk(&self) -> bool {
        false
    }

    fn open(&self, dir: &Path, _: Guarantee) -> Result<Box<dyn Log>> {
        let log = commitlog::CommitLog::new(LogOptions::new(dir))?;
        Ok(Box::new(Open(Mutex::new(log))))
    }
}

/// One writer at a time is all it can do.
struct Open(Mutex<commitlog::CommitLog>);

impl Log for Open {
    fn append(&self, _: u64, payload: &[u8]) -> Result<()> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.append_msg(payload)?;
        Ok(())
    }

    fn append_batch(&self, payload: &[u8], count: usize) -> Result<()> {
        let mut batch = MessageBuf::default();
        for _ in 0..count {
            batch.push(payload).map_err(|_| "too long for a message")?;
        }
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.append(&mut batch)?;
        Ok(())
    }

    fn read_all(&self) -> Result<u64> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut next, mut count) = (0, 0);
        loop {
            let messages = log.read(next, ReadLimit::max_bytes(256 << 10))?;
            if messages.is_empty() {
                return Ok(count);
            }
            for message in messages.iter() {
                std::hint::black_box(message.payload());
                next = message.offset() + 1;
                count += 1;
            }
        }
    }

    fn get(&self, number: u64) -> Result<Option<u8>> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A little more than the message, which the limit may not cut.
        let messages = log.read(number - 1, ReadLimit::max_bytes(400))?;
        let last = messages
            .iter()
            .next()
            .and_then(|message| message.payload().last().copied());
        Ok(last)
    }
}

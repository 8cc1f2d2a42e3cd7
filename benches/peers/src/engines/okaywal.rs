//! `okaywal`: entries of chunks in one file, checkpointed away once a store has them.
//!
//! A commit always waits for a sync, which writers share, and then survives power loss; there is nothing less. A log that
//! keeps everything is not its purpose, so checkpoints are put off for good, and the file is made 64 MiB long at first,
//! as long as Tailwater's segments (the default is 1 MB). Entries can be read in order only while it is opened, so a scan
//! is an opening that looks at every chunk and verifies its CRC-32, and opening always is a scan.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use okaywal::{Configuration, Entry, EntryId, LogManager, LogPosition, SegmentReader, WriteAheadLog};
use tailwater_benches::harness::Result;

use crate::peer::{Guarantee, Log, Memory, Peer};

pub(crate) struct OkayWal;

impl Peer for OkayWal {
    fn name(&self) -> &'static str {
        "okaywal"
    }

    fn remarks(&self) -> &'static str {
        "scan-crc is opening with every CRC-32 verified; no lookup of what an earlier process wrote"
    }

    fn memory(&self) -> Memory {
        Memory::Absent
    }

    fn reads_again(&self) -> bool {
        // It is read while it is opened.
        false
    }

    fn open(&self, dir: &Path, _: Guarantee) -> Result<Box<dyn Log>> {
        Ok(Box::new(open(dir)?))
    }

    fn scan(&self, dir: &Path) -> Result<(u64, Duration)> {
        let start = Instant::now();
        let log = open(dir)?;
        Ok((log.read_all()?, start.elapsed()))
    }
}

fn open(dir: &Path) -> Result<Open> {
    let chunks = Arc::new(AtomicU64::new(0));
    let log = Configuration::default_for(dir)
        .preallocate_bytes(64 << 20)
        .checkpoint_after_bytes(u64::MAX)
        .open(Reader(Arc::clone(&chunks)))?;
    Ok(Open {
        log,
        chunks,
        places: Mutex::default(),
    })
}

/// Reads what is there at the beginning.
#[derive(Debug)]
struct Reader(Arc<AtomicU64>);

impl LogManager for Reader {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let chunks = entry.read_all_chunks()?.unwrap_or_default();
        self.0.fetch_add(chunks.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

struct Open {
    log: WriteAheadLog,
    /// How many chunks there were when it was opened.
    chunks: Arc<AtomicU64>,
    /// Where the chunks are that were written since; the crate leaves it to its user to remember.
    places: Mutex<Vec<LogPosition>>,
}

impl Log for Open {
    fn append(&self, _: u64, payload: &[u8]) -> Result<()> {
        self.append_batch(payload, 1)
    }

    fn append_batch(&self, payload: &[u8], count: usize) -> Result<()> {
        let mut entry = self.log.begin_entry()?;
        for _ in 0..count {
            let chunk = entry.write_chunk(payload)?;
            self.places
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(chunk.position);
        }
        entry.commit()?;
        Ok(())
    }

    fn read_all(&self) -> Result<u64> {
        Ok(self.chunks.load(Ordering::Relaxed))
    }

    fn get(&self, number: u64) -> Result<Option<u8>> {
        let place = self
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(number as usize - 1)
            .copied();
        let Some(place) = place else { return Ok(None) };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.log.read_at(place)?, &mut bytes)?;
        Ok(bytes.last().copied())
    }
}

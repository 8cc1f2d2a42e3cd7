//! `raft-engine`: the log of many Raft groups in one file, an index of all entries in memory.
//!
//! Default options without compression, which would only cost here. `write` hands the bytes to the system before it
//! returns, so that they survive the death of the process; with `sync` it also waits for `fdatasync`, which writers share.
//! Durable appends go into files prepared beforehand (`prefill_for_recycle`), as Tailwater's do. A group's entries must
//! arrive in order, so each of several writers has a group of its own, as the crate means it. Entries are Protobuf
//! messages that know their index: three bytes more, and the index in the payload's first eight. A batch is read as one
//! block; recovery verifies the CRC-32 of batches, and reading a block verifies the block's.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use tailwater_benches::harness::Result;

use crate::peer::{Guarantee, Log, Memory, Peer};

pub(crate) struct RaftEngine;

/// Groups are numbered from 1; as many as there are ever writers.
const GROUPS: u64 = 64;

impl Peer for RaftEngine {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn remarks(&self) -> &'static str {
        "a group for each writer; reads verify CRC-32 of a batch at a time; files prepared when opened for append-disk-*"
    }

    fn memory(&self) -> Memory {
        Memory::Kept
    }

    fn open(&self, dir: &Path, guarantee: Guarantee) -> Result<Box<dyn Log>> {
        let power = guarantee == Guarantee::Power;
        let engine = Engine::open(Config {
            dir: dir.to_str().ok_or("a path that is not UTF-8")?.to_owned(),
            batch_compression_threshold: ReadableSize(0),
            prefill_for_recycle: power,
            prefill_limit: power.then_some(ReadableSize::mb(256)),
            ..Config::default()
        })?;
        let last = (1..=GROUPS).map(|group| AtomicU64::new(engine.last_index(group).unwrap_or(0)));
        Ok(Box::new(Open {
            last: last.collect(),
            engine,
            power,
        }))
    }
}

struct Open {
    engine: Engine,
    /// Index of each group's last entry. Only the group's writer changes it.
    last: Vec<AtomicU64>,
    power: bool,
}

/// How the crate finds the index of an entry.
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_le_bytes(*index))
    }
}

impl Open {
    fn write(&self, writer: u64, payload: &[u8], count: usize) -> Result<()> {
        let last = &self.last[writer as usize];
        let mut index = last.load(Ordering::Relaxed);
        let mut entry = BytesValue::new();
        entry.value = payload.to_vec();
        let mut batch = LogBatch::with_capacity(1);
        for _ in 0..count {
            index += 1;
            entry.value[..8].copy_from_slice(&index.to_le_bytes());
            batch.add_entries::<Indexed>(1 + writer, std::slice::from_ref(&entry))?;
        }
        self.engine.write(&mut batch, self.power)?;
        last.store(index, Ordering::Relaxed);
        Ok(())
    }
}

impl Log for Open {
    fn append(&self, writer: u64, payload: &[u8]) -> Result<()> {
        self.write(writer, payload, 1)
    }

    fn append_batch(&self, payload: &[u8], count: usize) -> Result<()> {
        self.write(0, payload, count)
    }

    fn read_all(&self) -> Result<u64> {
        const STEP: u64 = 1000;
        let last = self.engine.last_index(1).unwrap_or(0);
        let (mut count, mut entries) = (0, Vec::new());
        for begin in (1..=last).step_by(STEP as usize) {
            let end = (begin + STEP).min(last + 1);
            count += self
                .engine
                .fetch_entries_to::<Indexed>(1, begin, end, None, &mut entries)?;
            std::hint::black_box(&entries);
            entries.clear();
        }
        Ok(count as u64)
    }

    fn get(&self, number: u64) -> Result<Option<u8>> {
        let entry = self.engine.get_entry::<Indexed>(1, number)?;
        Ok(entry.and_then(|entry| entry.value.last().copied()))
    }
}

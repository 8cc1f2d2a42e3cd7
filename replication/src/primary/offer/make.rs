//! Making a copy of the state, with what its follower is told of it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};

use tailwater_oplog::{Error as LogError, OpId, SlotOptions, codec};
use tailwater_storage::{BackupOptions, BackupProgress, Error as StoreError, Store};

use crate::error::{Error, Result};
use crate::link::Outbound;
use crate::primary::hub::Hub;
use crate::primary::serve::slot_name;
use crate::primary::service::Settings;
use crate::wire::{CHUNK_BYTES_MAX, CopyFile, CopyOffer, CopyRequest, Message, Preparing};

/// Files of a copy at most; an engine makes a few for each gigabyte.
const FILES_MAX: usize = 2000;

/// Makes a copy, and says meanwhile how far it has come.
pub(super) fn make(hub: &Hub, settings: &Settings, request: &CopyRequest, out: &mut Outbound) -> Result<CopyOffer> {
    let copies = &settings.copies;
    fs::create_dir_all(&copies.directory).map_err(Error::file("create", &copies.directory))?;
    let copy = uuid::Uuid::new_v4().into_bytes();
    let target = copies.path(copy);
    let (progress, heard) = channel();
    let mut options = BackupOptions::default();
    options.progress = Some(Arc::new(move |made| {
        // Nobody may be listening any more.
        let _ = progress.send(made);
    }));
    let slot = slot_name(&request.name);
    let store = hub.store.clone();
    let lag = settings.lag_bytes_max;
    let maker_target = target.clone();
    let maker = std::thread::Builder::new()
        .name("tailwater-copy".into())
        .spawn(move || {
            let hold = |applied| hold_from(&store, &slot, applied, lag);
            store.copy_state(&maker_target, &options, hold)
        });
    let maker = maker.map_err(Error::file("start a thread to make", &target))?;
    let mut state = Preparing { bytes: 0, expected: 0 };
    loop {
        match heard.recv_timeout(settings.heartbeat) {
            Ok(BackupProgress::State(bytes)) => state.bytes = bytes,
            Ok(BackupProgress::Expected(bytes)) => state.expected = bytes,
            Ok(_) => continue,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // If the follower has gone, it finds the copy when it comes again.
        let _ = out.write(&Message::Preparing(state));
    }
    let made = maker.join().map_err(|_| Error::Stopped)??;
    // Of an empty store the first entry is waited for.
    let log = hub.store.log();
    let segment = log.segment_of(made.applied.max(OpId::FIRST).max(log.watermarks().oldest))?;
    let before = log.before(segment.first)?;
    Ok(CopyOffer {
        copy,
        applied: made.applied,
        promised: hub.store.promised(),
        rank: before.rank.into(),
        base: before.term,
        segment: segment.into(),
        files: files(&target)?,
    })
}

fn hold_from(store: &Store, slot: &str, applied: OpId, max_lag_bytes: u64) -> Result<(), StoreError> {
    // What an earlier copy needed does not matter any more.
    match store.slot_drop(slot) {
        Ok(()) | Err(StoreError::Log(LogError::NoSuchSlot { .. })) => {}
        Err(error) => return Err(error),
    }
    let from = applied.max(store.log().watermarks().oldest).max(OpId::FIRST);
    store.slot_create(slot, from, SlotOptions { max_lag_bytes })
}

/// Every file below a directory, by its path from there, with its length and checksum.
fn files(root: &Path) -> Result<Vec<CopyFile>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let listing = |error| Error::file("list", &directory)(error);
        for entry in fs::read_dir(&directory).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let path = entry.path();
            let metadata = entry.metadata().map_err(Error::file("look at", &path))?;
            if metadata.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(root).ok().and_then(Path::to_str);
            let name = name.ok_or(Error::InvalidOption {
                option: "the name of a file of the state",
                what: "not UTF-8",
            })?;
            files.push(CopyFile {
                name: name.to_owned(),
                length: metadata.len(),
                checksum: checksum_of(&path)?,
            });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    match files.len() {
        0..=FILES_MAX => Ok(files),
        _ => Err(Error::InvalidOption {
            option: "the state",
            what: "in more files than a copy may have",
        }),
    }
}

/// Checksum of a whole file: of each piece of 256 KiB, the CRC-32 of what came of those before it and of its own CRC-32.
pub(crate) fn checksum_of(path: &Path) -> Result<u32> {
    let reading = |error| Error::file("read", path)(error);
    let mut file = File::open(path).map_err(reading)?;
    let (mut sum, mut piece) = (0, Vec::with_capacity(CHUNK_BYTES_MAX));
    loop {
        piece.clear();
        let read = (&mut file).take(CHUNK_BYTES_MAX as u64).read_to_end(&mut piece);
        if read.map_err(reading)? == 0 {
            return Ok(sum);
        }
        sum = codec::checksum(&[sum, codec::checksum(&piece)].map(u32::to_le_bytes).concat());
    }
}

//! Giving a follower a copy of the state: made once, in a directory of its own, and fetched file by file from any offset.
//!
//! A copy stays until its follower has it or another is made for the same follower, so a fetch that was interrupted goes on
//! where it stopped. It is gone with the process; what is left of it is removed by the next one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use tailwater_oplog::{Error as LogError, OpId, SlotOptions};
use tailwater_storage::{BackupOptions, BackupProgress, Error as StoreError, Store};

use super::Settings;
use super::hub::Hub;
use super::serve::slot_name;
use crate::error::{Error, Result};
use crate::link::{Inbound, Outbound};
use crate::wire::{CHUNK_BYTES_MAX, CopyOffer, CopyRequest, Fetch, Message, Preparing};

/// Files of a copy at most; an engine makes a few for each gigabyte.
const FILES_MAX: usize = 2000;

/// The copies there are, by the follower they are for.
#[derive(Debug)]
pub(crate) struct Copies {
    directory: PathBuf,
    made: Mutex<BTreeMap<String, Arc<CopyOffer>>>,
    /// Held while one is made: one at a time.
    making: Mutex<()>,
}

impl Copies {
    /// Copies are made in `directory`; those that an earlier process has left are removed.
    pub(crate) fn new(directory: PathBuf) -> Result<Copies> {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &directory)(error));
            }
            _ => {}
        }
        Ok(Copies {
            directory,
            made: Mutex::default(),
            making: Mutex::default(),
        })
    }

    fn path(&self, copy: [u8; 16]) -> PathBuf {
        self.directory.join(uuid::Uuid::from_bytes(copy).simple().to_string())
    }

    /// The copy that a follower has a part of, or one that was made for it and that it has not heard of.
    fn of(&self, request: &CopyRequest) -> Option<Arc<CopyOffer>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(&request.name)
            .filter(|offer| [offer.copy, [0; 16]].contains(&request.copy))
            .cloned()
    }

    fn add(&self, name: &str, offer: Arc<CopyOffer>) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = made.insert(name.to_owned(), offer) {
            self.remove(&old);
        }
    }

    fn done(&self, name: &str) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = made.remove(name) {
            self.remove(&old);
        }
    }

    fn remove(&self, offer: &CopyOffer) {
        let path = self.path(offer.copy);
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!(%error, path = %path.display(), "removing a copy that is not needed any more");
        }
    }
}

/// Serves a connection on which a copy was asked for.
pub(super) fn serve(
    hub: &Hub,
    settings: &Settings,
    request: &CopyRequest,
    inbound: &mut Inbound,
    mut out: Outbound,
) -> Result<()> {
    let copies = &settings.copies;
    let offer = match copies.of(request) {
        Some(offer) => offer,
        None => {
            let Ok(_alone) = copies.making.try_lock() else {
                // The follower comes again.
                return Err(Error::Busy);
            };
            let offer = Arc::new(make(hub, settings, request, &mut out)?);
            copies.add(&request.name, Arc::clone(&offer));
            offer
        }
    };
    out.write(&Message::Offer((*offer).clone()))?;
    let directory = copies.path(offer.copy);
    loop {
        match inbound.read()? {
            Message::Fetch(fetch) => send_file(&directory, &offer, fetch, &mut out)?,
            Message::CopyDone => {
                copies.done(&request.name);
                return Ok(());
            }
            Message::Report(_) => {}
            _ => return Err(inbound.unexpected()),
        }
    }
}

/// Makes a copy, and says meanwhile how far it has come.
fn make(hub: &Hub, settings: &Settings, request: &CopyRequest, out: &mut Outbound) -> Result<CopyOffer> {
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

/// Every file below a directory, by its path from there, with its length.
fn files(root: &Path) -> Result<Vec<(String, u64)>> {
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
            files.push((name.to_owned(), metadata.len()));
        }
    }
    files.sort();
    match files.len() {
        0..=FILES_MAX => Ok(files),
        _ => Err(Error::InvalidOption {
            option: "the state",
            what: "in more files than a copy may have",
        }),
    }
}

/// Sends a file from an offset to its end.
fn send_file(directory: &Path, offer: &CopyOffer, fetch: Fetch, out: &mut Outbound) -> Result<()> {
    let Some((name, length)) = offer.files.get(fetch.file as usize) else {
        return Err(Error::InvalidOption {
            option: "the file asked for",
            what: "not one of the copy's",
        });
    };
    let path = directory.join(name);
    let file = File::open(&path).map_err(Error::file("open", &path))?;
    let mut offset = fetch.offset;
    while offset < *length {
        let bytes = usize::try_from(length - offset)
            .unwrap_or(usize::MAX)
            .min(CHUNK_BYTES_MAX);
        let mut chunk = vec![0; bytes];
        file.read_exact_at(&mut chunk, offset)
            .map_err(Error::file("read", &path))?;
        offset += bytes as u64;
        out.write(&Message::Chunk(chunk))?;
    }
    Ok(())
}

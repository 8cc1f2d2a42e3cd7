//! Giving a follower a copy of the state: made once, in a directory of its own, and fetched file by file from any offset.
//!
//! A copy stays until its follower has it, another is made for the same follower, or nobody has asked for it for an hour, so a
//! fetch that was interrupted goes on where it stopped. There are four at most: for a fifth, the one goes that nobody has asked
//! for for longest. A copy is gone with the process; what is left of it is removed by the next one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_oplog::{Error as LogError, OpId, SlotOptions, codec};
use tailwater_storage::{BackupOptions, BackupProgress, Error as StoreError, Store};

use super::Settings;
use super::hub::Hub;
use super::serve::slot_name;
use crate::error::{Error, Result};
use crate::link::{Hangup, Inbound, Outbound};
use crate::wire::{CHUNK_BYTES_MAX, CopyFile, CopyOffer, CopyRequest, Fetch, Message, Preparing};

/// Files of a copy at most; an engine makes a few for each gigabyte.
const FILES_MAX: usize = 2000;

/// Copies at most. Each is as large as the state.
const COPIES_MAX: usize = 4;
/// How long a copy is kept that nobody asks for.
const COPY_LIFETIME: Duration = Duration::from_secs(3600);

/// A copy that was made.
#[derive(Debug)]
struct Made {
    offer: Arc<CopyOffer>,
    /// When it was last asked for.
    asked: Instant,
    /// Connections that fetch it.
    fetched_by: usize,
}

/// The copies there are, by the follower they are for.
#[derive(Debug)]
pub(crate) struct Copies {
    directory: PathBuf,
    made: Mutex<BTreeMap<String, Made>>,
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy that a follower has a part of, or one that was made for it and that it has not heard of. It is being fetched
    /// from now on.
    fn of(&self, request: &CopyRequest) -> Option<Arc<CopyOffer>> {
        let mut copies = self.lock();
        let made = copies.get_mut(&request.name)?;
        if ![made.offer.copy, [0; 16]].contains(&request.copy) {
            return None;
        }
        made.asked = Instant::now();
        made.fetched_by += 1;
        Some(Arc::clone(&made.offer))
    }

    /// Removes copies that nobody fetches: the one of this follower, those that are too old, and the oldest until there is room
    /// for one more. Whether there is.
    fn make_room(&self, name: &str) -> bool {
        let mut copies = self.lock();
        let idle = |made: &Made| made.fetched_by == 0;
        let mut gone: Vec<String> = copies
            .iter()
            .filter(|(of, made)| idle(made) && (*of == name || made.asked.elapsed() > COPY_LIFETIME))
            .map(|(of, _)| of.clone())
            .collect();
        let mut rest: Vec<(Instant, String)> = copies
            .iter()
            .filter(|(of, made)| idle(made) && !gone.contains(of))
            .map(|(of, made)| (made.asked, of.clone()))
            .collect();
        rest.sort();
        let surplus = (copies.len() + 1).saturating_sub(gone.len() + COPIES_MAX);
        gone.extend(rest.into_iter().take(surplus).map(|(_, of)| of));
        for of in gone {
            if let Some(made) = copies.remove(&of) {
                self.remove(&made.offer);
            }
        }
        copies.len() < COPIES_MAX && !copies.contains_key(name)
    }

    /// Adds a copy, which is being fetched from now on.
    fn add(&self, name: &str, offer: &Arc<CopyOffer>) {
        let made = Made {
            offer: Arc::clone(offer),
            asked: Instant::now(),
            fetched_by: 1,
        };
        self.lock().insert(name.to_owned(), made);
    }

    /// A connection fetches the copy no longer; `done` when its follower has all of it.
    fn leave(&self, name: &str, offer: &CopyOffer, done: bool) {
        let mut copies = self.lock();
        let Some(made) = copies.get_mut(name).filter(|made| made.offer.copy == offer.copy) else {
            return;
        };
        made.asked = Instant::now();
        made.fetched_by -= 1;
        if done && made.fetched_by == 0 {
            copies.remove(name);
            self.remove(offer);
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
    inbound: Inbound,
    mut out: Outbound,
    hangup: &Hangup,
) -> Result<()> {
    if let Some(refusal) = hub.refusal_of(&request.name, &request.members) {
        return out.write(&Message::Refuse(refusal));
    }
    // What the follower says is read all the while: that it is there, above all.
    let (said, requests) = channel();
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("tailwater-requests".into());
        let reader = reader.spawn_scoped(scope, move || read_requests(inbound, &said, hangup));
        reader.map_err(Error::network("this member", "starting a thread"))?;
        let given = give(hub, settings, request, &requests, &mut out);
        hangup.now();
        given
    })
}

/// Passes on what is asked for, until the connection ends.
fn read_requests(mut inbound: Inbound, said: &Sender<Message>, hangup: &Hangup) {
    loop {
        match inbound.read() {
            Ok(Message::Report(_)) => {}
            Ok(message @ (Message::Fetch(_) | Message::CopyDone)) => {
                if said.send(message).is_err() {
                    return;
                }
            }
            other => {
                tracing::debug!(?other, "a copy is not asked for any more");
                // Who sends must not wait for room.
                hangup.now();
                return;
            }
        }
    }
}

fn give(
    hub: &Hub,
    settings: &Settings,
    request: &CopyRequest,
    requests: &Receiver<Message>,
    out: &mut Outbound,
) -> Result<()> {
    let copies = &settings.copies;
    let offer = match copies.of(request) {
        Some(offer) => offer,
        None => {
            let Ok(_alone) = copies.making.try_lock() else {
                // The follower comes again.
                return Err(Error::Busy);
            };
            if !copies.make_room(&request.name) {
                return Err(Error::Busy);
            }
            let offer = Arc::new(make(hub, settings, request, out)?);
            copies.add(&request.name, &offer);
            offer
        }
    };
    let given = send_files(&copies.path(offer.copy), &offer, requests, out);
    copies.leave(&request.name, &offer, matches!(given, Ok(true)));
    given.map(drop)
}

/// Sends what is asked for; whether the follower has everything at the end.
fn send_files(directory: &Path, offer: &CopyOffer, requests: &Receiver<Message>, out: &mut Outbound) -> Result<bool> {
    out.write(&Message::Offer(offer.clone()))?;
    while let Ok(message) = requests.recv() {
        match message {
            Message::Fetch(fetch) => send_file(directory, offer, fetch, out)?,
            _ => return Ok(true),
        }
    }
    Ok(false)
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

/// Sends a file from an offset to its end.
fn send_file(directory: &Path, offer: &CopyOffer, fetch: Fetch, out: &mut Outbound) -> Result<()> {
    let Some(CopyFile { name, length, .. }) = offer.files.get(fetch.file as usize) else {
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

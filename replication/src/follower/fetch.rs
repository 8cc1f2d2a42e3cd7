//! Beginning anew: fetching a copy of the primary's state, and making an empty log that goes on from it.
//!
//! Everything is put together in `incoming`. Its file `COPY` says which copy the parts belong to, so a fetch that was interrupted
//! goes on where it stopped, as long as the primary has that copy. When all of it is there and durable, the log is made, then
//! `READY`; and only then the parts get their names. A crash in between is made up for by the next start.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use bincode::{Decode, Encode};
use tailwater_oplog::{Before, OpId, Term, codec, create_follower};
use tailwater_storage::{log_directory, state_directory};

use super::replica::INCOMING;
use super::{FollowerEvent, Settings};
use crate::decision::Position;
use crate::error::{Error, Result};
use crate::link;
use crate::wire::{CHUNK_BYTES_MAX, CopyOffer, CopyRequest, Fetch, Message, SegmentMessage};

const COPY: &str = "COPY";
const READY: &str = "READY";
const LOG: &str = "oplog";
/// Where the primary's offer has the engine's files.
const STATE: &str = "state";

/// What `COPY` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
struct CopyRecord {
    copy: [u8; 16],
    applied: OpId,
    promised: Term,
    rank: Position,
    base: Option<Term>,
    segment: SegmentMessage,
}

/// Ends a copy that was complete when it was interrupted.
pub(super) fn finish(dir: &Path) -> Result<()> {
    let incoming = dir.join(INCOMING);
    if !incoming.join(READY).exists() {
        return Ok(());
    }
    // What is left of an earlier one, whose log has been removed.
    let (state, old) = (incoming.join(STATE), state_directory(dir));
    if state.exists() && old.exists() {
        fs::remove_dir_all(&old).map_err(Error::file("remove", &old))?;
    }
    // The state first: a log without its state would be replayed, from an entry that is not there.
    for (from, to) in [
        (incoming.join(STATE), state_directory(dir)),
        (incoming.join(LOG), log_directory(dir)),
    ] {
        if from.exists() {
            fs::rename(&from, &to).map_err(Error::file("move into its place", &to))?;
            sync(dir)?;
        }
    }
    fs::remove_dir_all(&incoming).map_err(Error::file("remove", &incoming))
}

/// Fetches a copy into `dir`, where there is no store.
pub(super) fn run(dir: &Path, settings: &Settings) -> Result<()> {
    finish(dir)?;
    if super::replica::is_there(dir) {
        return Ok(());
    }
    let incoming = dir.join(INCOMING);
    fs::create_dir_all(&incoming).map_err(Error::file("create", &incoming))?;
    let begun = read_record(&incoming);
    let stream = link::connect(&settings.from, settings.plaintext)?;
    let (mut inbound, mut outbound, _hangup) = link::open(stream, settings.heartbeat, settings.batch_bytes_max)?;
    let request = CopyRequest {
        name: settings.identity.name.clone(),
        copy: begun.map_or([0; 16], |record| record.copy),
    };
    outbound.write(&Message::CopyRequest(request))?;
    let offer = loop {
        match inbound.read()? {
            Message::Offer(offer) => break offer,
            Message::Preparing(preparing) => settings.tell(&FollowerEvent::Preparing {
                bytes: preparing.bytes,
                expected: preparing.expected,
            }),
            Message::Refuse(refusal) => return Err(Error::Refused { refusal }),
            _ => return Err(inbound.unexpected()),
        }
    };
    check_names(&offer, inbound.peer())?;
    let record = CopyRecord {
        copy: offer.copy,
        applied: offer.applied,
        promised: offer.promised,
        rank: offer.rank,
        base: offer.base,
        segment: offer.segment,
    };
    if begun != Some(record) {
        begin(&incoming, &record)?;
    }
    let total = offer.files.iter().map(|(_, length)| length).sum();
    let mut fetched = 0;
    for (number, (name, length)) in (0..).zip(&offer.files) {
        let path = incoming.join(name);
        let mut part = Part::open(&path)?;
        let mut offset = part.length.min(*length);
        fetched += offset;
        if offset < *length {
            outbound.write(&Message::Fetch(Fetch { file: number, offset }))?;
        }
        while offset < *length {
            let Message::Chunk(bytes) = inbound.read()? else {
                return Err(inbound.unexpected());
            };
            if bytes.is_empty() || bytes.len() > CHUNK_BYTES_MAX || offset + bytes.len() as u64 > *length {
                return Err(inbound.unexpected());
            }
            part.write(&path, &bytes)?;
            offset += bytes.len() as u64;
            fetched += bytes.len() as u64;
            settings.tell(&FollowerEvent::Copying { bytes: fetched, total });
        }
        part.file.sync_all().map_err(Error::file("sync", &path))?;
    }
    complete(&incoming, &record)?;
    // If this does not arrive, the primary keeps the copy until it stops.
    let _ = outbound.write(&Message::CopyDone);
    finish(dir)
}

/// A file on its way.
struct Part {
    file: File,
    length: u64,
}

impl Part {
    fn open(path: &Path) -> Result<Part> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(Error::file("open", path))?;
        let length = file.metadata().map_err(Error::file("look at", path))?.len();
        Ok(Part { file, length })
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::file("write", path))
    }
}

/// Every name must stay below the directory that it is put into.
fn check_names(offer: &CopyOffer, peer: &str) -> Result<()> {
    let plain = |name: &str| {
        let mut components = Path::new(name).components();
        components.next() == Some(Component::Normal(STATE.as_ref()))
            && components.all(|component| matches!(component, Component::Normal(_)))
    };
    match offer.files.iter().all(|(name, _)| plain(name)) {
        true => Ok(()),
        false => Err(Error::Protocol {
            peer: peer.to_owned(),
            what: "it offers a file outside the copy",
        }),
    }
}

fn read_record(incoming: &Path) -> Option<CopyRecord> {
    codec::decode(&fs::read(incoming.join(COPY)).ok()?).ok()
}

/// Removes the parts of another copy, and notes which one is fetched.
fn begin(incoming: &Path, record: &CopyRecord) -> Result<()> {
    fs::remove_dir_all(incoming)
        .and_then(|()| fs::create_dir(incoming))
        .map_err(Error::file("empty", incoming))?;
    write_whole(&incoming.join(COPY), &codec::encode(record))
}

fn complete(incoming: &Path, record: &CopyRecord) -> Result<()> {
    let log = incoming.join(LOG);
    if log.exists() {
        fs::remove_dir_all(&log).map_err(Error::file("remove", &log))?;
    }
    let before = Before {
        rank: record.rank.into(),
        term: record.base,
    };
    create_follower(&log, &record.segment.into(), record.promised, before)?;
    for directory in directories(incoming)? {
        sync(&directory)?;
    }
    write_whole(&incoming.join(READY), b"")?;
    sync(incoming)
}

/// A directory and all below it.
fn directories(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut next) = (vec![root.to_path_buf()], 0);
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let entries = fs::read_dir(&directory).map_err(Error::file("list", &directory))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        found.extend(paths.filter(|path| path.is_dir()));
    }
    Ok(found)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(Error::file("write", path))
}

fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(Error::file("sync", path))
}

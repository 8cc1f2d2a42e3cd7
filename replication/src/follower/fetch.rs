//! Beginning anew: fetching a copy of the primary's state, and making an empty log that goes on from it.
//!
//! Everything is put together in one directory ([`incoming`]). Its file `COPY` says which copy the parts belong to, so a fetch that
//! was interrupted goes on where it stopped, as long as the primary has that copy. When all of it is there and durable, the log is
//! made, and then the copy put in its place. The new log keeps what the member has promised, and what it is known to have had.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Component, Path};
use std::sync::{Mutex, PoisonError};

use bincode::{Decode, Encode};
use tailwater_oplog::{Before, OpId, Term, codec, create_follower, create_partial_follower};
use tailwater_storage::Selection;

use super::discard::discard_directory;
use super::event::FollowerEvent;
use super::incoming::{self, LOG, STATE, finish, has_log, write_whole};
use super::replica::Kept;
use super::shared::Settings;
use crate::decision::{Position, Report};
use crate::error::{Error, Result};
use crate::heartbeat;
use crate::link::{self, Inbound};
use crate::primary::checksum_of;
use crate::wire::{CHUNK_BYTES_MAX, CopyFile, CopyOffer, CopyRequest, Fetch, Message, Replaced, SegmentMessage};

const COPY: &str = "COPY";

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

/// Fetches a copy into `dir`. What is there is replaced when all of it has come, after `close` has closed it; the member it was has
/// `kept`.
pub(super) fn run(
    dir: &Path,
    settings: &Settings,
    kept: Option<Kept>,
    close: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let fetched = fetch(dir, settings, kept, close);
    settings.dial.over();
    fetched
}

fn fetch(dir: &Path, settings: &Settings, kept: Option<Kept>, close: impl FnOnce() -> Result<()>) -> Result<()> {
    if kept.is_none() {
        finish(dir)?;
        if has_log(dir) {
            return Ok(());
        }
    } else if incoming::is_whole(dir) {
        // It had come, and could not be put in its place.
        close()?;
        return finish(dir);
    }
    let incoming = incoming::directory(dir);
    fs::create_dir_all(&incoming).map_err(Error::file("create", &incoming))?;
    let begun = read_record(&incoming);
    let stream = settings.dial.connect(&settings.from, &settings.security)?;
    let (mut inbound, outbound, _hangup) = link::open(stream, settings.heartbeat, settings.batch_bytes_max)?;
    let request = CopyRequest {
        name: settings.identity.name.clone(),
        members: settings.identity.members.clone(),
        copy: begun.map_or([0; 16], |record| record.copy),
        replaces: kept.map(|Kept { promised, rank, .. }| Replaced { promised, rank }),
        part: settings.selection.as_ref().map(Selection::to_bytes),
    };
    let outbound = Mutex::new(outbound);
    let say = |message: &Message| outbound.lock().unwrap_or_else(PoisonError::into_inner).write(message);
    say(&Message::CopyRequest(request))?;
    // The primary waits for a slow link, or for a disk here, as long as it hears something.
    let beat = || say(&Message::Report(Report::Alive));
    heartbeat::during(settings.heartbeat, beat, || {
        let record = receive(dir, settings, begun, &mut inbound, &say)?;
        close()?;
        complete(dir, settings.selection.as_ref(), &record, kept)
    })?;
    // If this does not arrive, the primary keeps the copy for some time.
    let _ = say(&Message::CopyDone);
    finish(dir)
}

/// Takes what the primary offers.
fn receive(
    dir: &Path,
    settings: &Settings,
    begun: Option<CopyRecord>,
    inbound: &mut Inbound,
    say: &dyn Fn(&Message) -> Result<()>,
) -> Result<CopyRecord> {
    let Message::Offer(offer) = next(inbound, settings)? else {
        return Err(inbound.unexpected());
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
    let incoming = incoming::directory(dir);
    if begun != Some(record) {
        begin(&incoming, &record)?;
    }
    let total = offer.files.iter().map(|file| file.length).sum();
    let mut fetched = 0;
    for (number, CopyFile { name, length, checksum }) in (0..).zip(&offer.files) {
        let path = incoming.join(name);
        let mut part = Part::open(&path)?;
        let mut offset = part.length.min(*length);
        fetched += offset;
        if offset < *length {
            say(&Message::Fetch(Fetch { file: number, offset }))?;
        }
        while offset < *length {
            let bytes = match next(inbound, settings)? {
                Message::Chunk(bytes) => bytes,
                _ => return Err(inbound.unexpected()),
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
        if checksum_of(&path)? != *checksum {
            // Most likely of what a crash here has left; it is fetched again.
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            return Err(Error::Protocol {
                peer: inbound.peer().to_owned(),
                what: "the checksum of a file of the copy does not match what is here",
            });
        }
    }
    Ok(record)
}

/// The next part of what was asked for. The primary says in between that it is still there, or that nothing will come of it.
fn next(inbound: &mut Inbound, settings: &Settings) -> Result<Message> {
    loop {
        match inbound.read()? {
            Message::Preparing(preparing) => settings.tell(&FollowerEvent::Preparing {
                bytes: preparing.bytes,
                expected: preparing.expected,
            }),
            Message::Refuse(refusal) => return Err(Error::Refused { refusal }),
            message => return Ok(message),
        }
    }
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
    match offer.files.iter().all(|file| plain(&file.name)) {
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
    discard_directory(incoming)
        .and_then(|()| fs::create_dir(incoming))
        .map_err(Error::file("empty", incoming))?;
    write_whole(&incoming.join(COPY), &codec::encode(record))
}

/// Makes the log that goes on from the copy, and declares all of it whole.
fn complete(dir: &Path, selection: Option<&Selection>, record: &CopyRecord, kept: Option<Kept>) -> Result<()> {
    let log = incoming::directory(dir).join(LOG);
    if log.exists() {
        fs::remove_dir_all(&log).map_err(Error::file("remove", &log))?;
    }
    let promised = kept.map_or(record.promised, |kept| kept.promised.max(record.promised));
    let known = kept.map_or(Term::default(), |kept| kept.known);
    let before = Before {
        rank: kept.map_or(record.rank, |kept| kept.rank.max(record.rank)).into(),
        term: record.base,
    };
    let segment = record.segment.into();
    match selection.map(Selection::to_bytes) {
        Some(part) => create_partial_follower(&log, &segment, promised, known, before, &part)?,
        None => create_follower(&log, &segment, promised, known, before)?,
    }
    incoming::declare_whole(dir)
}

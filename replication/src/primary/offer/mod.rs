//! Giving a follower a copy of the state: made once, in a directory of its own, and fetched file by file from any offset.

mod copies;
mod make;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

pub(super) use self::copies::Copies;
pub(crate) use self::make::checksum_of;
use self::make::make;
use super::hub::Hub;
use super::service::Settings;
use crate::error::{Error, Result};
use crate::link::{Hangup, Inbound, Outbound};
use crate::wire::{CHUNK_BYTES_MAX, CopyFile, CopyOffer, CopyRequest, Fetch, Message, Replaced};

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
    if let Some(Replaced { promised, rank }) = request.replaces
        && !hub.may_replace(promised, rank)
    {
        return Err(Error::NotElected);
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

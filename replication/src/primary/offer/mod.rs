//! Giving a follower a copy of the state: made once, in a directory of its own, and fetched file by file from any offset.
//!
//! While it is made and fetched the log is held for it ([`slots`](super::slots)), up to a limit. When that is exceeded, both sides
//! end with an error that says what to raise: a copy that would be of no use is not completed, nor begun again and again.

mod copies;
mod make;
mod space;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_storage::BackupError;

pub(super) use self::copies::Copies;
pub(crate) use self::make::checksum_of;
use self::make::make;
use super::hub::Hub;
use super::service::Settings;
use super::slots::{check_copy, is_held, let_go};
use crate::decision::Refusal;
use crate::error::{Error, Result};
use crate::heartbeat;
use crate::link::{Hangup, Inbound, Outbound};
use crate::wire::{CHUNK_BYTES_MAX, CopyFile, CopyOffer, CopyRequest, Fetch, Message, Preparing, Replaced};

/// What a follower may ask for in advance; it asks for one file after the other.
const REQUESTS_MAX: usize = 16;

/// What a follower is told of an error.
const ERROR_CHARS_MAX: usize = 1000;

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
    if let Err(refusal) = hub.sharing(&request.name, request.part.as_deref())? {
        return out.write(&Message::Refuse(refusal));
    }
    // On a partial copy nobody counts.
    if let Some(Replaced { promised, rank }) = request.replaces
        && request.part.is_none()
        && !hub.may_replace(promised, rank)
    {
        out.write(&Message::Refuse(Refusal::NotElected))?;
        return Err(Error::NotElected);
    }
    let giving = Giving {
        hub,
        settings,
        request,
        out: Mutex::new(out),
        state: Mutex::new(Preparing { bytes: 0, expected: 0 }),
    };
    // What the follower says is read all the while: that it is there, above all.
    let (said, requests) = sync_channel(REQUESTS_MAX);
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("tailwater-requests".into());
        let reader = reader.spawn_scoped(scope, move || read_requests(inbound, &said, hangup));
        reader.map_err(Error::network("this member", "starting a thread"))?;
        let beat = || giving.beat();
        let given = heartbeat::during(settings.heartbeat, beat, || {
            let given = giving.give(&requests);
            if let Err(error) = &given
                && let Some(refusal) = refusal_for(error)
            {
                // It may be far behind with reading, and would never read this if the connection were ended now; it ends it itself.
                if giving.say(&Message::Refuse(refusal)).is_ok() {
                    requests.iter().for_each(drop);
                }
            }
            given
        });
        hangup.now();
        given
    })
}

/// What a follower is told that is given no copy; nothing when the connection itself has failed, or ends with the primary.
fn refusal_for(error: &Error) -> Option<Refusal> {
    Some(match error {
        Error::CopyOutrun { max_lag_bytes, .. } => Refusal::CopyOutrun(*max_lag_bytes),
        Error::TooManyFiles { max } => Refusal::TooManyFiles(*max as u64),
        Error::Busy => Refusal::Busy,
        Error::NoSpaceForCopy { needed, free } => Refusal::NoSpaceForCopy(*needed, *free),
        Error::Refused { refusal } => refusal.clone(),
        Error::Network { .. } | Error::Protocol { .. } | Error::Copy(BackupError::Cancelled) => return None,
        other => Refusal::CopyFailed(said(other)),
    })
}

/// An error with what led to it, in so many characters as a message has room for.
fn said(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ").chars().take(ERROR_CHARS_MAX).collect()
}

/// Passes on what is asked for, until the connection ends.
fn read_requests(mut inbound: Inbound, said: &SyncSender<Message>, hangup: &Hangup) {
    loop {
        match inbound.read() {
            Ok(Message::Report(_)) => {}
            Ok(message @ (Message::Fetch(_) | Message::CopyDone)) => match said.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(_)) => {
                    tracing::warn!(
                        peer = inbound.peer(),
                        "it asks for more files at once than a follower does"
                    );
                    hangup.now();
                    return;
                }
            },
            other => {
                tracing::debug!(?other, "a copy is not asked for any more");
                // Who sends must not wait for room.
                hangup.now();
                return;
            }
        }
    }
}

/// A connection over which a copy is given.
struct Giving<'a> {
    hub: &'a Hub,
    settings: &'a Settings,
    request: &'a CopyRequest,
    out: Mutex<Outbound>,
    /// How far making it has come: what is said when there is nothing else to say.
    state: Mutex<Preparing>,
}

impl Giving<'_> {
    fn out(&self) -> MutexGuard<'_, Outbound> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: &Message) -> Result<()> {
        self.out().write(message)
    }

    /// Also while a disk takes long to read what is to be sent.
    fn beat(&self) -> Result<()> {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = self.out();
        match out.quiet() < self.settings.heartbeat {
            true => Ok(()),
            false => out.write(&Message::Preparing(state)),
        }
    }

    fn prepared(&self, state: Preparing) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        // If the follower has gone, it finds the copy when it comes again.
        let _ = self.say(&Message::Preparing(state));
    }

    fn give(&self, requests: &Receiver<Message>) -> Result<()> {
        let (copies, name) = (&self.settings.copies, &self.request.name);
        let held = |offer: &CopyOffer| is_held(&self.hub.store, name, offer.applied);
        let offer = match copies.of(self.request, held) {
            Some(offer) => offer,
            None => self.make()?,
        };
        let given = self.send(&copies.path(offer.copy), &offer, requests);
        if matches!(given, Ok(true)) {
            copies.begin_catching_up(name);
        }
        copies.leave(name, &offer, matches!(given, Ok(true) | Err(Error::CopyOutrun { .. })));
        given.map(drop)
    }

    /// Makes a copy for this follower, unless that has just failed: it would again, and cost the primary as much.
    fn make(&self) -> Result<Arc<CopyOffer>> {
        let (copies, name) = (&self.settings.copies, &self.request.name);
        let Some(_alone) = copies.begin_making() else {
            // The follower comes again.
            return Err(Error::Busy);
        };
        if let Some(refusal) = copies.failed_lately(name) {
            return Err(Error::Refused { refusal });
        }
        if !copies.make_room(name) {
            return Err(Error::Busy);
        }
        let begun = Instant::now();
        match make(self.hub, self.settings, self.request, &|state| self.prepared(state)) {
            Ok(offer) => {
                let offer = Arc::new(offer);
                copies.add(self.request, &offer);
                Ok(offer)
            }
            Err(error) => {
                // Nothing is to be caught up with.
                let_go(&self.hub.store, name);
                if let Some(refusal) = refusal_for(&error).filter(Refusal::is_passing) {
                    copies.failed(name, begun.elapsed(), refusal);
                }
                Err(error)
            }
        }
    }

    /// Sends what is asked for; whether the follower has everything at the end.
    fn send(&self, directory: &Path, offer: &CopyOffer, requests: &Receiver<Message>) -> Result<bool> {
        self.say(&Message::Offer(offer.clone()))?;
        self.settings.copies.heard_of(&self.request.name, offer);
        loop {
            let asked = requests.recv_timeout(self.settings.heartbeat);
            self.check(offer)?;
            match asked {
                Ok(Message::Fetch(fetch)) => self.send_file(directory, offer, fetch)?,
                Ok(_) => return Ok(true),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
    }

    /// Whether the copy is still of use.
    fn check(&self, offer: &CopyOffer) -> Result<()> {
        check_copy(&self.hub.store, self.settings, &self.request.name, offer.applied)
    }

    /// Sends a file from an offset to its end.
    fn send_file(&self, directory: &Path, offer: &CopyOffer, fetch: Fetch) -> Result<()> {
        let Some(CopyFile { name, length, .. }) = offer.files.get(fetch.file as usize) else {
            return Err(Error::InvalidOption {
                option: "the file asked for",
                what: "not one of the copy's",
            });
        };
        let path = directory.join(name);
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        let (mut offset, mut looked) = (fetch.offset, Instant::now());
        while offset < *length {
            let bytes = usize::try_from(length - offset)
                .unwrap_or(usize::MAX)
                .min(CHUNK_BYTES_MAX);
            let mut chunk = vec![0; bytes];
            file.read_exact_at(&mut chunk, offset)
                .map_err(Error::file("read", &path))?;
            offset += bytes as u64;
            self.say(&Message::Chunk(chunk))?;
            if looked.elapsed() > LOOK_INTERVAL {
                looked = Instant::now();
                self.check(offer)?;
            }
        }
        Ok(())
    }
}

/// How often it is looked, within a file, whether the copy is still of use.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::link::{self, Security};

    #[test]
    fn who_asks_for_more_than_a_follower_does_is_not_listened_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let security = Security::Plaintext { anywhere: false };
        let address = listener.local_addr().unwrap().to_string();
        let asking = std::thread::spawn({
            let security = security.clone();
            move || {
                let raw = link::connect(&address, &security).unwrap();
                let (_inbound, mut out, _hangup) = link::open(raw, Duration::from_secs(10), 0).unwrap();
                let fetch = Message::Fetch(Fetch { file: 0, offset: 0 });
                (0..).take_while(|_| out.write(&fetch).is_ok()).count()
            }
        });
        let stream: TcpStream = listener.accept().unwrap().0;
        let raw = link::accepted(stream, &security).unwrap();
        let (inbound, out, hangup) = link::open(raw, Duration::from_secs(10), 0).unwrap();
        let (said, requests) = sync_channel(REQUESTS_MAX);
        // It returns, though nobody takes any of them.
        read_requests(inbound, &said, &hangup);
        // With what was not read: who asks is told at once, though it may find no room to write any more.
        drop((said, out, hangup));
        assert_eq!(requests.iter().count(), REQUESTS_MAX);
        assert!(asking.join().unwrap() > REQUESTS_MAX);
    }
}

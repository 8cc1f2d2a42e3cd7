//! One connection of a primary: a thread that reads what the follower reports, one that sends, and one for the heartbeats, so
//! that neither a disk nor the decisions' lock can end it.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tailwater_oplog::{FrameEntry, FrameRun, OpId, PartialRun, ReadConcern, Share};
use tailwater_storage::Sharing;

use super::hub::{Hub, Told, Work};
use super::service::Settings;
use super::{offer, slots};
use crate::decision::{Course, Hello, History, Meeting, PeerId, Refusal, Report, Status};
use crate::error::{Error, Result};
use crate::heartbeat;
use crate::link::{self, Inbound, Outbound};
use crate::standby;
use crate::summary::difference;
use crate::wire::{CHUNK_BYTES_MAX, Message, Need};

/// How often a follower's retention slot is moved, and others are told of it.
const SLOT_INTERVAL: Duration = Duration::from_secs(1);

/// Serves a connection until it ends; says when it is known that there is a member at the other end.
pub(super) fn run(hub: &Arc<Hub>, settings: &Settings, stream: TcpStream, introduced: &AtomicBool) {
    let peer = stream
        .peer_addr()
        .map_or_else(|_| "a member".to_owned(), |address| address.to_string());
    match serve(hub, settings, stream, introduced) {
        Ok(()) => tracing::debug!(%peer, "a follower has left"),
        Err(error) if hub.is_stopped() => tracing::debug!(%peer, %error, "a connection ended with the primary"),
        Err(error) => tracing::info!(%peer, %error, "the connection of a follower ended"),
    }
}

fn serve(hub: &Arc<Hub>, settings: &Settings, stream: TcpStream, introduced: &AtomicBool) -> Result<()> {
    // A follower sends nothing that is longer than its introduction.
    let (mut inbound, mut outbound, hangup) = link::open(
        link::accepted(stream, &settings.security)?,
        settings.heartbeat,
        CHUNK_BYTES_MAX,
    )?;
    let introduction = inbound.read_introduction()?;
    introduced.store(true, Ordering::SeqCst);
    match introduction {
        Message::Hello(hello) => {
            if let Some(refusal) = refusal_of_outrun(hub, settings, &hello) {
                return outbound.write(&Message::Refuse(refusal));
            }
            if let Some(refusal) = refusal_of_difference(hub, &hello) {
                tracing::error!(follower = hello.name, ?refusal, "turning a follower away");
                return outbound.write(&Message::Refuse(refusal));
            }
            let sharing = match hub.sharing(&hello.name, hello.part.as_deref())? {
                Ok(sharing) => sharing,
                Err(refusal) => return outbound.write(&Message::Refuse(refusal)),
            };
            let (name, history) = (hello.name.clone(), hello.history.clone());
            let peer = hub.hello(hello, Arc::new(hangup))?;
            let connected = Connected { hub, peer };
            // It takes nothing before it has been cut back, and has to find what it needs then when it comes again.
            if hub.is_served(peer) && slots::needed_next(&hub.history(), &history) < Some(history.last.next()) {
                hold(hub, settings, &name, &history);
            }
            let sender_hub = Arc::clone(hub);
            let (heartbeat, chunk) = (settings.heartbeat, settings.chunk_bytes);
            let sender = std::thread::Builder::new()
                .name("tailwater-send".into())
                .spawn(move || {
                    let connected = Connected { hub: &sender_hub, peer };
                    Sender::new(&connected, outbound, sharing).run(heartbeat, chunk)
                });
            let sender = sender.map_err(Error::network(inbound.peer(), "starting a thread for it"))?;
            let read = receive(hub, settings, peer, (&name, &history), &mut inbound);
            drop(connected);
            let sent = sender.join().unwrap_or(Err(Error::Panicked));
            read.and(sent)
        }
        Message::CopyRequest(request) => offer::serve(hub, settings, &request, inbound, outbound, &hangup),
        _ => Err(inbound.unexpected()),
    }
}

/// A follower that has introduced itself: whatever ends a thread that serves it, it is gone then.
struct Connected<'a> {
    hub: &'a Hub,
    peer: PeerId,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.hub.gone(self.peer);
    }
}

/// Why a follower is turned away that has fetched a copy and then fallen behind what is kept for it: another copy would most
/// likely come to the same. It is told so once; who comes again all the same may have one.
fn refusal_of_outrun(hub: &Hub, settings: &Settings, hello: &Hello) -> Option<Refusal> {
    let needs_more = hello.history.last.next() < hub.store.log().watermarks().oldest;
    let outrun = needs_more && slots::is_lost(&hub.store, &hello.name) && settings.copies.end_catching_up(&hello.name);
    outrun.then_some(Refusal::CopyOutrun(settings.copy_lag_bytes_max))
}

/// Why a follower is turned away that has other bytes in an entry which terms and OpIDs say is the same: somebody has changed one of
/// the two logs, and nothing here can tell which. What is told by terms already is not looked at.
fn refusal_of_difference(hub: &Hub, hello: &Hello) -> Option<Refusal> {
    let is_own = hello.part.is_none() && hub.refusal_of(&hello.name, &hello.members).is_none();
    let meets = is_own && !matches!(hub.history().meet(&hello.history), Meeting::Apart(_));
    let log = hub.store.log();
    let (differs, same) = meets.then(|| difference(&log, hello)).flatten()?;
    Some(Refusal::Differs(differs, same))
}

/// A follower that has caught up after a copy has its log held as others have.
fn settle(hub: &Hub, settings: &Settings, name: &str) {
    if slots::settle(&hub.store, settings, name) {
        settings.copies.end_catching_up(name);
    }
}

/// Has the log kept for a follower with such a history.
fn hold(hub: &Hub, settings: &Settings, name: &str, history: &History) {
    if let Some(next) = slots::needed_next(&hub.history(), history) {
        slots::hold(&hub.store, settings.lag_bytes_max, name, next);
        settle(hub, settings, name);
    }
}

fn receive(
    hub: &Hub,
    settings: &Settings,
    peer: PeerId,
    (name, history): (&str, &History),
    inbound: &mut Inbound,
) -> Result<()> {
    let (mut moved, mut is_held) = (Instant::now(), false);
    loop {
        let Message::Report(report) = inbound.read()? else {
            return Err(inbound.unexpected());
        };
        // Not for who only came to say something: the log would be held for somebody who never takes any of it.
        if matches!(report, Report::Credit(_)) && !is_held && hub.is_served(peer) {
            is_held = true;
            hold(hub, settings, name, history);
        }
        let durable = match report {
            Report::Durable(op_id) => Some(op_id),
            _ => None,
        };
        hub.report(peer, report)?;
        if let Some(op_id) = durable
            && op_id > OpId::ZERO
            && moved.elapsed() >= SLOT_INTERVAL
        {
            moved = Instant::now();
            // It may have more on its disk than this member has.
            slots::advance(
                &hub.store,
                name,
                op_id.min(hub.store.log().newest(ReadConcern::Durable)),
            );
            settle(hub, settings, name);
        }
    }
}

/// What a follower has of some frames. An entry of which it cannot be told is sent as it is: the follower says by name what is
/// wrong with it, where an error here would end this connection and each one after it.
fn share<'r>(sharing: &Sharing, frames: &'r FrameRun) -> Result<PartialRun<'r>> {
    let share = |entry: &FrameEntry<'_>| {
        sharing.of(entry.kind, entry.payload).or_else(|error| {
            tracing::warn!(op_id = %entry.op_id, %error, "an entry is sent whole to a follower that has only a part");
            Ok(Share::Whole)
        })
    };
    Ok(frames.part(share)?)
}

/// Bytes of the first run on a connection, and of each while the link is slow: what is lost when it breaks meanwhile.
const SLOW_CHUNK_BYTES: usize = 16 << 10;

/// The sending half of a connection.
struct Sender<'a> {
    connected: &'a Connected<'a>,
    out: Mutex<Outbound>,
    /// What the follower has of the entries; nothing when that is all.
    sharing: Option<Sharing>,
    /// What was last said of how things stand, to be said again when there is nothing else to say; nothing before the welcome.
    last: Mutex<Option<Status>>,
}

/// What a follower was told that the others need.
#[derive(Debug, Default)]
struct Needs {
    /// Nothing before it was let on.
    due: Option<Instant>,
    told: Vec<Need>,
}

impl<'a> Sender<'a> {
    fn new(connected: &'a Connected<'a>, out: Outbound, sharing: Option<Sharing>) -> Sender<'a> {
        Sender {
            connected,
            out: Mutex::new(out),
            sharing,
            last: Mutex::default(),
        }
    }

    fn run(&self, heartbeat: Duration, chunk_max: usize) -> Result<()> {
        heartbeat::during(heartbeat, || self.beat(heartbeat), || self.send(heartbeat, chunk_max))
    }

    fn beat(&self, heartbeat: Duration) -> Result<()> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        match last {
            Some(status) if out.quiet() >= heartbeat => out.write(&Message::Status(status)),
            _ => Ok(()),
        }
    }

    fn say(&self, message: &Message) -> Result<()> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write(message)
    }

    fn stands(&self, status: Status) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    /// Tells a follower that may be promoted what the others need.
    fn tell_needs(&self, needs: &mut Needs) -> Result<()> {
        let now = Instant::now();
        if self.sharing.is_some() || needs.due.is_none_or(|due| now < due) {
            return Ok(());
        }
        needs.due = Some(now + SLOT_INTERVAL);
        let found = standby::needs(&self.connected.hub.store);
        if found != needs.told {
            self.say(&Message::Needs(found.clone()))?;
            needs.told = found;
        }
        Ok(())
    }

    fn send(&self, heartbeat: Duration, chunk_max: usize) -> Result<()> {
        let Connected { hub, peer } = *self.connected;
        let log = hub.store.log();
        let mut told = Told::default();
        let mut chunk = SLOW_CHUNK_BYTES.min(chunk_max);
        let mut needs = Needs::default();
        loop {
            self.tell_needs(&mut needs)?;
            match hub.work(peer, told, heartbeat) {
                Work::End => return Ok(()),
                Work::Say(messages) => {
                    for message in &messages {
                        self.say(message)?;
                        let Message::Welcome(welcome) = message else {
                            continue;
                        };
                        self.stands(Status {
                            term: welcome.term,
                            newest: OpId::ZERO,
                            majority: OpId::ZERO,
                        });
                        if let Course::Continue(next) = welcome.course {
                            // Of what it has it may not know what is on this disk.
                            told.sent = next.previous();
                            // The follower may have begun an empty segment of another primary there.
                            self.say(&Message::Segment(log.segment_of(next)?.into()))?;
                            needs.due = Some(Instant::now());
                        }
                    }
                }
                Work::Tell(status) => {
                    told = Told {
                        durable: status.newest,
                        majority: status.majority,
                        ..told
                    };
                    self.say(&Message::Status(status))?;
                    self.stands(status);
                }
                Work::Send(from, bytes) => {
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(chunk);
                    let last = log.syncing();
                    let Some(frames) = log.frames_up_to(from, last, bytes, ReadConcern::Local)? else {
                        continue;
                    };
                    if frames.begins_segment() {
                        self.say(&Message::Segment(frames.segment_start()?.into()))?;
                    }
                    let part = self
                        .sharing
                        .as_ref()
                        .map(|sharing| share(sharing, &frames))
                        .transpose()?;
                    let pieces: Vec<&[u8]> = match &part {
                        Some(part) => part.pieces().collect(),
                        None => vec![frames.bytes()],
                    };
                    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
                    let run = hub.sending(peer, frames.first, frames.last, bytes as u64)?;
                    told = Told {
                        sent: run.last,
                        durable: run.durable,
                        majority: run.majority,
                    };
                    let begun = Instant::now();
                    let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
                    out.write_run(&run, &pieces)?;
                    drop(out);
                    self.stands(Status {
                        term: run.term,
                        newest: run.durable,
                        majority: run.majority,
                    });
                    chunk = match begun.elapsed() < heartbeat / 8 {
                        true => (chunk * 2).min(chunk_max),
                        false => (chunk / 2).max(SLOW_CHUNK_BYTES.min(chunk_max)),
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tailwater_oplog::entry::EntryKind;
    use tailwater_oplog::{Durability, Options, Record};
    use tailwater_storage::Selection;

    use super::*;

    #[test]
    fn an_entry_that_cannot_be_shared_is_sent_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes: 1 << 20,
            ..Options::default()
        };
        let log = options.open(dir.path()).unwrap();
        let kind = EntryKind::Insert.number();
        let record = Record {
            kind,
            payload: &[b"no entry of a store".as_slice()],
        };
        log.append_batch(&[record], Durability::Disk).unwrap();
        let log = log.view();
        let run = log.frames(OpId::FIRST, 1 << 20, ReadConcern::Durable).unwrap().unwrap();
        let sharing = Sharing::new(Selection::new(["db.*"], &bson::rawdoc! {}).unwrap());
        let part = share(&sharing, &run).unwrap();
        assert_eq!(part.pieces().collect::<Vec<_>>().concat(), run.bytes());
    }
}

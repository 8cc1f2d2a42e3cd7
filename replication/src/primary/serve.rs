//! One connection of a primary: a thread that reads what the follower reports, and one that sends.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tailwater_oplog::{Error as LogError, OpId, ReadConcern, SlotOptions};
use tailwater_storage::Error as StoreError;

use super::hub::{Hub, Work};
use super::offer;
use super::service::Settings;
use crate::decision::{Course, PeerId, Report};
use crate::error::{Error, Result};
use crate::link::{self, Inbound, Outbound};
use crate::wire::{CHUNK_BYTES_MAX, Message};

/// How often a follower's retention slot is moved.
const SLOT_INTERVAL: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) fn run(hub: &Arc<Hub>, settings: &Settings, stream: TcpStream) {
    let peer = stream
        .peer_addr()
        .map_or_else(|_| "a member".to_owned(), |address| address.to_string());
    match serve(hub, settings, stream) {
        Ok(()) => tracing::debug!(%peer, "a follower has left"),
        Err(error) if hub.is_stopped() => tracing::debug!(%peer, %error, "a connection ended with the primary"),
        Err(error) => tracing::info!(%peer, %error, "the connection of a follower ended"),
    }
}

fn serve(hub: &Arc<Hub>, settings: &Settings, stream: TcpStream) -> Result<()> {
    // A follower sends nothing that is longer than its introduction.
    let (mut inbound, outbound, hangup) = link::open(
        link::accepted(stream, &settings.security)?,
        settings.heartbeat,
        CHUNK_BYTES_MAX,
    )?;
    match inbound.read_introduction()? {
        Message::Hello(hello) => {
            let (name, next) = (hello.name.clone(), hello.history.last.next());
            let peer = hub.hello(hello, Arc::new(hangup))?;
            if hub.is_served(peer) {
                hold(hub, settings, &name, next);
            }
            let sender_hub = Arc::clone(hub);
            let (heartbeat, chunk) = (settings.heartbeat, settings.chunk_bytes);
            let sender = std::thread::Builder::new()
                .name("tailwater-send".into())
                .spawn(move || {
                    let sent = send(&sender_hub, peer, outbound, heartbeat, chunk);
                    sender_hub.gone(peer);
                    sent
                });
            let sender = sender.map_err(Error::network(inbound.peer(), "starting a thread for it"))?;
            let read = receive(hub, peer, &name, &mut inbound);
            hub.gone(peer);
            let sent = sender.join().unwrap_or(Ok(()));
            read.and(sent)
        }
        Message::CopyRequest(request) => offer::serve(hub, settings, &request, inbound, outbound, &hangup),
        _ => Err(inbound.unexpected()),
    }
}

/// Name of the retention slot of a follower.
pub(super) fn slot_name(follower: &str) -> String {
    format!("follower.{follower}")
}

/// Has the log keep what the follower needs next.
fn hold(hub: &Hub, settings: &Settings, follower: &str, next: OpId) {
    let name = slot_name(follower);
    let options = SlotOptions {
        max_lag_bytes: settings.lag_bytes_max,
    };
    let created = match hub.store.slot_create(&name, next, options) {
        Err(StoreError::Log(LogError::SlotExists { .. })) => return,
        other => other,
    };
    if let Err(error) = created {
        // It may still have what the follower needs; if not, the follower is told so.
        tracing::warn!(%error, slot = name, "nothing holds the log for a follower");
    }
}

fn receive(hub: &Hub, peer: PeerId, name: &str, inbound: &mut Inbound) -> Result<()> {
    let slot = slot_name(name);
    let mut moved = Instant::now();
    loop {
        let Message::Report(report) = inbound.read()? else {
            return Err(inbound.unexpected());
        };
        hub.report(peer, report)?;
        if let Report::Durable(op_id) = report
            && op_id > OpId::ZERO
            && moved.elapsed() >= SLOT_INTERVAL
        {
            moved = Instant::now();
            // Its last entry stays, to be compared when it comes again.
            if let Err(error) = hub.store.slot_advance(&slot, op_id) {
                tracing::debug!(%error, slot, "moving a follower's slot");
            }
        }
    }
}

/// Bytes of the first run on a connection, and of each while the link is slow: what is lost when it breaks meanwhile.
const SLOW_CHUNK_BYTES: usize = 16 << 10;

fn send(hub: &Hub, peer: PeerId, mut out: Outbound, heartbeat: Duration, chunk_max: usize) -> Result<()> {
    let log = hub.store.log();
    let mut told = OpId::ZERO;
    let mut chunk = SLOW_CHUNK_BYTES.min(chunk_max);
    loop {
        match hub.work(peer, told, heartbeat) {
            Work::End => return Ok(()),
            Work::Say(messages) => {
                for message in &messages {
                    out.write(message)?;
                    if let Message::Welcome(welcome) = message
                        && let Course::Continue(next) = welcome.course
                    {
                        // The follower may have begun an empty segment of another primary there.
                        out.write(&Message::Segment(log.segment_of(next)?.into()))?;
                    }
                }
            }
            Work::Tell(status) => {
                told = status.majority;
                out.write(&Message::Status(status))?;
            }
            Work::Send(from, bytes) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(chunk);
                let Some(frames) = log.frames(from, bytes, ReadConcern::Durable)? else {
                    continue;
                };
                if frames.begins_segment() {
                    out.write(&Message::Segment(frames.segment_start()?.into()))?;
                }
                let run = hub.sending(peer, frames.first, frames.last, frames.bytes().len() as u64)?;
                told = run.majority;
                let begun = Instant::now();
                out.write_run(&run, frames.bytes())?;
                chunk = match begun.elapsed() < heartbeat / 8 {
                    true => (chunk * 2).min(chunk_max),
                    false => (chunk / 2).max(SLOW_CHUNK_BYTES.min(chunk_max)),
                };
            }
        }
    }
}

//! Telling members that believe they are primary that another one is.
//!
//! A primary that was frozen, or cut off, learns of its successor from the first member that has promised the newer term and
//! comes to it. This is a member that comes for that reason only: it introduces itself as a follower would, with its own term as
//! promise, and leaves with the answer.

use std::time::Duration;

use super::hub::Hub;
use crate::decision::{Hello, Refusal};
use crate::dial::Dial;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::link::{self, Raw, Security};
use crate::wire::{CHUNK_BYTES_MAX, Message};

/// Between two attempts to reach a member: from this …
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// … to this, each twice as long as the one before.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Comes to the member at `address`, again and again, until it has been told or this one is primary no longer.
pub(super) fn run(
    hub: &Hub,
    dial: &Dial,
    identity: &Identity,
    address: &str,
    security: &Security,
    heartbeat: Duration,
) {
    let mut pause = PAUSE_MIN;
    while hub.is_primary() {
        let told = dial
            .connect(address, security)
            .and_then(|stream| tell(hub, identity, stream, heartbeat));
        dial.over();
        match told {
            Ok(true) => {
                tracing::info!(address, "a member that was primary has been told that it is no longer");
                return;
            }
            // It is not there, or is no primary now; that may change.
            Ok(false) => {}
            Err(error) => tracing::debug!(address, %error, "a member could not be told who is primary"),
        }
        hub.pause(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether it has been told.
fn tell(hub: &Hub, identity: &Identity, stream: Raw, heartbeat: Duration) -> Result<bool> {
    let (mut inbound, mut outbound, _hangup) = link::open(stream, heartbeat, CHUNK_BYTES_MAX)?;
    outbound.write(&Message::Hello(Hello {
        member: identity.member.into(),
        name: identity.name.clone(),
        members: identity.members.clone(),
        promised: hub.promised(),
        history: hub.history(),
        durable: hub.history().last,
        part: None,
        marks: Vec::new(),
    }))?;
    match inbound.read()? {
        Message::Refuse(Refusal::StalePrimary(_)) => Ok(true),
        Message::Refuse(refusal) => Err(Error::Refused { refusal }),
        // It is a primary, and of a newer term.
        Message::Welcome(welcome) => {
            hub.heard(welcome.term)?;
            Ok(false)
        }
        _ => Err(inbound.unexpected()),
    }
}

//! What a server refuses that does not take writes: writes, and reads of whoever has not said that a secondary will do (MongoDB
//! manual: *Read Preference*; driver specification: *Server Selection*).
//!
//! The errors are those after which drivers look for the primary, and send a write that may be sent again to that one. Whether
//! writes are taken may change between this look and the write itself; the store then refuses it with the same code.

use crate::command::{Command, Kind, Runs};
use crate::error::{CommandError, CommandResult, TRANSIENT_LABEL, code};
use crate::request::{Numbered, Request};
use crate::server::Shared;

/// The database of what each member has for itself, such as its oplog: to read that, every member will do.
const LOCAL: &str = "local";

/// Refuses a command that is not for a secondary, on one.
pub(crate) fn check(command: &Command, request: &Request<'_>, server: &Shared) -> CommandResult<()> {
    if !server.store.is_following() || request.database == LOCAL {
        return Ok(());
    }
    let refusal = match command.runs {
        Runs::OptIn if !request.secondary_ok => {
            CommandError::new(code::NOT_PRIMARY_NO_SECONDARY_OK, "not primary and secondaryOk=false")
        }
        Runs::OptIn if request.reading.is_linearizable() => CommandError::new(
            code::NOT_WRITABLE_PRIMARY,
            "cannot satisfy linearizable read concern on non-primary node",
        ),
        Runs::Primary => CommandError::new(code::NOT_WRITABLE_PRIMARY, "not primary"),
        Runs::Anywhere | Runs::OptIn => return Ok(()),
    };
    Err(match request.numbered {
        Some(Numbered::Transaction { .. }) if command.kind != Kind::EndsTransaction => {
            refusal.labelled(TRANSIENT_LABEL)
        }
        Some(_) => refusal.of_retryable(),
        None => refusal,
    })
}

//! What a command is.

use crate::context::Context;
use crate::error::CommandResult;
use crate::needs::Needs;

/// A command: one entry of the table in `commands.rs`.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// Other names for it.
    pub(crate) aliases: &'static [&'static str],
    /// One sentence for `listCommands` and the compatibility page.
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    /// Who carries it out.
    pub(crate) runs: Runs,
    /// What its client has to be allowed.
    pub(crate) needs: Needs,
    pub(crate) run: fn(&mut Context<'_>) -> CommandResult,
}

/// How a command goes with sessions (driver specifications: *Transactions*, *Retryable Writes*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// It has no place in a transaction.
    Alone,
    /// It may be part of a transaction.
    InTransaction,
    /// So it may, and outside one it may be sent again with the same number: what it has done then is not done again
    /// (`statements.rs`).
    Retryable,
    /// It ends a transaction.
    EndsTransaction,
}

/// Which members carry a command out (MongoDB's `AllowedOnSecondary`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Runs {
    /// Every member: it is about the member, or the connection.
    Anywhere,
    /// The primary; others for who has said that a secondary will do (`$readPreference`).
    OptIn,
    /// The primary alone: it writes.
    Primary,
}

impl Command {
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

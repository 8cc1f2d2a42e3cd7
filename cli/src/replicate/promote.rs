//! `tailwater promote`: a follower's store becomes one that takes writes.

use std::path::PathBuf;

use tailwater::{Store, StoreOptions};

use super::name_or_host;
use crate::failure::Outcome;
use crate::output;

/// Makes the store of a follower, which must not be running, take writes in a new term.
///
/// Then serve it (`tailwater replicate`), and have the others follow it. The old primary finds out from the first member that
/// connects to it; what it wrote meanwhile was not acknowledged at majority, and is written to a file when it comes back as a
/// follower.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tailwater promote --dir ./b --name b --members a,b,c")]
pub(crate) struct PromoteArguments {
    /// Directory of the store.
    #[arg(long)]
    dir: PathBuf,
    /// Name of this member; without it, that of the machine.
    #[arg(long)]
    name: Option<String>,
    /// The members whose majority counts, as everywhere.
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',')]
    members: Vec<String>,
}

/// Runs `tailwater promote`.
pub(crate) fn promote(arguments: &PromoteArguments) -> Outcome {
    let name = name_or_host(arguments.name.as_deref())?;
    let mut options = StoreOptions::default();
    options.oplog.create = false;
    let store = Store::open_with(&arguments.dir, &options)?;
    let term = store.promote_as(&name, &arguments.members)?;
    let last = store.log().watermarks().durable;
    store.close()?;
    output::print(&format!("{{\"term\":{term},\"last\":{last}}}\n"))
}

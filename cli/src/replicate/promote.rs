//! `tailwater promote`: a follower's store becomes one that takes writes.

use std::path::PathBuf;

use tailwater::{Store, StoreOptions};

use super::name_or_host;
use crate::failure::Outcome;
use crate::output;
use crate::serve::control;

/// Makes the store of a follower take writes in a new term: of one that is stopped, or of one that `tailwater serve --follow` serves,
/// which goes on as the primary; what that was told of its name and of the members counts then.
///
/// One that was stopped is then served (`tailwater serve --replicate`, `tailwater replicate`). Have the others follow it. The old primary finds out from the first member that
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
    if let Some(promoted) = control::promote(&arguments.dir)? {
        return output::print(&format!("{promoted}\n"));
    }
    let name = name_or_host(arguments.name.as_deref())?;
    let mut options = StoreOptions::default();
    options.oplog.create = false;
    let store = Store::open_with(&arguments.dir, &options)?;
    let term = store.promote_as(&name, &arguments.members)?;
    let last = store.log().watermarks().durable;
    store.close()?;
    output::print(&format!("{{\"term\":{term},\"last\":{last}}}\n"))
}

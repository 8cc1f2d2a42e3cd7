//! `tailwater follow`: keeps a store that is another one's.

use std::net::SocketAddr;
use std::path::PathBuf;

use tailwater::Store;

use super::display::Display;
use super::{MemberArguments, SelectionArguments};
use crate::failure::Outcome;

/// Keeps a store in step with a primary's: copies it first, while it is written to, then takes every entry as it comes. Until it
/// is stopped.
///
/// Everything resumes where it stopped, also after kill -9. Others can read and watch the store's log meanwhile
/// (`tailwater watch`, `tailwater log`). Entries of its own that the primary does not have, as after a failover, are written to
/// DIR/rollback before they are removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    tailwater follow --from 127.0.0.1:7001 --dir ./b --name b --members a,b,c\n  \
    tailwater follow --from 127.0.0.1:7001 --dir ./part --name part --members a,b,c --filter-namespaces 'shop.*' --filter 'tenant = 7'\n\n\
    With a filter it is a partial copy: give the same filter each time. It counts for no majority and cannot be promoted.\n\
    Exit code 6 when what is here cannot go on from the primary's log; with --resync it is replaced instead.")]
pub(crate) struct FollowArguments {
    /// The primary.
    #[arg(long, value_name = "HOST:PORT")]
    from: String,
    /// Directory of the store; it is made if it does not exist.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    member: MemberArguments,
    /// Where others can follow this follower.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Bytes of entries that may be on their way.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// With --listen: bytes of log that are kept for a follower of this one that is away. More than that, and it needs a new copy.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 30, requires = "listen")]
    lag_max: u64,
    /// With --listen: bytes of log that are kept for a follower of this one while it copies, and until it has caught up.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 30, requires = "listen")]
    copy_lag_max: u64,
    /// Bytes of entries that are cut off at most when the primary does not have them. More end the follower, and stay.
    #[arg(long, value_name = "BYTES", default_value_t = 300 << 20)]
    rollback_max: u64,
    #[command(flatten)]
    selection: SelectionArguments,
    /// Replace what is here by a new copy when it is of no use any more.
    #[arg(long)]
    resync: bool,
}

/// Runs `tailwater follow`.
pub(crate) fn follow(arguments: &FollowArguments) -> Outcome {
    let member = &arguments.member;
    let display = Display::new();
    let shown = display.clone();
    let mut builder = Store::follower(&arguments.dir, member.name()?, &arguments.from)
        .members(&member.members)
        .heartbeat(member.heartbeat())
        .window_bytes(arguments.window)
        .on_event(move |event| shown.show(event));
    if member.allow_plaintext {
        builder = builder.allow_plaintext();
    }
    if let Some(options) = member.tls() {
        builder = builder.tls(options);
    }
    if let Some(address) = arguments.listen {
        builder = builder.listen(address);
    }
    builder = builder
        .lag_bytes_max(arguments.lag_max)
        .copy_lag_bytes_max(arguments.copy_lag_max)
        .rollback_bytes_max(arguments.rollback_max);
    if let Some(selection) = arguments.selection.selection()? {
        builder = builder.filter(selection);
    }
    if arguments.resync {
        builder = builder.resync();
    }
    let follower = builder.start()?;
    let ended = follower.join();
    display.end();
    Ok(ended?)
}

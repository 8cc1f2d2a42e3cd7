//! `tailwater follow`: keeps a store that is another one's.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tailwater::Store;
use tailwater::replication::FollowerEvent;

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
    let bar = bar();
    let shown = bar.clone();
    let mut builder = Store::follower(&arguments.dir, member.name()?, &arguments.from)
        .members(&member.members)
        .heartbeat(member.heartbeat())
        .window_bytes(arguments.window)
        .on_event(move |event| show(&shown, event));
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
    bar.finish_and_clear();
    Ok(ended?)
}

/// A copy is counted in bytes, …
const BYTES: &str = "{spinner} {msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec}";
/// … the log in entries.
const ENTRIES: &str = "{spinner} {msg} {wide_bar} {human_pos}/{human_len} entries";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A bar on a terminal. It says how far a copy has come, and afterwards how far the log, or what was heard last.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(0).with_style(style(BYTES));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[expect(clippy::print_stderr, reason = "a command line prints")]
fn show(bar: &ProgressBar, event: &FollowerEvent) {
    let text = match event {
        FollowerEvent::Preparing { bytes, expected } => {
            bar.set_style(style(BYTES));
            bar.set_message("the primary copies its state");
            bar.set_length((*expected).max(*bytes));
            bar.set_position(*bytes);
            return;
        }
        FollowerEvent::Copying { bytes, total } => {
            bar.set_style(style(BYTES));
            bar.set_message("copying");
            bar.set_length(*total);
            bar.set_position(*bytes);
            return;
        }
        FollowerEvent::Progress(progress) => {
            bar.set_style(style(ENTRIES));
            bar.set_message(match progress.entries_behind() {
                0 => "up to date".to_owned(),
                _ => format!("{:.1} s behind", progress.behind.as_secs_f64()),
            });
            bar.set_length(progress.newest.get());
            bar.set_position(progress.durable.get());
            return;
        }
        FollowerEvent::Following { term, from } => format!("following in term {term}, from entry {from} on"),
        FollowerEvent::RolledBack { last, file } => {
            format!(
                "entries behind {last} are not the primary's: they are in {}, and removed",
                file.display()
            )
        }
        FollowerEvent::Resyncing { .. } => "what is here is replaced by a new copy".to_owned(),
        FollowerEvent::Retrying { error, after } => match error {
            Some(error) => format!("{error}; trying again in {after:?}"),
            None => format!("the primary is not one to follow at the moment; trying again in {after:?}"),
        },
        _ => return,
    };
    match bar.is_hidden() {
        true => eprintln!("tailwater: {text}"),
        false => bar.set_message(text),
    }
}

//! `tailwater replicate`: a primary without a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tailwater::replication::WriteConcern;
use tailwater::{Store, StoreOptions};

use super::{MemberArguments, insert, write_concern};
use crate::failure::Outcome;
use crate::output;

/// Serves a store to followers, as their primary, until it is stopped or another one becomes primary (exit code 4).
///
/// It needs the store for itself. With --insert it writes documents that come on standard input, one by one, and prints
/// {"opId": …} for each when as many members hold it as --w asks for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater replicate --dir ./a --name a --members a,b,c --listen 127.0.0.1:7001\n  \
    tailwater replicate --dir ./a --name a --listen 127.0.0.1:7001 --insert shop.orders --w 2 < orders.jsonl\n\n\
    docs/replication.md says what is promised.")]
pub(crate) struct PrimaryArguments {
    /// Directory of the store; it is made if it does not exist.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    member: MemberArguments,
    /// Where followers connect.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where other members serve followers, or may do so again, as their primary: they are told that they are it no longer.
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    fence: Vec<String>,
    /// Bytes of the log that are kept for a follower that is away. More than that, and it needs a new copy.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 30)]
    lag_max: u64,
    /// Bytes of the log that are kept for a follower from the beginning of its copy of the state until it has caught up.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 30)]
    copy_lag_max: u64,
    /// Insert what comes on standard input into this collection.
    #[arg(long, value_name = "DB.COLLECTION")]
    insert: Option<String>,
    /// How many members must hold what is inserted: a number, or majority.
    #[arg(long, value_name = "W", default_value = "1", value_parser = write_concern, requires = "insert")]
    w: WriteConcern,
    /// Milliseconds to wait for them, for each document; what they do not hold then is written all the same.
    #[arg(long, value_name = "MS", default_value_t = 10_000, requires = "insert")]
    wtimeout: u64,
}

/// Runs `tailwater replicate`.
pub(crate) fn replicate(arguments: &PrimaryArguments) -> Outcome {
    let store = Store::open_with(&arguments.dir, &StoreOptions::default())?;
    let member = &arguments.member;
    let mut builder = store
        .primary(member.name()?)
        .members(&member.members)
        .listen(arguments.listen)
        .fence(&arguments.fence)
        .lag_bytes_max(arguments.lag_max)
        .copy_lag_bytes_max(arguments.copy_lag_max)
        .heartbeat(member.heartbeat());
    if member.allow_plaintext {
        builder = builder.allow_plaintext();
    }
    if let Some(options) = member.tls() {
        builder = builder.tls(options);
    }
    let primary = builder.start()?;
    output::print(&format!(
        "{{\"listening\":\"{}\",\"term\":{}}}\n",
        primary.address(),
        primary.term()
    ))?;
    if let Some(namespace) = &arguments.insert {
        let timeout = Duration::from_millis(arguments.wtimeout);
        insert::run(&store, &primary, namespace, arguments.w, timeout)?;
    }
    Ok(primary.join()?)
}

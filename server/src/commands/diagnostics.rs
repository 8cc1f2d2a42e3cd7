//! Commands by which operators and tools look at the server and the machine.

use std::sync::atomic::Ordering;

use bson::{DateTime, RawArrayBuf, rawdoc};
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};

pub(super) const FSYNC: Command = Command {
    name: "fsync",
    aliases: &[],
    help: "Makes everything that was written durable",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::Fsync]),
    run: fsync,
};

pub(super) const GET_LOG: Command = Command {
    name: "getLog",
    aliases: &[],
    help: "Lines of the server's log, which goes to its standard error output and is not kept",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::GetLog]),
    run: get_log,
};

pub(super) const HOST_INFO: Command = Command {
    name: "hostInfo",
    aliases: &[],
    help: "The machine",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::HostInfo]),
    run: host_info,
};

pub(super) const SERVER_STATUS: Command = Command {
    name: "serverStatus",
    aliases: &[],
    help: "How the server is",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::ServerStatus]),
    run: server_status,
};

fn fsync(context: &mut Context<'_>) -> CommandResult {
    for field in context.request.arguments() {
        match field.name {
            "lock" => field.unsupported(!field.boolean()?)?,
            "async" => {}
            _ => return Err(field.unknown()),
        }
    }
    context.server.store.sync()?;
    Ok(rawdoc! { "numFiles": 1 })
}

fn get_log(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    match context.request.subject()?.string()? {
        "*" => Ok(rawdoc! { "names": ["global", "startupWarnings"] }),
        "global" | "startupWarnings" => Ok(rawdoc! { "totalLinesWritten": 0, "log": [] }),
        name => Err(CommandError::new(code::BAD_VALUE, format!("no RamLog named: {name}"))),
    }
}

fn host_info(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(rawdoc! {
        "system": {
            "currentTime": DateTime::now(),
            "hostname": context.me(),
            "cpuAddrSize": 64,
            "numCores": i32::try_from(cores).unwrap_or(i32::MAX),
            "cpuArch": std::env::consts::ARCH,
        },
        "os": { "type": std::env::consts::OS, "name": std::env::consts::OS, "version": "" },
        "extra": {},
    })
}

/// Its fields name sections to show or to leave out; all are shown.
fn server_status(context: &mut Context<'_>) -> CommandResult {
    let server = context.server;
    let (connections, made) = server.connection_count();
    let watermarks = server.store.log().watermarks();
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Ok(rawdoc! {
        "host": context.me(),
        "version": super::describe::mongodb_version(),
        "process": "tailwater",
        "pid": i64::from(std::process::id()),
        "uptime": server.started.elapsed().as_secs_f64(),
        "localTime": DateTime::now(),
        "connections": {
            "current": number(connections),
            "available": number(server.options.connections_max.saturating_sub(connections)),
            "totalCreated": i64::from(made),
        },
        "metrics": {
            "commands": i64::try_from(server.commands_run.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
            "cursor": { "open": { "total": number(server.cursors.len()) } },
        },
        "logicalSessionRecordCache": { "activeSessionsCount": number(server.sessions.len()) },
        "oplog": {
            "oldest": op_id(watermarks.oldest),
            "released": op_id(watermarks.released),
            "durable": op_id(watermarks.durable),
            "appended": op_id(watermarks.appended),
        },
        "repl": {
            "setName": server.options.replica_set.as_str(),
            "hosts": RawArrayBuf::from_iter(context.hosts()),
            "isWritablePrimary": !server.store.is_following(),
            "secondary": server.store.is_following(),
            "me": context.me(),
        },
        "storageEngine": { "name": "tailwater", "supportsCommittedReads": true, "persistent": true },
    })
}

fn op_id(op_id: tailwater::OpId) -> i64 {
    i64::try_from(op_id.get()).unwrap_or(i64::MAX)
}

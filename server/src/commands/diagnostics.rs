//! Commands by which operators and tools look at the server and the machine.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bson::{DateTime, RawArrayBuf, rawdoc};
use tailwater_auth::Action;

use super::{Command, Kind, Needs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};

pub(super) const FSYNC: Command = Command {
    name: "fsync",
    aliases: &[],
    help: "Makes everything that was written durable",
    kind: Kind::Alone,
    needs: Needs::Cluster(&[Action::Fsync]),
    run: fsync,
};

pub(super) const GET_LOG: Command = Command {
    name: "getLog",
    aliases: &[],
    help: "Lines of the server's log, which goes to its standard error output and is not kept",
    kind: Kind::Alone,
    needs: Needs::Cluster(&[Action::GetLog]),
    run: get_log,
};

pub(super) const HOST_INFO: Command = Command {
    name: "hostInfo",
    aliases: &[],
    help: "The machine",
    kind: Kind::Alone,
    needs: Needs::Cluster(&[Action::HostInfo]),
    run: host_info,
};

pub(super) const REPL_SET_GET_CONFIG: Command = Command {
    name: "replSetGetConfig",
    aliases: &[],
    help: "The replica set, of which this server is the one member",
    kind: Kind::Alone,
    needs: Needs::Cluster(&[Action::ReplSetGetConfig]),
    run: replica_set_config,
};

pub(super) const REPL_SET_GET_STATUS: Command = Command {
    name: "replSetGetStatus",
    aliases: &[],
    help: "How the replica set is",
    kind: Kind::Alone,
    needs: Needs::Cluster(&[Action::ReplSetGetStatus]),
    run: replica_set_status,
};

pub(super) const SERVER_STATUS: Command = Command {
    name: "serverStatus",
    aliases: &[],
    help: "How the server is",
    kind: Kind::Alone,
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

fn replica_set_config(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    let member = rawdoc! {
        "_id": 0, "host": context.me(), "arbiterOnly": false, "buildIndexes": true, "hidden": false,
        "priority": 1, "tags": {}, "secondaryDelaySecs": 0_i64, "votes": 1,
    };
    Ok(rawdoc! {
        "config": {
            "_id": context.server.options.replica_set.as_str(),
            "version": 1,
            "term": 1_i64,
            "members": [member],
            "protocolVersion": 1_i64,
            "writeConcernMajorityJournalDefault": true,
        },
    })
}

fn replica_set_status(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    let time = context.server.operation_time();
    let uptime = context.server.started.elapsed();
    let op_time = rawdoc! { "ts": time, "t": 1_i64 };
    let member = rawdoc! {
        "_id": 0, "name": context.me(), "health": 1.0, "state": 1, "stateStr": "PRIMARY",
        "uptime": seconds(uptime), "optime": op_time.clone(),
        "optimeDate": DateTime::from_millis(i64::from(time.time) * 1000), "self": true,
    };
    Ok(rawdoc! {
        "set": context.server.options.replica_set.as_str(),
        "date": DateTime::now(),
        "myState": 1,
        "term": 1_i64,
        "heartbeatIntervalMillis": 2000_i64,
        "majorityVoteCount": 1,
        "writeMajorityCount": 1,
        "optimes": { "lastCommittedOpTime": op_time.clone(), "appliedOpTime": op_time.clone(), "durableOpTime": op_time },
        "members": RawArrayBuf::from_iter([member]),
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
            "isWritablePrimary": true,
            "secondary": false,
            "me": context.me(),
        },
        "storageEngine": { "name": "tailwater", "supportsCommittedReads": true, "persistent": true },
    })
}

fn op_id(op_id: tailwater::OpId) -> i64 {
    i64::try_from(op_id.get()).unwrap_or(i64::MAX)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

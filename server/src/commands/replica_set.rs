//! Commands about the replica set: who is in it, how its members stand, and which is the primary.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::raw::cstr;
use bson::{DateTime, RawArrayBuf, RawDocumentBuf, Timestamp, rawdoc};
use tailwater::oplog;
use tailwater::replication::Error;
use tailwater::replication::decision::majority_of;
use tailwater::{OpId, ReadConcern};
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::member::{Member, Others};

pub(super) const REPL_SET_GET_CONFIG: Command = Command {
    name: "replSetGetConfig",
    aliases: &[],
    help: "The members of the replica set",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::ReplSetGetConfig]),
    run: config,
};

pub(super) const REPL_SET_GET_STATUS: Command = Command {
    name: "replSetGetStatus",
    aliases: &[],
    help: "How the members of the replica set stand",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::ReplSetGetStatus]),
    run: status,
};

pub(super) const REPL_SET_STEP_UP: Command = Command {
    name: "replSetStepUp",
    aliases: &[],
    help: "Makes a follower the primary",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::ReplSetStateChange]),
    run: step_up,
};

/// How a member stands (MongoDB manual: *Replica Set Member States*).
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Primary,
    Secondary,
    Unknown,
    Down,
}

impl State {
    fn number_and_name(self) -> (i32, &'static str) {
        match self {
            State::Primary => (1, "PRIMARY"),
            State::Secondary => (2, "SECONDARY"),
            State::Unknown => (6, "UNKNOWN"),
            State::Down => (8, "(not reachable/healthy)"),
        }
    }
}

/// What is known of a member.
struct Standing {
    state: State,
    /// The last entry that it has said it holds.
    held: Option<OpId>,
}

/// The names of all members that are known, those of the list first.
fn names(member: &Member, standings: &BTreeMap<String, Standing>) -> Vec<String> {
    let options = member.options();
    let hosts = options.hosts.iter().map(|(name, _)| name);
    let mut names: Vec<String> = Vec::new();
    for name in options
        .members
        .iter()
        .chain([&options.name])
        .chain(hosts)
        .chain(standings.keys())
    {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn config(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    let hosts = context.hosts();
    let members = hosts.iter().zip(0..).map(|(host, id)| {
        rawdoc! {
            "_id": id, "host": host.as_str(), "arbiterOnly": false, "buildIndexes": true, "hidden": false,
            "priority": 1, "tags": {}, "secondaryDelaySecs": 0_i64, "votes": 1,
        }
    });
    Ok(rawdoc! {
        "config": {
            "_id": context.server.options.replica_set.as_str(),
            "version": 1,
            "term": term(context),
            "members": RawArrayBuf::from_iter(members),
            "protocolVersion": 1_i64,
            "writeConcernMajorityJournalDefault": true,
        },
    })
}

fn status(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    let server = context.server;
    let log = server.store.log();
    let standings = standings(context);
    let members: Vec<RawDocumentBuf> = match &server.options.member {
        Some(member) => names(member, &standings)
            .iter()
            .zip(0..)
            .map(|(name, id)| {
                let host = member.host_of(name).unwrap_or(name);
                document(context, id, host, standings.get(name), *name == member.options().name)
            })
            .collect(),
        None => vec![document(context, 0, &context.me(), None, true)],
    };
    let counted = server
        .options
        .member
        .as_ref()
        .map_or(1, |member| member.options().members.len().max(1));
    let majority = i32::try_from(majority_of(counted)).unwrap_or(i32::MAX);
    let (state, _) = own_state(context).number_and_name();
    let committed = match &server.options.member {
        Some(member) if member.has_majority() => ReadConcern::Majority,
        _ => ReadConcern::Durable,
    };
    let mut answer = rawdoc! {
        "set": server.options.replica_set.as_str(),
        "date": DateTime::now(),
        "myState": state,
        "term": term(context),
        "heartbeatIntervalMillis": heartbeat(context),
        "majorityVoteCount": majority,
        "writeMajorityCount": majority,
        "optimes": {
            "lastCommittedOpTime": op_time(context, Some(log.newest(committed))),
            "appliedOpTime": op_time(context, Some(server.seen())),
            "durableOpTime": op_time(context, Some(log.newest(ReadConcern::Durable))),
        },
        "members": RawArrayBuf::from_iter(members),
    };
    if let Some(primary) = context.primary_host().filter(|_| server.store.is_following()) {
        answer.append(cstr!("syncSourceHost"), primary);
    }
    Ok(answer)
}

fn own_state(context: &Context<'_>) -> State {
    match context.server.store.is_following() {
        true => State::Secondary,
        false => State::Primary,
    }
}

/// What is known of the other members, by their names. A follower hears of nobody but the primary.
fn standings(context: &Context<'_>) -> BTreeMap<String, Standing> {
    let mut standings = BTreeMap::new();
    let Some(member) = &context.server.options.member else {
        return standings;
    };
    match member.others() {
        Others::OfPrimary(status) => {
            for other in status.members {
                let Some(name) = other.name else { continue };
                let state = match other.here {
                    true => State::Secondary,
                    false => State::Down,
                };
                let held = Some(other.held);
                standings.insert(name, Standing { state, held });
            }
        }
        Others::OfFollower(status) => {
            if let Some(primary) = member.name_of(context.server.store.term().member()) {
                let state = match status.primary {
                    Some(_) => State::Primary,
                    None => State::Down,
                };
                let held = Some(status.newest.min(context.server.store.log().newest(ReadConcern::Local)));
                standings.insert(primary.to_owned(), Standing { state, held });
            }
        }
        Others::Unknown => {}
    }
    standings
}

fn document(context: &Context<'_>, id: i32, host: &str, standing: Option<&Standing>, is_self: bool) -> RawDocumentBuf {
    let newest = context.server.seen();
    let (state, held) = match standing {
        _ if is_self => (own_state(context), Some(newest)),
        Some(standing) => (standing.state, standing.held),
        None => (State::Unknown, None),
    };
    let (number, name) = state.number_and_name();
    let healthy = matches!(state, State::Primary | State::Secondary);
    let (time, _) = held.and_then(|held| context.server.op_time(held)).unwrap_or(NEVER);
    let mut document = rawdoc! {
        "_id": id,
        "name": host,
        "health": f64::from(u8::from(healthy)),
        "state": number,
        "stateStr": name,
        "uptime": if is_self { seconds(context.server.started.elapsed()) } else { 0 },
        "optime": op_time(context, held),
        "optimeDate": DateTime::from_millis(i64::from(time.time) * 1000),
    };
    if is_self {
        document.append(cstr!("self"), true);
    }
    document
}

/// No time.
const NEVER: (Timestamp, i64) = (Timestamp { time: 0, increment: 0 }, -1);

fn op_time(context: &Context<'_>, op_id: Option<OpId>) -> RawDocumentBuf {
    let (ts, t) = op_id.and_then(|op_id| context.server.op_time(op_id)).unwrap_or(NEVER);
    rawdoc! { "ts": ts, "t": t }
}

fn term(context: &Context<'_>) -> i64 {
    i64::from(context.server.store.term().get())
}

fn heartbeat(context: &Context<'_>) -> i64 {
    let member = context.server.options.member.as_ref();
    let heartbeat = member.map_or(Duration::from_secs(2), |member| member.options().heartbeat);
    i64::try_from(heartbeat.as_millis()).unwrap_or(i64::MAX)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Nobody is asked who the primary should be: whoever runs this says so, and sees to it that there is no other.
fn step_up(context: &mut Context<'_>) -> CommandResult {
    for field in context.request.arguments() {
        match field.name {
            // There is no election whose dry run could be left out.
            "skipDryRun" => drop(field.boolean()?),
            _ => return Err(field.unknown()),
        }
    }
    let unable = |message: &str| CommandError::new((125, "CommandFailed"), message);
    let Some(member) = &context.server.options.member else {
        return Err(CommandError::new(
            (76, "NoReplicationEnabled"),
            "this server follows nobody",
        ));
    };
    match member.promote() {
        Ok(term) => Ok(rawdoc! { "term": i64::from(term.get()) }),
        Err(Error::NotFollower) => Err(unable("this member is the primary already, or is becoming it")),
        Err(error @ Error::Log(oplog::Error::Partial { .. })) => Err(unable(&error.to_string())),
        Err(error) => Err(CommandError::new(code::INTERNAL_ERROR, error.to_string())),
    }
}

//! `hello`, and `isMaster` as it was called: what a client needs to know of the server before anything else (driver
//! specification: *Server Discovery and Monitoring*).

use std::time::Duration;

use bson::raw::cstr;
use bson::{DateTime, RawArrayBuf, RawDocumentBuf, rawdoc};
use tailwater::ReadConcern;
use tailwater::limits::DOCUMENT_BYTES_MAX;
use tailwater_auth::{Mechanism, UserName};
use tailwater_wire::{Compressor, MESSAGE_BYTES_MAX};

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::server::Shared;
use crate::topology::TopologyVersion;
use crate::value::Value;

/// Longest name of an application, as in MongoDB; a longer one is not kept.
const APP_NAME_BYTES_MAX: usize = 128;

/// Most writes in one command.
pub(super) const WRITES_MAX: usize = 100_000;
/// The oldest and the newest version of the protocol that is spoken; the newest is MongoDB 8.0's.
const WIRE_VERSIONS: (i32, i32) = (0, 25);

pub(super) const HELLO: Command = Command {
    name: "hello",
    aliases: &["isMaster", "ismaster"],
    help: "What the server is, and what it speaks",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: hello,
};

fn hello(context: &mut Context<'_>) -> CommandResult {
    let mut compression = Vec::new();
    // What else it is told, such as who asks and what newer drivers can do, it may leave aside: a handshake is for finding out
    // what both sides know.
    let offered = context.request.arguments().find(|field| field.name == "compression");
    if let Some(offered) = offered {
        let names = offered.array()?.into_iter().filter_map(Result::ok);
        let known = names.filter_map(|name| Compressor::from_name(name.as_str()?));
        compression.extend(known.map(Compressor::name));
    }
    let mechanisms = context
        .request
        .arguments()
        .find(|field| field.name == "saslSupportedMechs");
    let mechanisms = mechanisms.map(|user| mechanisms_of(context, user)).transpose()?;
    let speculated = context
        .request
        .arguments()
        .find(|field| field.name == "speculativeAuthenticate");
    let speculated = speculated.map(|start| speculate(context, start)).transpose()?.flatten();
    if let Some(name) = app_name(context).filter(|name| name.len() <= APP_NAME_BYTES_MAX) {
        // The first one counts, as in MongoDB: a connection belongs to one application.
        let _ = context.peer.app_name.set(name.to_owned());
    }
    context.server.topology.current(context.server.store.is_following());
    let version = context.server.topology.version(known(context)?)?;
    let name = context.request.name;
    let primary = match name {
        "hello" => cstr!("isWritablePrimary"),
        _ => cstr!("ismaster"),
    };
    let is_following = context.server.store.is_following();
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("helloOk"), true);
    document.append(cstr!("topologyVersion"), version.to_document());
    document.append(primary, !is_following);
    document.append(cstr!("secondary"), is_following);
    document.append(cstr!("setName"), context.server.options.replica_set.as_str());
    document.append(cstr!("setVersion"), 1);
    document.append(cstr!("hosts"), RawArrayBuf::from_iter(context.hosts()));
    if let Some(host) = context.primary_host() {
        document.append(cstr!("primary"), host);
    }
    document.append(cstr!("me"), context.me());
    if !is_following {
        let election = context
            .server
            .elections
            .id(&context.server.store)
            .map_err(tailwater::Error::from)?;
        document.append(cstr!("electionId"), election);
    }
    document.append(cstr!("lastWrite"), last_write(context.server));
    document.append(cstr!("maxBsonObjectSize"), DOCUMENT_BYTES_MAX as i32);
    document.append(cstr!("maxMessageSizeBytes"), MESSAGE_BYTES_MAX as i32);
    document.append(cstr!("maxWriteBatchSize"), WRITES_MAX as i32);
    document.append(cstr!("localTime"), DateTime::now());
    let session_minutes = context.server.options.session_timeout.as_secs() / 60;
    document.append(
        cstr!("logicalSessionTimeoutMinutes"),
        i32::try_from(session_minutes.max(1)).unwrap_or(i32::MAX),
    );
    document.append(cstr!("connectionId"), context.peer.id);
    document.append(cstr!("minWireVersion"), WIRE_VERSIONS.0);
    document.append(cstr!("maxWireVersion"), WIRE_VERSIONS.1);
    document.append(cstr!("readOnly"), false);
    if !compression.is_empty() {
        document.append(cstr!("compression"), RawArrayBuf::from_iter(compression));
    }
    if let Some(mechanisms) = mechanisms {
        document.append(cstr!("saslSupportedMechs"), mechanisms);
    }
    if let Some(begun) = speculated {
        document.append(cstr!("speculativeAuthenticate"), begun);
    }
    Ok(document)
}

/// The newest entry, and the newest that stays whatever happens: by their dates drivers see how far a secondary is behind.
fn last_write(server: &Shared) -> RawDocumentBuf {
    let log = server.store.log();
    let settled = match &server.options.member {
        Some(member) if member.has_majority() => ReadConcern::Majority,
        _ => ReadConcern::Local,
    };
    let of = |newest| {
        let written = server.op_time(newest);
        let (ts, t) = written.unwrap_or_else(|| (server.operation_time(), i64::from(server.store.term().get())));
        (
            rawdoc! { "ts": ts, "t": t },
            DateTime::from_millis(i64::from(ts.time) * 1000),
        )
    };
    let ((op_time, written), (majority, majority_written)) =
        (of(server.seen()), of(log.newest(settled).min(server.seen())));
    rawdoc! {
        "opTime": op_time,
        "lastWriteDate": written,
        "majorityOpTime": majority,
        "majorityWriteDate": majority_written,
    }
}

/// How `database.user` can log in.
fn mechanisms_of(context: &Context<'_>, user: Value<'_>) -> CommandResult<RawArrayBuf> {
    let (database, name) = user
        .string()?
        .split_once('.')
        .ok_or_else(|| CommandError::new(code::BAD_VALUE, "saslSupportedMechs must be database.user"))?;
    let mechanisms = context.server.authority.mechanisms_of(&UserName::new(database, name));
    Ok(RawArrayBuf::from_iter(mechanisms.into_iter().map(Mechanism::name)))
}

/// Begins to log in by the same message, as drivers do that expect a user to be there; nothing where that is not possible: the
/// driver then begins anew.
fn speculate(context: &mut Context<'_>, start: Value<'_>) -> CommandResult<Option<RawDocumentBuf>> {
    let start = start.document()?;
    let (server, peer) = (context.server, context.peer);
    let is_start = start
        .iter()
        .next()
        .is_some_and(|first| first.is_ok_and(|(name, _)| name == "saslStart"));
    let Some(database) = start.get_str("db").ok().filter(|_| is_start) else {
        return Ok(None);
    };
    Ok(context.login.start(&server.authority, peer, database, start).ok())
}

/// `client.application.name`.
fn app_name<'a>(context: &Context<'a>) -> Option<&'a str> {
    let client = context.request.arguments().find(|field| field.name == "client")?;
    let application = client.document().ok()?.get_document("application").ok()?;
    application.get_str("name").ok()
}

/// The version of the topology that the client knows already, and how long it waits for another.
fn known(context: &Context<'_>) -> CommandResult<Option<(TopologyVersion, Duration)>> {
    let field = |name| context.request.arguments().find(move |field| field.name == name);
    match (field("topologyVersion"), field("maxAwaitTimeMS")) {
        (None, None) => Ok(None),
        (Some(version), Some(time)) => Ok(Some((TopologyVersion::parse(version)?, time.milliseconds()?))),
        _ => Err(CommandError::new(
            code::BAD_VALUE,
            "a request must have both 'topologyVersion' and 'maxAwaitTimeMS', or neither",
        )),
    }
}

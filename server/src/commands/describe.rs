//! Commands that say what the server is and what it can do, most of which drivers and shells ask when they connect.

use bson::raw::{CString, cstr};
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use tailwater::limits::DOCUMENT_BYTES_MAX;
use tailwater_auth::{Action, Mechanism, privileges_to_array, role_names};

use super::{COMMANDS, Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};

/// The release of MongoDB whose commands these are; shells and tools decide by it what they offer.
const MONGODB_VERSION: [i32; 3] = [8, 0, 0];

pub(super) const PING: Command = Command {
    name: "ping",
    aliases: &[],
    help: "Answers",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: |context| context.request.no_arguments().map(|()| RawDocumentBuf::new()),
};

pub(super) const BUILD_INFO: Command = Command {
    name: "buildInfo",
    aliases: &["buildinfo"],
    help: "Versions",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: build_info,
};

pub(super) const CONNECTION_STATUS: Command = Command {
    name: "connectionStatus",
    aliases: &[],
    help: "Who is logged in over this connection",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: connection_status,
};

pub(super) const GET_CMD_LINE_OPTS: Command = Command {
    name: "getCmdLineOpts",
    aliases: &[],
    help: "How the server was started",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::GetCmdLineOpts]),
    run: command_line,
};

pub(super) const GET_PARAMETER: Command = Command {
    name: "getParameter",
    aliases: &[],
    help: "Settings of the server",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::GetParameter]),
    run: parameters,
};

pub(super) const LIST_COMMANDS: Command = Command {
    name: "listCommands",
    aliases: &[],
    help: "The commands that there are",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: list_commands,
};

pub(super) const WHATSMYURI: Command = Command {
    name: "whatsmyuri",
    aliases: &[],
    help: "The client's address",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Nothing,
    run: |context| {
        context.request.no_arguments()?;
        Ok(rawdoc! { "you": context.peer.address.to_string() })
    },
};

/// That release, as text.
pub(super) fn mongodb_version() -> String {
    MONGODB_VERSION.map(|part| part.to_string()).join(".")
}

fn build_info(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    let [major, minor, patch] = MONGODB_VERSION;
    Ok(rawdoc! {
        "version": mongodb_version(),
        "gitVersion": "",
        "versionArray": [major, minor, patch, 0],
        "modules": [],
        "tailwater": env!("CARGO_PKG_VERSION"),
        "bits": 64,
        "debug": cfg!(debug_assertions),
        "maxBsonObjectSize": DOCUMENT_BYTES_MAX as i32,
        "storageEngines": ["tailwater"],
    })
}

fn connection_status(context: &mut Context<'_>) -> CommandResult {
    let mut with_privileges = false;
    for field in context.request.arguments() {
        match field.name {
            "showPrivileges" => with_privileges = field.boolean()?,
            _ => return Err(field.unknown()),
        }
    }
    let authority = &context.server.authority;
    let (mut users, mut roles, mut privileges) = (RawArrayBuf::new(), RawArrayBuf::new(), RawArrayBuf::new());
    if let Some((user, may)) = authority.user_of(context.identity()) {
        users.push(rawdoc! { "user": user.name.name.as_str(), "db": user.name.database.as_str() });
        roles = role_names(&authority.inherited_roles(&user.roles));
        privileges = privileges_to_array(&may);
    }
    let mut info = rawdoc! { "authenticatedUsers": users, "authenticatedUserRoles": roles };
    if with_privileges {
        info.append(cstr!("authenticatedUserPrivileges"), privileges);
    }
    Ok(rawdoc! { "authInfo": info })
}

fn command_line(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    let options = &context.server.options;
    Ok(rawdoc! {
        "argv": ["tailwater", "serve"],
        "parsed": {
            "net": { "bindIp": options.bind.ip().to_string(), "port": i32::from(options.bind.port()) },
            "replication": { "replSet": options.replica_set.as_str() },
        },
    })
}

fn parameters(context: &mut Context<'_>) -> CommandResult {
    let known = rawdoc! {
        "featureCompatibilityVersion": { "version": format!("{}.{}", MONGODB_VERSION[0], MONGODB_VERSION[1]) },
        "authenticationMechanisms": RawArrayBuf::from_iter(Mechanism::ALL.map(Mechanism::name)),
        "enableTestCommands": context.server.options.test_commands,
        "transactionLifetimeLimitSeconds": 60,
    };
    if context.request.subject()?.value.as_str() == Some("*") {
        return Ok(known);
    }
    let mut found = RawDocumentBuf::new();
    for field in context.request.arguments() {
        if let Ok(Some(value)) = known.get(field.name) {
            found.append(CString::try_from(field.name).map_err(|_| field.unknown())?, value);
        }
    }
    match found.is_empty() {
        true => Err(CommandError::new(code::INVALID_OPTIONS, "no option found to get")),
        false => Ok(found),
    }
}

/// Commands that run in `admin` alone.
const ADMIN_ONLY: [&str; 6] = [
    "bulkWrite",
    "configureFailPoint",
    "currentOp",
    "killOp",
    "listDatabases",
    "renameCollection",
];

fn list_commands(context: &mut Context<'_>) -> CommandResult {
    context.request.no_arguments()?;
    let mut commands = RawDocumentBuf::new();
    let is_there = |command: &&Command| command.name != "configureFailPoint" || context.server.options.test_commands;
    for command in COMMANDS.iter().filter(is_there) {
        let name = CString::try_from(command.name);
        let name = name.map_err(|error| CommandError::new(code::INTERNAL_ERROR, error.to_string()))?;
        commands.append(
            name,
            rawdoc! {
                "help": command.help,
                "requiresAuth": !matches!(command.needs, Needs::Nothing),
                "secondaryOk": command.runs != Runs::Primary,
                "adminOnly": ADMIN_ONLY.contains(&command.name),
            },
        );
    }
    Ok(rawdoc! { "commands": commands })
}

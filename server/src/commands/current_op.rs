//! `currentOp` and `killOp`.

use bson::raw::CString;
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use tailwater::matcher::Expression;
use tailwater_auth::{Action, Resource};

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::needs::Need;
use crate::request::{Request, missing};
use crate::value::Value;

/// The stage that gives the same as `currentOp`.
pub(super) const STAGE: &str = "$currentOp";

pub(super) const CURRENT_OP: Command = Command {
    name: "currentOp",
    aliases: &[],
    help: "What is being carried out now",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Fields(to_see),
    run: current,
};

pub(super) const KILL_OP: Command = Command {
    name: "killOp",
    aliases: &[],
    help: "Ends an operation that reads, within one document, too, and a write while it evaluates; of a getMore its cursor as well",
    kind: Kind::Alone,
    runs: Runs::Anywhere,
    needs: Needs::Cluster(&[Action::KillOp]),
    run: kill,
};

/// Nothing but a login for what one's own connection does.
fn to_see<'a>(request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
    let own = request.arguments().find(|field| field.name == "$ownOps");
    Ok(match own.map_or(Ok(false), Value::boolean)? {
        true => Vec::new(),
        false => vec![(Action::InProg, Resource::Cluster)],
    })
}

/// Both belong to the server as a whole.
fn check_admin(context: &Context<'_>) -> CommandResult<()> {
    if context.request.database == "admin" {
        return Ok(());
    }
    let message = format!("{} may only be run against the admin database.", context.request.name);
    Err(CommandError::new((13, "Unauthorized"), message))
}

/// The operations, those of a pipeline that begins with [`STAGE`].
pub(super) fn documents(context: &Context<'_>) -> CommandResult<Vec<RawDocumentBuf>> {
    check_admin(context)?;
    context.require(Action::InProg, Resource::Cluster)?;
    Ok(context.server.operations.documents())
}

fn current(context: &mut Context<'_>) -> CommandResult {
    check_admin(context)?;
    let (mut filter, mut own) = (RawDocumentBuf::new(), false);
    for field in context.request.arguments() {
        match field.name {
            "$ownOps" => own = field.boolean()?,
            // Connections that do nothing, and what the server does by itself, are not shown either way.
            "$all" => drop(field.boolean()?),
            // What else there is asks for fields of what is shown.
            name => filter.append(CString::try_from(name).map_err(|_| field.unknown())?, field.value),
        }
    }
    if own {
        filter.append(bson::raw::cstr!("connectionId"), context.peer.id);
    }
    let filter = Expression::parse(&filter).map_err(tailwater::Error::from)?;
    let mut found = RawArrayBuf::new();
    for document in context.server.operations.documents() {
        if filter.matches(&*document).map_err(tailwater::Error::from)? {
            found.push(document);
        }
    }
    Ok(rawdoc! { "inprog": found })
}

fn kill(context: &mut Context<'_>) -> CommandResult {
    check_admin(context)?;
    let mut operation = None;
    for field in context.request.arguments() {
        match field.name {
            "op" => operation = Some(field.int32()?),
            _ => return Err(field.unknown()),
        }
    }
    let operation = operation.ok_or_else(|| missing("killOp", "op"))?;
    // As MongoDB, it does not say whether there was one.
    if let Some(cursor) = context.server.operations.kill(operation) {
        context.server.cursors.kill(cursor);
    }
    Ok(rawdoc! { "info": "attempting to kill op" })
}

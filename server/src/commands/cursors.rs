//! `getMore` and `killCursors`.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBsonRef, rawdoc};

use tailwater_auth::{Action, Resource};

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::cursor::{Fill, not_yours};
use crate::error::{CommandError, CommandResult, code};
use crate::fail_points::FailPoints;
use crate::reply;
use crate::request::missing;

pub(super) const GET_MORE: Command = Command {
    name: "getMore",
    aliases: &[],
    help: "More documents of a cursor; of a change stream, as soon as there are any",
    kind: Kind::InTransaction,
    runs: Runs::Anywhere,
    needs: Needs::Login,
    run: get_more,
};

pub(super) const KILL_CURSORS: Command = Command {
    name: "killCursors",
    aliases: &[],
    help: "Lets go of cursors",
    kind: Kind::InTransaction,
    runs: Runs::Anywhere,
    needs: Needs::Login,
    run: kill_cursors,
};

fn get_more(context: &mut Context<'_>) -> CommandResult {
    let (mut collection, mut batch_size) = (None, None);
    for field in context.request.arguments() {
        match field.name {
            "collection" => collection = Some(field.string()?),
            "batchSize" => batch_size = Some(field.count()?).filter(|size| *size > 0),
            // What a member of a replica set says when it reads from another.
            "term" | "lastKnownCommittedOpTime" => {}
            _ => return Err(field.unknown()),
        }
    }
    let id = context.request.subject()?.integer()?;
    let collection = collection.ok_or_else(|| missing("getMore", "collection"))?;
    let namespace = format!("{}.{collection}", context.request.database);
    let mut cursor = context.server.cursors.take(id, &namespace, context.request.owner())?;
    let changes = cursor.is_change_stream();
    let failure = context.server.fail_points.as_ref().and_then(FailPoints::after_checkout);
    if let Some(error) = failure {
        cursor.discard();
        return Err(if changes { error.of_stream() } else { error });
    }
    cursor.reach.check(context)?;
    let filled = cursor.fill(Fill {
        count_max: batch_size,
        time: context.request.max_time,
        deadline: context.request.deadline(),
        awaits: true,
        interrupts: &context.interrupts,
    });
    let batch = match filled {
        Err(error) if changes => return Err(error.of_stream()),
        Ok(_) if context.server.is_stopping() && changes => {
            return Err(CommandError::new(code::INTERRUPTED_AT_SHUTDOWN, "the server is shutting down").of_stream());
        }
        Ok(_) if cursor.is_killed() => {
            return Err(CommandError::new(
                code::CURSOR_KILLED,
                format!("cursor id {id} was killed"),
            ));
        }
        filled => filled?,
    };
    // It may have waited for long. What it stands behind has not been seen, so it does not go on from there.
    if let Err(error) = cursor.reach.check(context) {
        cursor.discard();
        return Err(error);
    }
    let token = cursor.resume_token();
    Ok(reply::cursor(
        cstr!("nextBatch"),
        batch,
        cursor.id_left(),
        &cursor.namespace,
        token.as_ref(),
    ))
}

fn kill_cursors(context: &mut Context<'_>) -> CommandResult {
    let mut ids = None;
    for field in context.request.arguments() {
        match field.name {
            "cursors" => ids = Some(field.array()?),
            _ => return Err(field.unknown()),
        }
    }
    let ids = ids.ok_or_else(|| missing("killCursors", "cursors"))?;
    let (mut killed, mut not_found) = (RawArrayBuf::new(), RawArrayBuf::new());
    for id in ids {
        let id = match id {
            Ok(RawBsonRef::Int64(id)) => id,
            Ok(RawBsonRef::Int32(id)) => id.into(),
            _ => {
                return Err(CommandError::new(
                    code::TYPE_MISMATCH,
                    "killCursors.cursors must be numbers",
                ));
            }
        };
        let user = context.server.cursors.user_of(id);
        if user.is_some_and(|user| user != context.request.user)
            && !context.may(Action::KillAnyCursor, Resource::Cluster)
        {
            return Err(not_yours(id));
        }
        match context.server.cursors.kill(id) {
            true => killed.push(id),
            false => not_found.push(id),
        }
    }
    Ok(rawdoc! {
        "cursorsKilled": killed,
        "cursorsNotFound": not_found,
        "cursorsAlive": [],
        "cursorsUnknown": [],
    })
}

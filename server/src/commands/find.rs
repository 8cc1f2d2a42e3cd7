//! `find`.

use bson::raw::cstr;
use tailwater::FindOptions;
use tailwater_auth::Action;

use super::{Command, Kind, Needs};
use crate::context::{Context, Target};
use crate::cursor::{Cursor, Documents, FIRST_BATCH, Fill, Source};
use crate::error::{CommandError, CommandResult};
use crate::reply;
use crate::value::empty;

pub(super) const FIND: Command = Command {
    name: "find",
    aliases: &[],
    help: "Documents that match a filter",
    kind: Kind::InTransaction,
    needs: Needs::Collection(&[Action::Find]),
    run: find,
};

fn find(context: &mut Context<'_>) -> CommandResult {
    let mut options = FindOptions::default();
    let (mut filter, mut batch_size, mut single_batch, mut never_expires) = (empty(), None, false, false);
    for field in context.request.arguments() {
        match field.name {
            "filter" => filter = field.document()?,
            "sort" => options.sort = field.filled()?,
            "projection" => options.projection = field.filled()?,
            "skip" => options.skip = field.count()?,
            "limit" => options.limit = Some(field.count()?),
            "hint" => options.hint = field.hint()?,
            "batchSize" => batch_size = Some(field.count()?),
            "singleBatch" => single_batch = field.boolean()?,
            "noCursorTimeout" => never_expires = field.boolean()?,
            "collation" => options.collation = field.filled()?,
            "let" => field.no_variables()?,
            "min" | "max" => field.no_variables()?,
            "tailable" | "awaitData" | "returnKey" | "showRecordId" => field.unsupported(!field.boolean()?)?,
            // No shards are there to be missing, and no sort writes to the disk.
            "allowPartialResults" | "allowDiskUse" | "oplogReplay" => {}
            _ => return Err(field.unknown()),
        }
    }
    let documents = match context.target()? {
        Target::Collection(collection) => {
            let documents = collection.find_with(filter, &options)?;
            Box::new(documents.map(|document| document.map_err(CommandError::from))) as Documents
        }
        Target::Transaction(collection) => {
            let documents = collection.find_with(filter, &options)?;
            Box::new(documents.map(|document| document.map_err(CommandError::from)))
        }
    };
    let mut cursor = Cursor::new(Source::Documents(documents));
    let batch = cursor.fill(Fill {
        count_max: Some(batch_size.unwrap_or(FIRST_BATCH)),
        time: context.request.max_time,
        awaits: false,
    })?;
    context.settle_reads()?;
    let namespace = context.namespace()?;
    let id = match single_batch {
        true => 0,
        false => {
            let owner = context.request.owner();
            context
                .server
                .cursors
                .keep(cursor, namespace.clone(), owner, never_expires)?
        }
    };
    Ok(reply::cursor(cstr!("firstBatch"), batch, id, &namespace, None))
}

//! `find`.

use bson::RawDocument;
use bson::raw::cstr;
use tailwater::{FindOptions, Hint};
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::{Context, Target};
use crate::cursor::{Cursor, Documents, FIRST_BATCH, Fill, Source};
use crate::error::{CommandError, CommandResult, code};
use crate::oplog_view::{self, OplogFind, OplogTail};
use crate::reply;
use crate::value::empty;

pub(super) const FIND: Command = Command {
    name: "find",
    aliases: &[],
    help: "Documents that match a filter",
    kind: Kind::InTransaction,
    runs: Runs::OptIn,
    needs: Needs::Collection(&[Action::Find]),
    run: find,
};

fn find(context: &mut Context<'_>) -> CommandResult {
    let mut options = FindOptions::default();
    let (mut tailable, mut awaits_data) = (false, false);
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
            "tailable" => tailable = field.boolean()?,
            "awaitData" => awaits_data = field.boolean()?,
            "returnKey" | "showRecordId" => field.unsupported(!field.boolean()?)?,
            // No shards are there to be missing, and no sort writes to the disk.
            "allowPartialResults" | "allowDiskUse" | "oplogReplay" => {}
            _ => return Err(field.unknown()),
        }
    }
    if awaits_data && !tailable {
        return Err(CommandError::new(
            code::FAILED_TO_PARSE,
            "Cannot set 'awaitData' without also setting 'tailable'",
        ));
    }
    let source = match (context.request.database, context.request.collection()?) {
        oplog_view::NAMESPACE => oplog(context, filter, &options, tailable, awaits_data)?,
        _ if tailable => {
            return Err(CommandError::not_implemented(
                "find.tailable, except on local.oplog.rs,",
            ));
        }
        _ => {
            options.control = context.control();
            Source::Documents(documents(context, filter, &options)?, options.control.clone())
        }
    };
    let mut cursor = Cursor::new(source);
    let batch = cursor.fill(Fill {
        count_max: Some(batch_size.unwrap_or(FIRST_BATCH)),
        time: context.request.max_time,
        deadline: context.request.deadline(),
        awaits: false,
        interrupts: &context.interrupts,
    })?;
    context.settle_reads()?;
    let namespace = context.namespace()?;
    let id = match single_batch {
        true => 0,
        false => context.keep(cursor, &namespace, never_expires)?,
    };
    Ok(reply::cursor(cstr!("firstBatch"), batch, id, &namespace, None))
}

fn documents(context: &Context<'_>, filter: &RawDocument, options: &FindOptions) -> CommandResult<Documents> {
    Ok(match context.target()? {
        Target::Collection(collection) => {
            let documents = collection.find_with(filter, options)?;
            Box::new(documents.map(|document| document.map_err(CommandError::from))) as Documents
        }
        Target::Transaction(collection) => {
            let documents = collection.find_with(filter, options)?;
            Box::new(documents.map(|document| document.map_err(CommandError::from)))
        }
    })
}

/// The log as MongoDB's oplog: in its order, or backward.
fn oplog(
    context: &Context<'_>,
    filter: &RawDocument,
    options: &FindOptions,
    tailable: bool,
    awaits_data: bool,
) -> CommandResult<Source> {
    context.outside_transaction("local.oplog.rs")?;
    if options.collation.is_some() {
        return Err(CommandError::not_implemented("collation on local.oplog.rs"));
    }
    let natural = |order: &RawDocument| match order.get("$natural") {
        Ok(Some(direction)) => {
            Ok(direction.as_i32() == Some(-1) || direction.as_i64() == Some(-1) || direction.as_f64() == Some(-1.0))
        }
        _ => Err(CommandError::not_implemented(
            "sort on local.oplog.rs, except $natural,",
        )),
    };
    let backward = match (&options.sort, &options.hint) {
        (Some(sort), _) => natural(sort)?,
        (None, hint) => matches!(hint, Some(Hint::Natural(..0))),
    };
    let find = OplogFind {
        filter,
        from: filter,
        projection: options.projection.as_deref(),
        backward,
        skip: options.skip,
        limit: options.limit,
        tailable,
        awaits_data,
        concern: context.sees_of_log(),
        until: None,
    };
    let tail = OplogTail::open(context.server.store.log(), &find)?;
    Ok(Source::Oplog(Box::new(tail)))
}

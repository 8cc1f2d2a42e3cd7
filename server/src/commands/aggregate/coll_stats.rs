//! `$collStats`, the first stage of a pipeline that asks how large a collection is, as shells do.

use bson::raw::cstr;
use bson::{DateTime, RawDocument, RawDocumentBuf, rawdoc};

use super::super::{oplog_commands, stats};
use crate::context::Context;
use crate::error::CommandResult;
use crate::oplog_view;
use crate::value::fields;

pub(super) const STAGE: &str = "$collStats";

/// The one document that it gives.
pub(super) fn document(context: &Context<'_>, options: &RawDocument) -> CommandResult<RawDocumentBuf> {
    let collection = match (context.request.database, context.request.collection()?) {
        oplog_view::NAMESPACE => None,
        _ => Some(context.collection()?),
    };
    let mut document = rawdoc! {
        "ns": context.namespace()?,
        "host": context.me(),
        "localTime": DateTime::now(),
    };
    for option in fields(STAGE, options) {
        let option = option?;
        match option.name {
            "storageStats" => {
                let mut scale = 1;
                for option in fields("$collStats.storageStats", option.document()?) {
                    let option = option?;
                    match option.name {
                        "scale" => scale = option.count()?.max(1),
                        _ => return Err(option.unknown()),
                    }
                }
                let sizes = match &collection {
                    Some(collection) => stats::collection(collection, scale)?,
                    None => oplog_commands::sizes(context, scale),
                };
                document.append(cstr!("storageStats"), sizes);
            }
            "count" => {
                let count = match &collection {
                    Some(collection) => collection.estimated_count()?,
                    None => oplog_commands::entries(context),
                };
                document.append(cstr!("count"), i64::try_from(count).unwrap_or(i64::MAX));
            }
            "latencyStats" | "queryExecStats" => option.unsupported(false)?,
            _ => return Err(option.unknown()),
        }
    }
    Ok(document)
}

//! `$collStats`, the first stage of a pipeline that asks how large a collection is, as shells do.

use bson::raw::cstr;
use bson::{DateTime, RawDocument, RawDocumentBuf, rawdoc};

use super::super::stats;
use crate::context::Context;
use crate::error::CommandResult;
use crate::value::{Value, fields};

const STAGE: &str = "$collStats";

/// The stage's options, if the pipeline begins with it.
pub(super) fn options<'a>(pipeline: &[&'a RawDocument]) -> Option<CommandResult<&'a RawDocument>> {
    let (name, value) = pipeline.first()?.iter().next()?.ok()?;
    let field = Value {
        command: "aggregate.pipeline",
        name: STAGE,
        value,
    };
    (name.as_str() == STAGE).then(|| field.document())
}

/// The one document that it gives.
pub(super) fn document(context: &Context<'_>, options: &RawDocument) -> CommandResult<RawDocumentBuf> {
    let collection = context.collection()?;
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
                document.append(cstr!("storageStats"), stats::collection(&collection, scale)?);
            }
            "count" => {
                let count = collection.estimated_count()?;
                document.append(cstr!("count"), i64::try_from(count).unwrap_or(i64::MAX));
            }
            "latencyStats" | "queryExecStats" => option.unsupported(false)?,
            _ => return Err(option.unknown()),
        }
    }
    Ok(document)
}

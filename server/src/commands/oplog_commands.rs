//! What commands beside `find` answer for `local.oplog.rs`, to tools that look at every collection that is listed.
//!
//! Its documents are made from the log as they are read, so whatever looks at them reads the log from where the first `$match` or the
//! filter lets it begin. How many there are, and how large they are, without a filter, is told by the log's own numbers: of several of
//! its entries that were written together there is one document.

use std::sync::{Arc, Mutex, PoisonError};

use bson::{Bson, RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{
    AggregateOptions, CountOptions, DistinctOptions, Error, Hint, Pipeline, QueryControl, ReadConcern, Store,
};

use super::stats::number;
use crate::context::Context;
use crate::cursor::Documents;
use crate::error::{CommandError, CommandResult};
use crate::oplog_view::{OplogFind, OplogTail, Patience};
use crate::value::empty;

/// How many entries the log has.
pub(super) fn entries(context: &Context<'_>) -> u64 {
    let log = context.server.store.log();
    let behind = log.newest(ReadConcern::Durable).next();
    behind.get().saturating_sub(log.oldest().get())
}

/// How large the log is, as of a capped collection, with sizes divided by `scale`.
pub(super) fn sizes(context: &Context<'_>, scale: u64) -> RawDocumentBuf {
    let store = &context.server.store;
    let (entries, bytes) = (entries(context), store.log_stats().segment_bytes);
    let retention = store.retention();
    let max = [retention.max_bytes, retention.hard_max_bytes]
        .into_iter()
        .flatten()
        .min();
    rawdoc! {
        "count": number(entries),
        "size": number(bytes / scale),
        "avgObjSize": number(bytes.checked_div(entries).unwrap_or(0)),
        "storageSize": number(bytes / scale),
        "capped": true,
        "max": -1_i64,
        // Without a limit there is as much as there is.
        "maxSize": number(max.unwrap_or(bytes).max(bytes) / scale),
        "nindexes": 0_i64,
        "totalIndexSize": 0_i64,
        "indexSizes": {},
        "scaleFactor": number(scale),
    }
}

/// How many entries match.
pub(super) fn count(context: &Context<'_>, query: &RawDocument, options: &CountOptions) -> CommandResult<u64> {
    check(options.hint.as_ref(), options.collation.as_deref())?;
    let entries = Entries::open(
        context,
        &OplogFind {
            filter: query,
            from: query,
            skip: options.skip,
            limit: options.limit,
            ..everything(context)
        },
        context.control(),
    )?;
    let failure = entries.failure.clone();
    let mut count = 0;
    for entry in entries {
        entry.map_err(|error| failure.of(error))?;
        count += 1;
    }
    Ok(count)
}

/// The different values of a field in the entries that match.
pub(super) fn distinct(
    context: &Context<'_>,
    key: &str,
    query: &RawDocument,
    options: &DistinctOptions,
) -> CommandResult<Vec<Bson>> {
    check(options.hint.as_ref(), options.collation.as_deref())?;
    let find = OplogFind {
        filter: query,
        from: query,
        ..everything(context)
    };
    let entries = Entries::open(context, &find, context.control())?;
    let failure = entries.failure.clone();
    tailwater::distinct_over(key, options, entries).map_err(|error| failure.of(error))
}

/// What a pipeline makes of the entries.
pub(super) fn aggregate(
    context: &Context<'_>,
    pipeline: &Pipeline,
    stages: &[&RawDocument],
    options: AggregateOptions,
) -> CommandResult<Documents> {
    check(options.hint.as_ref(), None)?;
    let first = stages.first().and_then(|stage| stage.get_document("$match").ok());
    let find = OplogFind {
        from: first.unwrap_or(empty()),
        ..everything(context)
    };
    let entries = Entries::open(context, &find, options.control.clone())?;
    let failure = entries.failure.clone();
    let store: &Store = &context.server.store;
    let found = store.aggregate_over(context.request.database, pipeline, options, entries)?;
    Ok(Box::new(
        found.map(move |document| document.map_err(|error| failure.of(error))),
    ))
}

fn everything<'a>(context: &Context<'_>) -> OplogFind<'a> {
    OplogFind {
        filter: empty(),
        from: empty(),
        projection: None,
        backward: false,
        skip: 0,
        limit: None,
        tailable: false,
        awaits_data: false,
        concern: context.sees_of_log(),
        // What is written while they run may be without end, and one command tells of one moment.
        until: Some(context.server.store.log().newest(context.sees_of_log())),
    }
}

/// Refuses what the log does not have.
fn check(hint: Option<&Hint>, collation: Option<&RawDocument>) -> CommandResult<()> {
    if collation.is_some() {
        return Err(CommandError::not_implemented("collation on local.oplog.rs"));
    }
    match hint {
        None | Some(Hint::Natural(1..)) => Ok(()),
        Some(_) => Err(CommandError::not_implemented(
            "hint on local.oplog.rs, except {$natural: 1},",
        )),
    }
}

/// The entries, for a query.
struct Entries {
    tail: OplogTail,
    control: QueryControl,
    failure: Failure,
}

/// Why reading the log has failed, which a query cannot say in errors of its own.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<CommandError>>>);

impl Failure {
    /// The error of a query that was given the entries.
    fn of(&self, error: Error) -> CommandError {
        let failure = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.unwrap_or_else(|| error.into())
    }
}

impl Entries {
    fn open(context: &Context<'_>, find: &OplogFind<'_>, control: QueryControl) -> CommandResult<Entries> {
        context.outside_transaction("local.oplog.rs")?;
        Ok(Entries {
            tail: OplogTail::open(context.server.store.log(), find)?,
            control,
            failure: Failure::default(),
        })
    }
}

impl Iterator for Entries {
    type Item = tailwater::Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Self::Item> {
        let control = &self.control;
        let next = self.tail.next(Patience::Read(None), &|| Ok(control.check()?));
        match next {
            Ok(next) => next.map(Ok),
            Err(error) => {
                *self.failure.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Some(Err(Error::QueryInterrupted))
            }
        }
    }
}

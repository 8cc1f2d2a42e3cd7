//! Beginning with a snapshot: a consumer that is new, or has lost history, is first given the documents there are.

use std::sync::Arc;

use tailwater_oplog::{Error as LogError, ReadConcern};

use super::group::{self, put_record};
use super::member::Consumer;
use super::options::{ConsumerOptions, LostHistory, check_name};
use super::record::{self, Record};
use super::registry::Turn;
use crate::document_store::{DocumentStore, Hold};
use crate::error::{Error, Result};
use crate::options::Watch;
use crate::snapshot::{SnapshotDocument, SnapshotStream};

/// The documents that a consumer begins with, all as of one OpID: see
/// [`ConsumerBuilder::join_with_snapshot`](super::ConsumerBuilder::join_with_snapshot).
///
/// It yields an error once and ends, and then the consumer is not joined.
#[derive(Debug)]
pub struct ConsumerSnapshot {
    stream: SnapshotStream,
    anew: bool,
    failure: Option<Error>,
}

impl ConsumerSnapshot {
    /// Whether the consumer was there before and has lost history: nothing tells what was deleted meanwhile, so who keeps a copy
    /// empties it first.
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        self.anew
    }
}

impl Iterator for ConsumerSnapshot {
    type Item = Result<SnapshotDocument>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failure.is_some() {
            return None;
        }
        self.stream
            .next_document()
            .inspect_err(|error| self.failure = Some(error.clone()))
            .transpose()
    }
}

/// Joins a consumer; one that is new, or has lost history, when `begin` has had the documents.
pub(super) fn join<E: From<Error>>(
    (watch, name, options): (Watch, &str, ConsumerOptions),
    begin: impl FnOnce(&mut ConsumerSnapshot) -> std::result::Result<(), E>,
) -> std::result::Result<Consumer, E> {
    check_name(name)?;
    if watch.has_start() || options.lost_history != LostHistory::Fail {
        return Err(Error::ConflictingStart.into());
    }
    let store = Arc::clone(watch.store().ok_or(Error::NoStore)?);
    let turn = store.groups().turn(name)?;
    // The consumer's own slot is there only when it has been joined.
    let mut hold = None;
    if turn.group().is_none()
        && let Some(found) = beginning(&*store, &watch, &turn)?
    {
        let newest = watch.view().newest(ReadConcern::Local);
        hold = Some(Hold::new(&store, newest.next(), options.max_lag_bytes)?);
        let snapshot = watch.clone().with_snapshot().max_lag_bytes(options.max_lag_bytes);
        let mut snapshot = ConsumerSnapshot {
            stream: snapshot.start()?,
            anew: found.is_some(),
            failure: None,
        };
        begin(&mut snapshot)?;
        // What it has not asked for it does not want.
        snapshot.by_ref().for_each(drop);
        if let Some(error) = snapshot.failure {
            return Err(error.into());
        }
        let position = snapshot.stream.resume_token().position();
        let record = match found {
            Some(record) => record.begun_anew(position),
            None => Record::new(name, &watch.scope().to_string(), position),
        };
        put_record(&*store, &record)?;
    }
    let joined = group::join(&turn, watch, options);
    drop((hold, turn));
    Ok(joined?.told())
}

/// Whether the consumer begins with a snapshot, because it is new or what it needs is gone; with what is known of it.
#[expect(clippy::option_option, reason = "whether, and with what")]
fn beginning(store: &dyn DocumentStore, watch: &Watch, turn: &Turn<'_>) -> Result<Option<Option<Record>>> {
    let Some(record) = record::of(store, turn.name())? else {
        return Ok(Some(None));
    };
    group::check_scope(&record, watch)?;
    match watch.clone().at_once().start_after(record.position).start() {
        Ok(_) => Ok(None),
        Err(Error::Log(LogError::HistoryLost { requested, oldest })) => {
            tracing::warn!(consumer = record.name, %requested, %oldest, "a consumer begins anew: what it needed was trimmed");
            Ok(Some(Some(record)))
        }
        Err(error) => Err(error),
    }
}

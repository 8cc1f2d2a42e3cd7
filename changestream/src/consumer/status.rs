//! What there is to see of consumers, and what is done to them from outside: listing, dropping; what a dead letter says.

use bson::{DateTime, RawDocumentBuf, rawdoc};
use tailwater_oplog::{Error as LogError, OpId, OplogView, ReadConcern, RetentionSlot};

use super::record::{self, CONSUMERS, Record, beginning};
use super::slot::slot_name;
use crate::document_store::DocumentStore;
use crate::error::{Error, Result};
use crate::event::ChangeEvent;
use crate::token::ResumeToken;

/// Most bytes of an error's text that a dead letter has.
const ERROR_BYTES_MAX: usize = 4096;

/// A durable consumer as it stands.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// What it watches, in words.
    pub scope: String,
    /// Everything up to there is dealt with.
    pub position: ResumeToken,
    /// Entries of the log behind its position, whether or not they are for this consumer.
    pub lag_entries: u64,
    /// Its retention slot, with its lag in bytes, its cap, and whether it still holds anything; nothing when somebody has
    /// dropped it.
    pub slot: Option<RetentionSlot>,
    /// Members that it has now.
    pub members: u64,
    /// Events that members have and have not acknowledged.
    pub in_flight: u64,
    /// Events that have been read and wait for a member.
    pub waiting: u64,
    /// Events that have been acknowledged since it was made.
    pub acknowledged: u64,
    /// Events that have become dead letters.
    pub dead_lettered: u64,
    /// Why an event has failed the last time: the first 256 bytes of what it said.
    pub last_error: Option<String>,
    /// When it was made.
    pub created: DateTime,
    /// When an event was last acknowledged, or has failed.
    pub last_activity: DateTime,
}

/// The durable consumers of a store, by name, whether or not they have members now.
///
/// # Errors
///
/// The store's; [`Error::MalformedConsumer`].
pub fn consumers(store: &dyn DocumentStore, view: &OplogView) -> Result<Vec<ConsumerStatus>> {
    let groups = store.groups().all();
    let slots = store.slots();
    let newest = view.newest(ReadConcern::Local);
    let records = record::find(store, &rawdoc! {})?;
    let status = |record: Record| {
        let group = groups.get(&record.name);
        let (members, in_flight, waiting) = group.map_or((0, 0, 0), |group| {
            let state = group.lock();
            let (in_flight, waiting) = state.window.counts();
            (state.window.members(), in_flight, waiting)
        });
        let slot = slot_name(&record.name);
        ConsumerStatus {
            lag_entries: lag(newest, record.position.op_id()),
            slot: slots.iter().find(|found| found.name == slot).cloned(),
            members,
            in_flight,
            waiting,
            name: record.name,
            scope: record.scope,
            position: record.position,
            acknowledged: record.acknowledged,
            dead_lettered: record.dead_lettered,
            last_error: record.last_error,
            created: record.created,
            last_activity: record.last_activity,
        }
    };
    Ok(records.into_iter().map(status).collect())
}

fn lag(newest: OpId, position: OpId) -> u64 {
    newest.get().saturating_sub(position.get())
}

/// Drops a consumer that has no members: its position, and what the log keeps for it. Its dead letters stay.
///
/// # Errors
///
/// [`Error::ConsumerActive`], [`Error::NoSuchConsumer`]; the store's.
pub fn consumer_drop(store: &dyn DocumentStore, name: &str) -> Result<()> {
    let turn = store.groups().turn(name)?;
    let name_owned = || name.to_owned();
    if turn.group().is_some() {
        return Err(Error::ConsumerActive { name: name_owned() });
    }
    let found = store.delete(CONSUMERS, name)?;
    match store.slot_drop(&slot_name(name)) {
        Err(Error::Log(LogError::NoSuchSlot { .. } | LogError::InvalidSlotName { .. })) if !found => {
            Err(Error::NoSuchConsumer { name: name_owned() })
        }
        Err(Error::Log(LogError::NoSuchSlot { .. })) => Ok(()),
        outcome => outcome,
    }
}

/// The document that an event becomes which has failed too often: the event as it was delivered, or of it only what names it.
pub(super) fn dead_letter(
    consumer: &str,
    event: &ChangeEvent,
    error: &str,
    failures: u32,
    whole: bool,
) -> RawDocumentBuf {
    let token = event.resume_token().to_string();
    let shown = match whole {
        true => event.to_document(),
        false => rawdoc! {
            "_id": event.resume_token().to_document(),
            "operationType": event.operation_type().name(),
            "ns": { "db": event.database(), "coll": event.collection() },
            "documentKey": event.document_key().unwrap_or_default(),
        },
    };
    rawdoc! {
        "_id": { "consumer": consumer, "token": token },
        "event": shown,
        "error": beginning(error, ERROR_BYTES_MAX),
        "failures": i64::from(failures),
        "at": DateTime::now(),
    }
}

//! What the store keeps of a consumer: a document in [`INTERNAL_DATABASE`].

use bson::raw::{RawArrayBuf, RawBsonRef};
use bson::{DateTime, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_oplog::{OpId, ReadConcern};

use super::window::{EventId, Failures, Window};
use crate::document_store::{DocumentStore, INTERNAL_DATABASE, StateQuery};
use crate::error::{Error, Result};
use crate::token::ResumeToken;

/// The collection of the positions.
pub(super) const CONSUMERS: &str = "consumers";
/// The collection of the events that have failed too often, unless a consumer names another.
pub(super) const DEAD_LETTERS: &str = "dead_letters";

/// See the module documentation.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) name: String,
    /// What it watches, in words; a name stays with that.
    pub(super) scope: String,
    /// Everything up to there is dealt with.
    pub(super) position: ResumeToken,
    /// And these stretches behind it.
    pub(super) done: Vec<(EventId, EventId)>,
    pub(super) failing: Vec<(EventId, Failures)>,
    pub(super) acknowledged: u64,
    pub(super) dead_lettered: u64,
    pub(super) created: DateTime,
    /// When an event was last acknowledged or has failed.
    pub(super) last_activity: DateTime,
}

impl Record {
    pub(super) fn new(name: &str, scope: &str, position: ResumeToken) -> Record {
        let (done, failing, acknowledged, dead_lettered) = Default::default();
        let created = DateTime::now();
        Record {
            name: name.to_owned(),
            scope: scope.to_owned(),
            position,
            done,
            failing,
            acknowledged,
            dead_lettered,
            created,
            last_activity: created,
        }
    }

    /// Brings the record up to a window, as if `also` were done. What the window has not read again since a restart is as it
    /// was `before`.
    pub(super) fn note(&mut self, window: &Window, before: &Record, also: Option<EventId>) {
        let unread = |id: EventId| id.op_id > window.read();
        self.position = window.low(also);
        self.done = window.done_stretches(also);
        self.done.extend(before.done.iter().filter(|(_, last)| unread(*last)));
        let failing = window.failing().filter(|(id, _)| also != Some(*id));
        let later = before.failing.iter().filter(|(id, _)| unread(*id));
        let later = later.map(|(id, failures)| (*id, failures));
        self.failing = failing
            .chain(later)
            .map(|(id, failures)| (id, failures.clone()))
            .collect();
    }

    /// Whether an event was done before a restart.
    pub(super) fn has_done(&self, id: EventId) -> bool {
        self.done.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    pub(super) fn failures_of(&self, id: EventId) -> Failures {
        let found = self.failing.iter().find(|(failing, _)| *failing == id);
        found.map(|(_, failures)| failures.clone()).unwrap_or_default()
    }

    pub(super) fn to_document(&self) -> RawDocumentBuf {
        let done: RawArrayBuf = self.done.iter().flat_map(|(a, b)| [number(*a), number(*b)]).collect();
        let failing = self.failing.iter().map(|(id, failures)| {
            rawdoc! { "event": number(*id), "failures": i64::from(failures.count), "error": failures.error.as_str() }
        });
        let failing: RawArrayBuf = failing.collect();
        rawdoc! {
            "_id": self.name.as_str(),
            "scope": self.scope.as_str(),
            "position": self.position.to_string(),
            "opId": signed(self.position.op_id().get()),
            "done": done,
            "failing": failing,
            "acknowledged": signed(self.acknowledged),
            "deadLettered": signed(self.dead_lettered),
            "created": self.created,
            "lastActivity": self.last_activity,
        }
    }

    pub(super) fn from_document(document: &RawDocument) -> Result<Record> {
        let name = document.get_str("_id").unwrap_or_default().to_owned();
        Record::read(document).ok_or(Error::MalformedConsumer { name })
    }

    fn read(document: &RawDocument) -> Option<Record> {
        let text = |name: &str| document.get_str(name).ok();
        let unsigned = |name: &str| u64::try_from(document.get_i64(name).ok()?).ok();
        let numbers: Option<Vec<EventId>> = document
            .get_array("done")
            .ok()?
            .into_iter()
            .map(|value| event_id(value.ok()?))
            .collect();
        let (pairs, rest) = numbers.as_deref()?.as_chunks::<2>();
        let failing = document.get_array("failing").ok()?.into_iter().map(|value| {
            let failing = value.ok()?.as_document()?;
            let failures = Failures {
                count: u32::try_from(failing.get_i64("failures").ok()?).ok()?,
                error: failing.get_str("error").ok()?.to_owned(),
            };
            Some((event_id(failing.get("event").ok()??)?, failures))
        });
        Some(Record {
            name: text("_id")?.to_owned(),
            scope: text("scope")?.to_owned(),
            position: text("position")?.parse().ok()?,
            done: rest.is_empty().then(|| pairs.iter().map(|[a, b]| (*a, *b)).collect())?,
            failing: failing.collect::<Option<_>>()?,
            acknowledged: unsigned("acknowledged")?,
            dead_lettered: unsigned("deadLettered")?,
            created: document.get_datetime("created").ok()?,
            last_activity: document.get_datetime("lastActivity").ok()?,
        })
    }
}

/// The records that a filter finds, by name.
pub(super) fn find(store: &dyn DocumentStore, filter: &RawDocument) -> Result<Vec<Record>> {
    let state = store.state(ReadConcern::Local)?;
    let query = StateQuery {
        database: INTERNAL_DATABASE,
        collection: CONSUMERS,
        filter,
        sort: &rawdoc! { "_id": 1 },
        limit: None,
    };
    state
        .find(&query)?
        .map(|document| Record::from_document(&document?))
        .collect()
}

/// The entry and, in the last bit, which of its events.
fn number(id: EventId) -> i64 {
    signed(id.op_id.get() << 1 | u64::from(id.invalidate))
}

fn event_id(value: RawBsonRef<'_>) -> Option<EventId> {
    let number = u64::try_from(value.as_i64()?).ok()?;
    Some(EventId {
        op_id: OpId::new(number >> 1),
        invalidate: number & 1 == 1,
    })
}

/// BSON has no unsigned integers. OpIDs and counts do not come near their end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tailwater_oplog::LogId;

    use super::*;

    #[test]
    fn records_round_trip_and_what_is_malformed_is_named() {
        let id = |op_id, invalidate| EventId {
            op_id: OpId::new(op_id),
            invalidate,
        };
        let token = ResumeToken::without_entry(LogId::from_bytes([1; 16]), OpId::new(5));
        let mut record = Record::new("billing", "collection shop.orders", token);
        record.done = vec![(id(7, false), id(9, true)), (id(12, false), id(12, false))];
        let error = "no".to_owned();
        record.failing = vec![(id(11, false), Failures { count: 2, error })];
        record.acknowledged = 4;
        let document = record.to_document();
        let read = Record::from_document(&document).unwrap();
        assert_eq!(read.to_document(), document);
        assert!(read.has_done(id(8, false)) && !read.has_done(id(10, false)));
        assert_eq!(read.failures_of(id(11, false)).count, 2);
        assert_eq!(read.failures_of(id(13, false)).count, 0);

        let bad = Record::from_document(&rawdoc! { "_id": "billing" }).unwrap_err();
        assert!(matches!(bad, Error::MalformedConsumer { name } if name == "billing"));
    }
}

//! What the store keeps of a consumer: a document in [`INTERNAL_DATABASE`].
//!
//! It is written whole with every acknowledgement and every failure, so it is kept short: what is done and what has failed are
//! stretches of events, and of errors there is the last one's beginning.

use bson::raw::{RawArrayBuf, cstr};
use bson::{DateTime, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_oplog::{OpId, ReadConcern};

use super::window::{EventId, Window};
use crate::document_store::{DocumentStore, INTERNAL_DATABASE, StateQuery};
use crate::error::{Error, Result};
use crate::token::ResumeToken;

/// The collection of the positions.
pub(super) const CONSUMERS: &str = "consumers";
/// The collection of the events that have failed too often, unless a consumer names another.
pub(super) const DEAD_LETTERS: &str = "dead_letters";

/// Most bytes of an error that are kept here; a dead letter has more of it.
const ERROR_BYTES_MAX: usize = 256;

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
    /// First and last event of stretches in which those that are not done have failed so often.
    pub(super) failing: Vec<(EventId, EventId, u32)>,
    /// The beginning of why an event has failed the last time.
    pub(super) last_error: Option<String>,
    pub(super) acknowledged: u64,
    pub(super) dead_lettered: u64,
    pub(super) created: DateTime,
    /// When an event was last acknowledged or has failed.
    pub(super) last_activity: DateTime,
}

impl Record {
    pub(super) fn new(name: &str, scope: &str, position: ResumeToken) -> Record {
        let (done, failing, last_error, acknowledged, dead_lettered) = Default::default();
        let created = DateTime::now();
        Record {
            name: name.to_owned(),
            scope: scope.to_owned(),
            position,
            done,
            failing,
            last_error,
            acknowledged,
            dead_lettered,
            created,
            last_activity: created,
        }
    }

    /// Of a consumer that begins at another position, whatever it had done before.
    pub(super) fn begun_anew(mut self, position: ResumeToken) -> Record {
        self.position = position;
        self.done.clear();
        self.failing.clear();
        self
    }

    /// Brings the record up to a window, as if `also` were done. What the window has not read again since a restart is as it
    /// was `before`.
    pub(super) fn note(&mut self, window: &Window, before: &Record, also: Option<EventId>) {
        let unread = |id: EventId| id.op_id > window.read();
        self.position = window.low(also);
        self.done = window.done_stretches(also);
        self.done.extend(before.done.iter().filter(|(_, last)| unread(*last)));
        self.failing = window.failing_stretches(also);
        let later = before.failing.iter().filter(|(_, last, _)| unread(*last));
        let next = EventId {
            op_id: window.read().next(),
            invalidate: false,
        };
        let later = later.map(|(first, last, failures)| (next.max(*first), *last, *failures));
        self.failing.extend(later);
    }

    /// Notes why an event has failed.
    pub(super) fn note_error(&mut self, error: &str) {
        self.last_error = Some(beginning(error, ERROR_BYTES_MAX).to_owned());
    }

    /// Whether an event was done before a restart.
    pub(super) fn has_done(&self, id: EventId) -> bool {
        self.done.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// How often an event had failed before a restart.
    pub(super) fn failures_of(&self, id: EventId) -> u32 {
        let mut stretches = self.failing.iter();
        let found = stretches.find(|(first, last, _)| (*first..=*last).contains(&id));
        found.map_or(0, |(_, _, failures)| *failures)
    }

    pub(super) fn to_document(&self) -> RawDocumentBuf {
        let done: RawArrayBuf = self.done.iter().flat_map(|(a, b)| [number(*a), number(*b)]).collect();
        let failing = self.failing.iter();
        let failing: RawArrayBuf = failing
            .flat_map(|(a, b, failures)| [number(*a), number(*b), i64::from(*failures)])
            .collect();
        let mut document = rawdoc! {
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
        };
        if let Some(error) = &self.last_error {
            document.append(cstr!("lastError"), error.as_str());
        }
        document
    }

    pub(super) fn from_document(document: &RawDocument) -> Result<Record> {
        let name = document.get_str("_id").unwrap_or_default().to_owned();
        Record::read(document).ok_or(Error::MalformedConsumer { name })
    }

    fn read(document: &RawDocument) -> Option<Record> {
        let text = |name: &str| document.get_str(name).ok();
        let unsigned = |name: &str| u64::try_from(document.get_i64(name).ok()?).ok();
        let numbers = |name: &str| -> Option<Vec<u64>> {
            let array = document.get_array(name).ok()?.into_iter();
            array.map(|value| u64::try_from(value.ok()?.as_i64()?).ok()).collect()
        };
        let (done, failing) = (numbers("done")?, numbers("failing")?);
        let (pairs, rest) = done.as_chunks::<2>();
        let (triples, more) = failing.as_chunks::<3>();
        if !rest.is_empty() || !more.is_empty() {
            return None;
        }
        let done = pairs.iter().map(|[a, b]| (event_id(*a), event_id(*b)));
        let failing = triples.iter().map(|[a, b, failures]| {
            let failures = u32::try_from(*failures).ok()?;
            Some((event_id(*a), event_id(*b), failures))
        });
        Some(Record {
            name: text("_id")?.to_owned(),
            scope: text("scope")?.to_owned(),
            position: text("position")?.parse().ok()?,
            done: done.collect(),
            failing: failing.collect::<Option<_>>()?,
            last_error: text("lastError").map(str::to_owned),
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

/// The record of a consumer, if it is there.
pub(super) fn of(store: &dyn DocumentStore, name: &str) -> Result<Option<Record>> {
    Ok(find(store, &rawdoc! { "_id": name })?.pop())
}

/// The entry and, in the last bit, which of its events.
fn number(id: EventId) -> i64 {
    signed(id.op_id.get() << 1 | u64::from(id.invalidate))
}

fn event_id(number: u64) -> EventId {
    EventId {
        op_id: OpId::new(number >> 1),
        invalidate: number & 1 == 1,
    }
}

/// As much of a text as so many bytes take.
pub(super) fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
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
        record.failing = vec![(id(10, false), id(11, false), 2), (id(11, true), id(13, false), 1)];
        record.note_error(&"é".repeat(1000));
        record.acknowledged = 4;
        let document = record.to_document();
        let read = Record::from_document(&document).unwrap();
        assert_eq!(read.to_document(), document);
        assert!(read.has_done(id(8, false)) && !read.has_done(id(10, false)));
        let failures = [id(11, false), id(12, true), id(14, false)].map(|id| read.failures_of(id));
        assert_eq!(failures, [2, 1, 0]);
        assert_eq!(read.last_error.unwrap(), "é".repeat(128));

        let bad = Record::from_document(&rawdoc! { "_id": "billing" }).unwrap_err();
        assert!(matches!(bad, Error::MalformedConsumer { name } if name == "billing"));
    }
}

//! A place in the log, as the arguments name it.

use tailwater::oplog::{ReverseCursor, Timestamp};
use tailwater::{LogView, OpId, ReadConcern};

use crate::failure::{Exit, Failure, Outcome};

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Oldest,
    Now,
    Entry(OpId),
    /// The first entry at or after this time.
    Time(Timestamp),
}

impl Place {
    /// Reads the value of `option`.
    pub(super) fn parse(option: &str, text: &str) -> Outcome<Place> {
        match text {
            "oldest" => return Ok(Place::Oldest),
            "now" => return Ok(Place::Now),
            _ => {}
        }
        match Place::parse_number_or_time(text) {
            Some(place) => Ok(place),
            None => Err(Failure::new(
                Exit::Usage,
                format!("{option} {text:?}: give oldest, now, an OpID, or a time such as 2026-11-21T09:30:00Z"),
            )),
        }
    }

    pub(crate) fn parse_number_or_time(text: &str) -> Option<Place> {
        if let Ok(number) = text.parse() {
            return Some(Place::Entry(OpId::new(number)));
        }
        let time = bson::DateTime::parse_rfc3339_str(text).ok()?;
        let millis = u64::try_from(time.timestamp_millis()).unwrap_or(0);
        Some(Place::Time(Timestamp::from_nanos(millis.saturating_mul(1_000_000))))
    }

    /// A cursor from here back to the oldest entry; from a time, it begins with the last entry written before.
    pub(super) fn backward(self, view: &LogView, concern: ReadConcern) -> Outcome<Option<ReverseCursor>> {
        let oldest = view.watermarks().oldest;
        let from = match self {
            Place::Now => return Ok(Some(view.reverse_from_newest(concern))),
            Place::Oldest => oldest,
            Place::Entry(op_id) => op_id,
            Place::Time(time) => view.cursor_from_time(time, concern)?.position().previous(),
        };
        // Before that time, or at all, the log has nothing.
        let nothing = match self {
            Place::Time(_) => from < oldest,
            _ => self == Place::Oldest && view.newest(concern) < oldest,
        };
        Ok(if nothing {
            None
        } else {
            Some(view.reverse(from, concern)?)
        })
    }
}

//! Resume tokens: where a watcher is, in a form it can keep.
//!
//! A token names log, term, OpID and the entry's timestamp, and inside one entry the place of the event. The timestamp is
//! there because copies of a log that were each written to share log and term. A token is ordered (comparing the bytes of
//! two tokens of one log compares their positions), opaque, and checked: damage is noticed, not followed.

use std::fmt;
use std::str::FromStr;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::{Entry, LogId, OpId, Term, Timestamp, codec};

use crate::error::{Error, Result};
use crate::snapshot::INSIDE_TEXT;

const VERSION: u8 = 1;

/// Which event of an entry a token stands behind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum TokenKind {
    /// The entry's own event, which an `invalidate` may still follow.
    Event,
    /// The `invalidate` event that the entry brought about.
    Invalidate,
    /// No event, but the entry with all it brought about: where a stream began, or what it passed over.
    Position,
    /// As [`TokenKind::Position`], of a stream that has not reached the time it is to start at: the token names that time as
    /// well, and whoever resumes with it gets nothing from before.
    StartTime,
}

/// A position in a change stream, from which it can go on later: after a restart, in another process, on a replica.
///
/// ```
/// # use tailwater_changestream::ResumeToken;
/// # fn main() -> Result<(), tailwater_changestream::Error> {
/// let text = "01000000000000000000000000000000000000000100000000000000070000c7ed00a2";
/// assert!(text.parse::<ResumeToken>().is_err(), "a forged token is refused");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResumeToken {
    log_id: LogId,
    term: Term,
    op_id: OpId,
    timestamp: Timestamp,
    kind: TokenKind,
    /// Only with [`TokenKind::StartTime`], else zero.
    start_time: Timestamp,
}

/// What is encoded in front of the checksum, in the order that makes byte order position order: version, log, term, OpID,
/// timestamp, kind. Within one history the timestamp follows from the OpID, so it decides nothing.
type Layout = (u8, [u8; 16], u32, u64, u64, u8);

/// As [`Layout`], for the one kind that has a start time behind it.
type LayoutWithStartTime = (Layout, u64);

/// The number of [`TokenKind::StartTime`].
const START_TIME: u8 = 3;
/// Where a kind's number stands.
const KIND_AT: usize = 37;

impl ResumeToken {
    /// The token for a place at `entry`.
    pub(crate) fn at(log_id: LogId, entry: &Entry<'_>, kind: TokenKind) -> ResumeToken {
        ResumeToken {
            log_id,
            term: entry.term(),
            op_id: entry.op_id(),
            timestamp: entry.timestamp(),
            kind,
            start_time: Timestamp::default(),
        }
    }

    /// The token for a position whose entry is not there: before the first one, or trimmed.
    pub(crate) fn without_entry(log_id: LogId, op_id: OpId) -> ResumeToken {
        let (term, timestamp, start_time) = Default::default();
        ResumeToken {
            log_id,
            term,
            op_id,
            timestamp,
            kind: TokenKind::Position,
            start_time,
        }
    }

    /// The same position, of a stream that begins with what was written at or after this time.
    pub(crate) fn starting_at(self, start_time: Timestamp) -> ResumeToken {
        ResumeToken {
            kind: TokenKind::StartTime,
            start_time,
            ..self
        }
    }

    /// The log it belongs to.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The term in which the entry was written; zero where there was no entry.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The entry it stands behind.
    #[must_use]
    pub fn op_id(&self) -> OpId {
        self.op_id
    }

    /// When the entry was written; zero where there was no entry.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Which of the entry's events it stands behind.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The time that the stream has not reached yet and is to start at; `None` when it has, or had none.
    #[must_use]
    pub fn start_time(&self) -> Option<Timestamp> {
        (self.kind == TokenKind::StartTime).then_some(self.start_time)
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let kind = match self.kind {
            TokenKind::Event => 0,
            TokenKind::Invalidate => 1,
            TokenKind::Position => 2,
            TokenKind::StartTime => START_TIME,
        };
        let layout: Layout = (
            VERSION,
            self.log_id.to_bytes(),
            self.term.get(),
            self.op_id.get(),
            self.timestamp.as_nanos(),
            kind,
        );
        let mut bytes = match self.start_time() {
            None => codec::encode_ordered(&layout),
            Some(time) => codec::encode_ordered::<LayoutWithStartTime>(&(layout, time.as_nanos())),
        };
        let crc = codec::checksum(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<ResumeToken> {
        let malformed = |what| Error::MalformedToken { what };
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(malformed("it is too short"))?;
        if codec::checksum(body) != u32::from_be_bytes(*crc) {
            return Err(malformed("its checksum is wrong"));
        }
        if body.first() != Some(&VERSION) {
            return Err(malformed("its version is unknown to this release"));
        }
        let decoded: Result<LayoutWithStartTime, _> = match body.get(KIND_AT) {
            Some(&START_TIME) => codec::decode_ordered(body),
            _ => codec::decode_ordered(body).map(|layout| (layout, 0)),
        };
        let (layout, start_time) = decoded.map_err(|_| malformed("its length is wrong"))?;
        let (_, log_id, term, op_id, timestamp, kind) = layout;
        let kind = match kind {
            0 => TokenKind::Event,
            1 => TokenKind::Invalidate,
            2 => TokenKind::Position,
            START_TIME => TokenKind::StartTime,
            _ => return Err(malformed("its kind is unknown to this release")),
        };
        Ok(ResumeToken {
            log_id: LogId::from_bytes(log_id),
            term: Term::new(term),
            op_id: OpId::new(op_id),
            timestamp: Timestamp::from_nanos(timestamp),
            kind,
            start_time: Timestamp::from_nanos(start_time),
        })
    }

    /// The token as drivers see it: `{_data: "…"}`.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        bson::rawdoc! { "_data": self.to_string() }
    }

    /// Reads `{_data: "…"}`.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedToken`].
    pub fn from_document(document: &RawDocument) -> Result<ResumeToken> {
        let data = document.get_str("_data").map_err(|_| Error::MalformedToken {
            what: "it has no string _data",
        })?;
        data.parse()
    }
}

/// Order of position, within one log.
impl Ord for ResumeToken {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |t: &ResumeToken| (t.log_id.to_bytes(), t.term, t.op_id, t.timestamp, t.kind, t.start_time);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for ResumeToken {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ResumeToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<ResumeToken> {
        if text.starts_with(INSIDE_TEXT) {
            return Err(Error::InsideSnapshot);
        }
        ResumeToken::from_bytes(&bytes_of_hex(text, 128)?)
    }
}

/// Reads a token's text, of at most so many bytes.
pub(crate) fn bytes_of_hex(text: &str, bytes_max: usize) -> Result<Vec<u8>> {
    let hex = || Error::MalformedToken {
        what: "it is not a string of hexadecimal digits",
    };
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) || text.len() / 2 > bytes_max {
        return Err(hex());
    }
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok())
        .collect();
    bytes.ok_or_else(hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(term: u32, op_id: u64, timestamp: u64, kind: TokenKind) -> ResumeToken {
        ResumeToken {
            log_id: LogId::from_bytes([0xa5; 16]),
            term: Term::new(term),
            op_id: OpId::new(op_id),
            timestamp: Timestamp::from_nanos(timestamp),
            kind,
            start_time: Timestamp::default(),
        }
    }

    #[test]
    fn the_text_is_golden() {
        let text = token(2, 258, 772, TokenKind::Event).to_string();
        let body = "01a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5000000020000000000000102000000000000030400";
        assert_eq!(&text[..body.len()], body);
        assert_eq!(text.len(), body.len() + 8);

        let begun = token(2, 258, 772, TokenKind::Position).starting_at(Timestamp::from_nanos(5));
        let (text, body) = (
            begun.to_string(),
            format!("{}030000000000000005", &body[..body.len() - 2]),
        );
        assert_eq!(text[..body.len()], body);
        assert_eq!(text.len(), body.len() + 8);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let good = token(3, 77, 99, TokenKind::Invalidate);
        for good in [good, good.starting_at(Timestamp::from_nanos(100))] {
            let good = good.to_bytes();
            assert!(ResumeToken::from_bytes(&good).is_ok());
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(ResumeToken::from_bytes(&bad).is_err(), "bit {bit}");
            }
            for length in 0..good.len() {
                assert!(ResumeToken::from_bytes(&good[..length]).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn a_kind_with_the_length_of_another_is_refused() {
        let plain = token(3, 77, 99, TokenKind::Position);
        for (token, kind) in [(plain, START_TIME), (plain.starting_at(Timestamp::from_nanos(1)), 2)] {
            let mut bytes = token.to_bytes();
            bytes.truncate(bytes.len() - 4);
            bytes[KIND_AT] = kind;
            let crc = codec::checksum(&bytes);
            bytes.extend_from_slice(&crc.to_be_bytes());
            assert!(ResumeToken::from_bytes(&bytes).is_err(), "kind {kind}");
        }
    }

    proptest! {
        #[test]
        fn tokens_round_trip_and_sort_as_their_texts(a: (u32, u64, u64, u8), b: (u32, u64, u64, u8)) {
            let kinds = [TokenKind::Event, TokenKind::Invalidate, TokenKind::Position];
            let make = |(term, op_id, timestamp, kind): (u32, u64, u64, u8)| {
                match kinds.get(usize::from(kind) % (kinds.len() + 1)) {
                    Some(kind) => token(term, op_id, timestamp, *kind),
                    None => token(term, op_id, timestamp, TokenKind::Position)
                        .starting_at(Timestamp::from_nanos(u64::from(kind))),
                }
            };
            let (a, b) = (make(a), make(b));
            prop_assert_eq!(a.to_string().parse::<ResumeToken>().unwrap(), a);
            prop_assert_eq!(ResumeToken::from_document(&a.to_document()).unwrap(), a);
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = text.parse::<ResumeToken>();
        }
    }
}

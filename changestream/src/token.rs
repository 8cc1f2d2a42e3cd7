//! Resume tokens: where a watcher is, in a form it can keep.
//!
//! A token names log, term, OpID and the entry's timestamp, and inside one entry the place of the event. The timestamp is
//! there because copies of a log that were each written to share log and term. A token is ordered (comparing the bytes of
//! two tokens of one log and version compares their positions), opaque, and checked: damage is noticed, not followed.
//!
//! Versions number the kinds anew: 2 so that a fragment sorts in front of its event's end, 3 for events that end what is watched.
//! Older ones are read and not written.

use std::fmt;
use std::str::FromStr;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::{Entry, LogId, OpId, Term, Timestamp, codec};

use crate::error::{Error, Result};
use crate::snapshot::INSIDE_TEXT;
use crate::split::SplitEvent;

const VERSION: u8 = 3;
/// The version before it was said of an event whether it ends what is watched.
const VERSION_2: u8 = 2;
/// The version before there were fragments.
const VERSION_1: u8 = 1;

/// Which event of an entry a token stands behind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum TokenKind {
    /// A fragment of the entry's own event, which was too large for one document: the other fragments follow.
    Fragment,
    /// The entry's own event. In tokens of older releases an `invalidate` may follow it.
    Event,
    /// The entry's own event, which has ended what is watched: an `invalidate` follows it, for which the entry is needed.
    Ending,
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
/// let text = "02000000000000000000000000000000000000000100000000000000070000c7ed00a2";
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
    /// Only with [`TokenKind::Fragment`], else zeros.
    split: SplitEvent,
    /// Only with [`TokenKind::StartTime`], else zero.
    start_time: Timestamp,
}

/// What is encoded in front of the checksum, in the order that makes byte order position order: version, log, term, OpID,
/// timestamp, kind. Within one history the timestamp follows from the OpID, so it decides nothing.
type Layout = (u8, [u8; 16], u32, u64, u64, u8);

/// As [`Layout`], for the one kind that has a fragment and their number behind it.
type LayoutWithFragment = (Layout, (u32, u32));

/// As [`Layout`], for the one kind that has a start time behind it.
type LayoutWithStartTime = (Layout, u64);

/// Bytes of a [`Layout`].
const LAYOUT_BYTES: usize = 1 + 16 + 4 + 8 + 8 + 1;

/// The kinds by their numbers.
const KINDS: [TokenKind; 6] = [
    TokenKind::Fragment,
    TokenKind::Event,
    TokenKind::Ending,
    TokenKind::Invalidate,
    TokenKind::Position,
    TokenKind::StartTime,
];

/// The kinds by the numbers of version 2. Version 1 had all but the first.
const KINDS_2: [TokenKind; 5] = [
    TokenKind::Fragment,
    TokenKind::Event,
    TokenKind::Invalidate,
    TokenKind::Position,
    TokenKind::StartTime,
];

impl ResumeToken {
    /// The token for a place at `entry`.
    pub(crate) fn at(log_id: LogId, entry: &Entry<'_>, kind: TokenKind) -> ResumeToken {
        ResumeToken {
            log_id,
            term: entry.term(),
            op_id: entry.op_id(),
            timestamp: entry.timestamp(),
            kind,
            split: SplitEvent::default(),
            start_time: Timestamp::default(),
        }
    }

    /// The token for a position whose entry is not there: before the first one, or trimmed.
    pub(crate) fn without_entry(log_id: LogId, op_id: OpId) -> ResumeToken {
        let (term, timestamp, split, start_time) = Default::default();
        ResumeToken {
            log_id,
            term,
            op_id,
            timestamp,
            kind: TokenKind::Position,
            split,
            start_time,
        }
    }

    /// Of an event's token, the one behind a fragment of it.
    pub(crate) fn behind_fragment(self, split: SplitEvent) -> ResumeToken {
        ResumeToken {
            kind: TokenKind::Fragment,
            split,
            ..self
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

    /// The fragment that it stands behind, if it stands behind one.
    #[must_use]
    pub fn split_event(&self) -> Option<SplitEvent> {
        (self.kind == TokenKind::Fragment).then_some(self.split)
    }

    /// The time that the stream has not reached yet and is to start at; `None` when it has, or had none.
    #[must_use]
    pub fn start_time(&self) -> Option<Timestamp> {
        (self.kind == TokenKind::StartTime).then_some(self.start_time)
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let layout: Layout = (
            VERSION,
            self.log_id.to_bytes(),
            self.term.get(),
            self.op_id.get(),
            self.timestamp.as_nanos(),
            self.kind as u8,
        );
        let mut bytes = match self.kind {
            TokenKind::Fragment => {
                codec::encode_ordered::<LayoutWithFragment>(&(layout, (self.split.fragment, self.split.of)))
            }
            TokenKind::StartTime => codec::encode_ordered::<LayoutWithStartTime>(&(layout, self.start_time.as_nanos())),
            TokenKind::Event | TokenKind::Ending | TokenKind::Invalidate | TokenKind::Position => {
                codec::encode_ordered(&layout)
            }
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
        let kinds = match body.first() {
            Some(&VERSION) => &KINDS[..],
            Some(&VERSION_2) => &KINDS_2[..],
            Some(&VERSION_1) => &KINDS_2[1..],
            _ => return Err(malformed("its version is unknown to this release")),
        };
        let cut = malformed("its length is wrong");
        let (head, rest) = body.split_at_checked(LAYOUT_BYTES).ok_or_else(|| cut.clone())?;
        let (_, log_id, term, op_id, timestamp, kind): Layout = codec::decode_ordered(head).map_err(|_| cut.clone())?;
        let kind = *kinds
            .get(usize::from(kind))
            .ok_or(malformed("its kind is unknown to this release"))?;
        let (mut split, mut start_time) = <(SplitEvent, u64)>::default();
        match kind {
            TokenKind::Fragment => {
                (split.fragment, split.of) = codec::decode_ordered(rest).map_err(|_| cut)?;
                if split.fragment == 0 || split.fragment > split.of {
                    return Err(malformed("it names a fragment that there cannot be"));
                }
            }
            TokenKind::StartTime => start_time = codec::decode_ordered(rest).map_err(|_| cut)?,
            TokenKind::Event | TokenKind::Ending | TokenKind::Invalidate | TokenKind::Position if rest.is_empty() => {}
            _ => return Err(cut),
        }
        Ok(ResumeToken {
            log_id: LogId::from_bytes(log_id),
            term: Term::new(term),
            op_id: OpId::new(op_id),
            timestamp: Timestamp::from_nanos(timestamp),
            kind,
            split,
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
        let key = |t: &ResumeToken| {
            let place = (t.log_id.to_bytes(), t.term, t.op_id, t.timestamp);
            (place, t.kind, t.split, t.start_time)
        };
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
        let (split, start_time) = Default::default();
        ResumeToken {
            log_id: LogId::from_bytes([0xa5; 16]),
            term: Term::new(term),
            op_id: OpId::new(op_id),
            timestamp: Timestamp::from_nanos(timestamp),
            kind,
            split,
            start_time,
        }
    }

    fn begun(plain: ResumeToken, nanos: u64) -> ResumeToken {
        plain.starting_at(Timestamp::from_nanos(nanos))
    }

    fn fragment(plain: ResumeToken, fragment: u32, of: u32) -> ResumeToken {
        plain.behind_fragment(SplitEvent { fragment, of })
    }

    /// With a checksum that holds.
    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        let crc = codec::checksum(&body);
        body.extend_from_slice(&crc.to_be_bytes());
        body
    }

    #[test]
    fn the_text_is_golden() {
        let plain = token(2, 258, 772, TokenKind::Event);
        let place = "03a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a50000000200000000000001020000000000000304";
        for (token, rest) in [
            (fragment(plain, 3, 7), "000000000300000007"),
            (plain, "01"),
            (token(2, 258, 772, TokenKind::Ending), "02"),
            (token(2, 258, 772, TokenKind::Invalidate), "03"),
            (token(2, 258, 772, TokenKind::Position), "04"),
            (begun(plain, 5), "050000000000000005"),
        ] {
            let text = token.to_string();
            assert_eq!(text[..text.len() - 8], format!("{place}{rest}"));
        }
    }

    #[test]
    fn tokens_of_older_versions_are_read() {
        let place = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a50000000200000000000001020000000000000304";
        let read = |version: &str, rest: &str| {
            let body = bytes_of_hex(&format!("{version}{place}{rest}"), 128).unwrap();
            ResumeToken::from_bytes(&sealed(body))
        };
        let plain = token(2, 258, 772, TokenKind::Event);
        for (version, rest, expected) in [
            ("01", "00", plain),
            ("01", "01", token(2, 258, 772, TokenKind::Invalidate)),
            ("01", "02", token(2, 258, 772, TokenKind::Position)),
            ("01", "030000000000000005", begun(plain, 5)),
            ("02", "000000000300000007", fragment(plain, 3, 7)),
            ("02", "01", plain),
            ("02", "02", token(2, 258, 772, TokenKind::Invalidate)),
            ("02", "03", token(2, 258, 772, TokenKind::Position)),
            ("02", "040000000000000005", begun(plain, 5)),
        ] {
            assert_eq!(read(version, rest).unwrap(), expected);
        }
        for (version, rest) in [("01", "04"), ("02", "05")] {
            assert!(read(version, rest).is_err(), "there was no such kind");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let good = token(3, 77, 99, TokenKind::Invalidate);
        for good in [good, begun(good, 100), fragment(good, 1, 2)] {
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
        for (token, kind) in [
            (plain, TokenKind::StartTime),
            (plain, TokenKind::Fragment),
            (begun(plain, 1), TokenKind::Position),
            (fragment(plain, 1, 2), TokenKind::Event),
        ] {
            let mut body = token.to_bytes();
            body.truncate(body.len() - 4);
            body[LAYOUT_BYTES - 1] = kind as u8;
            assert!(ResumeToken::from_bytes(&sealed(body)).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_fragment_that_there_cannot_be_is_refused() {
        let plain = token(3, 77, 99, TokenKind::Event);
        for (number, of) in [(0, 2), (3, 2), (0, 0)] {
            let bytes = fragment(plain, number, of).to_bytes();
            assert!(ResumeToken::from_bytes(&bytes).is_err(), "{number} of {of}");
        }
    }

    proptest! {
        #[test]
        fn tokens_round_trip_and_sort_as_their_texts(
            a: (u32, u64, u64, u8),
            b: (u32, u64, u64, u8),
            same_entry: bool,
        ) {
            let make = |(term, op_id, timestamp, kind): (u32, u64, u64, u8)| {
                let plain = |kind| token(term, op_id, timestamp, kind);
                let number = u32::from(kind) / 6;
                match KINDS[usize::from(kind) % KINDS.len()] {
                    TokenKind::Fragment => fragment(plain(TokenKind::Event), 1 + number, 2 + 2 * number),
                    TokenKind::StartTime => begun(plain(TokenKind::Position), u64::from(number)),
                    kind => plain(kind),
                }
            };
            let b = if same_entry { (a.0, a.1, a.2, b.3) } else { b };
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

//! Where a stream that begins with a snapshot is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::codec;

use crate::error::{Error, Result};
use crate::token::ResumeToken;

/// The first byte of a token inside a snapshot: version 1, and a bit that plain tokens do not have.
const INSIDE: u8 = 0x81;
/// How the texts of such tokens begin.
pub(crate) const INSIDE_TEXT: &str = "81";
/// Longer than the longest `_id` and everything beside it.
const TOKEN_BYTES_MAX: usize = 128 << 10;

/// The last document that a snapshot has delivered: all collections with smaller UUIDs are through, and of this one all
/// documents up to the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Place {
    pub(crate) collection: [u8; 16],
    /// What [`tailwater_matcher::encode_key`] makes of the `_id`.
    pub(crate) key: Vec<u8>,
}

impl Place {
    /// In front of every document.
    pub(crate) fn is_start(&self) -> bool {
        self.key.is_empty()
    }
}

/// The place of a stream that [begins with a snapshot](crate::Watch::with_snapshot): a position in the log and, inside the
/// snapshot, the last document that was delivered as of there.
///
/// Behind the snapshot it is the same as a [`ResumeToken`], and has the same text, so that such a stream can be resumed as an
/// ordinary watch, and this one with an ordinary watch's token.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SnapshotToken {
    base: ResumeToken,
    place: Option<Arc<Place>>,
}

impl SnapshotToken {
    pub(crate) fn inside(base: ResumeToken, place: Arc<Place>) -> SnapshotToken {
        let place = Some(place);
        SnapshotToken { base, place }
    }

    /// The position in the log: the last entry whose effect has been delivered to those documents that have been delivered.
    #[must_use]
    pub fn position(&self) -> ResumeToken {
        self.base
    }

    /// Whether some of the snapshot has still to be delivered.
    #[must_use]
    pub fn is_inside_snapshot(&self) -> bool {
        self.place.is_some()
    }

    pub(crate) fn place(&self) -> Option<&Arc<Place>> {
        self.place.as_ref()
    }

    fn from_bytes(bytes: &[u8]) -> Result<SnapshotToken> {
        let malformed = |what| Error::MalformedToken { what };
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(malformed("it is too short"))?;
        if codec::checksum(body) != u32::from_be_bytes(*crc) {
            return Err(malformed("its checksum is wrong"));
        }
        let cut = || malformed("its length is wrong");
        let (collection, rest) = body[1..].split_first_chunk::<16>().ok_or_else(cut)?;
        let (base_bytes, rest) = rest.split_first().ok_or_else(cut)?;
        let (base, key) = rest.split_at_checked(usize::from(*base_bytes)).ok_or_else(cut)?;
        let place = Place {
            collection: *collection,
            key: key.to_vec(),
        };
        Ok(SnapshotToken::inside(ResumeToken::from_bytes(base)?, Arc::new(place)))
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
    pub fn from_document(document: &RawDocument) -> Result<SnapshotToken> {
        let data = document.get_str("_data").map_err(|_| Error::MalformedToken {
            what: "it has no string _data",
        })?;
        data.parse()
    }
}

impl From<ResumeToken> for SnapshotToken {
    fn from(base: ResumeToken) -> SnapshotToken {
        SnapshotToken { base, place: None }
    }
}

impl fmt::Display for SnapshotToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            return self.base.fmt(f);
        };
        let base = self.base.to_bytes();
        let mut bytes = vec![INSIDE];
        bytes.extend_from_slice(&place.collection);
        // At most 50 bytes.
        bytes.push(u8::try_from(base.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&base);
        bytes.extend_from_slice(&place.key);
        let crc = codec::checksum(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for SnapshotToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<SnapshotToken> {
        if !text.starts_with(INSIDE_TEXT) {
            return text.parse::<ResumeToken>().map(SnapshotToken::from);
        }
        SnapshotToken::from_bytes(&crate::token::bytes_of_hex(text, TOKEN_BYTES_MAX)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tailwater_oplog::{LogId, OpId};

    use super::*;

    fn inside(op_id: u64, collection: [u8; 16], key: Vec<u8>) -> SnapshotToken {
        let base = ResumeToken::without_entry(LogId::from_bytes([3; 16]), OpId::new(op_id));
        SnapshotToken::inside(base, Arc::new(Place { collection, key }))
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let good = inside(7, [9; 16], vec![1, 2, 3]).to_string();
        let bytes = crate::token::bytes_of_hex(&good, TOKEN_BYTES_MAX).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let text: String = bad.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(text.parse::<SnapshotToken>().is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(good[..length].parse::<SnapshotToken>().is_err(), "{length} digits");
        }
    }

    #[test]
    fn a_plain_watch_refuses_it_by_name() {
        let text = inside(7, [9; 16], vec![1]).to_string();
        assert!(matches!(text.parse::<ResumeToken>(), Err(Error::InsideSnapshot)));
    }

    proptest! {
        #[test]
        fn tokens_round_trip(op_id: u64, collection: [u8; 16], key: Vec<u8>) {
            let token = inside(op_id, collection, key);
            prop_assert_eq!(&token.to_string().parse::<SnapshotToken>().unwrap(), &token);
            let plain = SnapshotToken::from(token.position());
            prop_assert_eq!(plain.to_string().parse::<SnapshotToken>().unwrap(), plain);
            prop_assert_eq!(SnapshotToken::from_document(&token.to_document()).unwrap(), token);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "81.*") {
            let _ = text.parse::<SnapshotToken>();
        }
    }
}

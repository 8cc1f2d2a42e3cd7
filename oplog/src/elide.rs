//! A part of the frames that lie in a segment, for a member that is to have only a part of the entries.
//!
//! What the part has travels as it lies on disk. What it does not have keeps its place: a frame of the same OpID, term, flags, time
//! and watermark, with another kind and payload, usually an empty one. So OpIDs stay dense, batches whole and times as they were,
//! and all that is known of a log's frames holds of a partial one. The frames that take another's place are never longer than that,
//! so that they fit the segment wherever the others do.

use std::ops::Range;

use crate::entry::ELIDED;
use crate::error::{Error, Result};
use crate::frame::{FrameHeader, HEADER_BYTES, crc32, frame_bytes};
use crate::frames::{FrameEntry, FrameRun, entries_in};

/// What a part has of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Share {
    /// All of it, with its bytes.
    Whole,
    /// Place and time.
    Place,
    /// Place and time, with this kind and payload, which must not be longer than its own.
    Instead(u8, Vec<u8>),
}

/// What a part has of some frames. It keeps the segment mapped, and copies nothing that is taken over whole.
#[derive(Clone, Debug)]
pub struct PartialRun<'r> {
    run: &'r FrameRun,
    /// Frames that were made, one behind the other.
    made: Vec<u8>,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    /// Bytes of the run.
    Taken(Range<usize>),
    /// Bytes of the frames that were made.
    Made(Range<usize>),
}

impl FrameRun {
    /// These frames, with only so much of each entry as `share` says.
    ///
    /// # Errors
    ///
    /// Those of `share`; [`Error::TooLarge`] when it puts more in an entry's place than that entry has.
    pub fn part(&self, mut share: impl FnMut(&FrameEntry<'_>) -> Result<Share>) -> Result<PartialRun<'_>> {
        let bytes = self.bytes();
        let mut part = PartialRun {
            run: self,
            made: Vec::new(),
            pieces: Vec::new(),
        };
        let mut at = 0;
        for entry in entries_in(bytes) {
            let length = frame_bytes(entry.payload.len());
            match share(&entry)? {
                Share::Whole => part.take(at..at + length),
                Share::Place => part.make(&bytes[at..], ELIDED, &[]),
                Share::Instead(_, payload) if payload.len() > entry.payload.len() => {
                    return Err(Error::TooLarge {
                        what: "what takes an entry's place",
                        bytes: payload.len() as u64,
                        max: entry.payload.len() as u64,
                    });
                }
                Share::Instead(kind, payload) => part.make(&bytes[at..], kind, &payload),
            }
            at += length;
        }
        Ok(part)
    }
}

impl PartialRun<'_> {
    /// The frames, in pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = self.run.bytes();
        self.pieces.iter().map(move |piece| match piece {
            Piece::Taken(range) => &bytes[range.clone()],
            Piece::Made(range) => &self.made[range.clone()],
        })
    }

    /// Bytes of all frames.
    #[must_use]
    pub fn length(&self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    fn take(&mut self, range: Range<usize>) {
        match self.pieces.last_mut() {
            Some(Piece::Taken(last)) if last.end == range.start => last.end = range.end,
            _ => self.pieces.push(Piece::Taken(range)),
        }
    }

    /// Makes a frame in the place of the one at the beginning of `frame`.
    fn make(&mut self, frame: &[u8], kind: u8, payload: &[u8]) {
        let Some(header) = frame.first_chunk().map(FrameHeader::decode) else {
            return;
        };
        let start = self.made.len();
        let end = start + frame_bytes(payload.len());
        self.made.resize(end, 0);
        let made = &mut self.made[start..];
        made[HEADER_BYTES..HEADER_BYTES + payload.len()].copy_from_slice(payload);
        let mut header = FrameHeader {
            // No longer than the one it replaces.
            length: header.length.min(u32::try_from(payload.len()).unwrap_or(header.length)),
            kind,
            ..header
        };
        if let Some(bytes) = made.first_chunk_mut() {
            header.encode(bytes);
        }
        header.crc = crc32(self.run.seed(), &made[4..]);
        made[..4].copy_from_slice(&header.crc.to_le_bytes());
        match self.pieces.last_mut() {
            Some(Piece::Made(last)) if last.end == start => last.end = end,
            _ => self.pieces.push(Piece::Made(start..end)),
        }
    }
}

//! Reading backward: from an entry to the oldest, for those who want to see what was written last.

use std::sync::Arc;

use crate::cursor::Entry;
use crate::error::{Error, Result};
use crate::format::INDEX_STRIDE;
use crate::ids::OpId;
use crate::segment::{InvalidFrame, Segment};
use crate::view::{OplogView, ReadConcern, Shared};

/// A position in the log that moves backward, entry by entry, until it has passed the entry that was the oldest when the
/// cursor was made.
///
/// Each eighth entry is looked up in its segment's index, those between are found by following the frames from there; so
/// an entry costs about as much as one read forward. Each is checked by its checksum, every time.
///
/// # Falling behind
///
/// As with [`Cursor`](crate::Cursor): when a trim overtakes it, it finishes the segment it is in and then fails with
/// [`Error::HistoryLost`]; it never skips, and it never takes a trim for the end.
#[derive(Debug)]
pub struct ReverseCursor {
    shared: Arc<Shared>,
    /// The entry that comes next; below `end` when there is none.
    next: OpId,
    /// The last entry to be read: the oldest when the cursor was made.
    end: OpId,
    segment: Option<Arc<Segment>>,
    /// Where the entries from the last indexed one up to `next` stand; empty when that is not known.
    offsets: Vec<usize>,
}

impl OplogView {
    /// A cursor that goes from entry `from` back to the oldest.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryLost`] when `from` has been trimmed, [`Error::Ahead`] when a reader with that concern does not see it
    /// yet.
    pub fn reverse(&self, from: OpId, concern: ReadConcern) -> Result<ReverseCursor> {
        let newest = self.shared.moved_limit(concern);
        if from > newest {
            return Err(Error::Ahead {
                requested: from,
                newest,
            });
        }
        let oldest = self.shared.oldest();
        if from < oldest {
            return Err(Error::HistoryLost {
                requested: from,
                oldest,
            });
        }
        Ok(self.backward(from, oldest))
    }

    /// A cursor that goes from the newest entry back to the oldest; it has nothing to read when the log holds no entry.
    #[must_use]
    pub fn reverse_from_newest(&self, concern: ReadConcern) -> ReverseCursor {
        // The lower mark first, which only grows: what is trimmed in between is an error later, and not left out.
        let oldest = self.shared.oldest();
        self.backward(self.shared.moved_limit(concern), oldest)
    }

    fn backward(&self, next: OpId, end: OpId) -> ReverseCursor {
        ReverseCursor {
            shared: Arc::clone(&self.shared),
            next,
            end,
            segment: None,
            offsets: Vec::with_capacity(INDEX_STRIDE as usize),
        }
    }
}

impl ReverseCursor {
    /// The entry that comes next; one below the oldest when everything has been read.
    #[must_use]
    pub fn position(&self) -> OpId {
        self.next
    }

    /// The next entry backward, and moves before it; nothing when the oldest has been read.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryLost`] when a trim has overtaken the cursor, [`Error::Corrupt`] and its kin when the entry cannot be
    /// read. The cursor stays where it is.
    pub fn try_next(&mut self) -> Result<Option<Entry<'_>>> {
        if self.next < self.end || self.next == OpId::ZERO {
            return Ok(None);
        }
        let in_segment = self.segment.as_ref().is_some_and(|segment| segment.first <= self.next);
        if !in_segment {
            self.offsets.clear();
            let (segment, offsets) = self.locate()?;
            (self.segment, self.offsets) = (Some(segment), offsets);
        }
        let Some(segment) = &self.segment else {
            return Ok(None);
        };
        if self.offsets.is_empty() {
            let found = group_of(segment, self.next);
            self.offsets = found.map_err(|e| self.shared.corrupt(segment, e.offset, e.expected))?;
        }
        let Some(&offset) = self.offsets.last() else {
            return Ok(None);
        };
        let header = segment
            .frame(offset, self.next)
            .map_err(|e| self.shared.corrupt(segment, e.offset, e.expected))?;
        self.offsets.pop();
        self.next = self.next.previous();
        Ok(Some(Entry::new(segment, offset, header)))
    }

    /// The segment of entry `next`, and its group there.
    fn locate(&self) -> Result<(Arc<Segment>, Vec<usize>)> {
        let mut segment = self.shared.covering(self.next)?;
        loop {
            // Its own frame too: where the entries before it end, there may be the end of the segment.
            let found = group_of(&segment, self.next).and_then(|offsets| {
                let last = offsets.last().copied().unwrap_or_default();
                segment.hop(last, self.next).map(|_| offsets)
            });
            match found {
                Ok(offsets) => return Ok((segment, offsets)),
                // The newest segment this process knew of may have got successors since.
                Err(e) => match self.shared.successor(&segment, e.expected)? {
                    Some(successor) if successor.first <= self.next => segment = successor,
                    _ => return Err(self.shared.corrupt(&segment, e.offset, e.expected)),
                },
            }
        }
    }
}

/// Where the entries stand from the last indexed one at or before `op_id` up to `op_id` itself.
fn group_of(segment: &Segment, op_id: OpId) -> Result<Vec<usize>, InvalidFrame> {
    let number = op_id.get() - segment.first.get();
    let first = OpId::new(op_id.get() - number % INDEX_STRIDE);
    let mut offsets = Vec::with_capacity(INDEX_STRIDE as usize);
    let (mut at, mut offset) = (first, segment.locate(first)?);
    offsets.push(offset);
    while at < op_id {
        offset += segment.hop(offset, at)?.frame_bytes();
        offsets.push(offset);
        at = at.next();
    }
    Ok(offsets)
}

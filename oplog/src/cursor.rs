//! Reading forward: a cursor over entries that lie where the writer put them.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::format::FRAMES_START;
use crate::frame::FrameHeader;
use crate::ids::{OpId, Term, Timestamp};
use crate::primitives::Instant;
use crate::segment::Segment;
use crate::view::{Interrupt, OplogView, ReadConcern, Shared, WaitOutcome};

/// Each frame tells where the next one begins, so a processor cannot run ahead by itself. A cursor asks for the header so many
/// frames ahead, as if they were all as long as this one.
const PREFETCH_FRAMES: usize = 16;

/// One entry of the log, borrowed from the map for as long as the cursor stands on it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    segment: &'a Arc<Segment>,
    offset: usize,
    header: FrameHeader,
}

impl<'a> Entry<'a> {
    /// The entry with the frame at `offset`, which has been checked.
    pub(crate) fn new(segment: &'a Arc<Segment>, offset: usize, header: FrameHeader) -> Entry<'a> {
        Entry {
            segment,
            offset,
            header,
        }
    }

    /// Its position.
    #[must_use]
    pub fn op_id(&self) -> OpId {
        self.header.op_id
    }

    /// The term it was written in.
    #[must_use]
    pub fn term(&self) -> Term {
        self.header.term
    }

    /// When it was written; members of a batch share one.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.header.timestamp
    }

    /// How its payload is to be read.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.header.kind
    }

    /// Whether it was appended as a member of a batch.
    #[must_use]
    pub fn in_batch(&self) -> bool {
        self.header.flags & crate::frame::FLAG_BATCH != 0
    }

    /// Whether the batch ends with it; an entry appended by itself ends what it began.
    #[must_use]
    pub fn ends_batch(&self) -> bool {
        self.header.ends_batch()
    }

    /// Its payload, where it lies.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.segment.payload(self.offset, &self.header)
    }

    /// Its segment, and where in it its frame lies.
    pub(crate) fn place(&self) -> (&'a Arc<Segment>, std::ops::Range<usize>) {
        (self.segment, self.offset..self.offset + self.header.frame_bytes())
    }

    /// The entry as a value of its own, which keeps its segment mapped.
    #[must_use]
    pub fn share(&self) -> SharedEntry {
        SharedEntry {
            segment: Arc::clone(self.segment),
            offset: self.offset,
            header: self.header,
        }
    }
}

/// One entry of the log, held independently of any cursor. It copies nothing: it keeps the segment mapped, also after a
/// trim has unlinked it.
#[derive(Clone, Debug)]
pub struct SharedEntry {
    segment: Arc<Segment>,
    offset: usize,
    header: FrameHeader,
}

impl SharedEntry {
    /// The entry, borrowed.
    #[must_use]
    pub fn entry(&self) -> Entry<'_> {
        Entry {
            segment: &self.segment,
            offset: self.offset,
            header: self.header,
        }
    }

    /// Its position.
    #[must_use]
    pub fn op_id(&self) -> OpId {
        self.header.op_id
    }

    /// The term it was written in.
    #[must_use]
    pub fn term(&self) -> Term {
        self.header.term
    }

    /// When it was written.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.header.timestamp
    }

    /// How its payload is to be read.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.header.kind
    }

    /// Its payload, where it lies.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.segment.payload(self.offset, &self.header)
    }
}

/// A position in the log that moves forward, entry by entry, and can wait for the next one.
///
/// It takes no lock per entry: it follows the frames through the map and looks at one watermark when it has reached the
/// last one it knew of. Between segments it looks up the next one.
///
/// # Falling behind
///
/// A cursor costs the writer nothing. When a trim overtakes it, it finishes the segment it is in and then fails with
/// [`Error::HistoryLost`]; it never skips.
#[derive(Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    concern: ReadConcern,
    next: OpId,
    /// The watermark when it was last looked at.
    limit: OpId,
    /// Segment and offset of entry `next`, once known.
    place: Option<(Arc<Segment>, usize)>,
}

impl Cursor {
    pub(crate) fn new(shared: Arc<Shared>, next: OpId, concern: ReadConcern) -> Cursor {
        Cursor {
            shared,
            concern,
            next,
            limit: OpId::ZERO,
            place: None,
        }
    }

    /// The entry that comes next.
    #[must_use]
    pub fn position(&self) -> OpId {
        self.next
    }

    /// Which entries it sees.
    #[must_use]
    pub fn concern(&self) -> ReadConcern {
        self.concern
    }

    /// The next entry if it is there, and moves behind it.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryLost`] when a trim has overtaken the cursor, [`Error::Corrupt`] and its kin when the entry cannot be
    /// read. The cursor stays where it is.
    #[inline]
    pub fn try_next(&mut self) -> Result<Option<Entry<'_>>> {
        if self.next > self.limit {
            self.limit = self.shared.limit(self.concern);
            if self.next > self.limit {
                return Ok(None);
            }
        }
        let (offset, header) = match &self.place {
            Some((segment, offset)) if segment.last().is_none_or(|last| self.next <= last) => {
                match segment.frame(*offset, self.next) {
                    Ok(header) => (*offset, header),
                    Err(_) => self.step_over()?,
                }
            }
            _ => self.step_over()?,
        };
        self.next = self.next.next();
        let Some((segment, place)) = &mut self.place else {
            return Ok(None);
        };
        *place = offset + header.frame_bytes();
        segment
            .region()
            .prefetch(*place + PREFETCH_FRAMES * header.frame_bytes());
        Ok(Some(Entry {
            segment,
            offset,
            header,
        }))
    }

    /// Finds entry `next` where it does not follow its predecessor directly: at first, and in the next segment.
    #[cold]
    fn step_over(&mut self) -> Result<(usize, FrameHeader)> {
        let (segment, offset, header) = match &self.place {
            Some((segment, offset)) => {
                let successor = self.shared.successor(segment, self.next)?;
                let successor = successor.ok_or_else(|| self.shared.corrupt(segment, *offset, self.next))?;
                let header = successor.frame(FRAMES_START, self.next);
                let header = header.map_err(|e| self.shared.corrupt(&successor, e.offset, e.expected))?;
                (successor, FRAMES_START, header)
            }
            None => self.locate()?,
        };
        self.place = Some((segment, offset));
        Ok((offset, header))
    }

    fn locate(&self) -> Result<(Arc<Segment>, usize, FrameHeader)> {
        let mut segment = self.shared.covering(self.next)?;
        loop {
            let found = segment
                .locate(self.next)
                .and_then(|at| Ok((at, segment.frame(at, self.next)?)));
            match found {
                Ok((offset, header)) => return Ok((segment, offset, header)),
                // The newest segment this process knew of may have got successors since.
                Err(e) => match self.shared.successor(&segment, e.expected)? {
                    Some(successor) => segment = successor,
                    None => return Err(self.shared.corrupt(&segment, e.offset, e.expected)),
                },
            }
        }
    }

    /// Blocks until the next entry is there, the deadline passes or `interrupt` is raised.
    #[must_use]
    pub fn wait(&self, deadline: Option<Instant>, interrupt: &Interrupt) -> WaitOutcome {
        self.shared.wait(self.next, self.concern, deadline, interrupt)
    }

    /// Whether the next entry is there, for async callers: when it is not, the task is woken at the next change.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the log was closed by its writer in this process and nothing is left to read.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let ready = || self.shared.limit(self.concern) >= self.next;
        if ready() {
            return Poll::Ready(Ok(()));
        }
        self.view().wake_on_change(self.concern, context.waker());
        if ready() {
            return Poll::Ready(Ok(()));
        }
        if self.view().is_closed() {
            return Poll::Ready(Err(Error::Closed));
        }
        Poll::Pending
    }

    /// A view of the cursor's log.
    #[must_use]
    pub fn view(&self) -> OplogView {
        OplogView {
            shared: Arc::clone(&self.shared),
        }
    }
}

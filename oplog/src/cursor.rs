//! Reading forward: a cursor over entries that lie where the writer put them.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use crate::courier;
use crate::error::{Error, Result};
use crate::format::FRAMES_START;
use crate::frame::FrameHeader;
use crate::fresh::{Chunk, Fresh};
use crate::ids::{OpId, Term, Timestamp};
use crate::primitives::{Instant, Mutex, MutexGuard};
use crate::segment::{InvalidFrame, Segment};
use crate::view::{Interrupt, OplogView, ReadConcern, Shared, WaitOutcome};
use crate::wakers::Registration;

/// Each frame tells where the next one begins, so a processor cannot run ahead by itself. A cursor asks for the header so many
/// frames ahead, as if they were all as long as this one.
const PREFETCH_FRAMES: usize = 16;

/// What it asks for at a time.
const LINE_BYTES: usize = 64;

/// What an entry's bytes lie in, and where its frame begins there.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Segment(&'a Arc<Segment>, usize),
    /// It was in the log buffer, and has been copied.
    Copied(&'a Arc<Chunk>, usize),
}

/// One entry of the log, borrowed for as long as the cursor stands on it: from the map of its segment, or, when it is so new
/// that it is not there yet, from the cursor.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    place: Place<'a>,
    header: FrameHeader,
}

impl<'a> Entry<'a> {
    /// The entry with the frame at `offset`, which has been checked.
    pub(crate) fn new(segment: &'a Arc<Segment>, offset: usize, header: FrameHeader) -> Entry<'a> {
        Entry {
            place: Place::Segment(segment, offset),
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
        match self.place {
            Place::Segment(segment, offset) => segment.payload(offset, &self.header),
            Place::Copied(chunk, at) => chunk.payload(at, &self.header),
        }
    }

    /// Its segment, and where in it its frame lies; nothing while that is in the log buffer.
    pub(crate) fn place(&self) -> Option<(&'a Arc<Segment>, std::ops::Range<usize>)> {
        match self.place {
            Place::Segment(segment, offset) => Some((segment, offset..offset + self.header.frame_bytes())),
            Place::Copied(..) => None,
        }
    }

    /// The entry as a value of its own, which keeps its segment mapped.
    #[must_use]
    pub fn share(&self) -> SharedEntry {
        let place = match self.place {
            Place::Segment(segment, offset) => SharedPlace::Segment(Arc::clone(segment), offset),
            Place::Copied(chunk, at) => SharedPlace::Copied(Arc::clone(chunk), at),
        };
        SharedEntry {
            place,
            header: self.header,
        }
    }
}

/// As [`Place`], held.
#[derive(Clone, Debug)]
enum SharedPlace {
    Segment(Arc<Segment>, usize),
    Copied(Arc<Chunk>, usize),
}

/// One entry of the log, held independently of any cursor. It copies nothing: it keeps the segment mapped, also after a
/// trim has unlinked it, or the few KiB that a cursor has copied out of the log buffer.
#[derive(Clone, Debug)]
pub struct SharedEntry {
    place: SharedPlace,
    header: FrameHeader,
}

impl SharedEntry {
    /// The entry with the frame at `offset`, which has been checked.
    pub(crate) fn new(segment: Arc<Segment>, offset: usize, header: FrameHeader) -> SharedEntry {
        SharedEntry {
            place: SharedPlace::Segment(segment, offset),
            header,
        }
    }

    /// The entry, borrowed.
    #[must_use]
    pub fn entry(&self) -> Entry<'_> {
        let place = match &self.place {
            SharedPlace::Segment(segment, offset) => Place::Segment(segment, *offset),
            SharedPlace::Copied(chunk, at) => Place::Copied(chunk, *at),
        };
        Entry {
            place,
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

    /// The checksum in its frame, by the writer: the same in every member's log that has the entry with these bytes.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.header.crc
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
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.entry().payload()
    }

    /// The number of the segment that it keeps mapped, one more for each segment of the log; nothing when it keeps a copy.
    #[must_use]
    pub fn segment(&self) -> Option<u64> {
        match &self.place {
            SharedPlace::Segment(segment, _) => Some(segment.sequence.0),
            SharedPlace::Copied(..) => None,
        }
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
    /// How many lines of each frame it asks for ahead.
    lines_ahead: usize,
    /// Entries that were not in their segment yet.
    fresh: Fresh,
    /// The task that was told to wait.
    task: Mutex<Option<Registration>>,
}

/// Where entry `next` was found: its offset, its header, and whether it is in `fresh` and not in its segment.
type Found = (usize, FrameHeader, bool);

impl Cursor {
    pub(crate) fn new(shared: Arc<Shared>, next: OpId, concern: ReadConcern) -> Cursor {
        Cursor {
            shared,
            concern,
            next,
            limit: OpId::ZERO,
            place: None,
            lines_ahead: 1,
            fresh: Fresh::default(),
            task: Mutex::default(),
        }
    }

    /// The cursor for a reader that looks at the first bytes of every payload, so many: it asks the processor for them ahead,
    /// and not only for the headers.
    #[must_use]
    pub fn expecting_to_read(mut self, bytes: usize) -> Cursor {
        self.lines_ahead = 1 + bytes.div_ceil(LINE_BYTES).min(PREFETCH_FRAMES);
        self
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
            self.limit = match self.place {
                Some(_) => self.shared.limit(self.concern),
                // It is looked up, which only segments are made for.
                None => self.shared.moved_limit(self.concern),
            };
            if self.next > self.limit {
                self.fresh.rest();
                return Ok(None);
            }
        }
        let (offset, header, copied) = match &self.place {
            Some((segment, offset)) if segment.last().is_none_or(|last| self.next <= last) => {
                match segment.frame(*offset, self.next) {
                    Ok(header) => (*offset, header, false),
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
        if copied {
            let place = self.fresh.place().map(|(chunk, at)| Place::Copied(chunk, at));
            return Ok(place.map(|place| Entry { place, header }));
        }
        let ahead = *place + PREFETCH_FRAMES * header.frame_bytes();
        for line in 0..self.lines_ahead {
            segment.region().prefetch(ahead + line * LINE_BYTES);
        }
        Ok(Some(Entry::new(segment, offset, header)))
    }

    /// Finds entry `next` where it is not behind its predecessor in the segment: in the log buffer, in the next segment, or,
    /// at first, anywhere.
    #[cold]
    fn step_over(&mut self) -> Result<Found> {
        let next = self.next;
        if let Some((segment, offset)) = &self.place
            && segment.last().is_none_or(|last| next <= last)
            && let Ok((header, copied)) = read(&self.shared, &mut self.fresh, segment, *offset, next)
        {
            return Ok((*offset, header, copied));
        }
        let (segment, offset, header, copied) = match &self.place {
            Some((segment, offset)) => {
                let successor = self.shared.successor(segment, next)?;
                let successor = successor.ok_or_else(|| self.shared.corrupt(segment, *offset, next))?;
                let found = read(&self.shared, &mut self.fresh, &successor, FRAMES_START, next);
                let (header, copied) = found.map_err(|e| self.shared.corrupt(&successor, e.offset, e.expected))?;
                (successor, FRAMES_START, header, copied)
            }
            None => {
                let (segment, offset, header) = self.shared.locate(next)?;
                (segment, offset, header, false)
            }
        };
        self.place = Some((segment, offset));
        Ok((offset, header, copied))
    }

    /// Blocks until the next entry is there, the deadline passes or `interrupt` is raised.
    #[must_use]
    pub fn wait(&self, deadline: Option<Instant>, interrupt: &Interrupt) -> WaitOutcome {
        self.shared.wait(self.next, self.concern, deadline, interrupt)
    }

    /// Whether the next entry is there, for async callers: when it is not, the task that asked last is woken at the next change,
    /// as long as the cursor lives.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the log was closed by its writer in this process and nothing is left to read.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let ready = || self.shared.limit(self.concern) >= self.next;
        if ready() {
            return Poll::Ready(Ok(()));
        }
        // Not under its lock: a task may be woken there and then, and ask again on the spot.
        let mut registration = self.lock_task().take();
        courier::register(&self.shared, self.concern, context.waker(), &mut registration);
        let later = {
            let mut task = self.lock_task();
            match &mut *task {
                // Somebody who has asked since.
                Some(_) => registration,
                none => std::mem::replace(none, registration),
            }
        };
        drop(later);
        if ready() {
            return Poll::Ready(Ok(()));
        }
        if self.view().is_closed() {
            return Poll::Ready(Err(Error::Closed));
        }
        Poll::Pending
    }

    fn lock_task(&self) -> MutexGuard<'_, Option<Registration>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A view of the cursor's log.
    #[must_use]
    pub fn view(&self) -> OplogView {
        OplogView {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// The frame of entry `next` at `offset` of `segment`, wherever it is by now, and whether that is `fresh`.
fn read(
    shared: &Shared,
    fresh: &mut Fresh,
    segment: &Segment,
    offset: usize,
    next: OpId,
) -> Result<(FrameHeader, bool), InvalidFrame> {
    if let Ok(header) = segment.frame(offset, next) {
        return Ok((header, false));
    }
    if let Some(header) = shared.copy_fresh(fresh, segment, offset, next) {
        return Ok((header, true));
    }
    // It has been moved in between.
    let moved = segment.frame(offset, next).or_else(|_| {
        // Or a part of it has: what is moved at once ends anywhere. What cannot be moved the writer is told.
        let _ = shared.drain();
        segment.frame(offset, next)
    });
    moved.map(|header| (header, false))
}

#[cfg(test)]
mod tests {
    use crate::ids::OpId;
    use crate::options::{Durability, Options};
    use crate::view::ReadConcern;

    /// Frames that 256 KiB, which is what is moved at once, are no multiple of.
    const PAYLOAD: [u8; 300] = [7; 300];

    #[test]
    fn a_frame_of_which_a_part_has_been_moved_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes: 8 << 20,
            sync_interval: std::time::Duration::from_secs(3600),
            ..Options::default()
        };
        let log = options.open(dir.path()).unwrap();
        let append = || log.append(128, &PAYLOAD, Durability::Memory).unwrap().last;
        append();
        let view = log.view();
        let mut cursor = view.cursor(OpId::FIRST, ReadConcern::Local).unwrap();
        assert!(cursor.try_next().unwrap().is_some());
        // Less than half of what the buffer holds: the draining thread leaves it alone.
        let mut last = OpId::FIRST;
        for _ in 0..2000 {
            last = append();
        }
        cursor.shared.make_room().unwrap();
        while cursor.position() <= last {
            let expected = cursor.position();
            let entry = cursor.try_next().unwrap().unwrap();
            assert_eq!((entry.op_id(), entry.payload()), (expected, &PAYLOAD[..]));
        }
    }
}

//! Where an entry stands: its segment, and the place in it. What another process has rolled or trimmed meanwhile is found by
//! reading the directory again.

use std::sync::Arc;

use super::manifest::read_log;
use super::{ReadConcern, Shared};
use crate::chain::Link;
use crate::error::{Error, Result};
use crate::frame::FrameHeader;
use crate::ids::{OpId, Sequence};
use crate::segment::Segment;

impl Shared {
    /// The segment that holds `op_id`.
    pub(crate) fn covering(&self, op_id: OpId) -> Result<Arc<Segment>> {
        let lost = || Error::HistoryLost {
            requested: op_id,
            oldest: self.oldest(),
        };
        loop {
            if op_id < self.oldest() {
                return Err(lost());
            }
            if !self.writer && self.chain.load().covering(op_id).is_none() {
                // The view is older than the first segment.
                self.refresh()?;
            }
            let chain = self.chain.load();
            let link = chain.covering(op_id).ok_or_else(lost)?;
            match link.segment(&*self.disk, self.log_id, &self.recent) {
                Err(_) if op_id < self.oldest() => return Err(lost()),
                Err(error) if !self.writer => {
                    // It may be the newest this process knew of, trimmed since, and `op_id` in one that is newer.
                    self.refresh()?;
                    if self
                        .chain
                        .load()
                        .covering(op_id)
                        .is_some_and(|now| now.sequence == link.sequence)
                    {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    /// The segment of entry `op_id`, which has been written there, the offset of its frame, and its header.
    pub(crate) fn locate(&self, op_id: OpId) -> Result<(Arc<Segment>, usize, FrameHeader)> {
        let mut segment = self.covering(op_id)?;
        loop {
            let found = segment.locate(op_id).and_then(|at| Ok((at, segment.frame(at, op_id)?)));
            match found {
                Ok((offset, header)) => return Ok((segment, offset, header)),
                // The newest segment this process knew of may have got successors since.
                Err(e) => match self.successor(&segment, e.expected)? {
                    Some(successor) => segment = successor,
                    None => return Err(self.corrupt(&segment, e.offset, e.expected)),
                },
            }
        }
    }

    /// The segment after `segment`, whose entries before `next` have all been read; nothing when it has no successor.
    pub(crate) fn successor(&self, segment: &Segment, next: OpId) -> Result<Option<Arc<Segment>>> {
        if !self.writer
            && self
                .chain
                .load()
                .newest()
                .is_none_or(|link| link.sequence <= segment.sequence)
        {
            self.refresh()?;
        }
        let chain = self.chain.load();
        let Some(link) = chain.covering(next) else {
            return Err(Error::HistoryLost {
                requested: next,
                oldest: self.oldest(),
            });
        };
        if link.sequence <= segment.sequence {
            return Ok(None);
        }
        if link.first != next {
            // The chain went on from another OpID: what lies between is not there.
            return Err(self.corrupt(segment, segment.region().published(), next));
        }
        segment.set_last(next.previous());
        self.covering(next).map(Some)
    }

    /// Reads the directory again: another process may have rolled or trimmed.
    pub(crate) fn refresh(&self) -> Result<()> {
        let (manifest, fresh) = read_log(&*self.disk)?;
        let from = Sequence(manifest.first_sequence);
        // Links that are known stay, with what they have mapped. Another thread may have read the directory later than this one,
        // and have been here before: the chain is only ever extended, or a cursor of its would miss what it has seen.
        self.chain.rcu(|known| {
            let known = known.from(from);
            let newest = known.newest().map_or(Sequence(0), |link| link.sequence);
            let fresh = fresh.links().iter().filter(|link| link.sequence > newest);
            known.extended(fresh.map(|link| Link::new(link.sequence, link.first)))
        });
        self.recent.forget_before(from);
        Ok(())
    }

    pub(crate) fn corrupt(&self, segment: &Segment, offset: usize, expected: OpId) -> Error {
        let path = segment.path.clone();
        Error::Corrupt {
            path,
            offset: offset as u64,
            expected,
            durable: self.limit(ReadConcern::Durable),
        }
    }
}

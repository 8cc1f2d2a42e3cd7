//! From one segment to the next, and what is still on its way into them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Core;
use super::append::Appender;
use crate::chain::Link;
use crate::error::{Error, Result};
use crate::format::{self, FRAMES_START};
use crate::ids::OpId;
use crate::keeper::Prepared;
use crate::segment::Segment;

impl Core {
    /// Makes the prepared spare the newest segment.
    #[cold]
    #[inline(never)]
    pub(super) fn roll(&self, appender: &mut Appender) -> Result<()> {
        let sequence = appender.segment.sequence.next();
        let spare = self.keeper.take_spare(self, sequence)?;
        self.enter(appender, spare, self.segment_bytes as usize)
    }

    /// Makes a prepared file of `length` bytes the newest segment.
    pub(super) fn enter(&self, appender: &mut Appender, spare: Prepared, length: usize) -> Result<()> {
        let sequence = spare.sequence;
        let name = format::segment_name(sequence, appender.next);
        let path = self.disk().path().join(&name);
        if let Err(error) = self.disk().rename(&spare.name, &name) {
            self.keeper.put_back(spare);
            return Err(Error::io("rename", &path)(error));
        }
        let log_id = self.shared.log_id;
        let opened = Segment::on(
            spare.medium.clone(),
            log_id,
            sequence,
            appender.next,
            path.clone(),
            length,
        )
        .and_then(|segment| Ok((segment.region().claim().ok_or(Error::Closed)?, Arc::new(segment))));
        let (claim, segment) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Otherwise the next spare is renamed over it.
                if self.disk().rename(&name, &spare.name).is_ok() {
                    self.keeper.put_back(spare);
                }
                return Err(error);
            }
        };
        segment.trust_from(FRAMES_START);
        self.facts.note_length(sequence, length as u64);
        self.meters.rolls.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(segment = %path.display(), first = %appender.next, "rolled to a new segment");

        // From here on the segment is the newest. The chain first: who finds the old one full must find its successor.
        self.shared.chain.rcu(|chain| chain.with(Link::mapped(&segment)));
        appender.segment.set_last(appender.next.previous());
        self.syncer.rolled(Arc::clone(&segment));
        let after = appender.base + appender.offset as u64;
        let start = self.shared.buffer().follow(Arc::clone(&segment), claim, after);
        appender.segment = segment;
        appender.base = start - FRAMES_START as u64;
        appender.offset = FRAMES_START;
        appender.look = 0;
        appender.free_until = 0;
        // This only fails by poisoning the log.
        while !appender.ring.has_room(start) {
            self.shared.make_room()?;
        }
        appender.ring.publish(start);
        Ok(())
    }

    /// The draining thread: moves what nobody needs yet.
    pub(super) fn run_drain(&self) {
        let (buffer, tail) = (self.shared.buffer(), self.tail());
        // What has not been accepted yet is not moved: its append rings when it has.
        let filling = || buffer.is_filling() && tail.appended() < tail.accepted();
        let work = || filling() || tail.is_wanted() || self.is_closed();
        buffer.prefault(work);
        loop {
            tail.drain_bell.wait_until(None, work);
            if self.is_closed() || self.shared.drain().is_err() {
                return;
            }
        }
    }

    /// Where the newest segment ends, for a slot. The end belongs to the returned OpID. Nothing while the log rolls, unless it
    /// is to `wait`.
    pub(crate) fn end(&self, wait: bool) -> Option<(Arc<Segment>, OpId, usize)> {
        let appender = match wait {
            true => self.lock_appender(),
            false => self.look_for_appender()?,
        };
        Some((Arc::clone(&appender.segment), appender.next.previous(), appender.offset))
    }
}

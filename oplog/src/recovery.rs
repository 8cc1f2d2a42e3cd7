//! Finding the end of the log: what a torn tail is, and what is damage.
//!
//! A crash may leave, behind the last entry that was synced, any mixture of old and new sectors. So the first place where
//! no valid frame stands (where entry *e* should be) is the end of the log, unless something proves that *e* was once
//! durable: the watermark in a later frame, a watermark slot, or the live tail page. Then it is damage, and nothing is cut.
//!
//! Where only the process has died, the frames it had accepted and not yet moved are in the log buffer. They are moved as soon as
//! the search comes to where they belong, and then everything accepted must be there.
//!
//! The search begins at the newest watermark slot, not at the beginning, and covers only segments that are not sealed, so
//! its cost does not grow with the log. Recovery is idempotent: it may be interrupted anywhere and be started again.
//!
//! What was found and nothing proves to be on disk is written over itself, so that a sync writes it. If it is little, recovery
//! does so and syncs it; otherwise both is left to the log's first sync, and *durable* stands at what is proven until then.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::LeftOver;
use crate::chain::Chain;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::frame::FrameHeader;
use crate::ids::{LogId, OpId};
use crate::part_file::read_part;
use crate::region::Claim;
use crate::role_file::read_role;
use crate::segment::Segment;

#[path = "recovery/cut.rs"]
mod cut;
#[path = "recovery/end.rs"]
mod end;
#[path = "recovery/left_over.rs"]
mod left_over;
#[path = "recovery/scan.rs"]
mod scan;
#[path = "recovery/unsealed.rs"]
mod unsealed;

pub(crate) use cut::free_name;
pub(crate) use end::proven_by;
pub(crate) use scan::{Rest, Scan, scan, search, search_segment};

use cut::{cut, set_aside};
use end::{find_end, last_entry, probe, starting_point, unproven_from};
use left_over::move_left_over;
use unsealed::unsealed;

/// So many bytes that are not proven to be on disk are synced before the log is open: a few milliseconds, for which what was
/// found is durable from the beginning. More of them would hold up the open for as long as the disk takes.
const SYNC_AT_OPEN_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// What is known of a log before its segments have been looked at: what a live tail page says must be there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// The one segment was made by this open and is empty.
    pub(crate) new: bool,
    /// Covered by a successful sync.
    pub(crate) durable: OpId,
    /// Appended, by a log that was not poisoned.
    pub(crate) accepted: OpId,
    /// The log follows another, whose writer wrote its frames.
    pub(crate) following: bool,
}

/// The last entry before the end of the log, found without writing anything; for readers where no writer has been.
pub(crate) fn last_whole_entry(disk: &dyn Disk, log_id: LogId, chain: &Chain, first: OpId) -> Result<OpId> {
    let (segments, sealed) = unsealed(disk, log_id, chain, false)?;
    if segments.is_empty() {
        return Ok(first.previous());
    }
    segments.iter().try_for_each(|segment| probe(segment))?;
    // No writer is alive, so what stands in the files is all there will be: the whole frame area may be looked at. These
    // mappings serve the search only.
    for segment in &segments {
        segment.region().publish_foreign(segment.frames_limit());
    }
    let area = |i: usize, start: usize| segments[i].region().bytes(start..segments[i].frames_limit());
    let evidence = Evidence {
        following: read_role(disk, log_id)?.following || read_part(disk, log_id)?.is_some(),
        ..Evidence::default()
    };
    let nothing = |_: &Segment, _: &Scan| Ok(false);
    let end = match find_end((&segments, sealed.as_deref()), evidence, area, nothing, |_, _, _| {}) {
        Ok(end) => end.scan.next.previous(),
        // Readers get everything up to the damage, and the error when they reach it.
        Err(Error::Corrupt { durable, .. }) => durable,
        Err(e) => return Err(e),
    };
    Ok(end)
}

/// Frames of which nothing proves that they are on disk: a sync may have failed in an earlier life of the log, and the kernel
/// takes their pages for clean since.
#[derive(Debug)]
pub(crate) struct Unproven {
    segment: Arc<Segment>,
    frames: Range<usize>,
}

impl Unproven {
    /// Writes them over themselves: the next sync of the segment writes them. What they say does not change, so they may be read
    /// meanwhile.
    pub(crate) fn rewrite(&self) -> io::Result<()> {
        self.segment.file().rewrite(self.frames.clone())
    }
}

/// A log that has been recovered and is ready for appending.
pub(crate) struct Recovered {
    pub(crate) chain: Chain,
    /// Full segments that have no footer yet, oldest first. What is in them is durable if all that was found is.
    pub(crate) full: Vec<Arc<Segment>>,
    /// The last entry that is known to be durable.
    pub(crate) durable: OpId,
    /// What was durable where the last entry was written, when it was.
    pub(crate) confirmed: OpId,
    /// Where the frames stand that are not, which are to be written over themselves before they are synced.
    pub(crate) unproven: Vec<Unproven>,
    /// The newest segment and the claim to it.
    pub(crate) newest: (Arc<Segment>, Claim),
    /// With term and timestamp of the last entry, wherever it stands.
    pub(crate) end: Scan,
}

/// Recovers the log for its writer: finds the end, keeps a copy of what lies beyond and cuts it off, and makes the rest
/// durable, or leaves that to the first sync. The directory is the caller's to sync before anybody is told what is durable.
pub(crate) fn recover(disk: &dyn Disk, log_id: LogId, chain: &Chain, evidence: Evidence) -> Result<Recovered> {
    let _span = tracing::debug_span!("recover", durable = evidence.durable.get()).entered();
    let (segments, sealed) = unsealed(disk, log_id, chain, true)?;
    if !evidence.new {
        segments.iter().try_for_each(|segment| probe(segment))?;
    }
    let claims: Option<Vec<Claim>> = segments.iter().map(|s| s.region().claim()).collect();
    let mut claims = claims.ok_or(Error::Closed)?;
    let left_over = LeftOver::open(disk, log_id)?;
    let area = |i: usize, start: usize| claims[i].bytes(start..segments[i].frames_limit());
    let complete = |segment: &Segment, found: &Scan| match &left_over {
        Some(left_over) => move_left_over(segment, found, left_over),
        None => Ok(false),
    };
    let note = |i: usize, header: &FrameHeader, offset| segments[i].note(header.op_id, offset);
    let end = find_end((&segments, sealed.as_deref()), evidence, area, complete, note)?;

    let keep = chain.links().len() - (segments.len() - 1 - end.segment);
    for segment in segments[end.segment + 1..].iter().rev() {
        set_aside(disk, segment)?;
    }
    let newest = &segments[end.segment];
    cut(disk, newest, &claims[end.segment], &end)?;

    let (mut unproven, mut bytes) = (Vec::new(), 0);
    for (i, (segment, claim)) in segments.iter().zip(&mut claims).take(end.segment + 1).enumerate() {
        let (_, start) = starting_point(segment);
        segment.trust_from(start);
        if i < end.segment {
            segment.set_last(segments[i + 1].first.previous());
        }
        let frames_end = end.ends[i];
        claim.publish(frames_end);
        let from = unproven_from(segment, end.durable, start..frames_end);
        bytes += frames_end - from;
        unproven.push(Unproven {
            segment: Arc::clone(segment),
            frames: from..frames_end,
        });
    }
    let durable = match bytes <= SYNC_AT_OPEN_BYTES {
        true => {
            for unproven in std::mem::take(&mut unproven) {
                let rewritten = unproven.rewrite();
                rewritten.map_err(Error::io("write", &unproven.segment.path))?;
            }
            for segment in &segments[..=end.segment] {
                segment.sync().map_err(Error::io("sync", &segment.path))?;
            }
            end.scan.next.previous()
        }
        false => end.durable,
    };

    let mut scan = end.scan;
    let mut confirmed = OpId::ZERO;
    if let Some(last) = last_entry(&segments, sealed.as_deref(), &end) {
        (scan.term, scan.timestamp) = (last.term, last.timestamp);
        confirmed = last.watermark;
    }
    let mut open: Vec<_> = segments.into_iter().zip(claims).take(end.segment + 1).collect();
    let newest = open.pop().ok_or(Error::Closed)?;
    Ok(Recovered {
        chain: chain.truncated(keep),
        full: open.into_iter().map(|(segment, _)| segment).collect(),
        durable,
        confirmed,
        unproven,
        newest,
        end: scan,
    })
}

//! The chain of segments: which files the directory holds, in order, and the mapped segment behind each when needed.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, Weak};

use arc_swap::ArcSwapWeak;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{FileName, Manifest, parse_name};
use crate::ids::{LogId, OpId, Sequence};
use crate::primitives::Mutex;
use crate::segment::{Segment, StrideRoom};

/// One segment of the chain. It is mapped while somebody reads it, and unmapped afterwards.
///
/// Who finds it mapped takes no lock.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) sequence: Sequence,
    pub(crate) first: OpId,
    mapped: ArcSwapWeak<Segment>,
    /// Held by who maps it, so that it is mapped once.
    mapping: Mutex<()>,
}

impl Link {
    pub(crate) fn new(sequence: Sequence, first: OpId) -> Link {
        Link::with(sequence, first, Weak::new())
    }

    pub(crate) fn mapped(segment: &Arc<Segment>) -> Link {
        Link::with(segment.sequence, segment.first, Arc::downgrade(segment))
    }

    fn with(sequence: Sequence, first: OpId, mapped: Weak<Segment>) -> Link {
        Link {
            sequence,
            first,
            mapped: ArcSwapWeak::new(mapped),
            mapping: Mutex::default(),
        }
    }

    /// The mapped segment. If nobody holds it, it is mapped read-only and kept among the `recent` ones.
    pub(crate) fn segment(&self, disk: &dyn Disk, log_id: LogId, recent: &Recent) -> Result<Arc<Segment>> {
        if let Some(segment) = self.mapped.load().upgrade() {
            return Ok(segment);
        }
        let _mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have mapped it meanwhile.
        if let Some(segment) = self.mapped.load().upgrade() {
            return Ok(segment);
        }
        let segment = Segment::open(disk, log_id, self.sequence, self.first, false)?;
        let segment = Arc::new(segment.within(&recent.strides));
        self.mapped.store(Arc::downgrade(&segment));
        recent.keep(&segment);
        Ok(segment)
    }
}

/// The segments that were mapped last, kept so for a while: single reads here and there would otherwise map and unmap a
/// segment each time.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    segments: Mutex<VecDeque<Arc<Segment>>>,
    /// For what look-ups in segments find, also in those that only a reader holds.
    strides: Arc<StrideRoom>,
}

/// How many segments are kept mapped without a reader: each takes a map, of which a process has 65,530 in most places, and no
/// descriptor.
const RECENT_MAX: usize = 64;

impl Recent {
    fn keep(&self, segment: &Arc<Segment>) {
        let mut recent = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(segment));
    }

    /// Lets go of the segments before `sequence`, which have been trimmed.
    pub(crate) fn forget_before(&self, sequence: Sequence) {
        let mut recent = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|segment| segment.sequence >= sequence);
    }
}

/// The segments of a log in order, without gaps. Replaced as a whole when one is added or trimmed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    links: Vec<Arc<Link>>,
}

impl Chain {
    /// Reads the directory: every segment file from the manifest's first on. Gaps, a missing beginning and OpIDs that do not
    /// grow are errors; files below the first are what an interrupted trim left.
    pub(crate) fn read(disk: &dyn Disk, manifest: &Manifest) -> Result<Chain> {
        let (from, first) = (Sequence(manifest.first_sequence), OpId::new(manifest.first_op_id));
        let names = disk.names().map_err(Error::io("list", disk.path()))?;
        let mut found: Vec<(Sequence, OpId)> = names
            .iter()
            .filter_map(|name| match parse_name(name) {
                FileName::Segment(sequence, first) if sequence >= from => Some((sequence, first)),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        // The first segment gets its name before the manifest gets a term.
        if found.is_empty() && manifest.term > 0 {
            return Err(Error::MissingSegment {
                path: disk.path().to_path_buf(),
                sequence: from.0,
                from: first,
            });
        }
        let (mut expected, mut at_least) = (from, first);
        for (i, &(sequence, op_id)) in found.iter().enumerate() {
            if sequence > expected {
                return Err(Error::MissingSegment {
                    path: disk.path().to_path_buf(),
                    sequence: expected.0,
                    from: at_least,
                });
            }
            let fits = if i == 0 { op_id == first } else { op_id >= at_least };
            if sequence < expected || !fits {
                let path = disk.path().join(crate::format::segment_name(sequence, op_id));
                let what = "its name does not follow its predecessor's";
                return Err(Error::ForeignSegment { path, what });
            }
            (expected, at_least) = (sequence.next(), op_id.next());
        }
        let links = found
            .into_iter()
            .map(|(sequence, first)| Arc::new(Link::new(sequence, first)))
            .collect();
        Ok(Chain { links })
    }

    pub(crate) fn links(&self) -> &[Arc<Link>] {
        &self.links
    }

    pub(crate) fn oldest(&self) -> Option<&Arc<Link>> {
        self.links.first()
    }

    pub(crate) fn newest(&self) -> Option<&Arc<Link>> {
        self.links.last()
    }

    /// The segment that holds `op_id`, or would hold it if it is not there yet.
    pub(crate) fn covering(&self, op_id: OpId) -> Option<&Arc<Link>> {
        let after = self.links.partition_point(|link| link.first <= op_id);
        self.links.get(after.checked_sub(1)?)
    }

    pub(crate) fn extended(&self, more: impl IntoIterator<Item = Link>) -> Chain {
        let mut links = self.links.clone();
        links.extend(more.into_iter().map(Arc::new));
        Chain { links }
    }

    pub(crate) fn with(&self, link: Link) -> Chain {
        self.extended([link])
    }

    pub(crate) fn truncated(&self, keep: usize) -> Chain {
        Chain {
            links: self.links[..keep].to_vec(),
        }
    }

    /// Without the segments before `sequence`.
    pub(crate) fn from(&self, sequence: Sequence) -> Chain {
        Chain {
            links: self
                .links
                .iter()
                .filter(|link| link.sequence >= sequence)
                .cloned()
                .collect(),
        }
    }
}

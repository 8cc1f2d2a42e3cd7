//! What a power loss may leave of a file, and of the names in a directory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::rng::Rng;
use crate::region::Region;

/// What a disk writes as a whole, or cuts; the smallest unit in use.
pub(super) const SECTOR: usize = 512;

#[derive(Debug)]
pub(super) enum Current {
    Bytes(Vec<u8>),
    Mapped(Arc<Region>),
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) durable: Vec<u8>,
    pub(super) current: Current,
    /// Sectors whose write failed, as they read since then. While they read so, a sync takes them for clean.
    pub(super) lost: HashMap<usize, Vec<u8>>,
}

impl File {
    pub(super) fn new(durable: Vec<u8>, current: Vec<u8>) -> File {
        File {
            durable,
            current: Current::Bytes(current),
            lost: HashMap::new(),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match &self.current {
            Current::Bytes(bytes) => bytes.clone(),
            Current::Mapped(region) => {
                let mut bytes = vec![0; self.durable.len()];
                region.load(0, &mut bytes);
                bytes
            }
        }
    }

    /// Sectors that differ from the durable image, and what they read; without those taken for clean.
    pub(super) fn dirty(&self, current: &[u8]) -> Vec<Range<usize>> {
        let sectors = (0..current.len())
            .step_by(SECTOR)
            .map(|at| at..current.len().min(at + SECTOR));
        let dirty = sectors.filter(|sector| {
            let bytes = &current[sector.clone()];
            self.durable.get(sector.clone()) != Some(bytes)
                && self.lost.get(&sector.start).is_none_or(|lost| lost != bytes)
        });
        dirty.collect()
    }

    pub(super) fn sync(&mut self) {
        let current = self.bytes();
        for sector in self.dirty(&current) {
            self.lost.remove(&sector.start);
            self.durable.resize(current.len().max(self.durable.len()), 0);
            self.durable[sector.clone()].copy_from_slice(&current[sector]);
        }
    }

    pub(super) fn fail_sync(&mut self) {
        let current = self.bytes();
        for sector in self.dirty(&current) {
            self.lost.insert(sector.start, current[sector].to_vec());
        }
    }

    /// What power loss leaves.
    pub(super) fn crashed(&self, law: &Law, rng: &mut Rng) -> Vec<u8> {
        let current = self.bytes();
        let mut bytes = self.durable.clone();
        bytes.resize(current.len(), 0);
        for sector in self.dirty(&current) {
            let (old, new) = (&mut bytes[sector.clone()], &current[sector]);
            if rng.percent(law.cut) {
                let at = rng.below(new.len() as u64 + 1) as usize;
                let side = if rng.percent(70) { 0..at } else { at..new.len() };
                old[side.clone()].copy_from_slice(&new[side]);
            } else if rng.percent(law.new) {
                old.copy_from_slice(new);
            }
        }
        bytes
    }
}

/// How a power loss goes about it, drawn anew for each, so that extremes are seen as well as mixtures.
#[derive(Debug)]
pub(super) struct Law {
    /// Of a hundred sectors so many are cut.
    pub(super) cut: u64,
    /// Of a hundred others so many are new.
    pub(super) new: u64,
    /// Whether changed names are kept in order.
    pub(super) names_in_order: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
    /// The old name of a file that has been moved to another directory, and the new one, without which this one stays.
    Leave(String, String),
}

pub(super) type Names = BTreeMap<String, u64>;

impl Change {
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            Change::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Change::Unlink(name) | Change::Leave(name, _) => {
                names.remove(name);
            }
        }
    }

    pub(super) fn touched(&self) -> Vec<String> {
        match self {
            Change::Link(name, _) | Change::Unlink(name) => vec![name.clone()],
            Change::Rename(from, to) | Change::Leave(from, to) => vec![from.clone(), to.clone()],
        }
    }

    /// The directory whose sync makes it durable, as the prefix of its names.
    pub(super) fn directory(&self) -> &str {
        let (Change::Link(name, _) | Change::Rename(_, name) | Change::Unlink(name) | Change::Leave(name, _)) = self;
        &name[..name.rfind('/').map_or(0, |slash| slash + 1)]
    }
}

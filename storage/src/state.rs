//! The state as readers see it: generations of the overlay, newest first, over a snapshot of the engine.
//!
//! The pair is replaced as a whole, so a reader never sees a write in neither of them. A write that is in both (the applier
//! has just committed its generation) is read from the overlay and is the same there.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::OpId;

use crate::catalog::CollectionNumber;
use crate::engine::{EngineSnapshot, Scan, Slice, StateKey};
use crate::error::{Error, Result};
use crate::overlay::{Generation, GenerationScan, KeyRange, Version, VersionKey};

/// The two layers. See the module documentation.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    /// Newest first; the first is the one that is written. Never empty.
    pub(crate) generations: Vec<Arc<Generation>>,
    pub(crate) engine: Arc<EngineSnapshot>,
}

/// A document, or the value of an index entry, as it lies in one of the layers.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Overlay(Version),
    Engine(Slice),
    /// Made by a pipeline.
    Made(Arc<RawDocumentBuf>),
}

impl Stored {
    /// The document, borrowed.
    pub(crate) fn document(&self) -> Result<&RawDocument> {
        let bytes = match self {
            Stored::Overlay(version) => version.document().unwrap_or_default(),
            Stored::Engine(slice) => slice,
            Stored::Made(document) => return Ok(document),
        };
        RawDocument::from_bytes(bytes).map_err(|_| Error::Inconsistent {
            op_id: OpId::ZERO,
            what: "a stored document is malformed",
        })
    }

    pub(crate) fn into_document(self) -> Result<RawDocumentBuf> {
        match self {
            Stored::Made(document) => Ok(Arc::unwrap_or_clone(document)),
            stored => Ok(stored.document()?.to_owned()),
        }
    }

    /// Of an index entry: how many bytes of its key are values.
    pub(crate) fn indexed(&self) -> Result<usize> {
        let bytes = match self {
            Stored::Overlay(Version::Indexed(bytes)) => Some(*bytes),
            Stored::Engine(slice) => slice.as_ref().try_into().ok().map(u32::from_le_bytes),
            _ => None,
        };
        bytes.map(|bytes| bytes as usize).ok_or(Error::Inconsistent {
            op_id: OpId::ZERO,
            what: "an index entry is malformed",
        })
    }
}

/// The generations with something in them. What is put into an empty one later is above every OpID to read at now.
fn filled(generations: &[Arc<Generation>]) -> impl Iterator<Item = &Arc<Generation>> {
    generations.iter().filter(|generation| generation.bytes() > 0)
}

/// The newest version of a key in generations, the newest of which is the first.
fn newest<'a>(mut generations: impl Iterator<Item = &'a Arc<Generation>>, sought: &VersionKey) -> Option<Version> {
    generations.find_map(|generation| generation.get(sought))
}

impl Layers {
    /// The document under `key` as of `at`.
    pub(crate) fn get(&self, collection: CollectionNumber, key: &[u8], at: OpId) -> Result<Option<Stored>> {
        self.find(StateKey::new(collection.0, key), at)
    }

    /// The same, by the engine's key.
    pub(crate) fn find(&self, key: StateKey, at: OpId) -> Result<Option<Stored>> {
        self.find_below(0, &VersionKey::at(key, at))
    }

    /// The same, of what is below the newest generation.
    pub(crate) fn find_frozen(&self, key: StateKey, at: OpId) -> Result<Option<Stored>> {
        self.find_below(1, &VersionKey::at(key, at))
    }

    fn find_below(&self, generations: usize, sought: &VersionKey) -> Result<Option<Stored>> {
        match newest(filled(&self.generations[generations..]), sought) {
            Some(Version::Deleted) => Ok(None),
            Some(version) => Ok(Some(Stored::Overlay(version))),
            None => Ok(self.engine.get(sought.key())?.map(Stored::Engine)),
        }
    }

    /// Whether the newest `count` generations say that there is something under a key as of `at`.
    pub(crate) fn has_lately(&self, key: StateKey, at: OpId, count: usize) -> bool {
        let lately = &self.generations[..count.min(self.generations.len())];
        let found = newest(filled(lately), &VersionKey::at(key, at));
        found.is_some_and(|version| !matches!(version, Version::Deleted))
    }

    fn recent(&self) -> impl Iterator<Item = &Arc<Generation>> {
        filled(&self.generations)
    }

    /// What a collection or index has in a range of keys as of `at`, in the order of the keys.
    pub(crate) fn scan(&self, collection: CollectionNumber, range: KeyRange, at: OpId) -> LayersScan {
        let recent = self.recent();
        let recent = recent
            .map(|generation| GenerationScan::new(Arc::clone(generation), collection, range.clone(), at))
            .collect();
        let KeyRange { from, to, descending } = range;
        let engine = self.engine.scan(
            collection.0,
            from.as_ref().map(Vec::as_slice),
            to.as_ref().map(Vec::as_slice),
        );
        LayersScan {
            recent,
            engine,
            older: None,
            descending,
        }
    }
}

/// Merges the layers; see [`Layers::scan`].
#[derive(Debug)]
pub(crate) struct LayersScan {
    /// Newest first.
    recent: Vec<GenerationScan>,
    engine: Scan,
    /// What the engine has next, once it was asked.
    older: Option<Option<(StateKey, Slice)>>,
    descending: bool,
}

impl LayersScan {
    /// The generation with the key that comes next; of those that share it, the newest.
    fn next_recent(&mut self) -> Option<usize> {
        for scan in &mut self.recent {
            scan.prepare();
        }
        let mut best: Option<(usize, &[u8])> = None;
        for (i, scan) in self.recent.iter().enumerate() {
            let Some(key) = scan.front() else { continue };
            let earlier = best.is_none_or(|(_, best)| if self.descending { key > best } else { key < best });
            if earlier {
                best = Some((i, key));
            }
        }
        best.map(|(i, _)| i)
    }

    fn prepare_engine(&mut self) -> Result<()> {
        if self.older.is_none() {
            let next = if self.descending {
                self.engine.next_back()
            } else {
                self.engine.next()
            };
            self.older = Some(next.transpose()?);
        }
        Ok(())
    }

    /// Which layer has the next key; both may.
    fn order(&self, recent: Option<usize>) -> Option<std::cmp::Ordering> {
        let older = self.older.as_ref().and_then(Option::as_ref).map(|(key, _)| key.key());
        let recent = recent.and_then(|i| self.recent[i].front());
        Some(match (recent, older) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(recent), Some(older)) if self.descending => older.cmp(recent),
            (Some(recent), Some(older)) => recent.cmp(older),
        })
    }

    fn step(&mut self) -> Result<Option<(Vec<u8>, Stored)>> {
        loop {
            self.prepare_engine()?;
            let recent = self.next_recent();
            let Some(order) = self.order(recent) else {
                return Ok(None);
            };
            if order.is_ge()
                && let Some((key, value)) = self.older.take().flatten()
                && order.is_gt()
            {
                return Ok(Some((key.key().to_vec(), Stored::Engine(value))));
            }
            let Some((key, version)) = recent.and_then(|i| self.recent[i].take()) else {
                continue;
            };
            for scan in &mut self.recent {
                // The same key in older generations.
                scan.prepare();
                if scan.front() == Some(key.key()) {
                    scan.take();
                }
            }
            if !matches!(version, Version::Deleted) {
                return Ok(Some((key.key().to_vec(), Stored::Overlay(version))));
            }
        }
    }
}

impl Iterator for LayersScan {
    type Item = Result<(Vec<u8>, Stored)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

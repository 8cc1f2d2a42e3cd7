//! The state as readers see it: generations of the overlay, newest first, over a snapshot of the engine.
//!
//! The pair is replaced as a whole, so a reader never sees a write in neither of them. A write that is in both (the applier
//! has just committed its generation) is read from the overlay and is the same there.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::OpId;

use crate::catalog::CollectionNumber;
use crate::engine::{EngineSnapshot, Scan, Slice};
use crate::error::{Error, Result};
use crate::overlay::{Generation, Version};

/// The two layers. See the module documentation.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    /// Newest first; the first is the one that is written. Never empty.
    pub(crate) generations: Vec<Arc<Generation>>,
    pub(crate) engine: Arc<EngineSnapshot>,
}

/// A document as it lies in one of the layers.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Overlay(Version),
    Engine(Slice),
}

impl Stored {
    /// The document, borrowed.
    pub(crate) fn document(&self) -> Result<&RawDocument> {
        let bytes = match self {
            Stored::Overlay(version) => version.document().unwrap_or_default(),
            Stored::Engine(slice) => slice,
        };
        RawDocument::from_bytes(bytes).map_err(|_| Error::Inconsistent {
            op_id: OpId::ZERO,
            what: "a stored document is malformed",
        })
    }

    pub(crate) fn into_document(self) -> Result<RawDocumentBuf> {
        Ok(self.document()?.to_owned())
    }
}

impl Layers {
    /// The document under `key` as of `at`.
    pub(crate) fn get(&self, collection: CollectionNumber, key: &[u8], at: OpId) -> Result<Option<Stored>> {
        for generation in &self.generations {
            match generation.get(collection, key, at) {
                Some(Version::Deleted) => return Ok(None),
                Some(version) => return Ok(Some(Stored::Overlay(version))),
                None => {}
            }
        }
        Ok(self.engine.get(collection.0, key)?.map(Stored::Engine))
    }

    /// The documents of a collection as of `at`, in the order of their keys.
    pub(crate) fn scan(&self, collection: CollectionNumber, at: OpId) -> LayersScan {
        // Oldest first, so that newer versions replace older ones.
        let mut recent = BTreeMap::new();
        for generation in self.generations.iter().rev() {
            generation.scan(collection, at, |key, version| {
                recent.insert(Box::from(key), version.clone());
            });
        }
        let engine = self.engine.scan(collection.0, Bound::Unbounded, Bound::Unbounded);
        LayersScan {
            recent: recent.into_iter().peekable(),
            engine: engine.peekable(),
        }
    }
}

/// Merges the layers; see [`Layers::scan`].
#[derive(Debug)]
pub(crate) struct LayersScan {
    recent: std::iter::Peekable<std::collections::btree_map::IntoIter<Box<[u8]>, Version>>,
    engine: std::iter::Peekable<Scan>,
}

impl Iterator for LayersScan {
    type Item = Result<(Vec<u8>, Stored)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.recent.peek(), self.engine.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (_, Some(Err(_))) | (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((recent, _)), Some(Ok((engine, _)))) => (**recent).cmp(&**engine),
            };
            if order.is_ge() {
                let older = self.engine.next()?;
                if order.is_gt() {
                    return Some(
                        older
                            .map(|(key, value)| (key.to_vec(), Stored::Engine(value)))
                            .map_err(Error::from),
                    );
                }
            }
            match self.recent.next()? {
                (_, Version::Deleted) => {}
                (key, version) => return Some(Ok((key.into_vec(), Stored::Overlay(version)))),
            }
        }
    }
}

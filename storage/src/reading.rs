//! What a read sees: the state as of one OpID and, in a transaction, the transaction's own writes over it.
//!
//! A [`Reading`] owns everything it shows, so cursors made from it may be kept while the store and the transaction go on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::catalog::{CollectionInfo, CollectionNumber, Namespace};
use crate::engine::Slice;
use crate::error::Result;
use crate::overlay::{KeyRange, Version};
use crate::state::{LayersScan, Stored};
use crate::store::View;

/// Writes that are not in the log yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staged {
    /// Documents and index entries by number and key; nothing where they are deleted.
    versions: BTreeMap<CollectionNumber, BTreeMap<Vec<u8>, Option<Stored>>>,
    /// Collections that come into being with these writes. Their numbers are of no meaning elsewhere.
    pub(crate) created: HashMap<Namespace, Arc<CollectionInfo>>,
    /// Indexes in which a document has an array with these writes, whatever the catalogue says of them.
    pub(crate) multikey: HashSet<CollectionNumber>,
}

/// See the module documentation. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) view: View,
    pub(crate) staged: Arc<Staged>,
}

impl Reading {
    /// Of the state alone.
    pub(crate) fn new(view: View) -> Reading {
        Reading {
            view,
            staged: Arc::default(),
        }
    }

    /// The collection of that name.
    pub(crate) fn info(&self, namespace: &Namespace) -> Option<Arc<CollectionInfo>> {
        let staged = self.staged.created.get(namespace);
        staged.or_else(|| self.view.catalog.get(namespace)).cloned()
    }

    /// Whether these writes have put an array's keys into an index.
    pub(crate) fn has_staged_arrays(&self, index: CollectionNumber) -> bool {
        self.staged.multikey.contains(&index)
    }

    /// What lies under a key.
    pub(crate) fn get(&self, number: CollectionNumber, key: &[u8]) -> Result<Option<Stored>> {
        match self.staged.get(number, key) {
            Some(staged) => Ok(staged.cloned()),
            None => self.view.layers.get(number, key, self.view.at),
        }
    }

    /// What lies in a range of keys, in their order.
    pub(crate) fn scan(&self, number: CollectionNumber, range: KeyRange) -> ReadingScan {
        let mut staged: Vec<_> = self.staged_in(number, &range);
        if range.descending {
            staged.reverse();
        }
        ReadingScan {
            descending: range.descending,
            staged: staged.into_iter().peekable(),
            layers: self.view.layers.scan(number, range, self.view.at),
            below: None,
        }
    }

    fn staged_in(&self, number: CollectionNumber, range: &KeyRange) -> Vec<(Vec<u8>, Option<Stored>)> {
        let Some(versions) = self.staged.versions.get(&number).filter(|_| !range.is_empty()) else {
            return Vec::new();
        };
        let bounds = (
            range.from.as_ref().map(Vec::as_slice),
            range.to.as_ref().map(Vec::as_slice),
        );
        let versions = versions.range::<[u8], _>(bounds);
        versions.map(|(key, stored)| (key.clone(), stored.clone())).collect()
    }
}

/// Merges staged writes with the state; see [`Reading::scan`].
#[derive(Debug)]
pub(crate) struct ReadingScan {
    staged: std::iter::Peekable<std::vec::IntoIter<(Vec<u8>, Option<Stored>)>>,
    layers: LayersScan,
    /// What the layers have next, once they were asked.
    below: Option<Option<(Vec<u8>, Stored)>>,
    descending: bool,
}

impl ReadingScan {
    fn step(&mut self) -> Result<Option<(Vec<u8>, Stored)>> {
        loop {
            let Some((staged, _)) = self.staged.peek() else {
                return match self.below.take() {
                    Some(below) => Ok(below),
                    None => self.layers.next().transpose(),
                };
            };
            if self.below.is_none() {
                self.below = Some(self.layers.next().transpose()?);
            }
            let order = match self.below.as_ref().and_then(Option::as_ref) {
                None => std::cmp::Ordering::Less,
                Some((below, _)) if self.descending => below.cmp(staged),
                Some((below, _)) => staged.cmp(below),
            };
            if order.is_ge()
                && let Some(below) = self.below.take().flatten()
                && order.is_gt()
            {
                return Ok(Some(below));
            }
            if let Some((key, Some(stored))) = self.staged.next() {
                return Ok(Some((key, stored)));
            }
        }
    }
}

impl Iterator for ReadingScan {
    type Item = Result<(Vec<u8>, Stored)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

impl Staged {
    /// What is staged under a key, if anything is; nothing where it is deleted.
    pub(crate) fn get(&self, number: CollectionNumber, key: &[u8]) -> Option<Option<&Stored>> {
        let versions = self.versions.get(&number)?;
        versions.get(key).map(Option::as_ref)
    }

    /// What is staged under one number, in the order of the keys; nothing where it is deleted.
    pub(crate) fn of(&self, number: CollectionNumber) -> impl Iterator<Item = (&[u8], Option<&Stored>)> {
        let versions = self.versions.get(&number).into_iter().flatten();
        versions.map(|(key, stored)| (key.as_slice(), stored.as_ref()))
    }

    /// A document.
    pub(crate) fn put(&mut self, number: CollectionNumber, key: Vec<u8>, document: Slice) {
        self.set(number, key, Some(Stored::Overlay(Version::Put(document))));
    }

    /// An index entry with so many bytes of values.
    pub(crate) fn index(&mut self, number: CollectionNumber, key: Vec<u8>, values: u32) {
        self.set(number, key, Some(Stored::Overlay(Version::Indexed(values))));
    }

    /// The deletion of either.
    pub(crate) fn delete(&mut self, number: CollectionNumber, key: Vec<u8>) {
        self.set(number, key, None);
    }

    fn set(&mut self, number: CollectionNumber, key: Vec<u8>, stored: Option<Stored>) {
        self.versions.entry(number).or_default().insert(key, stored);
    }
}

//! The documents that a plan leads to, each once, with what it took to find them.

use std::collections::HashSet;
use std::sync::Arc;

use tailwater_oplog::OpId;

use crate::catalog::{CollectionInfo, CollectionNumber};
use crate::error::{Error, Result};
use crate::index::natural::{self, NaturalKeys};
use crate::overlay::KeyRange;
use crate::plan::Plan;
use crate::reading::{Reading, ReadingScan};
use crate::workspace::Found;

/// What has been looked at so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Examined {
    pub(crate) keys: u64,
    pub(crate) documents: u64,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Source {
    /// What is left to read, and from where; nothing at the end.
    reading: Option<Reading>,
    collection: CollectionNumber,
    index: Option<CollectionNumber>,
    /// Whether only documents with certain `_id`s are sought.
    by_id: bool,
    /// Keys of documents to be got, …
    points: std::vec::IntoIter<Vec<u8>>,
    /// … and stretches to be walked.
    ranges: std::vec::IntoIter<KeyRange>,
    scan: Option<ReadingScan>,
    /// Or the keys of all documents, in the order of a capped collection.
    natural: Option<NaturalKeys>,
    /// Documents that were found before; nothing where none can be found twice.
    seen: Option<HashSet<Vec<u8>>>,
    pub(crate) examined: Examined,
}

impl Source {
    pub(crate) fn nothing() -> Source {
        Source {
            reading: None,
            collection: CollectionNumber(0),
            index: None,
            by_id: false,
            points: Vec::new().into_iter(),
            ranges: Vec::new().into_iter(),
            scan: None,
            natural: None,
            seen: None,
            examined: Examined::default(),
        }
    }

    pub(crate) fn new(reading: &Reading, info: &Arc<CollectionInfo>, plan: &Plan<'_>) -> Source {
        if plan.bounds.is_empty() {
            return Source::nothing();
        }
        let points = plan.id_points();
        let order = info.natural.filter(|_| plan.natural);
        let ranges = if points.is_some() || order.is_some() {
            Vec::new()
        } else {
            plan.ranges()
        };
        Source {
            reading: Some(reading.clone()),
            collection: info.number,
            index: plan.index.map(|index| index.number),
            by_id: plan.index.is_none() && !plan.bounds.is_whole(),
            points: points.unwrap_or_default().into_iter(),
            ranges: ranges.into_iter(),
            scan: None,
            natural: order.map(|order| natural::keys(order, reading, plan.descending)),
            seen: plan.multikey.then(HashSet::new),
            examined: Examined::default(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Found>> {
        loop {
            let Some(reading) = &self.reading else { return Ok(None) };
            if let Some(key) = self.points.next() {
                self.examined.keys += 1;
                if let Some(stored) = reading.get(self.collection, &key)? {
                    self.examined.documents += 1;
                    return Ok(Some(Found { key, stored }));
                }
                continue;
            }
            if let Some(keys) = &mut self.natural {
                let Some(key) = keys.next().transpose()? else {
                    self.reading = None;
                    return Ok(None);
                };
                if let Some(stored) = reading.get(self.collection, &key)? {
                    self.examined.documents += 1;
                    return Ok(Some(Found { key, stored }));
                }
                continue;
            }
            let Some(scan) = &mut self.scan else {
                let Some(range) = self.ranges.next() else {
                    self.reading = None;
                    return Ok(None);
                };
                self.scan = Some(reading.scan(self.index.unwrap_or(self.collection), range));
                continue;
            };
            let Some((key, stored)) = scan.next().transpose()? else {
                self.scan = None;
                continue;
            };
            if self.index.is_none() {
                self.examined.keys += u64::from(self.by_id);
                self.examined.documents += 1;
                return Ok(Some(Found { key, stored }));
            }
            self.examined.keys += 1;
            let unfit = |what| Error::Inconsistent {
                op_id: OpId::ZERO,
                what,
            };
            let key = key.get(stored.indexed()?..).map(<[u8]>::to_vec);
            let key = key.ok_or_else(|| unfit("an index entry is malformed"))?;
            if let Some(seen) = &mut self.seen
                && !seen.insert(key.clone())
            {
                continue;
            }
            let stored = reading.get(self.collection, &key)?;
            let stored = stored.ok_or_else(|| unfit("an index entry leads to no document"))?;
            self.examined.documents += 1;
            return Ok(Some(Found { key, stored }));
        }
    }
}

//! The documents that plans lead to, each once, with what it took to find them.

use std::sync::Arc;

use tailwater_oplog::OpId;

use super::repeats::Repeats;
use crate::catalog::{CollectionInfo, CollectionNumber};
use crate::error::{Error, Result};
use crate::index::natural::{self, NaturalKeys};
use crate::overlay::KeyRange;
use crate::plan::Plan;
use crate::reading::{Reading, ReadingScan};
use crate::state::Stored;
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
    /// The plan that is followed, …
    path: Path,
    /// … and those that come after it.
    paths: std::vec::IntoIter<Path>,
    /// The number of the path that is followed.
    way: usize,
    /// Nothing where no document can be found twice.
    repeats: Option<Repeats>,
    pub(crate) examined: Examined,
}

/// What is left of one plan.
#[derive(Debug, Default)]
struct Path {
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
}

/// What a plan leads to next.
enum Step {
    /// The key of a document, if there is one.
    Key(Vec<u8>),
    /// The values of an index entry, and the key of the document that it leads to, which there must be.
    Entry(Vec<u8>, Vec<u8>),
    Document(Vec<u8>, Stored),
}

impl Path {
    fn new(reading: &Reading, info: &CollectionInfo, plan: &Plan<'_>) -> Path {
        let points = plan.id_points();
        let order = info.natural.filter(|_| plan.natural);
        let ranges = if points.is_some() || order.is_some() {
            Vec::new()
        } else {
            plan.ranges()
        };
        Path {
            index: plan.index.map(|index| index.number),
            by_id: plan.index.is_none() && !plan.bounds.is_whole(),
            points: points.unwrap_or_default().into_iter(),
            ranges: ranges.into_iter(),
            scan: None,
            natural: order.map(|order| natural::keys(order, reading, plan.descending)),
        }
    }

    fn step(
        &mut self,
        reading: &Reading,
        collection: CollectionNumber,
        examined: &mut Examined,
    ) -> Result<Option<Step>> {
        if let Some(key) = self.points.next() {
            examined.keys += 1;
            return Ok(Some(Step::Key(key)));
        }
        if let Some(keys) = &mut self.natural {
            return Ok(keys.next().transpose()?.map(Step::Key));
        }
        loop {
            let Some(scan) = &mut self.scan else {
                let Some(range) = self.ranges.next() else {
                    return Ok(None);
                };
                self.scan = Some(reading.scan(self.index.unwrap_or(collection), range));
                continue;
            };
            let Some((key, stored)) = scan.next().transpose()? else {
                self.scan = None;
                continue;
            };
            if self.index.is_none() {
                examined.keys += u64::from(self.by_id);
                return Ok(Some(Step::Document(key, stored)));
            }
            examined.keys += 1;
            let (mut values, length) = (key, stored.indexed()?);
            if length > values.len() {
                return Err(unfit("an index entry is malformed"));
            }
            let key = values.split_off(length);
            return Ok(Some(Step::Entry(values, key)));
        }
    }
}

impl Source {
    pub(crate) fn nothing() -> Source {
        Source {
            reading: None,
            collection: CollectionNumber(0),
            path: Path::default(),
            paths: Vec::new().into_iter(),
            way: 0,
            repeats: None,
            examined: Examined::default(),
        }
    }

    /// Follows these plans one after the other.
    pub(crate) fn new(reading: &Reading, info: &Arc<CollectionInfo>, plans: &[Plan<'_>]) -> Source {
        let plans: Vec<_> = plans.iter().filter(|plan| !plan.bounds.is_empty()).collect();
        let mut paths = plans.iter().map(|plan| Path::new(reading, info, plan));
        let Some(path) = paths.next() else {
            return Source::nothing();
        };
        let paths: Vec<_> = paths.collect();
        Source {
            reading: Some(reading.clone()),
            collection: info.number,
            path,
            paths: paths.into_iter(),
            way: 0,
            repeats: Repeats::of(&plans),
            examined: Examined::default(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Found>> {
        loop {
            let Some(reading) = &self.reading else { return Ok(None) };
            let Some(step) = self.path.step(reading, self.collection, &mut self.examined)? else {
                match self.paths.next() {
                    Some(path) => (self.path, self.way) = (path, self.way + 1),
                    None => self.reading = None,
                }
                continue;
            };
            let (Step::Key(key) | Step::Entry(_, key) | Step::Document(key, _)) = &step;
            if self.repeats.as_ref().is_some_and(|repeats| repeats.has_lately(key)) {
                continue;
            }
            let (values, key, stored) = match step {
                Step::Document(key, stored) => (None, key, stored),
                Step::Key(key) => match reading.get(self.collection, &key)? {
                    Some(stored) => (None, key, stored),
                    None => continue,
                },
                Step::Entry(values, key) => {
                    let stored = reading.get(self.collection, &key)?;
                    let stored = stored.ok_or_else(|| unfit("an index entry leads to no document"))?;
                    (Some(values), key, stored)
                }
            };
            if let Some(repeats) = &mut self.repeats {
                let values = values.as_deref().unwrap_or(&key);
                if repeats.came_before(self.way, values, &key, stored.document()?)? {
                    continue;
                }
            }
            self.examined.documents += 1;
            return Ok(Some(Found { key, stored }));
        }
    }
}

fn unfit(what: &'static str) -> Error {
    Error::Inconsistent {
        op_id: OpId::ZERO,
        what,
    }
}

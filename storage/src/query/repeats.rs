//! Which of the documents that plans lead to have come before.
//!
//! A document is found once for each of its keys that a plan reads, and again by every other plan that reads one. Those that came
//! lately are known by their keys. When these take more than [`LATELY_BYTES_MAX`] all are forgotten, and from then on it is
//! worked out of a document that is not known whether it came before: whether, of the keys that it has in the indexes, one was
//! read earlier. That needs no memory, and costs the document's keys each time it is found anew.
//!
//! It relies on what a search shows being one state: entries and documents fit each other.

use std::collections::HashSet;
use std::sync::Arc;

use bson::RawDocument;

use crate::error::Result;
use crate::index::{IndexDefinition, keys};
use crate::overlay::KeyRange;
use crate::plan::Plan;

/// Most bytes that the keys of documents which came lately may take.
const LATELY_BYTES_MAX: usize = if cfg!(test) { 400 } else { 4 << 20 };
/// What a key takes beside its bytes.
const KEY_BYTES: usize = 2 * size_of::<Vec<u8>>();

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Repeats {
    /// The plans, in the order in which they are followed.
    ways: Vec<Way>,
    lately: HashSet<Vec<u8>>,
    bytes: usize,
    has_forgotten: bool,
}

/// What one plan reads.
#[derive(Debug)]
struct Way {
    /// None where it reads the documents themselves.
    index: Option<Arc<IndexDefinition>>,
    /// In ascending order, and apart from each other.
    ranges: Vec<KeyRange>,
    descending: bool,
}

impl Repeats {
    /// Of these plans, followed one after the other; nothing where no document can come twice.
    pub(super) fn of(plans: &[&Plan<'_>]) -> Option<Repeats> {
        let may_repeat = plans.len() > 1 || plans.iter().any(|plan| plan.may_repeat());
        may_repeat.then(|| Repeats {
            ways: plans.iter().map(|plan| Way::of(plan)).collect(),
            lately: HashSet::new(),
            bytes: 0,
            has_forgotten: false,
        })
    }

    /// Whether the document under a key came lately.
    pub(super) fn has_lately(&self, key: &[u8]) -> bool {
        self.lately.contains(key)
    }

    /// Says of a document that has not come lately whether it came before, and remembers it. It was found by the plan with this
    /// number, under these values.
    ///
    /// # Errors
    ///
    /// Those of [`keys::of`].
    pub(super) fn came_before(
        &mut self,
        way: usize,
        values: &[u8],
        key: &[u8],
        document: &RawDocument,
    ) -> Result<bool> {
        let came = self.has_forgotten && self.was_read(way, values, key, document)?;
        let bytes = key.len() + KEY_BYTES;
        if self.bytes + bytes > LATELY_BYTES_MAX {
            self.lately.clear();
            self.bytes = 0;
            self.has_forgotten = true;
        }
        self.bytes += bytes;
        self.lately.insert(key.to_vec());
        Ok(came)
    }

    fn was_read(&self, way: usize, values: &[u8], key: &[u8], document: &RawDocument) -> Result<bool> {
        let Some((this, earlier)) = self.ways.get(..=way).and_then(<[Way]>::split_last) else {
            return Ok(false);
        };
        for way in earlier {
            if way.reads_any(key, document, |_| true)? {
                return Ok(true);
            }
        }
        this.reads_any(key, document, |other| match this.descending {
            false => other < values,
            true => other > values,
        })
    }
}

impl Way {
    fn of(plan: &Plan<'_>) -> Way {
        let ranges = match plan.id_points() {
            Some(points) => points.iter().map(|point| KeyRange::between(point, point)).collect(),
            None => plan.ranges(),
        };
        let mut way = Way {
            index: plan.index.map(|index| Arc::clone(&index.definition)),
            ranges,
            descending: plan.descending,
        };
        if way.descending {
            way.ranges.reverse();
        }
        way
    }

    /// Whether it reads a key of a document whose values are some that count. Where there is no index, the key of the document
    /// itself is the only one, and comes but once.
    fn reads_any(&self, key: &[u8], document: &RawDocument, counts: impl Fn(&[u8]) -> bool) -> Result<bool> {
        let Some(index) = &self.index else {
            return Ok(counts(key) && self.reads(key));
        };
        let values = keys::of(index, document)?.values;
        let mut entries = values.iter().filter(|values| counts(values));
        Ok(entries.any(|values| self.reads(&keys::entry_key(values, key))))
    }

    fn reads(&self, entry: &[u8]) -> bool {
        let begun = self.ranges.partition_point(|range| range.begins_by(entry));
        begun
            .checked_sub(1)
            .is_some_and(|last| self.ranges[last].contains(entry))
    }
}

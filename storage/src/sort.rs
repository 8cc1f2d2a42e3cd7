//! Sorting documents: what an order is, and sorting in memory where no index provides it.
//!
//! The order is MongoDB's (manual: *cursor.sort*, *Comparison/Sort Order*): values of all types are comparable; a missing field
//! sorts as null; of an array the least element counts when ascending and the greatest when descending, and an empty array
//! sorts below null. With several fields the document sorts by the least of the keys that an index on these fields and
//! directions would have for it.
//!
//! # Costs
//!
//! Sorting in memory keeps its documents and their keys, [`SORT_BYTES_MAX`] at most; with a limit it keeps only so many
//! documents as can still be wanted. Documents with equal keys stay in the order in which they came.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{Collation, Path};

use crate::error::{Error, Result, text};
use crate::index::{Direction, INDEX_FIELDS_MAX, IndexField, keys};
use crate::names::is_field_path;
use crate::query::MemoryShare;
use crate::workspace::Found;

/// Most bytes of documents and keys that one query sorts in memory; MongoDB's figure.
pub const SORT_BYTES_MAX: usize = 100 << 20;

/// An order: fields, and for each whether it ascends or descends.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SortPattern {
    fields: Vec<IndexField>,
    document: RawDocumentBuf,
    /// How strings sort; by their bytes if there is none.
    collation: Option<Collation>,
}

impl SortPattern {
    /// Reads `{field: 1 or -1, …}`; nothing for an empty document, which asks for no order.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSort`].
    pub(crate) fn parse(document: &RawDocument) -> Result<Option<SortPattern>> {
        let invalid = |what: String| Error::InvalidSort { what };
        let mut fields: Vec<IndexField> = Vec::new();
        for field in document {
            let (name, direction) = field.map_err(|_| invalid("it is malformed".into()))?;
            let name = name.as_str();
            let direction = match direction {
                bson::RawBsonRef::Int32(1) | bson::RawBsonRef::Int64(1) => Direction::Ascending,
                bson::RawBsonRef::Int32(-1) | bson::RawBsonRef::Int64(-1) => Direction::Descending,
                bson::RawBsonRef::Double(1.0) => Direction::Ascending,
                bson::RawBsonRef::Double(-1.0) => Direction::Descending,
                _ => return Err(invalid(format!("the field {name:?} needs 1 or -1"))),
            };
            if !is_field_path(name) {
                return Err(invalid(format!(
                    "the field {name:?} has an empty component or one that begins with $"
                )));
            }
            let path = Path::new(name).map_err(|source| invalid(source.to_string()))?;
            if fields.iter().any(|other| other.path == path) {
                return Err(invalid(format!("the field {name:?} occurs twice")));
            }
            fields.push(IndexField {
                components: path.components().map(str::to_owned).collect(),
                path,
                direction,
            });
        }
        if fields.len() > INDEX_FIELDS_MAX {
            return Err(invalid(format!("it has more than {INDEX_FIELDS_MAX} fields")));
        }
        let document = document.to_owned();
        Ok((!fields.is_empty()).then_some(SortPattern {
            fields,
            document,
            collation: None,
        }))
    }

    /// The same order, with strings by a collation.
    pub(crate) fn with_collation(self, collation: Option<Collation>) -> SortPattern {
        SortPattern { collation, ..self }
    }

    /// As it was given.
    pub(crate) fn document(&self) -> &RawDocument {
        &self.document
    }

    /// The direction in which walking an index without arrays meets documents in this order, if it does. `is_pinned` says of
    /// which fields everything that is walked has the same value.
    ///
    /// The index has strings in the order of this collation, or of their bytes. Documents that have the same values in it follow
    /// each other by the bytes of `_id`.
    pub(crate) fn direction_along(
        &self,
        fields: &[IndexField],
        order: Option<&Collation>,
        is_pinned: impl Fn(usize) -> bool,
    ) -> Option<Direction> {
        if self.collation.as_ref() != order {
            return None;
        }
        let pinned = |wanted: &IndexField| {
            let at = fields.iter().position(|field| field.path == wanted.path);
            at.is_some_and(&is_pinned)
        };
        let mut wanted = self.fields.iter().filter(|field| !pinned(field)).peekable();
        let mut along = None;
        let mut goes = |wanted: Direction, found: Direction| {
            let direction = if wanted == found {
                Direction::Ascending
            } else {
                Direction::Descending
            };
            *along.get_or_insert(direction) == direction
        };
        for (i, field) in fields.iter().enumerate() {
            match wanted.peek() {
                None => break,
                _ if is_pinned(i) => {}
                Some(next) if next.path == field.path => {
                    if !goes(next.direction, field.direction) {
                        return None;
                    }
                    wanted.next();
                }
                Some(_) => return None,
            }
        }
        if let Some(last) = wanted.next()
            && !(order.is_none()
                && last.path.as_str() == "_id"
                && goes(last.direction, Direction::Ascending)
                && wanted.next().is_none())
        {
            return None;
        }
        Some(along.unwrap_or(Direction::Ascending))
    }

    /// The bytes by which a document sorts.
    pub(crate) fn key(&self, document: &RawDocument) -> Result<Vec<u8>> {
        let wanted = keys::Wanted {
            fields: &self.fields,
            sparse: false,
            collation: self.collation.as_ref(),
        };
        keys::least(wanted, document).map_err(|unkeyed| {
            let sort = text(&self.document);
            match unkeyed {
                keys::Unkeyed::Parallel => Error::SortParallelArrays { sort },
                keys::Unkeyed::TooMany => Error::TooManyKeys { of: sort },
            }
        })
    }
}

/// A document that waits for its place.
#[derive(Debug)]
struct Waiting {
    key: Vec<u8>,
    arrival: u64,
    found: Found,
    bytes: usize,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.key, self.arrival).cmp(&(&other.key, other.arrival))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

/// Sorts documents in memory.
#[derive(Debug)]
pub(crate) struct Sorter {
    pattern: SortPattern,
    /// Only so many are wanted.
    wanted: usize,
    bytes_max: usize,
    memory: MemoryShare,
    arrivals: u64,
    /// The last of the order on top.
    waiting: BinaryHeap<Waiting>,
}

impl Sorter {
    /// For an order of which only the first `wanted` documents matter.
    pub(crate) fn new(pattern: SortPattern, wanted: Option<u64>) -> Sorter {
        Sorter {
            pattern,
            wanted: wanted.map_or(usize::MAX, |wanted| usize::try_from(wanted).unwrap_or(usize::MAX)),
            bytes_max: SORT_BYTES_MAX,
            memory: MemoryShare::default(),
            arrivals: 0,
            waiting: BinaryHeap::new(),
        }
    }

    /// With another bound on its memory.
    pub(crate) fn with_bytes_max(self, bytes_max: usize) -> Sorter {
        Sorter { bytes_max, ..self }
    }

    /// With memory of a budget.
    pub(crate) fn with_memory(self, memory: MemoryShare) -> Sorter {
        Sorter { memory, ..self }
    }

    /// Takes a document in.
    ///
    /// # Errors
    ///
    /// [`Error::SortMemoryExceeded`], [`Error::MemoryBudgetExceeded`], [`Error::SortParallelArrays`].
    pub(crate) fn push(&mut self, found: Found) -> Result<()> {
        let document = found.document()?;
        let key = self.pattern.key(document)?;
        let bytes = size_of::<Waiting>() + key.len() + found.key.len() + document.as_bytes().len();
        let waiting = Waiting {
            key,
            arrival: self.arrivals,
            found,
            bytes,
        };
        self.arrivals += 1;
        if self.waiting.len() >= self.wanted {
            match self.waiting.peek_mut() {
                Some(mut last) if waiting < *last => {
                    self.memory.release(last.bytes);
                    *last = waiting;
                }
                _ => return Ok(()),
            }
        } else {
            self.waiting.push(waiting);
        }
        self.memory.take(bytes)?;
        if self.memory.bytes() > self.bytes_max {
            return Err(Error::SortMemoryExceeded {
                bytes_max: self.bytes_max,
                sort: text(&self.pattern.document),
            });
        }
        Ok(())
    }

    /// The documents in order.
    pub(crate) fn finish(self) -> Sorted {
        Sorted {
            waiting: self.waiting.into_sorted_vec().into_iter(),
            memory: self.memory,
        }
    }
}

/// Documents in order.
#[derive(Debug)]
pub(crate) struct Sorted {
    waiting: std::vec::IntoIter<Waiting>,
    /// Of those that are left.
    memory: MemoryShare,
}

impl Iterator for Sorted {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let waiting = self.waiting.next()?;
        self.memory.release(waiting.bytes);
        Some(waiting.found)
    }
}

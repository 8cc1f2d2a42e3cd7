//! Finding the documents that match a filter.

use std::sync::Arc;

use bson::{Document, RawDocumentBuf};
use tailwater_matcher::{Conjunct, Expression, encode_key};
use tailwater_oplog::OpId;

use crate::catalog::{CollectionNumber, Namespace};
use crate::error::{Error, Result};
use crate::index::natural::{self, NaturalKeys};
use crate::overlay::KeyRange;
use crate::reading::{Reading, ReadingScan};
use crate::state::Stored;
use crate::workspace::Found;

/// Where the documents come from that a filter is tried on.
#[derive(Debug)]
enum Source {
    Nothing,
    One(Option<(Vec<u8>, Stored)>),
    Scan(ReadingScan),
    /// A capped collection in the order in which its documents came.
    Natural(Box<Reading>, CollectionNumber, NaturalKeys),
}

/// The stored documents that match a filter, with their keys, in the order of their `_id`s.
#[derive(Debug)]
pub(crate) struct Candidates {
    source: Source,
    filter: Arc<Expression>,
}

impl Candidates {
    /// Of a collection as `reading` sees it.
    pub(crate) fn new(reading: &Reading, namespace: &Namespace, filter: Arc<Expression>) -> Result<Candidates> {
        let Some(info) = reading.info(namespace) else {
            return Ok(Candidates {
                source: Source::Nothing,
                filter,
            });
        };
        let key = filter.indexable().into_iter().find_map(|conjunct| match conjunct {
            // An array as a whole is no `_id`, and neither is a regular expression, so equality means this key.
            Conjunct::Equal { path, value } if path.as_str() == "_id" => {
                let mut key = Vec::new();
                encode_key(value, &mut key);
                Some(key)
            }
            _ => None,
        });
        let source = match key {
            Some(key) => {
                let found = reading.get(info.number, &key)?;
                found.map_or(Source::Nothing, |stored| Source::One(Some((key, stored))))
            }
            None if let Some(order) = info.natural => {
                let keys = natural::keys(order, reading, false);
                Source::Natural(Box::new(reading.clone()), info.number, keys)
            }
            None => Source::Scan(reading.scan(info.number, KeyRange::all())),
        };
        Ok(Candidates { source, filter })
    }

    fn step(&mut self) -> Result<Option<Found>> {
        loop {
            let next = match &mut self.source {
                Source::Nothing => None,
                Source::One(found) => found.take(),
                Source::Scan(scan) => scan.next().transpose()?,
                Source::Natural(reading, number, keys) => match keys.next().transpose()? {
                    None => None,
                    Some(key) => match reading.get(*number, &key)? {
                        Some(stored) => Some((key, stored)),
                        None => continue,
                    },
                },
            };
            let Some((key, stored)) = next else {
                return Ok(None);
            };
            if self.filter.matches(stored.document()?)? {
                return Ok(Some(Found { key, stored }));
            }
        }
    }
}

impl Iterator for Candidates {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            // Going on would pass for an answer that leaves a document out.
            self.source = Source::Nothing;
        }
        step.transpose()
    }
}

/// The documents that match a filter. See [`Collection::find`](crate::Collection::find).
#[derive(Debug)]
pub struct Documents(pub(crate) Candidates);

impl Iterator for Documents {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Result<RawDocumentBuf>> {
        Some(self.0.next()?.and_then(|found| found.stored.into_document()))
    }
}

impl Documents {
    /// The documents decoded, for small results.
    ///
    /// # Errors
    ///
    /// Those of the items.
    pub fn into_documents(self) -> Result<Vec<Document>> {
        self.map(|document| {
            Document::try_from(document?.as_ref()).map_err(|_| Error::Inconsistent {
                op_id: OpId::ZERO,
                what: "a stored document is malformed",
            })
        })
        .collect()
    }
}

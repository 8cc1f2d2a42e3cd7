//! The collection that `$out` and `$merge` write to, and the batches they write.

use bson::{RawBsonRef, RawDocumentBuf};
use tailwater_oplog::Durability;

use super::error::AggregateErrorKind as Kind;
use super::parse::fields;
use super::stage::{Place, Stream};
use crate::catalog::Namespace;
use crate::error::Result;
use crate::names;
use crate::store::Store;

/// Documents that are written in one step: so many at most …
const BATCH_DOCUMENTS_MAX: usize = 1000;
/// … and no more once they have so many bytes.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// `"collection"` or `{db, coll}`.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) database: Option<String>,
    pub(super) collection: String,
}

/// Where a pipeline writes to, and how durably.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    pub(super) store: &'a Store,
    pub(super) durability: Durability,
}

impl Target {
    pub(super) fn parse(value: RawBsonRef<'_>, code: i32) -> Result<Target, Kind> {
        let mut target = Target {
            database: None,
            collection: String::new(),
        };
        if let RawBsonRef::String(name) = value {
            target.collection = name.to_owned();
        } else {
            for (name, value) in fields(value, code)? {
                match (name, value) {
                    ("db", RawBsonRef::String(name)) => target.database = Some(name.to_owned()),
                    ("coll", RawBsonRef::String(name)) => target.collection = name.to_owned(),
                    ("timeseries", _) => {
                        return Err(Kind::NotSupported {
                            reason: "there are no time series collections",
                        });
                    }
                    (name, _) => {
                        return Err(Kind::specification(
                            format!("{name:?} is no option, or no string"),
                            code,
                        ));
                    }
                }
            }
        }
        let invalid = |error: crate::error::Error| Kind::specification(error.to_string(), 73);
        names::check_collection(&target.collection).map_err(invalid)?;
        target
            .database
            .as_deref()
            .map_or(Ok(()), names::check_database)
            .map_err(invalid)?;
        Ok(target)
    }

    /// In the database of the pipeline, unless another one is named.
    pub(super) fn namespace(&self, database: &str) -> Namespace {
        Namespace::new(self.database.as_deref().unwrap_or(database), &self.collection)
    }

    /// The same, which must be one that a collection can have.
    pub(super) fn checked(&self, database: &str, place: &Place) -> Result<Namespace> {
        let namespace = self.namespace(database);
        let invalid = |error: crate::error::Error| place.error(Kind::specification(error.to_string(), 73));
        names::check_length(&namespace).map_err(invalid)?;
        Ok(namespace)
    }
}

/// The next documents to be written in one step; none when all are.
pub(super) fn batch(input: &mut Stream) -> Result<Vec<RawDocumentBuf>> {
    let (mut documents, mut bytes) = (Vec::new(), 0);
    while documents.len() < BATCH_DOCUMENTS_MAX
        && bytes < BATCH_BYTES_MAX
        && let Some(document) = input.next()
    {
        let document = document?;
        bytes += document.as_bytes().len();
        documents.push(document);
    }
    Ok(documents)
}

//! The store as it was at one OpID, for readers that take their time: change streams that begin with the documents there are,
//! and queries that are kept up to date.
//!
//! Unlike a transaction it writes nothing and does not expire.
//!
//! # What it costs
//!
//! It keeps the state of its beginning: the overlay of then, at most
//! [`overlay_bytes_max`](crate::StoreOptions::overlay_bytes_max), and in the engine what was replaced since. Drop it when it
//! is read.

use std::ops::Bound;
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_oplog::OpId;

use crate::catalog::Namespace;
use crate::collection::FindOptions;
use crate::error::Result;
use crate::overlay::KeyRange;
use crate::query::Documents;
use crate::reading::{Reading, ReadingScan};
use crate::sort::SortPattern;
use crate::store::Store;

/// The state as of one OpID. See the module documentation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    reading: Reading,
}

/// A collection that a [`Snapshot`] has.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SnapshotCollection {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its UUID, which a rename does not change.
    pub uuid: [u8; 16],
}

impl Store {
    /// The state as it is now, as far as the last visible write.
    ///
    /// # Errors
    ///
    /// [`Error::Log`](crate::Error::Log) when the store is closed.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            reading: Reading::new(self.core().view()?),
        })
    }

    /// Blocks until everything up to `op_id` survives power loss.
    ///
    /// # Errors
    ///
    /// The log's errors.
    pub fn sync_to(&self, op_id: OpId) -> Result<()> {
        Ok(self.core().log.sync(op_id)?)
    }
}

impl Snapshot {
    /// The last entry whose effect it has.
    #[must_use]
    pub fn as_of(&self) -> OpId {
        self.reading.view.at
    }

    /// Its collections, in the order of their UUIDs: an order that renaming does not disturb.
    #[must_use]
    pub fn collections(&self) -> Vec<SnapshotCollection> {
        let collections = self.reading.view.catalog.collections();
        let mut collections: Vec<_> = collections
            .map(|info| SnapshotCollection {
                database: info.namespace.database.clone(),
                name: info.namespace.collection.clone(),
                uuid: info.id,
            })
            .collect();
        collections.sort_unstable_by_key(|collection| collection.uuid);
        collections
    }

    /// The documents of a collection in the order of their `_id`s, behind the one with this key if it is given. A key is what
    /// [`tailwater_matcher::encode_key`] makes of an `_id`. A collection that is not there has no documents.
    #[must_use]
    pub fn scan(&self, uuid: &[u8; 16], after: Option<&[u8]>) -> SnapshotScan {
        let range = KeyRange {
            from: after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_vec())),
            ..KeyRange::all()
        };
        let info = self.reading.view.catalog.by_id(uuid).map(Arc::clone);
        SnapshotScan(info.map(|info| self.reading.scan(info.number, range)))
    }

    /// As [`Collection::find_with`](crate::Collection::find_with), as of this state. Without a collation strings are compared by
    /// their bytes, whatever the collection says: so do change streams, with whose events the result is put together.
    ///
    /// # Errors
    ///
    /// As there; [`Error::InvalidName`](crate::Error::InvalidName).
    pub fn find_with(
        &self,
        database: &str,
        collection: &str,
        filter: &RawDocument,
        options: &FindOptions,
    ) -> Result<Documents> {
        let (query, projection) = options.query(filter, None)?;
        let namespace = Namespace::new(database, collection);
        Ok(Documents::new(query.candidates(&self.reading, &namespace)?, projection))
    }
}

/// Documents in the order of their `_id`s; see [`Snapshot::scan`]. After an error there are no more.
#[derive(Debug)]
pub struct SnapshotScan(Option<ReadingScan>);

impl Iterator for SnapshotScan {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.0.as_mut()?.next()?;
        let document = found.and_then(|(_, stored)| stored.into_document());
        if document.is_err() {
            self.0 = None;
        }
        Some(document)
    }
}

/// An order of documents, for whoever keeps documents sorted as [`FindOptions::sort`] would have them.
#[derive(Clone, PartialEq, Debug)]
pub struct SortOrder(Option<SortPattern>);

impl SortOrder {
    /// Reads `{field: 1 or -1, …}`. An empty document asks for no order: every document has the same key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSort`](crate::Error::InvalidSort).
    pub fn parse(sort: &RawDocument) -> Result<SortOrder> {
        SortPattern::parse(sort).map(SortOrder)
    }

    /// Bytes by which a document comes in this order.
    ///
    /// # Errors
    ///
    /// [`Error::SortParallelArrays`](crate::Error::SortParallelArrays).
    pub fn key(&self, document: &RawDocument) -> Result<Vec<u8>> {
        self.0.as_ref().map_or(Ok(Vec::new()), |pattern| pattern.key(document))
    }
}

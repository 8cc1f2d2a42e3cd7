//! A query's documents, and the way from there to its live result.

use std::sync::Arc;

use bson::{Document, RawDocument, RawDocumentBuf};
use tailwater_changestream::{DocumentStore, Error, LiveQuery, LiveStream, StreamHandle, StreamReceiver};
use tailwater_oplog::ReadConcern;
use tailwater_storage as storage;

use storage::{Documents, FindOptions};

use crate::store::Collection;
use crate::wiring::Wiring;

/// The documents that a query finds. It is [`tailwater_storage::Documents`] with [`Find::live`].
#[derive(Debug)]
pub struct Find {
    documents: Documents,
    query: LiveQuery,
    /// An option that a live query does not take.
    refused: Option<&'static str>,
}

impl Find {
    pub(crate) fn new(
        documents: Documents,
        collection: &Collection,
        wiring: &Arc<Wiring>,
        filter: &RawDocument,
        options: &FindOptions,
    ) -> Find {
        let namespace = (collection.database_name(), collection.name());
        let store = Arc::clone(wiring) as Arc<dyn DocumentStore>;
        let query = LiveQuery::new(store, wiring.store.log(), namespace, filter).limit(options.limit.unwrap_or(0));
        let query = match &options.sort {
            Some(sort) => query.sort(sort),
            None => query,
        };
        let refused = [
            ("skip", options.skip > 0),
            ("projection", options.projection.is_some()),
            ("hint", options.hint.is_some()),
            ("collation", options.collation.is_some()),
        ];
        let refused = refused.into_iter().find_map(|(name, given)| given.then_some(name));
        Find {
            documents,
            query,
            refused,
        }
    }

    /// The same query, of which, once it is live, changes are seen so: at once ([`ReadConcern::Local`]), or when they are
    /// durable, the default.
    #[must_use]
    pub fn read_concern(self, concern: ReadConcern) -> Find {
        Find {
            query: self.query.read_concern(concern),
            ..self
        }
    }

    /// The same query as a live one: its result as of now, and then every change of it. See [`LiveQuery`].
    ///
    /// # Errors
    ///
    /// [`Error::LiveUnsupported`] for a query with a projection, a hint or a collation, or that skips documents; as [`LiveQuery::start`].
    pub fn live(self) -> tailwater_changestream::Result<LiveStream> {
        self.live_query()?.start()
    }

    /// As [`Find::live`], with a handle that ends it and a receiver.
    ///
    /// # Errors
    ///
    /// As [`Find::live`].
    pub fn subscribe(self) -> tailwater_changestream::Result<(StreamHandle, StreamReceiver<LiveStream>)> {
        self.live_query()?.subscribe()
    }

    fn live_query(self) -> tailwater_changestream::Result<LiveQuery> {
        match self.refused {
            Some(option) => Err(Error::LiveUnsupported { option }),
            None => Ok(self.query),
        }
    }

    /// The documents decoded, for small results.
    ///
    /// # Errors
    ///
    /// As [`Documents::into_documents`].
    pub fn into_documents(self) -> storage::Result<Vec<Document>> {
        self.documents.into_documents()
    }
}

impl Iterator for Find {
    type Item = storage::Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Self::Item> {
        self.documents.next()
    }
}

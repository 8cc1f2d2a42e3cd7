//! Reading documents.

use bson::{Bson, RawDocument, RawDocumentBuf};
use tailwater_matcher::{Collation, Expression};

use super::{Collection, CollectionSize, CountOptions, DistinctOptions, FindOptions};
use crate::error::Result;
use crate::query::{Candidates, Distinct, Documents, ExplainOptions, Explanation, Query, only_id};
use crate::reading::Reading;
use crate::state::Stored;

impl Collection {
    /// The documents that match `filter`, as they were when the call was made; later writes do not disturb it. They come in the
    /// order of their `_id`s, or of the index that was used to find them.
    ///
    /// What is returned may be kept, sent to another thread and continued at any time. It keeps the state of the call alive,
    /// so what is not used any more should be dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`](crate::Error::Filter); the iterator's items can fail with [`Error::Engine`](crate::Error::Engine) and
    /// [`Error::Evaluate`](crate::Error::Evaluate), after which there are no more.
    pub fn find(&self, filter: &RawDocument) -> Result<Documents> {
        self.find_with(filter, &FindOptions::default())
    }

    /// As [`Collection::find`], in an order, from a place on, up to a number, by a certain index, and only parts of the documents.
    ///
    /// An order that no index has is made in memory when the first document is asked for.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`]; [`Error::InvalidSort`](crate::Error::InvalidSort), [`Error::BadHint`](crate::Error::BadHint),
    /// [`Error::Projection`](crate::Error::Projection), [`Error::Collation`](crate::Error::Collation); of the items
    /// [`Error::SortMemoryExceeded`](crate::Error::SortMemoryExceeded),
    /// [`Error::SortParallelArrays`](crate::Error::SortParallelArrays) and [`Error::Project`](crate::Error::Project), too.
    pub fn find_with(&self, filter: &RawDocument, options: &FindOptions) -> Result<Documents> {
        let (query, projection) = options.query(filter, self.collation().as_ref())?;
        Ok(Documents::new(self.candidates(query)?, projection))
    }

    /// As [`Collection::find`], with a filter that has been parsed.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`](crate::Error::Engine).
    pub fn find_matching(&self, filter: Expression) -> Result<Documents> {
        Ok(Documents::new(self.candidates(Query::new(filter.into()))?, None))
    }

    /// The first document that matches, if any.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`].
    pub fn find_one(&self, filter: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        let Some(key) = only_id(filter) else {
            return self.find(filter)?.next().transpose();
        };
        let view = self.core().view()?;
        let Some(info) = view.catalog.get(&self.namespace) else {
            return Ok(None);
        };
        // Then another document may match, too.
        if info.options.collation.is_some() {
            return self.find(filter)?.next().transpose();
        }
        let stored = view.layers.get(info.number, &key, view.at)?;
        stored.map(Stored::into_document).transpose()
    }

    /// The first document that matches in an order, from a place on, by a certain index. The limit is of no meaning.
    ///
    /// # Errors
    ///
    /// As [`Collection::find_with`].
    pub fn find_one_with(&self, filter: &RawDocument, options: &FindOptions) -> Result<Option<RawDocumentBuf>> {
        let options = FindOptions {
            limit: Some(1),
            ..options.clone()
        };
        self.find_with(filter, &options)?.next().transpose()
    }

    /// How the documents that match are found, and what it takes: the query is planned, run to its end, and told about as by
    /// MongoDB's `explain`. Members: `queryPlanner.namespace`, `.parsedQuery`, `.winningPlan`; `executionStats.nReturned`,
    /// `.totalKeysExamined`, `.totalDocsExamined`.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`]; [`Error::BadHint`](crate::Error::BadHint), [`Error::InvalidSort`](crate::Error::InvalidSort),
    /// [`Error::SortMemoryExceeded`](crate::Error::SortMemoryExceeded),
    /// [`Error::SortParallelArrays`](crate::Error::SortParallelArrays).
    pub fn explain(&self, filter: &RawDocument, options: &ExplainOptions) -> Result<RawDocumentBuf> {
        self.explanation(filter, options)?.run()
    }

    /// As [`Collection::explain`], of a query that is only planned until somebody runs it.
    ///
    /// # Errors
    ///
    /// As there, but for those that running it has.
    pub fn explanation(&self, filter: &RawDocument, options: &ExplainOptions) -> Result<Explanation> {
        let query = options.query(filter, self.collation().as_ref())?;
        query.explanation(
            &Reading::new(self.core().view()?),
            &self.namespace,
            options.collation.as_deref(),
        )
    }

    /// How many documents match.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`].
    pub fn count(&self, filter: &RawDocument) -> Result<u64> {
        self.count_with(filter, &CountOptions::default())
    }

    /// How many documents match, from a place on and up to a number.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`]; [`Error::BadHint`](crate::Error::BadHint).
    pub fn count_with(&self, filter: &RawDocument, options: &CountOptions) -> Result<u64> {
        self.candidates(options.query(filter, self.collation().as_ref())?)?
            .count_all()
    }

    /// How many documents there are, without looking at them.
    ///
    /// # Errors
    ///
    /// [`Error::Log`](crate::Error::Log) when the store is closed.
    pub fn estimated_count(&self) -> Result<u64> {
        let view = self.core().view()?;
        let info = view.catalog.get(&self.namespace);
        Ok(info.map_or(0, |info| self.core().size(info.number).documents.unsigned_abs()))
    }

    /// How many documents there are, and how many bytes of BSON, from what is kept with the collection: nothing is read. None
    /// of either when there is no such collection.
    ///
    /// # Errors
    ///
    /// As [`Collection::estimated_count`].
    pub fn size(&self) -> Result<CollectionSize> {
        let view = self.core().view()?;
        let Some(info) = view.catalog.get(&self.namespace) else {
            return Ok(CollectionSize::default());
        };
        let size = self.core().size(info.number);
        Ok(CollectionSize {
            documents: size.documents.unsigned_abs(),
            data_bytes: size.bytes.unsigned_abs(),
        })
    }

    /// The different values that the documents that match have in a field (MongoDB manual: *distinct*), each as it was first
    /// met. A dotted path is followed through documents and arrays, and of an array at its end each element is a value.
    /// Numbers of different types that are equal are one value.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`]; [`Error::InvalidField`](crate::Error::InvalidField) for a path that cannot be,
    /// [`Error::DistinctTooLarge`](crate::Error::DistinctTooLarge) beyond 16 MiB of values.
    pub fn distinct(&self, field: &str, filter: &RawDocument) -> Result<Vec<Bson>> {
        self.distinct_with(field, filter, &DistinctOptions::default())
    }

    /// As [`Collection::distinct`], by a certain index or under a collation, by which equal strings are one value.
    ///
    /// # Errors
    ///
    /// As there; [`Error::BadHint`](crate::Error::BadHint), [`Error::Collation`](crate::Error::Collation).
    pub fn distinct_with(&self, field: &str, filter: &RawDocument, options: &DistinctOptions) -> Result<Vec<Bson>> {
        let default = self.collation();
        Distinct::gather(field, filter, options, default.as_ref(), |query| self.candidates(query))
    }

    /// By what operations compare strings that do not say it themselves.
    pub(super) fn collation(&self) -> Option<Collation> {
        self.core().collation_of(&self.namespace)
    }

    fn candidates(&self, query: Query) -> Result<Candidates> {
        query.candidates(&Reading::new(self.core().view()?), &self.namespace)
    }
}

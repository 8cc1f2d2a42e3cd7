//! What a transaction reads: the state of its beginning, and what it has written itself.

use bson::{Bson, RawDocument, RawDocumentBuf};

use super::TransactionCollection;
use crate::aggregate::{AggregateOptions, Aggregation, Pipeline};
use crate::collection::{CountOptions, DistinctOptions, FindOptions};
use crate::error::Result;
use crate::query::{Candidates, Distinct, Documents, Query, only_id};
use crate::workspace::Workspace;

impl TransactionCollection<'_> {
    /// The documents that match `filter`, as they are in the transaction when the call is made; later writes do not disturb
    /// it, nor does the transaction's end.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`](crate::Error::Filter), and those of every operation; the iterator's items can fail as those of
    /// [`Collection::find`](crate::Collection::find), which does not abort the transaction.
    pub fn find(&self, filter: &RawDocument) -> Result<Documents> {
        self.find_with(filter, &FindOptions::default())
    }

    /// As [`Collection::find_with`](crate::Collection::find_with).
    ///
    /// # Errors
    ///
    /// As there and as [`TransactionCollection::find`].
    pub fn find_with(&self, filter: &RawDocument, options: &FindOptions) -> Result<Documents> {
        self.transaction.run(|workspace| {
            let (query, projection) = options.query(filter, self.collation(workspace).as_ref())?;
            Ok(Documents::new(self.candidates(workspace, query)?, projection))
        })
    }

    /// The first document that matches, if any.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::find`].
    pub fn find_one(&self, filter: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        let options = FindOptions::default();
        let Some(key) = only_id(filter) else {
            return self.find_one_with(filter, &options);
        };
        self.transaction.run(|workspace| {
            // Then another document may match, too.
            if self.collation(workspace).is_some() {
                return self.first(workspace, filter, &options);
            }
            let found = workspace.find_key(&self.namespace, key)?;
            found.map(|(_, found)| found.stored.into_document()).transpose()
        })
    }

    /// As [`Collection::find_one_with`](crate::Collection::find_one_with).
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::find_with`].
    pub fn find_one_with(&self, filter: &RawDocument, options: &FindOptions) -> Result<Option<RawDocumentBuf>> {
        self.transaction.run(|workspace| self.first(workspace, filter, options))
    }

    fn first(
        &self,
        workspace: &Workspace,
        filter: &RawDocument,
        options: &FindOptions,
    ) -> Result<Option<RawDocumentBuf>> {
        let (mut query, projection) = options.query(filter, self.collation(workspace).as_ref())?;
        query.limit = Some(1);
        let candidates = self.candidates(workspace, query)?;
        Documents::new(candidates, projection).next().transpose()
    }

    /// How many documents match.
    ///
    /// # Errors
    ///
    /// As [`TransactionCollection::find`].
    pub fn count(&self, filter: &RawDocument) -> Result<u64> {
        self.count_with(filter, &CountOptions::default())
    }

    /// As [`Collection::count_with`](crate::Collection::count_with).
    ///
    /// # Errors
    ///
    /// As there and as [`TransactionCollection::find`].
    pub fn count_with(&self, filter: &RawDocument, options: &CountOptions) -> Result<u64> {
        self.transaction.run(|workspace| {
            let query = options.query(filter, self.collation(workspace).as_ref())?;
            self.candidates(workspace, query)?.count_all()
        })
    }

    /// As [`Collection::distinct`](crate::Collection::distinct).
    ///
    /// # Errors
    ///
    /// As there and as [`TransactionCollection::find`].
    pub fn distinct(&self, field: &str, filter: &RawDocument) -> Result<Vec<Bson>> {
        self.distinct_with(field, filter, &DistinctOptions::default())
    }

    /// As [`Collection::distinct_with`](crate::Collection::distinct_with).
    ///
    /// # Errors
    ///
    /// As there and as [`TransactionCollection::find`].
    pub fn distinct_with(&self, field: &str, filter: &RawDocument, options: &DistinctOptions) -> Result<Vec<Bson>> {
        self.transaction.run(|workspace| {
            let default = self.collation(workspace);
            Distinct::gather(field, filter, options, default.as_ref(), |query| {
                self.candidates(workspace, query)
            })
        })
    }

    /// As [`Collection::aggregate`](crate::Collection::aggregate), of what the transaction sees, in every collection that the
    /// pipeline reads.
    ///
    /// # Errors
    ///
    /// As there and as [`TransactionCollection::find`];
    /// [`Error::OperationNotSupportedInTransaction`](crate::Error::OperationNotSupportedInTransaction) for `$out` and `$merge`.
    pub fn aggregate(&self, pipeline: &Pipeline) -> Result<Aggregation> {
        self.aggregate_with(pipeline, AggregateOptions::default())
    }

    /// As [`TransactionCollection::aggregate`], with options.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn aggregate_with(&self, pipeline: &Pipeline, options: AggregateOptions) -> Result<Aggregation> {
        self.transaction
            .run(|workspace| pipeline.run_in(workspace.reading(), &self.namespace, options))
    }

    fn candidates(&self, workspace: &Workspace, query: Query) -> Result<Candidates> {
        query.candidates(workspace.reading(), &self.namespace)
    }
}

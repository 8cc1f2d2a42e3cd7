//! Running pipelines: on a collection, and on none.

use bson::{Bson, RawDocument, RawDocumentBuf};

use super::{Collection, DistinctOptions};
use crate::aggregate::{AggregateOptions, Aggregation, Pipeline};
use crate::catalog::Namespace;
use crate::error::Result;
use crate::names;
use crate::query::{Distinct, Explanation, Language};
use crate::store::Store;

impl Collection {
    /// What the pipeline makes of the collection's documents as they are now. One that ends with `$out` or `$merge` has written
    /// everything, as durably as asked, when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Aggregate`](crate::Error::Aggregate), which names the stage, and those of writes where the pipeline writes; the
    /// iterator's items can fail too.
    pub fn aggregate(&self, pipeline: &Pipeline) -> Result<Aggregation> {
        self.aggregate_with(pipeline, AggregateOptions::default())
    }

    /// As [`Collection::aggregate`], with options.
    ///
    /// # Errors
    ///
    /// As [`Collection::aggregate`].
    pub fn aggregate_with(&self, pipeline: &Pipeline, options: AggregateOptions) -> Result<Aggregation> {
        pipeline.run(&self.store, &self.namespace, options, self.durability)
    }

    /// How the pipeline finds what it begins with, and how many of its stages that takes in: those behind them are run one after
    /// the other. The first is told as by [`Collection::explanation`], with the collation that the pipeline was parsed with;
    /// nothing is written.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Aggregate`](crate::Error::Aggregate).
    pub fn explain_aggregate(
        &self,
        pipeline: &Pipeline,
        options: AggregateOptions,
        collation: Option<&RawDocument>,
    ) -> Result<(Explanation, usize)> {
        pipeline.explain(&self.store, &self.namespace, options, collation)
    }
}

impl Store {
    /// Runs a pipeline that begins with `$documents`; its `$lookup` and `$unionWith` find their collections in `database`.
    ///
    /// # Errors
    ///
    /// As [`Collection::aggregate`].
    pub fn aggregate(&self, database: &str, pipeline: &Pipeline) -> Result<Aggregation> {
        self.aggregate_with(database, pipeline, AggregateOptions::default())
    }

    /// As [`Store::aggregate`], with options. There is no index to be hinted at.
    ///
    /// # Errors
    ///
    /// As [`Collection::aggregate`].
    pub fn aggregate_with(
        &self,
        database: &str,
        pipeline: &Pipeline,
        options: AggregateOptions,
    ) -> Result<Aggregation> {
        names::check_database(database)?;
        let nowhere = Namespace::new(database, "");
        pipeline.run(self, &nowhere, options, None)
    }

    /// Runs a pipeline on documents that are no collection's; its `$lookup` and `$unionWith` find their collections in `database`.
    ///
    /// # Errors
    ///
    /// As [`Collection::aggregate`], for a pipeline that writes, too; of the items those of the documents.
    pub fn aggregate_over(
        &self,
        database: &str,
        pipeline: &Pipeline,
        options: AggregateOptions,
        documents: impl Iterator<Item = Result<RawDocumentBuf>> + Send + 'static,
    ) -> Result<Aggregation> {
        names::check_database(database)?;
        pipeline.run_over(self, database, options, Box::new(documents))
    }
}

/// The different values of a field in documents that are no collection's; as [`Collection::distinct_with`].
///
/// # Errors
///
/// As there, and those of the documents.
pub fn distinct_over(
    field: &str,
    options: &DistinctOptions,
    documents: impl Iterator<Item = Result<RawDocumentBuf>>,
) -> Result<Vec<Bson>> {
    let language = Language::new(options.collation.as_deref(), None)?;
    let mut distinct = Distinct::new(field, language.collation())?;
    for document in documents {
        distinct.add(&document?)?;
    }
    Ok(distinct.finish())
}

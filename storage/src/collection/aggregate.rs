//! Running pipelines: on a collection, and on none.

use bson::{RawDocument, RawDocumentBuf};

use super::Collection;
use crate::aggregate::{AggregateOptions, Aggregation, Pipeline};
use crate::catalog::Namespace;
use crate::error::Result;
use crate::names;
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
    /// the other. The first is told as by [`Collection::explain`], with the collation that the pipeline was parsed with; that query
    /// is run, and nothing is written.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Aggregate`](crate::Error::Aggregate).
    pub fn explain_aggregate(
        &self,
        pipeline: &Pipeline,
        options: AggregateOptions,
        collation: Option<&RawDocument>,
    ) -> Result<(RawDocumentBuf, usize)> {
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
}

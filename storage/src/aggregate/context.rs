//! What a running pipeline sees: one state of the store, the time, the values of variables, and its limits.

use std::sync::Arc;

use bson::{DateTime, RawBson};
use tailwater_matcher::{Collation, Expression, Fields, Transform, Variables};

use super::AggregateOptions;
use crate::reading::Reading;

/// See the module documentation. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) reading: Reading,
    pub(super) database: Arc<str>,
    pub(super) options: AggregateOptions,
    /// By what the pipeline compares strings, if not by their bytes.
    pub(super) collation: Option<Collation>,
    now: DateTime,
    /// Of `let`, the innermost last; nothing where the value is missing.
    bound: Arc<Vec<(String, Option<RawBson>)>>,
}

impl Context {
    pub(super) fn new(reading: Reading, database: &str, options: AggregateOptions) -> Context {
        Context {
            reading,
            database: database.into(),
            options,
            collation: None,
            now: DateTime::now(),
            bound: Arc::default(),
        }
    }

    /// The same with more variables.
    pub(super) fn with(&self, variables: impl IntoIterator<Item = (String, Option<RawBson>)>) -> Context {
        let mut bound = self.bound.as_ref().clone();
        for (name, value) in variables {
            // The inner one hides the outer one, also when it is missing.
            bound.retain(|(other, _)| *other != name);
            bound.push((name, value));
        }
        Context {
            bound: Arc::new(bound),
            ..self.clone()
        }
    }

    /// The same for a pipeline with a collation.
    pub(super) fn collated(self, collation: Option<Collation>) -> Context {
        Context { collation, ..self }
    }

    /// What expressions about `root` are evaluated with.
    pub(super) fn variables<'a>(&'a self, root: &'a dyn Fields) -> Variables<'a> {
        let mut variables = Variables::new(root).now(self.now);
        for (name, value) in self.bound.iter() {
            if let Some(value) = value {
                variables = variables.bind(name, value.as_raw_bson_ref());
            }
        }
        variables
    }

    pub(super) fn bind(&self, filter: &Expression) -> Arc<Expression> {
        let root = bson::RawDocumentBuf::new();
        Arc::new(filter.bind(&self.variables(&root)))
    }

    pub(super) fn bind_transform(&self, transform: &Transform) -> Transform {
        let root = bson::RawDocumentBuf::new();
        transform.bind(&self.variables(&root))
    }
}

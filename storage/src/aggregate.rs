//! Aggregation pipelines on collections (MongoDB manual: *Aggregation Stages*).
//!
//! A [`Pipeline`] is parsed once and run any number of times: by [`Collection::aggregate`](crate::Collection::aggregate), or by
//! [`Store::aggregate`](crate::Store::aggregate) where it begins with `$documents`. `docs/compatibility.md` lists the stages.
//!
//! # One state
//!
//! A run reads one state of the store, that of the moment of the call, also in `$lookup` and `$unionWith`, however long its
//! [`Aggregation`] is kept. `$out` and `$merge` do not change what it reads.
//!
//! # How it runs
//!
//! Documents are pulled through the stages one by one. Stages in a row that work document by document are one transform. The
//! `$match` stages in front, and a `$sort` behind them, are the collection's query, which uses its indexes.
//!
//! # Memory
//!
//! `$group`, `$bucket`, `$bucketAuto`, `$sort`, `$sample` and `$facet` hold documents, each up to
//! [`AggregateOptions::memory_bytes_max`]; beyond it the run fails with MongoDB's code 292, nothing is spilled to disk. Every
//! document that comes out of a stage has 16 MiB at most. Pipelines have [`STAGES_MAX`] stages and nest [`SUB_PIPELINES_MAX`]
//! levels deep.

mod bucket;
mod bucket_auto;
mod context;
mod count;
mod documents;
mod error;
mod facet;
mod field;
mod group;
mod lookup;
mod memory;
mod merge;
mod out;
mod parse;
mod reach;
mod sample;
mod sort;
mod source;
mod stage;
mod target;
mod union;
mod unwind;
mod window;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use tailwater_oplog::Durability;

use crate::catalog::Namespace;
use crate::error::{Error, Result};
use crate::query::{Explanation, Hint, Language, QueryControl};
use crate::reading::Reading;
use crate::store::Store;

pub use error::{AggregateError, AggregateErrorKind};
pub(crate) use out::is_temporary;
pub use reach::PipelineTarget;
pub use tailwater_matcher::STAGES_MAX;
use tailwater_matcher::{Collation, ValueExpression};

use context::Context;
use parse::Scope;
use stage::{Stage, StageKind, Stream, chain};
use target::Writing;

/// How deep pipelines may be within stages of pipelines; MongoDB's limit.
pub const SUB_PIPELINES_MAX: usize = 20;

/// Most bytes that one stage holds unless told otherwise; MongoDB's limit.
pub const STAGE_BYTES_MAX: usize = 100 << 20;

/// How a pipeline is run.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateOptions {
    /// Most bytes of documents and values that one stage holds. Default: [`STAGE_BYTES_MAX`].
    pub memory_bytes_max: usize,
    /// Which index of the collection the pipeline begins with. Default: whichever the planner chooses.
    pub hint: Option<Hint>,
    /// Whether what `$out` and `$merge` write may fail the validator of the collection that they write to. Default false.
    pub bypass_document_validation: bool,
    /// What ends it in the middle, and bounds what its stages hold together with those of others.
    pub control: QueryControl,
}

impl Default for AggregateOptions {
    fn default() -> AggregateOptions {
        AggregateOptions {
            memory_bytes_max: STAGE_BYTES_MAX,
            hint: None,
            bypass_document_validation: false,
            control: QueryControl::default(),
        }
    }
}

/// A checked pipeline. See the module documentation.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_storage::{Pipeline, Store};
///
/// # fn main() -> Result<(), tailwater_storage::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Store::open(dir.path())?;
/// let orders = store.collection("shop", "orders")?;
/// orders.insert_one(&rawdoc! { "_id": 1, "customer": "Ada", "total": 5 })?;
/// orders.insert_one(&rawdoc! { "_id": 2, "customer": "Ada", "total": 7 })?;
/// let pipeline = Pipeline::parse(&[
///     rawdoc! { "$match": { "total": { "$gt": 1 } } },
///     rawdoc! { "$group": { "_id": "$customer", "spent": { "$sum": "$total" } } },
/// ])?;
/// let found = orders.aggregate(&pipeline)?.collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(found, [rawdoc! { "_id": "Ada", "spent": 12 }]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    stages: Vec<Stage>,
    /// What expressions may use beside the documents.
    variables: Vec<(String, ValueExpression)>,
    /// What it was parsed of, where no collation was named: on a collection that has one it is parsed anew, by that.
    uncollated: Option<Arc<Given>>,
    /// By what it compares strings, if not by their bytes.
    collation: Option<Collation>,
}

/// What a pipeline is parsed of.
#[derive(Debug)]
struct Given {
    stages: Vec<RawDocumentBuf>,
    variables: RawDocumentBuf,
}

impl Pipeline {
    /// Checks the stages. The bytes are validated first, so untrusted ones are welcome.
    ///
    /// # Errors
    ///
    /// [`Error::Aggregate`], which names the stage.
    pub fn parse<D: AsRef<RawDocument>>(stages: &[D]) -> Result<Pipeline> {
        Pipeline::parse_with(stages, None)
    }

    /// As [`Pipeline::parse`], with a collation, `{locale: …, strength: …}` (MongoDB manual: *Collation*), by which all stages
    /// compare strings, also those of pipelines within them. Without one that is the default of the collection that it is run on.
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_storage::{Pipeline, Store};
    ///
    /// # fn main() -> Result<(), tailwater_storage::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// let orders = store.collection("shop", "orders")?;
    /// orders.insert_one(&rawdoc! { "_id": 1, "city": "Zürich", "total": 5 })?;
    /// orders.insert_one(&rawdoc! { "_id": 2, "city": "ZURICH", "total": 7 })?;
    /// let by_city = [rawdoc! { "$group": { "_id": "$city", "total": { "$sum": "$total" } } }];
    /// let letters = rawdoc! { "locale": "de", "strength": 1 };
    /// let pipeline = Pipeline::parse_with(&by_city, Some(&letters))?;
    /// let found = orders.aggregate(&pipeline)?.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(found, [rawdoc! { "_id": "Zürich", "total": 12 }]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pipeline::parse`]; [`Error::Collation`].
    pub fn parse_with<D: AsRef<RawDocument>>(stages: &[D], collation: Option<&RawDocument>) -> Result<Pipeline> {
        Pipeline::parse_with_variables(stages, collation, &RawDocumentBuf::new())
    }

    /// As [`Pipeline::parse_with`], with variables that its expressions may use, `{name: value, …}`: values are expressions without a
    /// document to be about (MongoDB manual: *aggregate*, `let`).
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_storage::{Pipeline, Store};
    ///
    /// # fn main() -> Result<(), tailwater_storage::Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// let orders = store.collection("shop", "orders")?;
    /// orders.insert_one(&rawdoc! { "_id": 1, "total": 5 })?;
    /// orders.insert_one(&rawdoc! { "_id": 2, "total": 7 })?;
    /// let dear = [rawdoc! { "$match": { "$expr": { "$gt": ["$total", "$$least"] } } }];
    /// let pipeline = Pipeline::parse_with_variables(&dear, None, &rawdoc! { "least": { "$add": [3, 3] } })?;
    /// let found = orders.aggregate(&pipeline)?.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(found, [rawdoc! { "_id": 2, "total": 7 }]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pipeline::parse_with`].
    pub fn parse_with_variables<D: AsRef<RawDocument>>(
        stages: &[D],
        collation: Option<&RawDocument>,
        variables: &RawDocument,
    ) -> Result<Pipeline> {
        let stages: Vec<&RawDocument> = stages.iter().map(AsRef::as_ref).collect();
        let mut pipeline = Pipeline::parse_in(Language::new(collation, None)?, &stages, variables)?;
        if collation.is_none_or(RawDocument::is_empty) {
            pipeline.uncollated = Some(Arc::new(Given {
                stages: stages.into_iter().map(RawDocument::to_owned).collect(),
                variables: variables.to_owned(),
            }));
        }
        Ok(pipeline)
    }

    fn parse_in(language: Language, documents: &[&RawDocument], variables: &RawDocument) -> Result<Pipeline> {
        let failed = |error| Error::Aggregate(Arc::new(error));
        let collation = language.collation().cloned();
        let scope = Scope::new(language);
        let variables = lookup::parse_let(&scope, RawBsonRef::Document(variables));
        let variables = variables.map_err(|kind| failed(kind.at(0, "")))?;
        let scope = scope.with(variables.iter().map(|(name, _)| name.clone()));
        Ok(Pipeline {
            stages: scope.stages(documents).map_err(failed)?,
            variables,
            uncollated: None,
            collation,
        })
    }

    /// As it is on a collection: by the collection's collation where it names none.
    fn on(&self, reading: &Reading, namespace: &Namespace) -> Result<Cow<'_, Pipeline>> {
        let info = reading.info(namespace);
        let default = info.as_ref().and_then(|info| info.options.collation.as_ref());
        let (Some(given), Some(_)) = (&self.uncollated, default) else {
            return Ok(Cow::Borrowed(self));
        };
        let stages: Vec<&RawDocument> = given.stages.iter().map(AsRef::as_ref).collect();
        Pipeline::parse_in(Language::new(None, default)?, &stages, &given.variables).map(Cow::Owned)
    }

    /// How it is run on a collection: the query that it begins with, explained, and of how many of its stages that query is made.
    pub(crate) fn explain(
        &self,
        store: &Store,
        namespace: &Namespace,
        options: AggregateOptions,
        collation: Option<&RawDocument>,
    ) -> Result<(Explanation, usize)> {
        self.check_source(namespace)?;
        let reading = Reading::new(store.core().view()?);
        let pipeline = self.on(&reading, namespace)?;
        let context = pipeline.context(reading, namespace, options)?;
        let hint = context.options.hint.as_ref();
        let (query, rest) = source::query(namespace, None, &pipeline.stages, hint, &context)?;
        let absorbed = pipeline.stages.len() - rest.len();
        Ok((query.explanation(&context.reading, namespace, collation)?, absorbed))
    }

    /// What it is run with: its variables have their values.
    fn context(&self, reading: Reading, namespace: &Namespace, options: AggregateOptions) -> Result<Context> {
        let context = Context::new(reading, &namespace.database, options);
        let nothing = RawDocumentBuf::new();
        let mut values = Vec::new();
        for (name, expression) in &self.variables {
            let value = expression.evaluate(&context.variables(&nothing));
            let value = value.and_then(tailwater_matcher::Value::into_bson);
            values.push((name.clone(), value.map_err(Error::from)?));
        }
        Ok(context.with(values).collated(self.collation.clone()))
    }

    /// Runs it on a collection, or on none.
    pub(crate) fn run(
        &self,
        store: &Store,
        namespace: &Namespace,
        options: AggregateOptions,
        durability: Option<Durability>,
    ) -> Result<Aggregation> {
        self.check_source(namespace)?;
        let core = store.core();
        let reading = Reading::new(core.view()?);
        let pipeline = self.on(&reading, namespace)?;
        let context = pipeline.context(reading, namespace, options)?;
        let hint = context.options.hint.as_ref();
        let control = context.options.control.clone();
        let _scope = control.scope();
        let stream = source::collection(namespace, None, &pipeline.stages, hint, &context)?;
        let writing = Writing {
            store,
            durability: durability.unwrap_or(core.options.durability),
        };
        let stream: Option<Stream> = match pipeline.stages.last() {
            Some(Stage {
                place,
                kind: StageKind::Out(out),
            }) => {
                let written = out.run(stream, place, &context, &writing);
                written.map_err(|error| control.told(error))?;
                None
            }
            Some(Stage {
                place,
                kind: StageKind::Merge(merge),
            }) => {
                let written = merge.run(stream, place, &context, &writing);
                written.map_err(|error| control.told(error))?;
                None
            }
            _ => Some(stream),
        };
        Ok(Aggregation { stream, control })
    }

    /// Runs it on documents that are no collection's, and writes nothing.
    pub(crate) fn run_over(
        &self,
        store: &Store,
        database: &str,
        options: AggregateOptions,
        documents: Stream,
    ) -> Result<Aggregation> {
        if let Some(first) = self.stages.first().filter(|stage| stage.is_documents()) {
            let problem = "$documents goes without other documents: use Store::aggregate";
            return Err(first.place.error(AggregateErrorKind::specification(problem, 73)));
        }
        if let Some(last) = self.stages.last()
            && matches!(last.kind, StageKind::Out(_) | StageKind::Merge(_))
        {
            let problem = "what is not in a collection cannot be written to one";
            return Err(last.place.error(AggregateErrorKind::specification(problem, 115)));
        }
        let nowhere = Namespace::new(database, "");
        let context = self.context(Reading::new(store.core().view()?), &nowhere, options)?;
        Ok(Aggregation {
            stream: Some(chain(&self.stages, documents, &context)),
            control: context.options.control.clone(),
        })
    }

    /// Runs it on a collection as a reading shows it, which is a transaction's.
    pub(crate) fn run_in(
        &self,
        reading: &Reading,
        namespace: &Namespace,
        options: AggregateOptions,
    ) -> Result<Aggregation> {
        self.check_source(namespace)?;
        let writes = match self.stages.last().map(|stage| &stage.kind) {
            Some(StageKind::Out(_)) => Some("$out"),
            Some(StageKind::Merge(_)) => Some("$merge"),
            _ => None,
        };
        if let Some(stage) = writes {
            return Err(Error::OperationNotSupportedInTransaction {
                operation: stage.to_owned(),
            });
        }
        let pipeline = self.on(reading, namespace)?;
        let context = pipeline.context(reading.clone(), namespace, options)?;
        let hint = context.options.hint.as_ref();
        Ok(Aggregation {
            stream: Some(source::collection(namespace, None, &pipeline.stages, hint, &context)?),
            control: context.options.control.clone(),
        })
    }

    /// A pipeline that makes its documents needs no collection, every other one does.
    fn check_source(&self, namespace: &Namespace) -> Result<()> {
        let makes = self.stages.first().is_some_and(Stage::is_documents);
        let problem = match (makes, namespace.collection.is_empty()) {
            (true, false) => "$documents goes without a collection: use Store::aggregate",
            (false, true) => "a pipeline without a collection begins with $documents: use Collection::aggregate",
            _ => return Ok(()),
        };
        let kind = AggregateErrorKind::specification(problem, 73);
        Err(match self.stages.first() {
            Some(stage) => stage.place.error(kind),
            None => Error::Aggregate(Arc::new(kind.at(0, ""))),
        })
    }
}

/// The documents that come out of a pipeline; none of one that ends with `$out` or `$merge`.
///
/// Items can fail with [`Error::Aggregate`], [`Error::Evaluate`] and [`Error::Engine`]; after an error there are no more.
pub struct Aggregation {
    stream: Option<Stream>,
    control: QueryControl,
}

impl Iterator for Aggregation {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Result<RawDocumentBuf>> {
        let scope = self.control.scope();
        let next = self.stream.as_mut()?.next();
        drop(scope);
        let next = next.map(|next| next.map_err(|error| self.control.told(error)));
        if !matches!(next, Some(Ok(_))) {
            self.stream = None;
        }
        next
    }
}

impl fmt::Debug for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregation")
            .field("ended", &self.stream.is_none())
            .finish()
    }
}

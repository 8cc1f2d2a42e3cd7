//! Pipelines of stages that work document by document.
//!
//! A [`Transform`] is parsed once from `$match`, `$project`, `$addFields`, `$set`, `$unset`,
//! `$replaceRoot`, `$replaceWith` and `$redact`, and applied to one document at a time: change
//! streams shape events with it, pipeline updates documents. It needs no store and remembers
//! nothing from one document to the next. [`FindProjection`] is what `find` takes instead of a
//! pipeline.
//!
//! Results are documents like others: at most 16 MiB, unless [`Transform::with_bytes_max`] says more, and 100 levels deep,
//! checked at the end. What a stage computes, and what it hands on, may be larger, four times so and up to 64 MiB, and is checked
//! as it is made: a later stage may make it smaller again, and until then it takes memory.

mod find;
mod parse;
mod projection;
mod redact;

use std::borrow::Cow;

use bson::{RawDocument, RawDocumentBuf};

use crate::aggregation::{
    AggregationError, AggregationErrorKind as Kind, ValueExpression, Variables, encode_fields, fields_of,
};
use crate::error::ParseError;
use crate::evaluate::EvaluateError;
use crate::expression::{Expression, ParseOptions};
use crate::steps;
use crate::validate::{DOCUMENT_BYTES_MAX, ValidateErrorKind, validate, validate_within};

pub use find::FindProjection;

use projection::{Mode, Projection};

/// How many stages a pipeline may have; MongoDB's limit.
pub const STAGES_MAX: usize = 1000;

/// Most bytes that stages make on the way to a result, where that is not larger itself.
const BETWEEN_BYTES_MAX: usize = 4 * DOCUMENT_BYTES_MAX;

/// Stages that turn one document into one document or none.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_matcher::Transform;
///
/// let transform = Transform::parse([
///     &*rawdoc! { "$match": { "status": "paid" } },
///     &*rawdoc! { "$addFields": { "total": { "$multiply": ["$price", "$quantity"] } } },
///     &*rawdoc! { "$unset": "price" },
/// ])?;
/// let order = rawdoc! { "_id": 1, "status": "paid", "price": 3, "quantity": 4 };
/// let shaped = transform.apply(&order)?;
/// assert_eq!(shaped, Some(rawdoc! { "_id": 1, "status": "paid", "quantity": 4, "total": 12 }));
/// assert_eq!(transform.apply(&rawdoc! { "status": "open" })?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    stages: Vec<Stage>,
    bytes_max: usize,
}

impl Default for Transform {
    fn default() -> Transform {
        Transform {
            stages: Vec::new(),
            bytes_max: DOCUMENT_BYTES_MAX,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Match(Expression),
    Project(Projection),
    ReplaceRoot(ValueExpression),
    Redact(ValueExpression),
}

/// What a pipeline does to `_id`, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdEffect {
    /// Every document keeps its `_id` as it was.
    Kept,
    /// Whether it does depends on the document; compare when it matters.
    Uncertain,
    /// `_id` is dropped, or parts of it are.
    Dropped,
}

impl Transform {
    /// Compiles the stages. The bytes are validated first, so untrusted ones are welcome.
    pub fn parse<'a>(stages: impl IntoIterator<Item = &'a RawDocument>) -> Result<Transform, ParseError> {
        Transform::parse_with(stages, &ParseOptions::default())
    }

    /// As [`parse`](Transform::parse), with options: variables that expressions may use, and a collation for all strings that
    /// stages compare.
    pub fn parse_with<'a>(
        stages: impl IntoIterator<Item = &'a RawDocument>,
        options: &ParseOptions,
    ) -> Result<Transform, ParseError> {
        let mut parsed = Transform::default();
        for (at, stage) in stages.into_iter().enumerate() {
            parsed.push(at, stage, options)?;
        }
        Ok(parsed)
    }

    /// The same stages, whose results may have so many bytes.
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: usize) -> Transform {
        Transform { bytes_max, ..self }
    }

    /// Compiles one more stage and puts it behind the others. `at` is its place in the pipeline it is
    /// part of, for errors.
    pub fn push(&mut self, at: usize, stage: &RawDocument, options: &ParseOptions) -> Result<(), ParseError> {
        if self.stages.len() == STAGES_MAX {
            return Err(ParseError::TooManyNodes);
        }
        validate(stage.as_bytes())?;
        self.stages.push(parse::stage(at, stage, options)?);
        Ok(())
    }

    /// The same stages, in which `$match` sees the time and the variables of `variables`, once for all
    /// documents; see [`Expression::bind`]. [`apply_with`](Transform::apply_with) does not bind it.
    #[must_use]
    pub fn bind(&self, variables: &Variables<'_>) -> Transform {
        let bind = |stage: &Stage| match stage {
            Stage::Match(expression) => Stage::Match(expression.bind(variables)),
            stage => stage.clone(),
        };
        Transform {
            stages: self.stages.iter().map(bind).collect(),
            bytes_max: self.bytes_max,
        }
    }

    /// The document after all stages, or `None` when one has filtered it out.
    pub fn apply(&self, document: &RawDocument) -> Result<Option<RawDocumentBuf>, EvaluateError> {
        self.apply_with(document, &Variables::new(&document))
    }

    /// As [`apply`](Transform::apply), with the time and the bound variables of `variables`; the
    /// root of each stage is what the stage before it has made.
    pub fn apply_with(
        &self,
        document: &RawDocument,
        variables: &Variables<'_>,
    ) -> Result<Option<RawDocumentBuf>, EvaluateError> {
        self.run(document, variables, self.bytes_max)
    }

    /// As [`apply`](Transform::apply), with a result of so many bytes at most.
    pub fn apply_within(
        &self,
        document: &RawDocument,
        bytes_max: usize,
    ) -> Result<Option<RawDocumentBuf>, EvaluateError> {
        self.run(document, &Variables::new(&document), bytes_max)
    }

    fn run(
        &self,
        document: &RawDocument,
        variables: &Variables<'_>,
        bytes_max: usize,
    ) -> Result<Option<RawDocumentBuf>, EvaluateError> {
        let between = between(bytes_max);
        let mut current = Cow::Borrowed(document);
        for stage in &self.stages {
            steps::take(1 + steps::for_bytes(current.as_bytes().len()) / 2)?;
            let next = match stage {
                Stage::Match(expression) => {
                    if !expression.matches(&*current)? {
                        return Ok(None);
                    }
                    continue;
                }
                Stage::Project(projection) => projection.apply(&current, variables, between)?,
                Stage::ReplaceRoot(expression) => replace_root(expression, &current, variables)?,
                Stage::Redact(expression) => match redact::apply(expression, &current, variables)? {
                    Some(redacted) => redacted,
                    None => return Ok(None),
                },
            };
            if next.as_bytes().len() > between.max(document.as_bytes().len()) {
                return Err(AggregationError::from(Kind::Memory { limit: between }).into());
            }
            current = Cow::Owned(next);
        }
        if let Cow::Owned(made) = &current {
            check(made, bytes_max)?;
        }
        Ok(Some(current.into_owned()))
    }

    /// Says whether there are no stages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// What the stages do to `_id`, as far as they tell without a document.
    #[must_use]
    pub fn id_effect(&self) -> IdEffect {
        let effects = self.stages.iter().map(|stage| match stage {
            Stage::Match(_) => IdEffect::Kept,
            Stage::Project(projection) => projection.id_effect(),
            Stage::ReplaceRoot(_) | Stage::Redact(_) => IdEffect::Uncertain,
        });
        effects.max().unwrap_or(IdEffect::Kept)
    }
}

fn replace_root(
    expression: &ValueExpression,
    document: &RawDocument,
    variables: &Variables<'_>,
) -> Result<RawDocumentBuf, AggregationError> {
    let value = expression.compute(&variables.clone().rooted(&document))?;
    match value.fields() {
        Some(fields) => Ok(encode_fields(&fields)?),
        None => Err(AggregationError::new(
            "$replaceRoot",
            Kind::wrong(40228, "a document as the new root", &value),
        )),
    }
}

/// What stages may make on the way to a result of so many bytes.
fn between(bytes_max: usize) -> usize {
    bytes_max.max(bytes_max.saturating_mul(4).min(BETWEEN_BYTES_MAX))
}

/// Holds a computed document to the limits of documents.
fn check(document: &RawDocument, bytes_max: usize) -> Result<(), AggregationError> {
    let Err(error) = validate_within(document.as_bytes(), bytes_max) else {
        return Ok(());
    };
    Err(match error.kind {
        ValidateErrorKind::TooLarge { found } if bytes_max == DOCUMENT_BYTES_MAX => Kind::TooLarge { found },
        ValidateErrorKind::TooLarge { .. } => Kind::Memory { limit: bytes_max },
        ValidateErrorKind::TooDeep => Kind::TooDeep,
        // Only bytes that were malformed from the beginning come here.
        _ => Kind::WrongValue {
            problem: "the document is not valid bson",
            code: 22,
        },
    }
    .into())
}

//! Updates: operators, replacements and pipelines, what they do to a document, and the description of
//! that which goes into the log.
//!
//! # Entry points
//!
//! An [`Update`] is parsed once ([`Update::parse`] for operators, [`Update::parse_replacement`],
//! [`Update::parse_pipeline`], or [`Update::parse_any`] where the caller's value decides) and applied
//! to any number of documents. [`Update::apply`] gives the new document and an [`UpdateDiff`] that
//! turns the old one into the new one byte for byte: the log carries the diff, and replay and
//! followers run [`UpdateDiff::apply`]. [`Update::upsert`] makes the document to insert where a query
//! matched none.
//!
//! What an update needs to know beyond the document comes in an [`ApplyContext`]: the index of the
//! array element that the query matched, for `$`; the time, for `$currentDate`; whether the document
//! is just being inserted, for `$setOnInsert`. Whoever evaluates the query finds the index.
//!
//! # Semantics
//!
//! MongoDB's:
//!
//! - Dotted paths reach into embedded documents and create them; a number names an element of an
//!   array where there is an array, and a field elsewhere. An array is extended with nulls.
//! - Fields keep their place. New ones are appended in the order of their names, numbers by value;
//!   in a document without `_id`, a new `_id` comes first.
//! - Paths of one update that overlap are an error, also if only the document shows it, as is a path
//!   that leads through a scalar.
//! - What ends with the same bytes changes nothing, and an update that changes nothing gives no diff.
//! - `_id` never changes. An update to an equal value (`1.0` for `1`) is fine and leaves the stored one.
//! - An operator's change is described by the shortest path that says it, with the whole new value;
//!   elements pushed behind the others are named one by one, an array of which `$[]` or
//!   `$[identifier]` changed several elements is given as a whole.
//!
//! `docs/compatibility.md` lists the differences.
//!
//! # Bytes
//!
//! Documents are never decoded as a whole. The unchanged parts are copied as they are, so their
//! bytes survive whatever they hold; field names that occur twice keep both, the first one counts,
//! except that `$unset` removes all.
//!
//! # Depth and size
//!
//! The walk recurses along the paths of an update, at most [`NESTING_MAX`] components, never along
//! the levels of a document. [`UpdateDiff::between`] recurses along two documents and stops at the
//! same depth. The new document is measured while it grows, and the places that positional paths
//! come to are counted.
//!
//! [`NESTING_MAX`]: crate::limits::NESTING_MAX

mod between;
mod change;
mod diff;
mod edit;
mod element;
mod error;
mod filters;
mod list;
mod number;
mod parse;
mod path;
mod pipeline;
mod plan;
mod pull;
mod push;
mod record;
mod replacement;
#[cfg(test)]
mod tests;
mod tree;
mod upsert;
mod writer;

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::{DateTime, Timestamp};

pub use self::diff::{TruncatedArray, UpdateDiff};
pub use self::error::UpdateError;
pub use self::pipeline::Pipeline;
pub use self::plan::Operators;
pub use self::replacement::Replacement;

use self::element::elements;
use crate::query::Language;

/// A checked update.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_storage::update::{ApplyContext, Update};
///
/// let update = Update::parse(&rawdoc! { "$inc": { "visits": 1 }, "$push": { "cities": "Ulm" } })?;
/// let document = rawdoc! { "_id": 7, "visits": 3, "cities": ["Bonn"] };
/// let applied = update.apply(&document, &ApplyContext::default())?.expect("it changes something");
/// assert_eq!(applied.document, rawdoc! { "_id": 7, "visits": 4, "cities": ["Bonn", "Ulm"] });
/// let diff = applied.diff.expect("operators have one");
/// assert_eq!(diff.updated_fields, rawdoc! { "visits": 4, "cities.1": "Ulm" });
/// # Ok::<(), tailwater_storage::update::UpdateError>(())
/// ```
#[derive(Debug)]
pub enum Update {
    /// Update operators: `{$set: …, $inc: …}`.
    Operators(Operators),
    /// A document without operators, which takes the place of the stored one.
    Replacement(Replacement),
    /// An aggregation pipeline.
    Pipeline(Pipeline),
}

/// What an update made of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The new document.
    pub document: RawDocumentBuf,
    /// What turns the old document into the new one. `None` where no diff says it, or none is due: after a replacement.
    /// Then the log needs the document as a whole.
    pub diff: Option<UpdateDiff>,
}

/// What an update is told beside the document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApplyContext {
    /// Index of the array element that the query matched, which `$` stands for. If several arrays were searched, the
    /// last one's, as with MongoDB.
    pub matched_position: Option<usize>,
    /// Whether the document is just being inserted; [`Update::upsert`] sets it.
    pub is_insert: bool,
    /// What `$currentDate` takes for a date.
    pub now: DateTime,
    /// What `$currentDate` takes for a timestamp.
    pub timestamp: Timestamp,
}

/// The machine's time, no position, no insertion.
impl Default for ApplyContext {
    fn default() -> ApplyContext {
        ApplyContext::at(DateTime::now())
    }
}

impl ApplyContext {
    /// The same at another time.
    pub(crate) fn at(now: DateTime) -> ApplyContext {
        let seconds = u32::try_from(now.timestamp_millis() / 1000).unwrap_or(u32::MAX);
        ApplyContext {
            matched_position: None,
            is_insert: false,
            now,
            timestamp: Timestamp {
                time: seconds,
                increment: 1,
            },
        }
    }
}

/// The field that no update changes.
const ID: &str = "_id";

/// No array filters.
const NO_FILTERS: [RawDocumentBuf; 0] = [];

impl Update {
    /// Checks a document of update operators and takes over what it needs of it.
    ///
    /// # Errors
    ///
    /// A document whose first field is no operator is a replacement and none of this function's
    /// business; it is refused as [`UpdateError::FieldWithoutOperator`].
    pub fn parse(document: &RawDocument) -> Result<Update, UpdateError> {
        Update::parse_filtered(document, &NO_FILTERS)
    }

    /// As [`Update::parse`], with the conditions of `$[identifier]`: `[{"item.price": {$gt: 5}}]`.
    ///
    /// # Errors
    ///
    /// Those of [`Update::parse`]; an identifier without a filter, a filter without a use, two for one identifier.
    pub fn parse_filtered<D: AsRef<RawDocument>>(
        document: &RawDocument,
        array_filters: &[D],
    ) -> Result<Update, UpdateError> {
        Update::parse_in(&Language::default(), document, array_filters)
    }

    /// The same in a language, in which all that compares values does so.
    ///
    /// # Errors
    ///
    /// Those of [`Update::parse_filtered`].
    pub(crate) fn parse_in<D: AsRef<RawDocument>>(
        language: &Language,
        document: &RawDocument,
        array_filters: &[D],
    ) -> Result<Update, UpdateError> {
        Operators::parse(document, array_filters, language).map(Update::Operators)
    }

    /// Checks a replacement.
    ///
    /// # Errors
    ///
    /// [`UpdateError::DollarPrefixedField`] for a field that looks like an operator; nesting.
    pub fn parse_replacement(document: &RawDocument) -> Result<Update, UpdateError> {
        Replacement::parse(document).map(Update::Replacement)
    }

    /// Checks an aggregation pipeline.
    ///
    /// # Errors
    ///
    /// [`UpdateError::PipelineStage`] and [`UpdateError::Pipeline`].
    pub fn parse_pipeline<D: AsRef<RawDocument>>(stages: &[D]) -> Result<Update, UpdateError> {
        Update::parse_pipeline_in(&Language::default(), stages)
    }

    /// The same in a language.
    ///
    /// # Errors
    ///
    /// Those of [`Update::parse_pipeline`].
    pub(crate) fn parse_pipeline_in<D: AsRef<RawDocument>>(
        language: &Language,
        stages: &[D],
    ) -> Result<Update, UpdateError> {
        Pipeline::parse_with(stages, &language.options(&[])).map(Update::Pipeline)
    }

    /// Checks an update as commands carry it: an array is a pipeline, a document whose first field has a dollar sign in
    /// front has operators, any other one is a replacement.
    ///
    /// # Errors
    ///
    /// Those of the three; array filters beside something else than operators.
    pub fn parse_any<D: AsRef<RawDocument>>(
        update: RawBsonRef<'_>,
        array_filters: &[D],
    ) -> Result<Update, UpdateError> {
        let parsed = match update {
            RawBsonRef::Document(document) => {
                let first = elements(document).next().transpose()?;
                if first.is_some_and(|first| first.name.starts_with('$')) {
                    return Update::parse_filtered(document, array_filters);
                }
                Update::parse_replacement(document)?
            }
            RawBsonRef::Array(stages) => {
                let stages = stages.into_iter().map(|stage| {
                    let stage = stage?;
                    stage.as_document().ok_or(UpdateError::OperandNotDocument {
                        operator: "pipeline".to_owned(),
                        found: stage.element_type(),
                    })
                });
                Update::parse_pipeline(&stages.collect::<Result<Vec<_>, UpdateError>>()?)?
            }
            other => {
                return Err(UpdateError::OperandNotDocument {
                    operator: "update".to_owned(),
                    found: other.element_type(),
                });
            }
        };
        if array_filters.is_empty() {
            Ok(parsed)
        } else {
            Err(UpdateError::ArrayFilterUnused {
                identifier: String::new(),
            })
        }
    }

    /// Whether it asks which array element the query matched: whether a path of it has a `$`.
    #[must_use]
    pub fn is_positional(&self) -> bool {
        match self {
            Update::Operators(operators) => operators.is_positional(),
            Update::Replacement(_) | Update::Pipeline(_) => false,
        }
    }

    /// Applies the update to a stored document; `None` if that changes nothing.
    ///
    /// # Errors
    ///
    /// What the document and the update together make impossible. The document stays as it was.
    pub fn apply(&self, document: &RawDocument, context: &ApplyContext) -> Result<Option<Applied>, UpdateError> {
        match self {
            Update::Operators(operators) => operators.apply(document, context),
            Update::Replacement(replacement) => replacement.apply(document),
            Update::Pipeline(pipeline) => pipeline.apply(document, context),
        }
    }

    /// The document to insert where `query` matched none.
    ///
    /// With operators or a pipeline, it begins with what the query says by equalities and is then updated; a replacement
    /// takes the query's `_id` only. `_id` comes first; where nothing gives one, it is a new ObjectId.
    ///
    /// The query is one that parses; of one that does not, some document comes out.
    ///
    /// # Errors
    ///
    /// [`UpdateError::EqualityAmbiguous`] if the query gives a field twice, [`UpdateError::ImmutableField`] if query and
    /// update differ about `_id`, and those of [`Update::apply`].
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_storage::update::{ApplyContext, Update};
    ///
    /// let update = Update::parse(&rawdoc! { "$set": { "item": "apple" }, "$setOnInsert": { "quantity": 100 } })?;
    /// let document = update.upsert(&rawdoc! { "_id": 1, "price": { "$gt": 5 } }, &ApplyContext::default())?;
    /// assert_eq!(document, rawdoc! { "_id": 1, "item": "apple", "quantity": 100 });
    /// # Ok::<(), tailwater_storage::update::UpdateError>(())
    /// ```
    pub fn upsert(&self, query: &RawDocument, context: &ApplyContext) -> Result<RawDocumentBuf, UpdateError> {
        let context = ApplyContext {
            is_insert: true,
            ..*context
        };
        if let Update::Replacement(replacement) = self {
            return replacement.upsert(query);
        }
        let base = upsert::from_query(query)?;
        let document = match self.apply(&base, &context)? {
            Some(applied) => applied.document,
            None => base,
        };
        upsert::with_id(&document)
    }
}

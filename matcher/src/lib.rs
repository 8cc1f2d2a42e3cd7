//! MongoDB's match expressions and a text filter language, evaluated on raw BSON.
//!
//! - [`Expression`] is a predicate: parsed once from a `$match` document
//!   ([`Expression::parse`]) or from text ([`parse_filter`]), evaluated many times without
//!   allocating, on documents or on anything that has [`Fields`].
//! - [`ValueExpression`] computes a value from a document, in MongoDB's aggregation language;
//!   [`Accumulator`] gathers values over many.
//! - [`Transform`] is a pipeline of stages on single documents, [`FindProjection`] what `find` takes.
//! - [`compare`] is MongoDB's order over all BSON values; [`encode_key`] and [`KeyString`] write
//!   values as bytes in that order.
//! - [`Path`] walks dotted paths through documents and arrays.
//! - [`Conjunct`] is what an index may conclude from a predicate.
//! - [`explain_mismatch`] says what of a predicate a document does not satisfy.
//! - [`validate`] checks untrusted bytes.
//!
//! # What is not here
//!
//! This crate knows values and predicates. It does not know the log, the store, change streams or
//! namespaces, does no I/O and starts no threads. The geospatial
//! operators, `$text` and `$where` are out of its reach. They are errors, never ignored.
//!
//! # Costs
//!
//! Evaluation decodes only the elements on a predicate's paths and steps over the others. Malformed
//! bytes never panic: what cannot be read is missing. Where a predicate cannot be decided at all,
//! evaluation is an [`EvaluateError`], which is not to be taken for a non-match.
//!
//! What expressions compute is counted in steps, and ends at a limit: see [`StepScope`].
//!
#![doc = include_str!("../reference.md")]

mod aggregation;
mod collation;
mod compare;
mod condition;
mod conjunct;
mod decimal;
mod elements;
mod error;
mod evaluate;
mod expression;
mod fields;
mod filter;
mod keystring;
mod leaf;
mod mismatch;
mod node;
mod number;
mod parse;
mod path;
mod path_set;
mod pattern;
mod render;
mod schema;
mod steps;
mod transform;
mod validate;

pub use aggregation::{
    AGGREGATION_DEPTH_MAX, AGGREGATION_NODES_MAX, Accumulator, AccumulatorState, AggregationError,
    AggregationErrorKind, ArrayValue, DocumentValue, SyntaxErrorKind, Value, ValueExpression, Variables,
};
pub use collation::{Collation, CollationError};
pub use compare::compare;
pub use condition::TypeSet;
pub use conjunct::{Conjunct, RangeOperator, Values};
pub use decimal::arithmetic::{Decimal, Finite as FiniteDecimal};
pub use error::{ParseError, type_name};
pub use evaluate::{EvaluateError, EvaluateErrorKind};
pub use expression::{EXPRESSION_NODES_MAX, EXPRESSION_REGEXES_MAX, Expression, IN_VALUES_MAX, ParseOptions};
pub use fields::Fields;
pub use filter::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FilterError, FilterErrorKind, parse_filter};
pub use keystring::{KeyString, encode_key, encode_key_descending, key_class, key_place};
pub use mismatch::{MISMATCH_BYTES_MAX, Mismatch, explain_mismatch};
pub use path::{PATH_COMPONENTS_MAX, PATH_POSITIONS_MAX, Path, PathError, is_reference_field};
pub use path_set::{PathSet, Shape};
pub use pattern::{PatternError, REGEX_BYTES_MAX, REGEX_STEPS_MAX};
pub use steps::{EVALUATION_STEPS_MAX, Interrupt, Interruption, StepScope};
pub use transform::{FindProjection, IdEffect, STAGES_MAX, Transform};
pub use validate::{
    DEPTH_MAX, DOCUMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, ENVELOPE_DEPTH_MAX, ValidateError, ValidateErrorKind, validate,
    validate_envelope,
};

/// The reference page for both languages, in Markdown, for `help` texts.
pub const REFERENCE: &str = include_str!("../reference.md");

//! Why an update cannot be parsed or applied.

use bson::spec::ElementType;
use tailwater_matcher::{EvaluateError, EvaluateErrorKind, ParseError, type_name};
use thiserror::Error;

use super::parse;
use super::path::ARRAY_PADDING_MAX;
use super::pipeline::STAGES;
use super::plan::CHANGES_MAX;
use crate::error::ErrorCode;
use crate::limits::{DOCUMENT_BYTES_MAX, NESTING_MAX};

/// An error of an update. The document it was meant for is untouched.
///
/// Each variant is a mistake of its own in the update, in the document, or in their combination;
/// none goes away by trying again. Paths are those of the update, dotted. What MongoDB calls the
/// error is [`UpdateError::code`] and [`UpdateError::code_name`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// Bytes that are not BSON, in the update or in the document.
    #[error("malformed document")]
    Malformed {
        /// What the BSON reader said.
        source: Box<bson::error::Error>,
    },

    /// An update document without any operator.
    #[error("update document is empty")]
    Empty,

    /// A plain field beside operators, or a replacement where an update was due.
    #[error("update document needs operators field={field}")]
    FieldWithoutOperator {
        /// The plain field.
        field: String,
    },

    /// An operator that is not supported.
    #[error("unknown update operator operator={operator} supported={}", parse::supported())]
    OperatorUnknown {
        /// Its name, with the dollar sign.
        operator: String,
    },

    /// An operator whose operand is not a document of paths.
    #[error("update operator needs a document operator={operator} found={}", type_name(*found))]
    OperandNotDocument {
        /// Its name, with the dollar sign.
        operator: String,
        /// Type of the operand.
        found: ElementType,
    },

    /// `$inc` or `$mul` by something that is no number.
    #[error("operand is not a number operator={operator} path={path} found={}", type_name(*found))]
    OperandNotNumeric {
        /// The operator.
        operator: &'static str,
        /// The path.
        path: String,
        /// Type of the operand.
        found: ElementType,
    },

    /// An operand that its operator does not take.
    #[error("operator takes another operand operator={operator} path={path} expected={expected:?}")]
    OperandInvalid {
        /// The operator, or the part of its operand that is at fault.
        operator: &'static str,
        /// The path.
        path: String,
        /// What it takes.
        expected: &'static str,
    },

    /// `$pop` takes 1, for the last element, or -1, for the first.
    #[error("$pop takes 1 or -1 path={path}")]
    PopInvalid {
        /// The path.
        path: String,
    },

    /// The condition of a `$pull` does not parse.
    #[error("condition of $pull does not parse path={path}")]
    Condition {
        /// The path.
        path: String,
        /// What is wrong with it.
        source: Box<ParseError>,
    },

    /// A condition of `$pull`, or an array filter, that has no answer for an element.
    #[error("what the update asks or computes has no answer: {source}")]
    Evaluate {
        /// Why not.
        source: EvaluateError,
    },

    /// A `$rename` that leads nowhere: its target is no text, is its source, contains it, lies in
    /// it, or one of them has a positional component.
    #[error("cannot rename from={from} to={to:?} reason={reason:?}")]
    RenameInvalid {
        /// The source.
        from: String,
        /// The target; empty if it is no text.
        to: String,
        /// What is wrong.
        reason: &'static str,
    },

    /// A `$rename` from or to a place inside an array.
    #[error("cannot rename through an array path={path} array={array}")]
    RenameThroughArray {
        /// The source or the target.
        path: String,
        /// The path of the array.
        array: String,
    },

    /// An empty path, or a path with an empty component, as in `a..b`.
    #[error("path has an empty component path={path:?}")]
    PathComponentEmpty {
        /// The whole path.
        path: String,
    },

    /// A path that begins with a positional component, or has more than one `$`.
    #[error("positional component is misplaced path={path} component={component}")]
    PositionalMisplaced {
        /// The whole path.
        path: String,
        /// The component.
        component: String,
    },

    /// A path with `$`, while the query matched no array element.
    #[error("positional operator needs a query that matches an array element path={path}")]
    PositionUnknown {
        /// The whole path.
        path: String,
    },

    /// `$[]` or `$[identifier]` where the document has nothing.
    #[error("array to update does not exist path={path}")]
    ArrayMissing {
        /// The path up to the positional component.
        path: String,
    },

    /// `$[]` or `$[identifier]` where the document has something else than an array.
    #[error("value to update as an array is none path={path} found={}", type_name(*found))]
    ArrayExpected {
        /// The path up to the positional component.
        path: String,
        /// What is there.
        found: ElementType,
    },

    /// An update that comes to more single changes than one document may see.
    #[error("too many changes to one document changes_max={}", CHANGES_MAX)]
    TooManyChanges,

    /// An array filter that does not parse.
    #[error("array filter does not parse index={index}")]
    ArrayFilterCondition {
        /// Which one, from zero.
        index: usize,
        /// What is wrong with it.
        source: Box<ParseError>,
    },

    /// An array filter without a field, or with fields of several names.
    #[error("array filter needs one top-level field name index={index} found={}", found.join(","))]
    ArrayFilterFields {
        /// Which one, from zero.
        index: usize,
        /// The names.
        found: Vec<String>,
    },

    /// An identifier that is none: it begins with a small letter and goes on with letters and digits.
    #[error("array filter needs an alphanumeric name that begins with a small letter identifier={identifier}")]
    ArrayFilterName {
        /// The identifier.
        identifier: String,
    },

    /// Two array filters for one identifier.
    #[error("two array filters have the same name identifier={identifier}")]
    ArrayFilterDuplicate {
        /// The identifier.
        identifier: String,
    },

    /// An array filter that no path uses; or filters for something else than update operators.
    #[error("array filter is not used identifier={identifier}")]
    ArrayFilterUnused {
        /// The identifier.
        identifier: String,
    },

    /// A path with an identifier for which there is no array filter.
    #[error("no array filter for the identifier identifier={identifier} path={path}")]
    ArrayFilterMissing {
        /// The identifier.
        identifier: String,
        /// The path.
        path: String,
    },

    /// A field with a dollar sign in front, at the top of a stored document or of a replacement, or
    /// in an `_id`.
    #[error("field name begins with a dollar sign field={field}")]
    DollarPrefixedField {
        /// The field.
        field: String,
    },

    /// Two paths of which one is, or contains, the other.
    #[error("updating a path would conflict with another path={path} conflict={conflict}")]
    ConflictingUpdateOperators {
        /// The one that came second.
        path: String,
        /// Where both meet.
        conflict: String,
    },

    /// The update would change `_id`.
    #[error("field is immutable field={field}")]
    ImmutableField {
        /// The field.
        field: String,
    },

    /// An `_id` of a type that cannot be one.
    #[error("type cannot be an _id found={}", type_name(*found))]
    IdInvalid {
        /// Its type.
        found: ElementType,
    },

    /// A query that gives one field of the document to insert two values.
    #[error("query gives a field of the document to insert twice path={path} other={other}")]
    EqualityAmbiguous {
        /// The path.
        path: String,
        /// The path it meets; often the same.
        other: String,
    },

    /// A replacement is to be inserted where the query has matched none, and the query says of `_id` only what a part of it is.
    #[error("query gives only a part of _id, of which a replacement needs the whole path={path}")]
    IdNotExact {
        /// The path.
        path: String,
    },

    /// A path that leads through a value that cannot hold it: a scalar, or an array where the next
    /// component is no index.
    #[error(
        "cannot create a field inside a value path={path} component={component} found={}",
        type_name(*found)
    )]
    PathNotViable {
        /// The path up to and with that value.
        path: String,
        /// The component that should have been created.
        component: String,
        /// Type of the value.
        found: ElementType,
    },

    /// `$inc` or `$mul` of something else than a number, `$pop` of something else than an array.
    #[error("operator does not apply to the value operator={operator} path={path} found={}", type_name(*found))]
    TypeMismatch {
        /// The operator.
        operator: &'static str,
        /// The path.
        path: String,
        /// Type of the value in the document.
        found: ElementType,
    },

    /// `$push`, `$addToSet`, `$pull` or `$pullAll` of something else than an array.
    #[error("operator needs an array operator={operator} path={path} found={}", type_name(*found))]
    NotAnArray {
        /// The operator.
        operator: &'static str,
        /// The path.
        path: String,
        /// Type of the value in the document.
        found: ElementType,
    },

    /// `$bit` of something else than an integer.
    #[error("$bit needs an integer path={path} found={}", type_name(*found))]
    NotAnInteger {
        /// The path.
        path: String,
        /// Type of the value in the document.
        found: ElementType,
    },

    /// `$inc` or `$mul` beyond the 64-bit integers.
    #[error("result has no 64 bits operator={operator} path={path} current={current} operand={operand}")]
    Overflow {
        /// The operator.
        operator: &'static str,
        /// The path.
        path: String,
        /// Value in the document.
        current: i64,
        /// The operand.
        operand: i64,
    },

    /// An array index so far behind the end that the gap would be too large.
    #[error(
        "array index too far behind the end path={path} length={length} padding_max={}",
        ARRAY_PADDING_MAX
    )]
    ArrayPaddingTooLarge {
        /// The path, with the index.
        path: String,
        /// Number of elements in the array.
        length: usize,
    },

    /// The resulting document would be too large.
    #[error("document too large bytes_min={bytes_min} bytes_max={}", DOCUMENT_BYTES_MAX)]
    DocumentTooLarge {
        /// It has at least this size.
        bytes_min: usize,
    },

    /// The resulting document would be nested too deeply.
    #[error("nesting too deep path={path} levels_max={}", NESTING_MAX)]
    NestingTooDeep {
        /// The path that leads there.
        path: String,
    },

    /// A stage that an update cannot have.
    #[error("stage not allowed in an update index={index} stage={stage} allowed={}", STAGES.join(" "))]
    PipelineStage {
        /// Its place in the pipeline.
        index: usize,
        /// Its name; empty where there is none.
        stage: String,
    },

    /// A pipeline whose stages do not parse.
    #[error("update pipeline does not parse: {source}")]
    Pipeline {
        /// What is wrong with it.
        source: Box<ParseError>,
    },

    /// A stored diff that does not have the expected fields.
    #[error("malformed update description field={field}")]
    DiffMalformed {
        /// The field at fault.
        field: String,
    },
}

impl UpdateError {
    /// MongoDB's number for this kind of error.
    pub fn code(&self) -> i32 {
        self.code_and_name().0
    }

    /// MongoDB's name for this kind of error.
    pub fn code_name(&self) -> &'static str {
        self.code_and_name().1
    }

    fn code_and_name(&self) -> (i32, &'static str) {
        match self {
            // What has a number without a name is told as a bad value.
            UpdateError::Evaluate { source } => match source.kind() {
                EvaluateErrorKind::Aggregation(error) => {
                    ErrorCode::from_number(error.code()).map_or((2, "BadValue"), |code| (code.number(), code.name()))
                }
                _ => (2, "BadValue"),
            },
            UpdateError::OperandInvalid { .. }
            | UpdateError::Condition { .. }
            | UpdateError::RenameInvalid { .. }
            | UpdateError::RenameThroughArray { .. }
            | UpdateError::PositionalMisplaced { .. }
            | UpdateError::PositionUnknown { .. }
            | UpdateError::ArrayMissing { .. }
            | UpdateError::ArrayExpected { .. }
            | UpdateError::ArrayFilterMissing { .. }
            | UpdateError::ArrayFilterName { .. }
            | UpdateError::TooManyChanges
            | UpdateError::NotAnArray { .. }
            | UpdateError::NotAnInteger { .. }
            | UpdateError::Overflow { .. } => (2, "BadValue"),
            UpdateError::Empty
            | UpdateError::FieldWithoutOperator { .. }
            | UpdateError::OperatorUnknown { .. }
            | UpdateError::OperandNotDocument { .. }
            | UpdateError::PopInvalid { .. }
            | UpdateError::ArrayFilterCondition { .. }
            | UpdateError::ArrayFilterFields { .. }
            | UpdateError::ArrayFilterDuplicate { .. }
            | UpdateError::ArrayFilterUnused { .. }
            | UpdateError::Pipeline { .. } => (9, "FailedToParse"),
            UpdateError::PipelineStage { .. } => (72, "InvalidOptions"),
            UpdateError::OperandNotNumeric { .. } | UpdateError::TypeMismatch { .. } => (14, "TypeMismatch"),
            UpdateError::NestingTooDeep { .. } => (15, "Overflow"),
            UpdateError::Malformed { .. } | UpdateError::DiffMalformed { .. } => (22, "InvalidBSON"),
            UpdateError::PathNotViable { .. } => (28, "PathNotViable"),
            UpdateError::ArrayPaddingTooLarge { .. } => (34, "CannotBackfillArray"),
            UpdateError::ConflictingUpdateOperators { .. } => (40, "ConflictingUpdateOperators"),
            UpdateError::DollarPrefixedField { .. } => (52, "DollarPrefixedFieldName"),
            UpdateError::IdInvalid { .. } => (53, "InvalidIdField"),
            UpdateError::EqualityAmbiguous { .. } => (54, "NotSingleValueField"),
            UpdateError::PathComponentEmpty { .. } => (56, "EmptyFieldName"),
            UpdateError::ImmutableField { .. } => (66, "ImmutableField"),
            UpdateError::IdNotExact { .. } => (111, "NotExactValueField"),
            UpdateError::DocumentTooLarge { .. } => (17419, "Location17419"),
        }
    }
}

impl From<EvaluateError> for UpdateError {
    fn from(source: EvaluateError) -> UpdateError {
        UpdateError::Evaluate { source }
    }
}

impl From<bson::error::Error> for UpdateError {
    fn from(source: bson::error::Error) -> UpdateError {
        UpdateError::Malformed {
            source: Box::new(source),
        }
    }
}

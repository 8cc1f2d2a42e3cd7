//! Why a `$match` document is not one.

use bson::spec::ElementType;

use crate::aggregation::SyntaxErrorKind;
use crate::expression::{EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX, IN_VALUES_MAX};
use crate::path::PathError;
use crate::validate::ValidateError;

/// What is wrong with a `$match` document, and where in it.
///
/// `path` leads to the place: `$or[1].age` is the field `age` in the second document of `$or`. It is
/// empty at the top level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The bytes are not BSON. Fix the sender.
    #[error("the match document is not valid bson")]
    Malformed(#[from] ValidateError),

    /// There is no such operator, or not yet, or not in this place.
    #[error("operator {operator} is not known {}, expected {accepted}", place(path))]
    UnknownOperator {
        /// Where the operator stands.
        path: String,
        /// The operator.
        operator: String,
        /// What would be accepted there.
        accepted: &'static str,
    },

    /// The operator does not take such a value.
    #[error("{operator} needs {expected} {}, found {found}", place(path))]
    WrongValue {
        /// Where the operator stands.
        path: String,
        /// The operator; `equality` for a bare value.
        operator: String,
        /// What the operator takes.
        expected: &'static str,
        /// What it was given.
        found: &'static str,
    },

    /// The field name is not a usable path.
    #[error("the field name is not a usable path {}", place(path))]
    Path {
        /// Where the name stands, the name included.
        path: String,
        /// What is wrong with it.
        source: PathError,
    },

    /// Logical operators nest too deep.
    #[error("operators nest too deep {}, limit={EXPRESSION_DEPTH_MAX}", place(path))]
    TooDeep {
        /// Where the limit is passed.
        path: String,
    },

    /// There are too many operators.
    #[error("the match document holds too many operators, limit={EXPRESSION_NODES_MAX}")]
    TooManyNodes,

    /// A list of values is too long.
    #[error(
        "{operator} lists too many values {}, found={found} limit={IN_VALUES_MAX}",
        place(path)
    )]
    TooManyValues {
        /// Where the operator stands.
        path: String,
        /// The operator.
        operator: String,
        /// How many values it lists.
        found: usize,
    },

    /// An aggregation expression, a stage or an accumulator is not one.
    #[error("{operator} {kind} {}", place(path))]
    Aggregation {
        /// Where it stands.
        path: String,
        /// The operator or stage; the path or variable that is at fault.
        operator: String,
        /// What is wrong with it.
        kind: SyntaxErrorKind,
    },
}

fn place(path: &str) -> String {
    if path.is_empty() {
        "at the top level".to_owned()
    } else {
        format!("at `{path}`")
    }
}

/// MongoDB's name of a type, as `$type` has it, for errors.
#[must_use]
pub fn type_name(kind: ElementType) -> &'static str {
    match kind {
        ElementType::Double => "double",
        ElementType::String => "string",
        ElementType::EmbeddedDocument => "object",
        ElementType::Array => "array",
        ElementType::Binary => "binData",
        ElementType::Undefined => "undefined",
        ElementType::ObjectId => "objectId",
        ElementType::Boolean => "bool",
        ElementType::DateTime => "date",
        ElementType::Null => "null",
        ElementType::RegularExpression => "regex",
        ElementType::DbPointer => "dbPointer",
        ElementType::JavaScriptCode => "javascript",
        ElementType::Symbol => "symbol",
        ElementType::JavaScriptCodeWithScope => "javascriptWithScope",
        ElementType::Int32 => "int",
        ElementType::Timestamp => "timestamp",
        ElementType::Int64 => "long",
        ElementType::Decimal128 => "decimal",
        ElementType::MaxKey => "maxKey",
        ElementType::MinKey => "minKey",
    }
}

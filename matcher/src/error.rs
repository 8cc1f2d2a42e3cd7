//! Why a `$match` document is not one.

use std::borrow::Cow;

use bson::spec::ElementType;

use crate::aggregation::{SyntaxErrorKind, code_number};
use crate::expression::{EXPRESSION_NODES_MAX, EXPRESSION_REGEXES_MAX, IN_VALUES_MAX};
use crate::parse::MASK;
use crate::path::PathError;
use crate::pattern::PatternError;
use crate::validate::{DEPTH_MAX, ValidateError};

/// MongoDB's number for most of what is wrong with a predicate.
const BAD_VALUE: i32 = 2;

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

    /// MongoDB has the operator or keyword (or JSON Schema does), and this release does not.
    #[error("{operator} is not supported {}: {reason}", place(path))]
    NotSupported {
        /// Where the operator stands.
        path: String,
        /// The operator.
        operator: String,
        /// Why not, or what to do instead.
        reason: &'static str,
    },

    /// A schema has no such keyword.
    #[error("{keyword:?} is no keyword of $jsonSchema {}", place(path))]
    UnknownKeyword {
        /// Where the keyword stands.
        path: String,
        /// The keyword.
        keyword: String,
    },

    /// There is no type of that name or number.
    #[error("{operator} knows no type {found:?} {}", place(path))]
    UnknownType {
        /// Where the operator stands.
        path: String,
        /// The operator.
        operator: String,
        /// The name or number.
        found: String,
    },

    /// The regular expression cannot be used.
    #[error("{source} {}", place(path))]
    Regex {
        /// Where it stands.
        path: String,
        /// What is wrong with it.
        source: PatternError,
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

    /// Written out in full, with every conjunction spelled out that has to be, the document would
    /// nest too deep.
    #[error("operators nest too deep, limit={DEPTH_MAX} levels when written out")]
    TooDeep,

    /// There are too many regular expressions.
    #[error("the match document holds too many regular expressions, limit={EXPRESSION_REGEXES_MAX}")]
    TooManyRegexes,

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

impl ParseError {
    /// MongoDB's number for the error.
    #[must_use]
    pub fn code(&self) -> i32 {
        code_number(&self.code_name()).unwrap_or(BAD_VALUE)
    }

    /// MongoDB's name for the error, as its drivers report it in `codeName`.
    #[must_use]
    pub fn code_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            ParseError::Aggregation { kind, .. } => return kind.code_name(),
            ParseError::Malformed(_) => "InvalidBSON",
            ParseError::UnknownKeyword { .. } => "FailedToParse",
            ParseError::NotSupported { path, .. } if path.starts_with("$jsonSchema") => "FailedToParse",
            ParseError::WrongValue {
                path,
                operator,
                expected,
                found,
            } => match &**operator {
                "$jsonSchema" => "TypeMismatch",
                _ if path.contains("$jsonSchema") => of_keyword(operator, found),
                "$type" if is_type(found) => "TypeMismatch",
                "$type" => "FailedToParse",
                // A mask that is a number and no mask; not so a position.
                "$bitsAllSet" | "$bitsAllClear" | "$bitsAnySet" | "$bitsAnyClear"
                    if *expected == MASK && is_number(found) =>
                {
                    "FailedToParse"
                }
                _ => "BadValue",
            },
            ParseError::Regex { source, .. } => match source {
                PatternError::Option { .. } => "Location51108",
                PatternError::ZeroByte => "BadValue",
                PatternError::TooLong { .. } | PatternError::Syntax { .. } => "Location51091",
            },
            ParseError::UnknownOperator { .. }
            | ParseError::NotSupported { .. }
            | ParseError::UnknownType { .. }
            | ParseError::Path { .. }
            | ParseError::TooDeep
            | ParseError::TooManyNodes
            | ParseError::TooManyRegexes
            | ParseError::TooManyValues { .. } => "BadValue",
        })
    }
}

/// The name for the value of a keyword of `$jsonSchema`. Lengths are parsed as numbers are, whatever is found in their place.
fn of_keyword(keyword: &str, found: &str) -> &'static str {
    let is_length = ["min", "max"].iter().any(|bound| {
        let of = keyword.strip_prefix(bound);
        matches!(of, Some("Length" | "Items" | "Properties"))
    });
    match keyword {
        _ if is_length => "FailedToParse",
        "multipleOf" if is_number(found) => "FailedToParse",
        _ if is_type(found) => "TypeMismatch",
        _ => "FailedToParse",
    }
}

/// Whether what was found is told by its type, rather than by what is wrong with it.
fn is_type(found: &str) -> bool {
    !found.contains(' ') && !["none", "both"].contains(&found)
}

fn is_number(found: &str) -> bool {
    ["int", "long", "double", "decimal"].contains(&found)
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

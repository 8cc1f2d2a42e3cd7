//! Why an expression cannot be evaluated, or is not one.
//!
//! Both kinds carry the number that MongoDB gives the error, where it documents or reports one, so
//! that drivers and programs that look at numbers keep working.

use std::borrow::Cow;

use crate::steps::Interruption;
use crate::validate::{DEPTH_MAX, DOCUMENT_BYTES_MAX};

/// An expression met values that its operator does not take.
///
/// `Display` names the operator and its place in the expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{kind}{}", prefix(operator), place(path))]
pub struct AggregationError {
    operator: &'static str,
    path: Box<str>,
    kind: AggregationErrorKind,
}

fn prefix(operator: &str) -> String {
    if operator.is_empty() {
        String::new()
    } else {
        format!("{operator}: ")
    }
}

fn place(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" at `{path}`")
    }
}

/// What was wrong with the values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregationErrorKind {
    /// An argument is of the wrong type. Guard it with `$cond`, `$ifNull` or `$convert`.
    #[error("needs {expected}, found {found}")]
    WrongType {
        /// What the operator takes.
        expected: &'static str,
        /// The type of what it was given.
        found: &'static str,
        /// MongoDB's number for it.
        code: i32,
    },
    /// An argument has the right type but not a value the operator can use.
    #[error("{problem}")]
    WrongValue {
        /// What is wrong, and what would be accepted.
        problem: &'static str,
        /// MongoDB's number for it.
        code: i32,
    },
    /// A value cannot be converted. Use `$convert` with `onError`.
    #[error("cannot convert {from} to {to}: {problem}")]
    Conversion {
        /// The type converted from.
        from: &'static str,
        /// The type converted to.
        to: &'static str,
        /// What stands in the way.
        problem: &'static str,
    },
    /// The value would not fit a document.
    #[error("the value is too large, found={found} limit={DOCUMENT_BYTES_MAX}")]
    TooLarge {
        /// The size reached, in bytes.
        found: usize,
    },
    /// The value would take more memory than an expression may hold.
    #[error("the value would take too much memory, limit={limit}")]
    Memory {
        /// The limit, in bytes or elements.
        limit: usize,
    },
    /// It takes more steps than there may be: of a pipeline on one event, of an update on one document under the lock, of an
    /// expression on one document. See [`StepScope`](crate::StepScope).
    #[error("takes more than {limit} steps: compute over fewer items, or less for each")]
    Steps {
        /// How many there may be.
        limit: u64,
    },
    /// It was ended in the middle.
    #[error("{0}")]
    Interrupted(Interruption),
    /// The value nests deeper than a document may.
    #[error("the value nests too deep, limit={DEPTH_MAX}")]
    TooDeep,
    /// A computed field name holds a zero byte, which no field name can.
    #[error("a field name cannot hold a zero byte")]
    ZeroByte,
    /// The operator is known, but not for such values; see `docs/compatibility.md`.
    #[error("not supported: {feature}")]
    Unsupported {
        /// What is not supported.
        feature: &'static str,
    },
}

impl AggregationError {
    pub(crate) fn new(operator: &'static str, kind: AggregationErrorKind) -> AggregationError {
        let path = Box::default();
        AggregationError { operator, path, kind }
    }

    /// Fills in the place, unless an inner operator has already done so.
    pub(crate) fn at(mut self, operator: &'static str, path: &str) -> AggregationError {
        if self.operator.is_empty() {
            self.operator = operator;
        }
        if self.path.is_empty() {
            self.path = path.into();
        }
        self
    }

    /// The operator, or the stage, that failed; empty when none is to blame.
    #[must_use]
    pub fn operator(&self) -> &'static str {
        self.operator
    }

    /// Where in the expression the operator stands.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was wrong.
    #[must_use]
    pub fn kind(&self) -> &AggregationErrorKind {
        &self.kind
    }

    /// MongoDB's number for the error.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self.kind {
            AggregationErrorKind::WrongType { code, .. } | AggregationErrorKind::WrongValue { code, .. } => code,
            AggregationErrorKind::Conversion { .. } => 241,
            AggregationErrorKind::TooLarge { .. } => 10334,
            AggregationErrorKind::Memory { .. } => 146,
            AggregationErrorKind::Steps { .. } | AggregationErrorKind::Interrupted(Interruption::TimeExpired) => 50,
            AggregationErrorKind::Interrupted(Interruption::Killed) => 11601,
            AggregationErrorKind::Interrupted(Interruption::ClientGone) => 279,
            AggregationErrorKind::TooDeep => 15,
            AggregationErrorKind::ZeroByte => 2,
            AggregationErrorKind::Unsupported { .. } => 238,
        }
    }

    /// MongoDB's name for the error: `Location` and the number where it has no other.
    #[must_use]
    pub fn code_name(&self) -> Cow<'static, str> {
        code_name(self.code())
    }
}

impl From<AggregationErrorKind> for AggregationError {
    fn from(kind: AggregationErrorKind) -> Self {
        AggregationError::new("", kind)
    }
}

/// The errors that MongoDB names; the others are called `Location` and their number.
const NAMED: [(i32, &str); 14] = [
    (2, "BadValue"),
    (9, "FailedToParse"),
    (14, "TypeMismatch"),
    (15, "Overflow"),
    (22, "InvalidBSON"),
    (50, "MaxTimeMSExpired"),
    (72, "InvalidOptions"),
    (146, "ExceededMemoryLimit"),
    (168, "InvalidPipelineOperator"),
    (238, "NotImplemented"),
    (241, "ConversionFailure"),
    (279, "ClientDisconnect"),
    (10334, "BSONObjectTooLarge"),
    (11601, "Interrupted"),
];

/// MongoDB's name for an error number.
pub(crate) fn code_name(code: i32) -> Cow<'static, str> {
    match NAMED.iter().find(|(number, _)| *number == code) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("Location{code}")),
    }
}

/// MongoDB's number for an error with a name that [`code_name`] gives.
pub(crate) fn code_number(name: &str) -> Option<i32> {
    match NAMED.iter().find(|(_, known)| *known == name) {
        Some((number, _)) => Some(*number),
        None => name.strip_prefix("Location")?.parse().ok(),
    }
}

/// What is wrong with an aggregation expression, a stage or an accumulator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxErrorKind {
    /// There is no such operator, or not here.
    #[error("is not a known operator")]
    UnknownOperator,
    /// There is no such stage, or it does not work on single documents.
    #[error("is not a stage that works document by document")]
    UnknownStage,
    /// The operator takes another number of arguments.
    #[error("takes {expected} arguments, found {found}")]
    Arguments {
        /// How many it takes.
        expected: String,
        /// How many there are.
        found: usize,
    },
    /// The operator or stage takes another type of value.
    #[error("needs {expected}, found {found}")]
    WrongType {
        /// What it takes.
        expected: &'static str,
        /// The type of what it was given.
        found: &'static str,
        /// MongoDB's number for it.
        code: i32,
    },
    /// The value is of the right type and still no use.
    #[error("{problem}")]
    WrongValue {
        /// What is wrong, and what would be accepted.
        problem: &'static str,
        /// MongoDB's number for it.
        code: i32,
    },
    /// The operator has no such argument.
    #[error("has no argument `{name}`")]
    UnknownArgument {
        /// The argument.
        name: String,
        /// MongoDB's number for it.
        code: i32,
    },
    /// The operator cannot do without this argument.
    #[error("needs the argument `{name}`")]
    MissingArgument {
        /// The argument.
        name: &'static str,
        /// MongoDB's number for it.
        code: i32,
    },
    /// No variable of that name is in sight.
    #[error("the variable `$${name}` is not defined here")]
    UnknownVariable {
        /// The variable.
        name: String,
    },
    /// Two paths of a projection cannot both be served.
    #[error("the path collides with `{other}`")]
    Collision {
        /// The other path.
        other: String,
        /// MongoDB's number for it.
        code: i32,
    },
}

impl SyntaxErrorKind {
    /// MongoDB's number for the error.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            SyntaxErrorKind::UnknownOperator => 168,
            SyntaxErrorKind::UnknownStage => 40324,
            SyntaxErrorKind::Arguments { .. } => 16020,
            SyntaxErrorKind::WrongType { code, .. }
            | SyntaxErrorKind::WrongValue { code, .. }
            | SyntaxErrorKind::UnknownArgument { code, .. }
            | SyntaxErrorKind::MissingArgument { code, .. }
            | SyntaxErrorKind::Collision { code, .. } => *code,
            SyntaxErrorKind::UnknownVariable { .. } => 17276,
        }
    }

    /// MongoDB's name for the error.
    #[must_use]
    pub fn code_name(&self) -> Cow<'static, str> {
        code_name(self.code())
    }
}

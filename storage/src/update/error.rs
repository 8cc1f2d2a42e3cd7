//! Why an update cannot be parsed or applied.

use bson::spec::ElementType;
use tailwater_matcher::type_name;
use thiserror::Error;

use super::OPERATORS;
use super::path::ARRAY_PADDING_MAX;
use crate::limits::{DOCUMENT_BYTES_MAX, NESTING_MAX};

/// An error of an update. The document it was meant for is untouched.
///
/// Each variant is a mistake of its own in the update, in the document, or in their combination;
/// none goes away by trying again. Paths are those of the update, dotted.
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
    #[error("unknown update operator operator={operator} supported={}", supported())]
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

    /// An empty path, or a path with an empty component, as in `a..b`.
    #[error("path has an empty component path={path:?}")]
    PathComponentEmpty {
        /// The whole path.
        path: String,
    },

    /// A path component that begins with a dollar sign: positional operators are not supported,
    /// and such field names cannot be updated.
    #[error("path has a component with a dollar sign path={path} component={component}")]
    PathComponentReserved {
        /// The whole path.
        path: String,
        /// The component.
        component: String,
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

    /// `$inc` by something that is no number.
    #[error("increment is not a number path={path} found={}", type_name(*found))]
    IncrementNotNumeric {
        /// The path.
        path: String,
        /// Type of the operand.
        found: ElementType,
    },

    /// `$inc` of a field that holds something else than a number: MongoDB's type mismatch.
    #[error("cannot increment a value that is not a number path={path} found={}", type_name(*found))]
    TypeMismatch {
        /// The path.
        path: String,
        /// Type of the value in the document.
        found: ElementType,
    },

    /// `$inc` with or of a Decimal128.
    #[error("increment of decimal numbers is not supported path={path}")]
    DecimalUnsupported {
        /// The path.
        path: String,
    },

    /// `$inc` beyond the 64-bit integers.
    #[error("increment overflows path={path} current={current} increment={increment}")]
    IncrementOverflow {
        /// The path.
        path: String,
        /// Value in the document.
        current: i64,
        /// The operand.
        increment: i64,
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

    /// A stored diff that does not have the expected fields.
    #[error("malformed update description field={field}")]
    DiffMalformed {
        /// The field at fault.
        field: String,
    },
}

impl From<bson::error::Error> for UpdateError {
    fn from(source: bson::error::Error) -> UpdateError {
        UpdateError::Malformed {
            source: Box::new(source),
        }
    }
}

fn supported() -> String {
    OPERATORS.map(|(name, _)| name).join(",")
}

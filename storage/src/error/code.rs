//! MongoDB's numbers and names for errors (manual: *Error Codes*), for programs that look at those.

use tailwater_matcher::{EvaluateError, EvaluateErrorKind, ValidateErrorKind};

use super::Error;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// MongoDB's code for an error.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ErrorCode {
            /// Its name, `codeName` in MongoDB's answers.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => stringify!($name),)*
                }
            }

            /// The code with that number, if it is here.
            #[must_use]
            pub fn from_number(number: i32) -> Option<ErrorCode> {
                match number {
                    $($number => Some(ErrorCode::$name),)*
                    _ => None,
                }
            }

            /// The code with that name, if it is here.
            #[must_use]
            pub fn from_name(name: &str) -> Option<ErrorCode> {
                match name {
                    $(stringify!($name) => Some(ErrorCode::$name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// A value that cannot be there.
    BadValue = 2,
    /// A query, an update or an option does not parse.
    FailedToParse = 9,
    /// A value of another type than there must be.
    TypeMismatch = 14,
    /// Something nests too deep.
    Overflow = 15,
    /// A list has too few or too many members.
    InvalidLength = 16,
    /// Bytes are no BSON.
    InvalidBSON = 22,
    /// There is no such collection.
    NamespaceNotFound = 26,
    /// There is no such index.
    IndexNotFound = 27,
    /// A path leads through something that has no fields.
    PathNotViable = 28,
    /// An index so far behind the end of an array that the gap is not filled.
    CannotBackfillArray = 34,
    /// Two parts of an update change one field.
    ConflictingUpdateOperators = 40,
    /// There is such a collection already.
    NamespaceExists = 48,
    /// A query's time is over.
    MaxTimeMSExpired = 50,
    /// A field's name begins with a dollar sign where it must not.
    DollarPrefixedFieldName = 52,
    /// An `_id` of a type that cannot be one.
    InvalidIdField = 53,
    /// An upsert's filter gives a field two values.
    NotSingleValueField = 54,
    /// A component of a path is empty.
    EmptyFieldName = 56,
    /// A write is done, and was not acknowledged as asked for.
    WriteConcernFailed = 64,
    /// A field that never changes.
    ImmutableField = 66,
    /// An index that cannot be.
    CannotCreateIndex = 67,
    /// Options that cannot be.
    InvalidOptions = 72,
    /// A name that cannot be.
    InvalidNamespace = 73,
    /// There is an equivalent index under another name, or with other options.
    IndexOptionsConflict = 85,
    /// There is an index of that name with another key, filter, `unique` or `sparse`.
    IndexKeySpecsConflict = 86,
    /// An upsert's filter gives only a part of what must be given exactly.
    NotExactValueField = 111,
    /// Another has written first.
    WriteConflict = 112,
    /// A document does not match its collection's validator.
    DocumentValidationFailure = 121,
    /// An operation takes more memory than it may.
    ExceededMemoryLimit = 146,
    /// An operator that pipelines do not have.
    InvalidPipelineOperator = 168,
    /// Two fields of an index reach arrays.
    CannotIndexParallelArrays = 171,
    /// Several indexes have the key pattern that is to name one.
    AmbiguousIndexKeyPattern = 181,
    /// A document has too many keys in an index.
    CannotBuildIndexKeys = 201,
    /// Pipelines within pipelines nest too deep.
    MaxSubPipelineDepthExceeded = 232,
    /// Something that is not there yet.
    NotImplemented = 238,
    /// A value cannot be converted to the type asked for.
    ConversionFailure = 241,
    /// The transaction has ended.
    NoSuchTransaction = 251,
    /// The transaction does not fit into the log.
    TransactionTooLarge = 257,
    /// Something that a transaction cannot do.
    OperationNotSupportedInTransaction = 263,
    /// The build of an index has been given up.
    IndexBuildAborted = 276,
    /// The transaction is too old.
    TransactionExceededLifetimeLimitSeconds = 290,
    /// A query takes more memory than it may, and must not use the disk.
    QueryExceededMemoryLimitNoDiskUseAllowed = 292,
    /// The store follows another and takes no writes.
    NotWritablePrimary = 10107,
    /// A document is too large.
    BSONObjectTooLarge = 10334,
    /// A key that must be unique is there already.
    DuplicateKey = 11000,
    /// A query was ended in the middle.
    Interrupted = 11601,
    /// The different values of a field are too large for one answer.
    Location17217 = 17217,
    /// A key in an index is too long.
    KeyTooLong = 17280,
    /// A document would be too large after an update.
    Location17419 = 17419,
}

impl ErrorCode {
    /// Its number, `code` in MongoDB's answers.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Error {
    /// MongoDB's code for it; that of the first error where there are several. Errors of the disk, the log, the state's engine
    /// and of a program's own types have none; neither have those for which MongoDB has a number without a name, which the
    /// error's source tells.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        Some(match self {
            Error::Log(tailwater_oplog::Error::NotPrimary { .. }) => ErrorCode::NotWritablePrimary,
            Error::WriteConcernFailed { .. } => ErrorCode::WriteConcernFailed,
            Error::DuplicateKey { .. } => ErrorCode::DuplicateKey,
            Error::DocumentFailedValidation { .. } => ErrorCode::DocumentValidationFailure,
            Error::ParallelArrays { .. } => ErrorCode::CannotIndexParallelArrays,
            Error::TooManyKeys { .. } => ErrorCode::CannotBuildIndexKeys,
            Error::InvalidIndex { .. } => ErrorCode::CannotCreateIndex,
            Error::IndexConflict { equivalent: false, .. } => ErrorCode::IndexKeySpecsConflict,
            Error::IndexConflict { equivalent: true, .. } => ErrorCode::IndexOptionsConflict,
            Error::AmbiguousIndexKey { .. } => ErrorCode::AmbiguousIndexKeyPattern,
            Error::NoSuchIndex { .. } => ErrorCode::IndexNotFound,
            Error::InvalidOptions { .. } => ErrorCode::InvalidOptions,
            Error::NoDocuments | Error::NoWrites => ErrorCode::InvalidLength,
            Error::InsertMany { source, .. } | Error::ChangeMany { source, .. } => return source.code(),
            Error::InvalidName { .. } => ErrorCode::InvalidNamespace,
            Error::InvalidDocument(error) => match error.kind {
                // Of what is inserted: "object to insert too large" in MongoDB.
                ValidateErrorKind::TooLarge { .. } => ErrorCode::BadValue,
                ValidateErrorKind::TooDeep => ErrorCode::Overflow,
                _ => ErrorCode::InvalidBSON,
            },
            Error::InvalidId { .. } => ErrorCode::InvalidIdField,
            Error::DollarPrefixedId { .. } => ErrorCode::DollarPrefixedFieldName,
            Error::Filter(error) | Error::Projection(error) => return ErrorCode::from_name(&error.code_name()),
            Error::Evaluate(error) | Error::Project(error) => return of_evaluation(error),
            Error::Update(error) => return ErrorCode::from_number(error.code()),
            Error::IdTwice
            | Error::InvalidReplacement { .. }
            | Error::InvalidField { .. }
            | Error::CappedTooSmall { .. } => ErrorCode::BadValue,
            Error::BadHint { .. }
            | Error::InvalidSort { .. }
            | Error::SortParallelArrays { .. }
            | Error::Collation(_) => ErrorCode::BadValue,
            Error::MemoryBudgetExceeded { .. } => ErrorCode::ExceededMemoryLimit,
            Error::QueryInterrupted => ErrorCode::Interrupted,
            Error::QueryTimeExpired => ErrorCode::MaxTimeMSExpired,
            Error::SortMemoryExceeded { .. } => ErrorCode::QueryExceededMemoryLimitNoDiskUseAllowed,
            Error::DistinctTooLarge { .. } => ErrorCode::Location17217,
            Error::IndexKeyTooLong { .. } => ErrorCode::KeyTooLong,
            Error::IndexBuildAborted { .. } => ErrorCode::IndexBuildAborted,
            Error::BulkWrite { errors, .. } => return errors.first()?.code(),
            Error::NoSuchCollection { .. } => ErrorCode::NamespaceNotFound,
            Error::CollectionExists { .. } => ErrorCode::NamespaceExists,
            Error::WriteConflict { .. } => ErrorCode::WriteConflict,
            Error::TransactionAborted { .. } => ErrorCode::NoSuchTransaction,
            Error::TransactionTooLarge { .. } => ErrorCode::TransactionTooLarge,
            Error::TransactionExpired { .. } => ErrorCode::TransactionExceededLifetimeLimitSeconds,
            Error::OperationNotSupportedInTransaction { .. } => ErrorCode::OperationNotSupportedInTransaction,
            _ => return None,
        })
    }
}

fn of_evaluation(error: &EvaluateError) -> Option<ErrorCode> {
    match error.kind() {
        EvaluateErrorKind::Aggregation(error) => ErrorCode::from_number(error.code()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_mongodb_s_numbers_and_names() {
        let conflict = |equivalent| Error::IndexConflict {
            name: "a_1".into(),
            other: "b".into(),
            equivalent,
        };
        for (error, number, name) in [
            (conflict(false), 86, "IndexKeySpecsConflict"),
            (conflict(true), 85, "IndexOptionsConflict"),
            (
                Error::TransactionAborted {
                    cause: Box::new(Error::NoDocuments),
                },
                251,
                "NoSuchTransaction",
            ),
            (
                Error::InsertMany {
                    index: 3,
                    source: Box::new(Error::NoDocuments),
                },
                16,
                "InvalidLength",
            ),
        ] {
            let code = error.code().unwrap();
            assert_eq!(
                (code.number(), code.name(), code.to_string()),
                (number, name, name.to_owned())
            );
        }
        assert_eq!(Error::Log(tailwater_oplog::Error::Closed).code(), None);
    }
}

//! MongoDB's numbers and names for errors (manual: *Error Codes*), for programs that look at those.

use tailwater_matcher::ValidateErrorKind;

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
        }
    };
}

codes! {
    /// A value that cannot be there.
    BadValue = 2,
    /// A list has too few or too many members.
    InvalidLength = 16,
    /// Something nests too deep.
    Overflow = 15,
    /// Bytes are no BSON.
    InvalidBSON = 22,
    /// There is no such collection.
    NamespaceNotFound = 26,
    /// There is no such index.
    IndexNotFound = 27,
    /// There is such a collection already.
    NamespaceExists = 48,
    /// An `_id` of a type that cannot be one.
    InvalidIdField = 53,
    /// An index that cannot be.
    CannotCreateIndex = 67,
    /// Options that cannot be.
    InvalidOptions = 72,
    /// A name that cannot be.
    InvalidNamespace = 73,
    /// There is an index with that key under another name, or with other options.
    IndexOptionsConflict = 85,
    /// There is an index of that name with another key.
    IndexKeySpecsConflict = 86,
    /// Another has written first.
    WriteConflict = 112,
    /// A document does not match its collection's validator.
    DocumentValidationFailure = 121,
    /// Two fields of an index reach arrays.
    CannotIndexParallelArrays = 171,
    /// The transaction has ended.
    NoSuchTransaction = 251,
    /// The transaction does not fit into the log.
    TransactionTooLarge = 257,
    /// Something that a transaction cannot do.
    OperationNotSupportedInTransaction = 263,
    /// The transaction is too old.
    TransactionExceededLifetimeLimitSeconds = 290,
    /// A document is too large.
    BSONObjectTooLarge = 10334,
    /// A key that must be unique is there already.
    DuplicateKey = 11000,
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
    /// MongoDB's code for it. Errors of the disk, the log and the state's engine have none.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        Some(match self {
            Error::DuplicateKey { .. } => ErrorCode::DuplicateKey,
            Error::DocumentFailedValidation { .. } => ErrorCode::DocumentValidationFailure,
            Error::ParallelArrays { .. } => ErrorCode::CannotIndexParallelArrays,
            Error::InvalidIndex { .. } => ErrorCode::CannotCreateIndex,
            Error::IndexConflict { name, other } if name == other => ErrorCode::IndexKeySpecsConflict,
            Error::IndexConflict { .. } => ErrorCode::IndexOptionsConflict,
            Error::NoSuchIndex { .. } => ErrorCode::IndexNotFound,
            Error::InvalidOptions { .. } => ErrorCode::InvalidOptions,
            Error::NoDocuments => ErrorCode::InvalidLength,
            Error::InsertMany { source, .. } | Error::ChangeMany { source, .. } => return source.code(),
            Error::InvalidName { .. } => ErrorCode::InvalidNamespace,
            Error::InvalidDocument(error) => match error.kind {
                ValidateErrorKind::TooLarge { .. } => ErrorCode::BSONObjectTooLarge,
                ValidateErrorKind::TooDeep => ErrorCode::Overflow,
                _ => ErrorCode::InvalidBSON,
            },
            Error::InvalidId { .. } => ErrorCode::InvalidIdField,
            Error::Filter(_) => ErrorCode::BadValue,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_mongodb_s_numbers_and_names() {
        let conflict = |other: &str| Error::IndexConflict {
            name: "a_1".into(),
            other: other.into(),
        };
        for (error, number, name) in [
            (conflict("a_1"), 86, "IndexKeySpecsConflict"),
            (conflict("b"), 85, "IndexOptionsConflict"),
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

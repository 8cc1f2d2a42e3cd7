//! Labels of errors: what a program may do about them (MongoDB manual: *Transactions*, driver specifications:
//! *Transactions*).

use super::Error;

/// What a program may do about an error, under MongoDB's names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorLabel {
    /// Nothing was written, and the whole transaction may be tried again.
    TransientTransactionError,
    /// Whether the transaction is durable is not known.
    UnknownTransactionCommitResult,
}

impl ErrorLabel {
    /// MongoDB's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ErrorLabel::TransientTransactionError => "TransientTransactionError",
            ErrorLabel::UnknownTransactionCommitResult => "UnknownTransactionCommitResult",
        }
    }
}

impl std::fmt::Display for ErrorLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Error {
    /// What may be done about it; none for most errors.
    #[must_use]
    pub fn labels(&self) -> &'static [ErrorLabel] {
        match self {
            Error::WriteConflict { .. } | Error::TransactionExpired { .. } => &[ErrorLabel::TransientTransactionError],
            Error::UnknownCommitResult { .. } => &[ErrorLabel::UnknownTransactionCommitResult],
            // Trying again meets the first error again: it says whether that is of use.
            Error::TransactionAborted { cause } => cause.labels(),
            _ => &[],
        }
    }
}

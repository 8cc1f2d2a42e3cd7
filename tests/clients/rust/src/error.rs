//! What can go wrong, and what a server says then.

use std::error::Error as _;

use mongodb::error::{Error, ErrorKind, WriteFailure};

/// The outcome of anything here. What differs from what was expected panics instead.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The number of an error that the server has answered with.
pub(crate) fn code_of(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::InsertMany(error) => error.write_errors.as_ref()?.first().map(|error| error.code),
        ErrorKind::BulkWrite(error) => error.write_errors.values().next().map(|error| error.code),
        // The driver tells of a refused login in words, and keeps the answer behind them, in a box.
        _ => error
            .source()?
            .downcast_ref::<Box<Error>>()
            .and_then(|answer| code_of(answer)),
    }
}

/// The number with which the server has refused something; nothing when it has not.
pub(crate) fn refusal<T>(result: std::result::Result<T, Error>) -> Option<i32> {
    result.err().map(|error| match code_of(&error) {
        Some(code) => code,
        None => panic!("not an answer of the server: {error:?}"),
    })
}

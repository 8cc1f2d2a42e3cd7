//! MongoDB's numbers, names and labels for the errors of a change stream (manual: *Error Codes*; driver specification: *Change
//! Streams*, *Resumable Error*), for programs that look at those, and for drivers.

use std::borrow::Cow;

use tailwater_oplog as oplog;

use super::Error;

/// A number and the name that goes with it.
type Code = (i32, &'static str);

const BAD_VALUE: Code = (2, "BadValue");
const FAILED_TO_PARSE: Code = (9, "FailedToParse");
const ILLEGAL_OPERATION: Code = (20, "IllegalOperation");
const NO_MATCHING_DOCUMENT: Code = (47, "NoMatchingDocument");
const MAJORITY_NOT_AVAILABLE_YET: Code = (134, "ReadConcernMajorityNotAvailableYet");
const EVENT_TOO_LARGE: Code = (10334, "BSONObjectTooLarge");
const INVALID_RESUME_TOKEN: Code = (260, "InvalidResumeToken");
const CHANGE_STREAM_FATAL: Code = (280, "ChangeStreamFatalError");
const CHANGE_STREAM_HISTORY_LOST: Code = (286, "ChangeStreamHistoryLost");
const INTERRUPTED_AT_SHUTDOWN: Code = (11600, "InterruptedAtShutdown");
/// *A pipeline stage specification object must contain exactly one field.*
const NOT_ONE_OPERATOR: Code = (40323, "Location40323");
/// *Only one type of resume option is allowed, but multiple were found.*
const CONFLICTING_START: Code = (40674, "Location40674");

/// *$changeStream is only valid as the first stage in a pipeline.*
const NOT_FIRST: Code = (40602, "Location40602");
/// *Unrecognized pipeline stage name.*
const UNKNOWN_STAGE: Code = (40324, "Location40324");
/// *Splitting change event failed.*
const CANNOT_SPLIT: Code = (7182500, "Location7182500");
/// *$changeStreamSplitLargeEvent spec should be an empty object.*
const SPLIT_NOT_EMPTY: Code = (7182800, "Location7182800");
/// *$changeStreamSplitLargeEvent must be the last stage in the pipeline.*
const SPLIT_NOT_LAST: Code = (7182802, "Location7182802");

/// What a driver reads to know that it must not resume by itself.
const NOT_RESUMABLE: &str = "NonResumableChangeStreamError";

impl Error {
    /// MongoDB's number for it. Errors of the disk and a damaged log have none.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Match { source, .. } | Error::Query(source) => Some(source.code()),
            Error::Evaluate(error) => error.code(),
            _ => self.own_code().map(|(number, _)| number),
        }
    }

    /// MongoDB's name for it: `Location` and the number where it has no other.
    #[must_use]
    pub fn code_name(&self) -> Option<Cow<'static, str>> {
        match self {
            Error::Match { source, .. } | Error::Query(source) => Some(source.code_name()),
            Error::Evaluate(error) => error.code_name(),
            _ => self.own_code().map(|(_, name)| Cow::Borrowed(name)),
        }
    }

    /// Its labels: `NonResumableChangeStreamError` when starting again with the same token meets the same error.
    #[must_use]
    pub fn labels(&self) -> &'static [&'static str] {
        match self.own_code() {
            // Of a member that begins to follow, or lags, it is only a matter of time.
            _ if matches!(self, Error::TokenAheadOfLog { .. }) => &[],
            Some(CHANGE_STREAM_FATAL | CHANGE_STREAM_HISTORY_LOST) => &[NOT_RESUMABLE],
            _ => &[],
        }
    }

    fn own_code(&self) -> Option<Code> {
        Some(match self {
            Error::MalformedToken { .. } | Error::InsideSnapshot | Error::Invalidated => INVALID_RESUME_TOKEN,
            Error::TokenAheadOfLog { .. }
            | Error::TokenDropped
            | Error::TokenModified { .. }
            | Error::SplitMissing
            | Error::SplitChanged { .. } => CHANGE_STREAM_FATAL,
            Error::TimeTrimmed { .. } | Error::ConsumerLostHistory { .. } => CHANGE_STREAM_HISTORY_LOST,
            Error::ConflictingStart => CONFLICTING_START,
            Error::Filter(_) => FAILED_TO_PARSE,
            Error::UnsupportedStage { known: true, .. } => ILLEGAL_OPERATION,
            Error::UnsupportedStage { known: false, .. } => UNKNOWN_STAGE,
            Error::NestedChangeStream { .. } => NOT_FIRST,
            Error::SplitNotEmpty { .. } => SPLIT_NOT_EMPTY,
            Error::SplitNotLast { .. } => SPLIT_NOT_LAST,
            Error::EventTooLarge { .. } => EVENT_TOO_LARGE,
            Error::FieldTooLarge { .. } => CANNOT_SPLIT,
            Error::Collation(_) => BAD_VALUE,
            Error::MalformedStage { .. } => NOT_ONE_OPERATOR,
            Error::NoPreImage { .. } | Error::NoPostImage { .. } => NO_MATCHING_DOCUMENT,
            Error::Match { .. }
            | Error::Query(_)
            | Error::Evaluate(_)
            | Error::NoStore
            | Error::Store(_)
            | Error::InvalidConsumerName { .. }
            | Error::ConsumerMismatch { .. }
            | Error::NoSuchConsumer { .. }
            | Error::ConsumerActive { .. }
            | Error::MalformedConsumer { .. }
            | Error::DeliveryRevoked { .. }
            | Error::SplitUnsupported { .. }
            | Error::CollationUnsupported
            | Error::LiveTooLarge { .. }
            | Error::LiveUnsupported { .. } => return None,
            Error::Log(error) => return of_log(error),
        })
    }
}

fn of_log(error: &oplog::Error) -> Option<Code> {
    Some(match error.kind() {
        oplog::ErrorKind::HistoryLost => CHANGE_STREAM_HISTORY_LOST,
        oplog::ErrorKind::OtherHistory => CHANGE_STREAM_FATAL,
        oplog::ErrorKind::Closed => INTERRUPTED_AT_SHUTDOWN,
        oplog::ErrorKind::NotYet => MAJORITY_NOT_AVAILABLE_YET,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use tailwater_matcher::Expression;
    use tailwater_oplog::OpId;

    use super::*;

    #[test]
    fn errors_have_mongodb_s_codes_and_labels() {
        let (requested, oldest) = (OpId::new(3), OpId::new(7));
        let source = Expression::parse(&rawdoc! { "$where": "1" }).unwrap_err();
        let unlabelled: [&str; 0] = [];
        for (error, code, name, labels) in [
            (
                Error::MalformedToken { what: "cut" },
                260,
                "InvalidResumeToken",
                &unlabelled[..],
            ),
            (Error::Invalidated, 260, "InvalidResumeToken", &unlabelled),
            (
                oplog::Error::HistoryLost { requested, oldest }.into(),
                286,
                "ChangeStreamHistoryLost",
                &[NOT_RESUMABLE],
            ),
            (
                Error::TokenAheadOfLog {
                    requested: oldest,
                    newest: requested,
                },
                280,
                "ChangeStreamFatalError",
                &unlabelled,
            ),
            (Error::TokenDropped, 280, "ChangeStreamFatalError", &[NOT_RESUMABLE]),
            (
                Error::TokenModified { op_id: oldest },
                280,
                "ChangeStreamFatalError",
                &[NOT_RESUMABLE],
            ),
            (
                oplog::Error::Diverged {
                    op_id: oldest,
                    requested: Default::default(),
                    found: Default::default(),
                }
                .into(),
                280,
                "ChangeStreamFatalError",
                &[NOT_RESUMABLE],
            ),
            (
                Error::TimeTrimmed {
                    requested: oplog::Timestamp::default(),
                    oldest,
                },
                286,
                "ChangeStreamHistoryLost",
                &[NOT_RESUMABLE],
            ),
            (
                Error::NoPreImage { op_id: oldest },
                47,
                "NoMatchingDocument",
                &unlabelled,
            ),
            (
                Error::NoPostImage { op_id: oldest },
                47,
                "NoMatchingDocument",
                &unlabelled,
            ),
            (Error::ConflictingStart, 40674, "Location40674", &unlabelled),
            (Error::Match { stage: 0, source }, 2, "BadValue", &unlabelled),
            (
                oplog::Error::MajorityUnknown { op_id: oldest }.into(),
                134,
                "ReadConcernMajorityNotAvailableYet",
                &unlabelled,
            ),
            (oplog::Error::Closed.into(), 11600, "InterruptedAtShutdown", &unlabelled),
        ] {
            assert_eq!(error.code(), Some(code), "{error}");
            assert_eq!(error.code_name().as_deref(), Some(name), "{error}");
            assert_eq!(error.labels(), labels, "{error}");
        }
    }
}

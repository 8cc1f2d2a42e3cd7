//! What a command fails with: a message that says what to do, and the exit code that scripts rely on.

use std::error::Error;
use std::fmt::Write as _;

use tailwater::oplog::ErrorKind;
use tailwater::{LogError, WatchError};

/// Exit codes, as `tailwater --help` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Something else went wrong.
    Failure = 1,
    /// The arguments are wrong: also a malformed filter, pipeline or token.
    Usage = 2,
    /// The input is malformed.
    Input = 3,
    /// The directory is no store, is in use, is newer than this release, or the disk is full.
    Environment = 4,
    /// Data on disk is damaged, or `demo` found something lost.
    Damage = 5,
    /// The history that was asked for is gone, or belongs to another log.
    History = 6,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
        }
    }

    /// With the error's whole chain of causes as message.
    pub(crate) fn of(exit: Exit, error: &dyn Error) -> Failure {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            let text = next.to_string();
            // Some errors repeat their cause in their own words.
            if !message.contains(&text) {
                let _ = write!(message, ": {text}");
            }
            cause = next.source();
        }
        Failure { exit, message }
    }

    pub(crate) fn io(action: &str, error: &std::io::Error) -> Failure {
        Failure::new(Exit::Failure, format!("cannot {action}: {error}"))
    }
}

pub(crate) fn exit_of_log(error: &LogError) -> Exit {
    match error.kind() {
        ErrorKind::Environment
        | ErrorKind::Locked
        | ErrorKind::NewerFormat
        | ErrorKind::NotPrimary
        | ErrorKind::NotYet => Exit::Environment,
        ErrorKind::Corrupt => Exit::Damage,
        ErrorKind::HistoryLost | ErrorKind::OtherHistory => Exit::History,
        ErrorKind::InvalidInput => Exit::Usage,
        _ => Exit::Failure,
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        Failure::of(exit_of_log(&error), &error)
    }
}

pub(crate) fn exit_of_store(error: &tailwater::Error) -> Exit {
    use tailwater::Error as E;
    match error {
        E::Log(error) => exit_of_log(error),
        // What stopped it half way decides.
        E::InsertMany { source, .. } | E::ChangeMany { source, .. } => exit_of_store(source),
        E::BulkWrite { errors, .. } => errors
            .first()
            .map_or(Exit::Failure, |first| exit_of_store(&first.error)),
        E::Directory { .. }
        | E::ForeignState { .. }
        | E::StateDiverged { .. }
        | E::StateLocked { .. }
        | E::LogMissing { .. }
        | E::StateAhead { .. }
        | E::StateBehind { .. } => Exit::Environment,
        E::Inconsistent { .. } => Exit::Damage,
        E::EnteredPart { .. } => Exit::History,
        E::NoSuchCollection { .. } | E::InvalidName { .. } | E::Filter(_) | E::Update(_) => Exit::Usage,
        E::DuplicateKey { .. }
        | E::InvalidDocument(_)
        | E::InvalidId { .. }
        | E::NoDocuments
        | E::DollarPrefixedId { .. }
        | E::IdTwice => Exit::Input,
        _ => Exit::Failure,
    }
}

impl From<tailwater::Error> for Failure {
    fn from(error: tailwater::Error) -> Failure {
        Failure::of(exit_of_store(&error), &error)
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Failure {
        use WatchError as E;
        let exit = match &error {
            E::Log(error) => exit_of_log(error),
            E::TokenAheadOfLog { .. } | E::TimeTrimmed { .. } => Exit::History,
            E::NoPreImage { .. } | E::NoPostImage { .. } | E::EventTooLarge { .. } | E::FieldTooLarge { .. } => {
                Exit::Failure
            }
            _ => Exit::Usage,
        };
        Failure::of(exit, &error)
    }
}

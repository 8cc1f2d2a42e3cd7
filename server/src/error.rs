//! What a server, and what a command, can fail with. MongoDB's numbers for the errors that only a server has are here; those of
//! documents, queries and streams come with the errors themselves.

use std::borrow::Cow;
use std::net::SocketAddr;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use tailwater::{WatchError, WriteError};

/// The result of running a server.
pub type ServerResult<T, E = ServerError> = Result<T, E>;

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address that others could reach, where nobody would have to log in.
    #[error(
        "{address} can be reached from other machines, and nobody would have to log in: start with --auth, and make the first user over 127.0.0.1, or bind a loopback address"
    )]
    WithoutUsers {
        /// The address.
        address: SocketAddr,
    },
    /// An address that others could reach, where what goes over the network could be read.
    #[error(
        "{address} can be reached from other machines, and connections would not be encrypted: give --tls-cert and --tls-key, or --allow-plaintext where the network itself is private"
    )]
    WithoutTls {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: another server may have it, or it is not this machine's")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The users of a store that follows another cannot be kept up to date.
    #[error(
        "changes of users and roles cannot be followed, and who is a user no longer would be let in: see the cause, and start again"
    )]
    Users(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A thread could not be started.
    #[error("cannot start a thread: free some of the system's threads or memory")]
    Thread(#[source] std::io::Error),
}

/// MongoDB's numbers and names for errors of a server (manual: *Error Codes*).
pub(crate) mod code {
    /// A number and its name.
    pub(crate) type Code = (i32, &'static str);

    pub(crate) const INTERNAL_ERROR: Code = (1, "InternalError");
    pub(crate) const BAD_VALUE: Code = (2, "BadValue");
    pub(crate) const FAILED_TO_PARSE: Code = (9, "FailedToParse");
    pub(crate) const UNAUTHORIZED: Code = (13, "Unauthorized");
    pub(crate) const TYPE_MISMATCH: Code = (14, "TypeMismatch");
    pub(crate) const PROTOCOL_ERROR: Code = (17, "ProtocolError");
    pub(crate) const AUTHENTICATION_FAILED: Code = (18, "AuthenticationFailed");
    pub(crate) const INVALID_BSON: Code = (22, "InvalidBSON");
    pub(crate) const BSON_TOO_LARGE: Code = (10334, "BSONObjectTooLarge");
    pub(crate) const CURSOR_KILLED: Code = (237, "CursorKilled");
    pub(crate) const CURSOR_NOT_FOUND: Code = (43, "CursorNotFound");
    pub(crate) const MAX_TIME_EXPIRED: Code = (50, "MaxTimeMSExpired");
    pub(crate) const COMMAND_NOT_FOUND: Code = (59, "CommandNotFound");
    pub(crate) const INVALID_OPTIONS: Code = (72, "InvalidOptions");
    pub(crate) const WRITE_CONCERN_FAILED: Code = (64, "WriteConcernFailed");
    pub(crate) const NOT_WRITABLE_PRIMARY: Code = (10107, "NotWritablePrimary");
    pub(crate) const NOT_PRIMARY_NO_SECONDARY_OK: Code = (13435, "NotPrimaryNoSecondaryOk");
    pub(crate) const INVALID_NAMESPACE: Code = (73, "InvalidNamespace");
    pub(crate) const TOO_MANY_CURSORS: Code = (146, "ExceededMemoryLimit");
    pub(crate) const COMMAND_NOT_SUPPORTED: Code = (115, "CommandNotSupported");
    pub(crate) const TRANSACTION_TOO_OLD: Code = (225, "TransactionTooOld");
    pub(crate) const NOT_IMPLEMENTED: Code = (238, "NotImplemented");
    pub(crate) const NO_SUCH_TRANSACTION: Code = (251, "NoSuchTransaction");
    pub(crate) const TRANSACTION_COMMITTED: Code = (256, "TransactionCommitted");
    pub(crate) const NOT_IN_TRANSACTION: Code = (263, "OperationNotSupportedInTransaction");
    pub(crate) const CLIENT_DISCONNECT: Code = (279, "ClientDisconnect");
    pub(crate) const INTERRUPTED: Code = (11601, "Interrupted");
    pub(crate) const INTERRUPTED_AT_SHUTDOWN: Code = (11600, "InterruptedAtShutdown");
    pub(crate) const CURSOR_IN_USE: Code = (12051, "CursorInUse");
    pub(crate) const MECHANISM_UNAVAILABLE: Code = (334, "MechanismUnavailable");
    pub(crate) const MISSING_FIELD: Code = (40414, "IDLFailedToParse");
    pub(crate) const DUPLICATE_FIELD: Code = (40413, "IDLDuplicateField");
    pub(crate) const UNKNOWN_FIELD: Code = (40415, "IDLUnknownField");
}

/// Codes of errors after which a driver starts a change stream again by itself (driver specification: *Change Streams*, *Resumable
/// Error*; the server says so by a label).
const RESUMABLE: [i32; 18] = [
    6, 7, 43, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
];

/// Codes of errors after which a driver sends a numbered write or a commit again (driver specification: *Retryable Writes*).
pub(crate) const RETRYABLE: [i32; 12] = [6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436];

/// The label for that.
pub(crate) const RETRYABLE_LABEL: &str = "RetryableWriteError";

/// The label for a transaction that may be run again.
pub(crate) const TRANSIENT_LABEL: &str = "TransientTransactionError";

/// The label for a stream that may be started again.
const RESUMABLE_LABEL: &str = "ResumableChangeStreamError";

/// What a command failed with: the fields of its answer.
#[derive(Clone, Debug)]
pub(crate) struct CommandError {
    pub(crate) code: i32,
    pub(crate) name: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) labels: Vec<Cow<'static, str>>,
    /// Further fields of the answer.
    pub(crate) extra: RawDocumentBuf,
}

/// The result of a command or a part of one.
pub(crate) type CommandResult<T = RawDocumentBuf> = Result<T, CommandError>;

impl CommandError {
    pub(crate) fn new((code, name): code::Code, message: impl Into<String>) -> CommandError {
        CommandError {
            code,
            name: Cow::Borrowed(name),
            message: message.into(),
            labels: Vec::new(),
            extra: RawDocumentBuf::new(),
        }
    }

    /// Something MongoDB has and this server does not.
    pub(crate) fn not_implemented(what: impl std::fmt::Display) -> CommandError {
        CommandError::new(code::NOT_IMPLEMENTED, format!("{what} is not supported"))
    }

    pub(crate) fn labelled(mut self, label: impl Into<Cow<'static, str>>) -> CommandError {
        self.labels.push(label.into());
        self
    }

    /// As an error of a change stream: labelled where a driver may start again by itself.
    pub(crate) fn of_stream(self) -> CommandError {
        match RESUMABLE.contains(&self.code) {
            true => self.labelled(RESUMABLE_LABEL),
            false => self,
        }
    }

    /// As an error of a write that may be sent again, or of the end of a transaction.
    pub(crate) fn of_retryable(self) -> CommandError {
        match RETRYABLE.contains(&self.code) {
            true => self.labelled(RETRYABLE_LABEL),
            false => self,
        }
    }

    /// The answer.
    pub(crate) fn to_document(&self) -> RawDocumentBuf {
        let mut document = rawdoc! {
            "ok": 0.0,
            "errmsg": self.message.as_str(),
            "code": self.code,
            "codeName": &*self.name,
        };
        for field in &self.extra {
            let Ok((name, value)) = field else { break };
            document.append(name, value);
        }
        if !self.labels.is_empty() {
            let mut labels = RawArrayBuf::new();
            self.labels.iter().for_each(|label| labels.push(&**label));
            document.append(cstr!("errorLabels"), labels);
        }
        document
    }
}

impl From<tailwater_auth::Error> for CommandError {
    fn from(error: tailwater_auth::Error) -> CommandError {
        use tailwater_auth::Error as E;
        let code = match error {
            E::Store(error) => return error.into(),
            E::UserExists(_) => (51003, "Location51003"),
            E::NoSuchUser(_) => (11, "UserNotFound"),
            E::RoleExists(_) => (51002, "Location51002"),
            E::NoSuchRole(_) => (31, "RoleNotFound"),
            E::BuiltInRole(_) | E::Cycle { .. } | E::OtherDatabase { .. } => (49, "InvalidRoleModification"),
            E::Record { .. } | E::NoRandomness => code::INTERNAL_ERROR,
            _ => code::BAD_VALUE,
        };
        CommandError::new(code, error.to_string())
    }
}

impl From<tailwater::Error> for CommandError {
    fn from(error: tailwater::Error) -> CommandError {
        use tailwater::Error as E;
        let (code, name) = code_of(&error);
        let mut failure = CommandError::new(code::INTERNAL_ERROR, full_message(&error));
        (failure.code, failure.name) = (code, name);
        failure.labels = error.labels().iter().map(|label| Cow::Borrowed(label.name())).collect();
        if let E::DuplicateKey {
            key_pattern, key_value, ..
        } = &error
        {
            failure.extra = rawdoc! { "keyPattern": key_pattern.clone(), "keyValue": key_value.clone() };
        }
        if let E::DocumentFailedValidation { info, .. } = &error {
            failure.extra = rawdoc! { "errInfo": info.clone() };
        }
        failure
    }
}

impl From<WatchError> for CommandError {
    fn from(error: WatchError) -> CommandError {
        let mut failure = CommandError::new(code::INTERNAL_ERROR, full_message(&error));
        if let (Some(code), Some(name)) = (error.code(), error.code_name()) {
            (failure.code, failure.name) = (code, name);
        }
        failure.labels = error.labels().iter().map(|label| Cow::Borrowed(*label)).collect();
        failure.of_stream()
    }
}

/// The number and name of a store's error. What only a disk or a bug can cause is an internal error.
fn code_of(error: &tailwater::Error) -> (i32, Cow<'static, str>) {
    use tailwater::Error as E;
    match error {
        E::Filter(error) | E::Projection(error) => (error.code(), error.code_name()),
        E::Update(error) => (error.code(), Cow::Borrowed(error.code_name())),
        E::Aggregate(error) => (error.code(), error.code_name()),
        E::Evaluate(error) | E::Project(error) if error.code().is_some() => {
            (error.code().unwrap_or_default(), error.code_name().unwrap_or_default())
        }
        E::ChangeMany { source, .. } | E::InsertMany { source, .. } => code_of(source),
        E::Log(tailwater::LogError::Closed) => (
            code::INTERRUPTED_AT_SHUTDOWN.0,
            Cow::Borrowed(code::INTERRUPTED_AT_SHUTDOWN.1),
        ),
        error => match error.code() {
            Some(code) => (code.number(), Cow::Borrowed(code.name())),
            None => (code::INTERNAL_ERROR.0, Cow::Borrowed(code::INTERNAL_ERROR.1)),
        },
    }
}

/// An error's message with those of its causes that it does not repeat itself.
fn full_message(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = next.source();
    }
    message
}

/// A member of `writeErrors` (MongoDB manual: *insert*, output); a terse one says which write, and its code.
pub(crate) fn write_error(error: &WriteError, terse: bool) -> RawDocumentBuf {
    let mut failure = CommandError::from(error.error.clone());
    if terse {
        failure.message.clear();
        failure.extra = RawDocumentBuf::new();
    }
    let mut document = rawdoc! {
        "index": i32::try_from(error.index).unwrap_or(i32::MAX),
        "code": failure.code,
    };
    for field in &failure.extra {
        let Ok((name, value)) = field else { break };
        document.append(name, value);
    }
    document.append(cstr!("errmsg"), failure.message);
    document
}

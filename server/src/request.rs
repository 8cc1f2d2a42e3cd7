//! A request: a command's name, its database, its fields, and what every command may carry besides.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bson::{RawBsonRef, RawDocument};
use sha2::{Digest, Sha256};
use tailwater::RetryableWrite;
use tailwater::matcher::{ENVELOPE_BYTES_MAX, ENVELOPE_DEPTH_MAX, ValidateErrorKind, validate_envelope};
use tailwater_auth::UserId;
use tailwater_wire::{Msg, Query, Sequence};

use crate::concern::{Acknowledged, Reading};
use crate::error::{CommandError, CommandResult, code};
use crate::value::{Value, check_names, fields};

/// Fields that any command may carry and that are read here, or that say nothing to this server.
const GENERIC: [&str; 18] = [
    "$db",
    "$clusterTime",
    "$readPreference",
    "apiVersion",
    "apiStrict",
    "apiDeprecationErrors",
    "autocommit",
    "comment",
    "helloOk",
    "lsid",
    "maxTimeMS",
    "readConcern",
    "startTransaction",
    "stmtId",
    "stmtIds",
    "txnNumber",
    "writeConcern",
    "$audit",
];

/// A session: the client's name for it, and whose it is. Two users who give theirs one name have two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SessionId {
    pub(crate) id: [u8; 16],
    pub(crate) user: Option<UserId>,
}

impl SessionId {
    /// What the store remembers its writes by: another for each user.
    pub(crate) fn key(self) -> tailwater::SessionId {
        let Some(user) = self.user else {
            return self.id;
        };
        let digest = Sha256::new()
            .chain_update(user.uuid().bytes())
            .chain_update(self.id)
            .finalize();
        std::array::from_fn(|place| digest[place])
    }
}

/// The user, the session, and the transaction within it, that a cursor belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) user: Option<UserId>,
    pub(crate) session: Option<SessionId>,
    pub(crate) transaction: Option<i64>,
}

/// How a request belongs to a transaction of several, or is a write that may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Numbered {
    /// A write that the client may send again with the same number.
    Retryable(i64),
    /// An operation of a transaction; whether it is its first.
    Transaction { number: i64, first: bool },
}

/// A request. See the module documentation.
pub(crate) struct Request<'a> {
    pub(crate) name: &'a str,
    pub(crate) database: &'a str,
    pub(crate) body: &'a RawDocument,
    /// Who sends it.
    pub(crate) user: Option<UserId>,
    sequences: &'a [Sequence<'a>],
    pub(crate) session: Option<SessionId>,
    pub(crate) numbered: Option<Numbered>,
    /// Whose disks writes are on when they are answered.
    pub(crate) acknowledged: Acknowledged,
    /// What reads may see.
    pub(crate) reading: Reading<'a>,
    /// Whether a secondary will do.
    pub(crate) secondary_ok: bool,
    pub(crate) max_time: Option<Duration>,
    received: Instant,
    /// The number of the first statement of a write that may be sent again.
    first_statement: i32,
}

impl<'a> Request<'a> {
    pub(crate) fn of_msg(msg: &'a Msg<'a>, user: Option<UserId>) -> CommandResult<Request<'a>> {
        for sequence in &msg.sequences {
            check_sequence(sequence.identifier, msg.body)?;
        }
        for document in msg.sequences.iter().flat_map(|sequence| &sequence.documents) {
            check(document)?;
        }
        let database = msg.body.get_str("$db").map_err(|_| missing("OP_MSG", "$db"))?;
        Request::new(database, msg.body, user, &msg.sequences)
    }

    pub(crate) fn of_query(query: &Query<'a>, user: Option<UserId>) -> CommandResult<Request<'a>> {
        Request::new(query.database, query.command, user, &[])
    }

    fn new(
        database: &'a str,
        body: &'a RawDocument,
        user: Option<UserId>,
        sequences: &'a [Sequence<'a>],
    ) -> CommandResult<Request<'a>> {
        check(body)?;
        let first = body.iter().next().and_then(Result::ok);
        let Some((name, _)) = first else {
            return Err(CommandError::new(
                code::FAILED_TO_PARSE,
                "a command has at least its name",
            ));
        };
        check_names(name.as_str(), body)?;
        let mut request = Request {
            name: name.as_str(),
            database,
            body,
            user,
            sequences,
            session: None,
            numbered: None,
            acknowledged: Acknowledged::default(),
            reading: Reading::default(),
            secondary_ok: false,
            max_time: None,
            received: Instant::now(),
            first_statement: 0,
        };
        request.read_generic()?;
        Ok(request)
    }

    fn read_generic(&mut self) -> CommandResult<()> {
        let (mut number, mut first, mut autocommit) = (None, false, true);
        for field in self.fields().filter(|field| GENERIC.contains(&field.name)) {
            match field.name {
                "lsid" => self.session = Some(session_id(field.document()?, self.user)?),
                "txnNumber" => number = Some(field.integer()?),
                "startTransaction" => first = field.boolean()?,
                "autocommit" => autocommit = field.boolean()?,
                "stmtId" => self.first_statement = field.int32()?,
                "maxTimeMS" => self.max_time = Some(field.milliseconds()?).filter(|time| !time.is_zero()),
                "writeConcern" => self.acknowledged = Acknowledged::parse(field)?,
                "readConcern" => self.reading = Reading::parse(field)?,
                "$readPreference" => self.secondary_ok = secondary_ok(field)?,
                "apiVersion" if field.string()? != "1" => {
                    return Err(CommandError::new((322, "APIVersionError"), "the only API version is 1"));
                }
                _ => {}
            }
        }
        self.numbered = match (number, autocommit) {
            (Some(number), false) => Some(Numbered::Transaction { number, first }),
            (Some(number), true) => Some(Numbered::Retryable(number)),
            (None, _) => None,
        };
        let in_transaction = matches!(self.numbered, Some(Numbered::Transaction { .. }));
        if self.reading.is_snapshot() && !in_transaction {
            // Its users go on to ask for the same state again, which is not kept.
            return Err(CommandError::not_implemented(
                "readConcern snapshot outside of a transaction",
            ));
        }
        if self.numbered.is_some() && self.session.is_none() {
            return Err(CommandError::new(
                code::INVALID_OPTIONS,
                "a transaction number belongs to a session: lsid is missing",
            ));
        }
        Ok(())
    }

    /// When the time is over that it may take, whatever it waits for on the way: one moment for all of it.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Batches of a cursor that come by themselves have that time each.
        let since = match self.name {
            "getMore" => Instant::now(),
            _ => self.received,
        };
        self.max_time.map(|time| since + time)
    }

    /// The write that this is, when it may be sent again, with so many statements.
    pub(crate) fn retryable(&self, count: usize) -> CommandResult<Option<RetryableWrite>> {
        let (Some(session), Some(Numbered::Retryable(number))) = (self.session, self.numbered) else {
            return Ok(None);
        };
        let statements = match self.fields().find(|field| field.name == "stmtIds") {
            Some(ids) => {
                let ids = ids.array()?.into_iter();
                let ids = ids.map(|id| id.ok().and_then(RawBsonRef::as_i32));
                ids.collect::<Option<Vec<_>>>().filter(|ids| ids.len() == count)
            }
            None => {
                let first = i64::from(self.first_statement);
                let numbers = (first..).take(count).map(|number| i32::try_from(number).ok());
                numbers.collect::<Option<Vec<_>>>()
            }
        };
        let statements = statements.ok_or_else(|| {
            let message = format!(
                "BSON field '{}.stmtIds' must have a number for each statement",
                self.name
            );
            CommandError::new(code::BAD_VALUE, message)
        })?;
        Ok(Some(RetryableWrite {
            session: session.key(),
            number,
            statements,
        }))
    }

    /// Who a cursor belongs to that the request makes or asks.
    pub(crate) fn owner(&self) -> Owner {
        let transaction = match self.numbered {
            Some(Numbered::Transaction { number, .. }) => Some(number),
            _ => None,
        };
        Owner {
            user: self.user,
            session: self.session,
            transaction,
        }
    }

    /// Its fields. Malformed ones are not there to be met: the body has been validated.
    fn fields(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        fields(self.name, self.body).filter_map(Result::ok)
    }

    /// The value of the field that is the command's name.
    pub(crate) fn subject(&self) -> CommandResult<Value<'a>> {
        // `fields` leaves out what is null, and the next field is not the subject then.
        let subject = self.fields().next().filter(|field| field.name == self.name);
        subject.ok_or_else(|| missing(self.name, self.name))
    }

    /// The collection that the command names.
    pub(crate) fn collection(&self) -> CommandResult<&'a str> {
        let subject = self.subject()?;
        match subject.value {
            RawBsonRef::String(collection) => Ok(collection),
            _ => Err(CommandError::new(
                code::INVALID_NAMESPACE,
                format!("collection name has invalid type {:?}", subject.value.element_type()),
            )),
        }
    }

    /// The command's own fields, without its name and what every command may carry.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let name = self.name;
        self.fields()
            .filter(move |field| field.name != name && !GENERIC.contains(&field.name))
    }

    /// Refuses fields where a command has none of its own.
    pub(crate) fn no_arguments(&self) -> CommandResult<()> {
        self.arguments().next().map_or(Ok(()), |field| Err(field.unknown()))
    }

    /// Documents that come as an array of the body or as a sequence of the message.
    pub(crate) fn documents(&self, name: &'static str) -> CommandResult<Cow<'a, [&'a RawDocument]>> {
        if let Some(sequence) = self.sequences.iter().find(|sequence| sequence.identifier == name) {
            return Ok(Cow::Borrowed(&sequence.documents));
        }
        let field = self.fields().find(|field| field.name == name);
        field
            .ok_or_else(|| missing(self.name, name))?
            .documents()
            .map(Cow::Owned)
    }
}

/// A field that a command must have.
pub(crate) fn missing(command: &str, name: &str) -> CommandError {
    CommandError::new(
        code::MISSING_FIELD,
        format!("BSON field '{command}.{name}' is missing but a required field"),
    )
}

/// Names of sequences that commands take.
const SEQUENCES: [(&str, &[&str]); 4] = [
    ("insert", &["documents"]),
    ("update", &["updates"]),
    ("delete", &["deletes"]),
    ("bulkWrite", &["ops", "nsInfo"]),
];

/// Refuses a sequence that the command does not take, or that the body has as well: nothing that was sent is left aside.
fn check_sequence(name: &str, body: &RawDocument) -> CommandResult<()> {
    let command = body.iter().next().and_then(Result::ok);
    let command = command.map_or("", |(command, _)| command.as_str());
    let is_known = SEQUENCES
        .iter()
        .any(|(known, names)| *known == command && names.contains(&name));
    let message = match (is_known, body.get(name)) {
        (true, Ok(None)) => return Ok(()),
        (true, _) => {
            return Err(CommandError::new(
                code::DUPLICATE_FIELD,
                format!("BSON field '{command}.{name}' is a duplicate field"),
            ));
        }
        (false, _) => format!("BSON field '{command}.{name}' is an unknown field."),
    };
    Err(CommandError::new(code::UNKNOWN_FIELD, message))
}

/// A session's document.
pub(crate) fn session_id(session: &RawDocument, user: Option<UserId>) -> CommandResult<SessionId> {
    let id = session.get_binary("id").ok();
    let id = id.and_then(|id| <[u8; 16]>::try_from(id.bytes).ok());
    id.map(|id| SessionId { id, user })
        .ok_or_else(|| CommandError::new(code::BAD_VALUE, "a session's id must be a UUID"))
}

/// Whether a secondary will do (driver specification: *Server Selection*, `$readPreference`).
fn secondary_ok(field: Value<'_>) -> CommandResult<bool> {
    match field.document()?.get_str("mode") {
        Ok("primary") => Ok(false),
        Ok("primaryPreferred" | "secondary" | "secondaryPreferred" | "nearest") => Ok(true),
        _ => Err(CommandError::new(
            code::FAILED_TO_PARSE,
            "Could not parse $readPreference: mode must be primary, primaryPreferred, secondary, secondaryPreferred or nearest",
        )),
    }
}

/// Looks whether a document is one in all its depth: what is done with it afterwards relies on that. What it carries may be as
/// large and as deep as a stored document, which is looked at where it is taken out: one that is not is no fault of the others.
fn check(document: &RawDocument) -> CommandResult<()> {
    let Err(error) = validate_envelope(document.as_bytes()) else {
        return Ok(());
    };
    Err(match error.kind {
        ValidateErrorKind::TooLarge { found } => CommandError::new(
            code::BSON_TOO_LARGE,
            format!("BSONObj size: {found} is invalid. Size must be between 0 and {ENVELOPE_BYTES_MAX}"),
        ),
        ValidateErrorKind::TooDeep => CommandError::new(
            (15, "Overflow"),
            format!("the command nests too deep, limit={ENVELOPE_DEPTH_MAX}"),
        ),
        _ => tailwater::Error::from(error).into(),
    })
}

//! A request: a command's name, its database, its fields, and what every command may carry besides.

use std::borrow::Cow;
use std::time::Duration;

use bson::{RawBsonRef, RawDocument};
use sha2::{Digest, Sha256};
use tailwater::matcher::validate;
use tailwater::replication::WriteConcern;
use tailwater::{Durability, ReadConcern, RetryableWrite};
use tailwater_auth::UserId;
use tailwater_wire::{Msg, Query, Sequence};

use crate::error::{CommandError, CommandResult, code};
use crate::value::{Value, check_names, fields};

/// Fields that any command may carry and that are read here, or that say nothing to a server of one member.
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
    /// How durable writes are when they are answered; the store's default when the request does not say.
    pub(crate) durability: Option<Durability>,
    /// Which members of a replicated store must have writes when they are answered.
    pub(crate) wants: Wants,
    /// Whether what is read must survive power loss before it is answered.
    pub(crate) durable_reads: bool,
    /// Whether a change stream may see what power loss could still take back.
    pub(crate) reads_local: bool,
    pub(crate) max_time: Option<Duration>,
    /// The number of the first statement of a write that may be sent again.
    first_statement: i32,
}

impl<'a> Request<'a> {
    pub(crate) fn of_msg(msg: &'a Msg<'a>, user: Option<UserId>) -> CommandResult<Request<'a>> {
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
            durability: None,
            wants: Wants::Default,
            durable_reads: false,
            reads_local: false,
            max_time: None,
            first_statement: 0,
        };
        request.read_generic()?;
        Ok(request)
    }

    fn read_generic(&mut self) -> CommandResult<()> {
        let (mut number, mut first, mut autocommit, mut snapshot) = (None, false, true, false);
        for field in self.fields().filter(|field| GENERIC.contains(&field.name)) {
            match field.name {
                "lsid" => self.session = Some(session_id(field.document()?, self.user)?),
                "txnNumber" => number = Some(field.integer()?),
                "startTransaction" => first = field.boolean()?,
                "autocommit" => autocommit = field.boolean()?,
                "stmtId" => self.first_statement = field.int32()?,
                "maxTimeMS" => self.max_time = Some(field.milliseconds()?).filter(|time| !time.is_zero()),
                "writeConcern" => (self.durability, self.wants) = write_concern(field)?,
                "readConcern" => {
                    let level = read_concern(field)?;
                    snapshot = field
                        .document()?
                        .get_str("level")
                        .is_ok_and(|level| level == "snapshot");
                    self.durable_reads = level == Some(ReadConcern::Durable);
                    self.reads_local = level == Some(ReadConcern::Local);
                }
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
        if snapshot && !in_transaction {
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
            None => (self.first_statement..).take(count).map(Some).collect(),
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

/// A session's document.
pub(crate) fn session_id(session: &RawDocument, user: Option<UserId>) -> CommandResult<SessionId> {
    let id = session.get_binary("id").ok();
    let id = id.and_then(|id| <[u8; 16]>::try_from(id.bytes).ok());
    id.map(|id| SessionId { id, user })
        .ok_or_else(|| CommandError::new(code::BAD_VALUE, "a session's id must be a UUID"))
}

/// Looks whether a document is one in all its depth: what is done with it afterwards relies on that.
fn check(document: &RawDocument) -> CommandResult<()> {
    validate(document.as_bytes()).map_err(tailwater::Error::from)?;
    Ok(())
}

/// Which members of a replicated store must have a write when it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wants {
    /// The request does not say.
    Default,
    /// This one alone.
    Here,
    /// As many as that, within that time.
    Members(WriteConcern, Duration),
}

/// `j` and `w` say how durable a write is when it is answered (MongoDB manual: *Write Concern*): a write that a majority must
/// have survives power loss, one that the server has acknowledged the death of the process.
fn write_concern(field: Value<'_>) -> CommandResult<(Option<Durability>, Wants)> {
    let concern = field.document()?;
    let (mut journaled, mut w, mut timeout) = (None, None, Duration::MAX);
    for option in fields("writeConcern", concern) {
        let option = option?;
        match option.name {
            "j" | "fsync" => journaled = Some(option.boolean()?),
            "w" => w = Some(option),
            "wtimeout" | "wtimeoutMS" => {
                let milliseconds = u64::try_from(option.integer()?).unwrap_or_default();
                timeout = match milliseconds {
                    0 => Duration::MAX,
                    _ => Duration::from_millis(milliseconds),
                };
            }
            "provenance" => {}
            _ => return Err(option.unknown()),
        }
    }
    let (acknowledged, wants) = match w.map(|w| (w, w.value)) {
        None => (None, Wants::Default),
        // Whatever the store does by itself.
        Some((_, RawBsonRef::String("majority"))) => {
            let majority = Wants::Members(WriteConcern::Majority, timeout);
            (Some(Durability::Disk), majority)
        }
        Some((_, RawBsonRef::String(_))) => {
            return Err(CommandError::new(
                (79, "UnknownReplWriteConcern"),
                "there is no write concern mode of that name",
            ));
        }
        Some((w, _)) => match w.integer()? {
            0 | 1 => (Some(Durability::Memory), Wants::Here),
            count => {
                let members = u8::try_from(count).ok().and_then(WriteConcern::members);
                let members = members.ok_or_else(unsatisfiable)?;
                (Some(Durability::Disk), Wants::Members(members, timeout))
            }
        },
    };
    let durability = match journaled {
        Some(true) => Some(Durability::Disk),
        Some(false) => Some(Durability::Memory),
        None => acknowledged,
    };
    Ok((durability, wants))
}

/// There cannot be as many members as a write must have.
pub(crate) fn unsatisfiable() -> CommandError {
    CommandError::new((100, "UnsatisfiableWriteConcern"), "Not enough data-bearing nodes")
}

/// The level of a read concern, if it has one. What a majority has is what survives power loss here.
fn read_concern(field: Value<'_>) -> CommandResult<Option<ReadConcern>> {
    let concern = field.document()?;
    let mut level = None;
    for option in fields("readConcern", concern) {
        let option = option?;
        match option.name {
            "level" => level = Some(option.string()?),
            // Whatever this server has told a client is in what it reads.
            "afterClusterTime" => drop(option.timestamp()?),
            "provenance" => {}
            "atClusterTime" => option.unsupported(false)?,
            _ => return Err(option.unknown()),
        }
    }
    match level {
        None => Ok(None),
        Some("local" | "available") => Ok(Some(ReadConcern::Local)),
        Some("majority" | "linearizable" | "snapshot") => Ok(Some(ReadConcern::Durable)),
        Some(level) => Err(CommandError::new(
            code::BAD_VALUE,
            format!("Enumeration value '{level}' for field 'readConcern.level' is not a valid value."),
        )),
    }
}

//! Read and write concerns: what a request asks for beside its own work, and the waiting for it.
//!
//! | asked for | what is waited for |
//! |---|---|
//! | `w: 1`, `w: 0` | nothing |
//! | `j: true` | this member's disk |
//! | `w: n` | as many members' disks, this one's among them |
//! | `w: "majority"`, or nothing | a majority of the listed members; where there is no list, this member's disk |
//! | `readConcern` `majority`, `linearizable` | that a majority holds what was read; where there is no list, this member's disk does |
//! | `afterClusterTime` | on a follower, that it has come so far |
//!
//! Who writes is answered when as many hold it, or with a `writeConcernError` when time is up: the write is done by then, and may
//! yet come to be held (MongoDB manual: *Write Concern*, `wtimeout`).

use std::time::{Duration, Instant};

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, Timestamp, rawdoc};
use tailwater::oplog::{Interrupt, WaitOutcome};
use tailwater::replication::{Error, Standing, WriteConcern, acknowledgement, standing};
use tailwater::{Durability, LogError, OpId, ReadConcern};

use crate::command::{Command, Kind, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, RETRYABLE, RETRYABLE_LABEL, code};
use crate::request::Numbered;
use crate::value::{Value, fields};

/// Who waits looks so often whether somebody still waits for the answer.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a read waits for a majority to hold it.
const MAJORITY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Most members that can be asked for, as in MongoDB.
const W_MAX: i64 = 50;

/// Whose disks a write is to be on when it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Held {
    /// Those of a majority, where there is one.
    #[default]
    Majority,
    /// So many, the primary's among them. None and one are the same.
    Members(u8),
    /// Those of a mode that has a name, of which there is none.
    Mode,
}

/// `writeConcern`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Acknowledged {
    /// How durable it is here; the store's default when the request does not say.
    pub(crate) durability: Option<Durability>,
    pub(crate) held: Held,
    /// How long to wait for others; as long as it takes when the request does not say.
    pub(crate) timeout: Option<Duration>,
}

impl Acknowledged {
    /// `j` and `w` say how durable a write is when it is answered (MongoDB manual: *Write Concern*): a write that others must have
    /// survives power loss, one that the server has acknowledged the death of the process.
    pub(crate) fn parse(field: Value<'_>) -> CommandResult<Acknowledged> {
        let concern = field.document()?;
        let (mut journaled, mut w, mut timeout) = (None, None, None);
        for option in fields("writeConcern", concern) {
            let option = option?;
            match option.name {
                "j" | "fsync" => journaled = Some(option.boolean()?),
                "w" => w = Some(option),
                "wtimeout" | "wtimeoutMS" => timeout = Some(option.integer()?),
                "provenance" => {}
                _ => return Err(option.unknown()),
            }
        }
        let (acknowledged, held) = match w.map(|w| (w, w.value)) {
            // Whatever the store does by itself.
            None => (None, Held::Majority),
            Some((_, RawBsonRef::String("majority"))) => (Some(Durability::Disk), Held::Majority),
            Some((_, RawBsonRef::String(_))) => (Some(Durability::Disk), Held::Mode),
            Some((w, _)) => match (w.integer()?, u8::try_from(w.integer()?)) {
                (count @ 0..=W_MAX, Ok(members)) => {
                    let durability = if count > 1 {
                        Durability::Disk
                    } else {
                        Durability::Memory
                    };
                    (Some(durability), Held::Members(members))
                }
                _ => {
                    let message = "w has to be a non-negative number and not greater than 50";
                    return Err(CommandError::new(code::FAILED_TO_PARSE, message));
                }
            },
        };
        let timeout = timeout
            .and_then(|timeout| u64::try_from(timeout).ok())
            .filter(|timeout| *timeout > 0);
        Ok(Acknowledged {
            durability: match (journaled, held) {
                (Some(true), _) => Some(Durability::Disk),
                // What others must have this one must have, too.
                (Some(false), Held::Members(2..)) => acknowledged,
                (Some(false), _) => Some(Durability::Memory),
                (None, _) => acknowledged,
            },
            held,
            timeout: timeout.map(Duration::from_millis),
        })
    }
}

/// `readConcern`.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Reading<'a> {
    level: Option<&'a str>,
    after: Option<Timestamp>,
}

impl<'a> Reading<'a> {
    pub(crate) fn parse(field: Value<'a>) -> CommandResult<Reading<'a>> {
        let mut reading = Reading::default();
        for option in fields("readConcern", field.document()?) {
            let option = option?;
            match option.name {
                "level" => reading.level = Some(option.string()?),
                "afterClusterTime" => reading.after = Some(option.timestamp()?),
                "provenance" => {}
                "atClusterTime" => option.unsupported(false)?,
                _ => return Err(option.unknown()),
            }
        }
        match reading.level {
            None | Some("local" | "available" | "majority" | "linearizable" | "snapshot") => Ok(reading),
            Some(level) => Err(CommandError::new(
                code::BAD_VALUE,
                format!("Enumeration value '{level}' for field 'readConcern.level' is not a valid value."),
            )),
        }
    }

    pub(crate) fn is_snapshot(self) -> bool {
        self.level == Some("snapshot")
    }

    /// Whether what is read may be what power loss could still take back.
    pub(crate) fn is_local(self) -> bool {
        matches!(self.level, Some("local" | "available"))
    }

    /// Whether what is read must stay, whatever happens.
    fn is_settled(self) -> bool {
        matches!(self.level, Some("majority" | "linearizable" | "snapshot"))
    }

    /// Whether only the newest of all will do.
    pub(crate) fn is_linearizable(self) -> bool {
        self.level == Some("linearizable")
    }
}

impl Context<'_> {
    /// What a watch may see.
    pub(crate) fn sees(&self) -> ReadConcern {
        let counts = self
            .server
            .options
            .member
            .as_ref()
            .is_some_and(|member| member.has_majority());
        match self.request.reading.is_local() {
            true => ReadConcern::Local,
            false if counts => ReadConcern::Majority,
            false => ReadConcern::Durable,
        }
    }

    /// What a reader of the log sees as an oplog. It is this member's own, so that it shows what is here unless a majority is asked
    /// for.
    pub(crate) fn sees_of_log(&self) -> ReadConcern {
        match self.request.reading {
            reading if reading.is_local() => ReadConcern::Local,
            reading if reading.is_settled() => self.sees(),
            _ => ReadConcern::Durable,
        }
    }

    /// Waits until a follower has come as far as the client has read or written elsewhere. What a primary has told a client is in
    /// what it reads.
    pub(crate) fn catch_up(&self) -> CommandResult<()> {
        let store = &self.server.store;
        let Some(after) = self.request.reading.after.filter(|_| store.is_following()) else {
            return Ok(());
        };
        let deadline = self.request.max_time.map(|time| Instant::now() + time);
        loop {
            let newest = store.log().newest(ReadConcern::Local);
            let entry = store.log().get(newest, ReadConcern::Local);
            if entry.is_ok_and(|entry| tailwater::cluster_time(entry.timestamp()) >= after) {
                // What is in the log is seen by reads from here on.
                store.finish_applying();
                return Ok(());
            }
            self.wait_for_log(newest.next(), ReadConcern::Local, deadline)?;
        }
    }

    /// Waits until what has been read stays, if the request asks for that.
    pub(crate) fn settle_reads(&self) -> CommandResult<()> {
        if !self.request.reading.is_settled() || self.transaction.is_some() {
            return Ok(());
        }
        let store = &self.server.store;
        let read = store.log().newest(ReadConcern::Local);
        if !store.is_following() {
            store.sync()?;
        }
        let concern = self.sees();
        let until = Instant::now() + MAJORITY_WAIT_MAX;
        let asked = self.request.max_time.map(|time| Instant::now() + time);
        while store.log().newest(concern) < read {
            if Instant::now() >= until {
                return Err(CommandError::new(
                    (134, "ReadConcernMajorityNotAvailableYet"),
                    "a majority of the members does not hold what was read: see that they are connected, or read with another readConcern",
                ));
            }
            self.wait_for_log(read, concern, Some(asked.map_or(until, |asked| asked.min(until))))
                .or_else(|error| match asked.is_some_and(|asked| Instant::now() >= asked) {
                    false if error.code == code::MAX_TIME_EXPIRED.0 => Ok(()),
                    _ => Err(error),
                })?;
        }
        Ok(())
    }

    /// Waits for an entry, for a while: whoever asks looks whether it is there. Fails when the deadline is over, or nobody waits
    /// for the answer any more.
    fn wait_for_log(&self, next: OpId, concern: ReadConcern, deadline: Option<Instant>) -> CommandResult<()> {
        let look = Instant::now() + LOOK_INTERVAL;
        let until = deadline.map_or(look, |deadline| deadline.min(look));
        let log = self.server.store.log();
        match log.wait(next, concern, Some(until), &Interrupt::new()) {
            WaitOutcome::Closed => Err(tailwater::Error::from(LogError::Closed).into()),
            WaitOutcome::Ready => Ok(()),
            _ if deadline.is_some_and(|deadline| Instant::now() >= deadline) => Err(CommandError::new(
                code::MAX_TIME_EXPIRED,
                "operation exceeded time limit",
            )),
            _ => self.interrupts.check_endless(),
        }
    }

    /// Waits until as many members hold what the command has written as the request asks for; the answer, with what was in the
    /// way of that.
    pub(crate) fn settle_writes(&self, command: &Command, mut answer: RawDocumentBuf) -> RawDocumentBuf {
        if !self.writes(command) {
            return answer;
        }
        let Err(error) = self.wait_for_members() else {
            return answer;
        };
        let timed_out = error.code == code::WRITE_CONCERN_FAILED.0;
        let mut document = rawdoc! { "code": error.code, "codeName": &*error.name, "errmsg": error.message.as_str() };
        if timed_out {
            document.append(cstr!("errInfo"), rawdoc! { "wtimeout": true });
        }
        answer.append(cstr!("writeConcernError"), document);
        let is_retryable =
            matches!(self.request.numbered, Some(Numbered::Retryable(_))) || command.kind == Kind::EndsTransaction;
        if is_retryable && RETRYABLE.contains(&error.code) {
            answer.append(cstr!("errorLabels"), RawArrayBuf::from_iter([RETRYABLE_LABEL]));
        }
        answer
    }

    /// Whether the command may have written something that is nobody else's yet to take back.
    fn writes(&self, command: &Command) -> bool {
        match (self.request.numbered, command.kind) {
            (Some(Numbered::Transaction { .. }), Kind::EndsTransaction) => self.request.name == "commitTransaction",
            (Some(Numbered::Transaction { .. }), _) => false,
            _ => command.runs == Runs::Primary || crate::commands::writes_elsewhere(self.request),
        }
    }

    fn wait_for_members(&self) -> CommandResult<()> {
        let acknowledged = self.request.acknowledged;
        let member = match (&self.server.options.member, acknowledged.held) {
            (_, Held::Mode) => {
                let message = "there is no write concern mode of that name";
                return Err(CommandError::new((79, "UnknownReplWriteConcern"), message));
            }
            (None, Held::Members(2..)) => return Err(unsatisfiable()),
            (None, Held::Members(_)) => return Ok(()),
            (None, Held::Majority) => return self.wait_for_majority_beside(),
            (Some(member), _) => member,
        };
        let concern = match acknowledged.held {
            Held::Members(count) if member.has_majority() && usize::from(count) > member.options().members.len() => {
                return Err(unsatisfiable());
            }
            Held::Members(count @ 2..) => WriteConcern::members(count).unwrap_or(WriteConcern::Majority),
            Held::Majority if member.has_majority() => WriteConcern::Majority,
            _ => return Ok(()),
        };
        let primary = member.primary().ok_or_else(stepped_down)?;
        // What others have written meanwhile is waited for as well: one sync and one round trip bring both.
        let written = self.server.store.log().newest(ReadConcern::Local);
        let now = Instant::now();
        let given = acknowledged.timeout.map(|time| now + time);
        let asked = self.request.max_time.map(|time| now + time);
        loop {
            let until = [given, asked]
                .into_iter()
                .flatten()
                .fold(Instant::now() + LOOK_INTERVAL, Instant::min);
            match primary.wait(written, concern, until.saturating_duration_since(Instant::now())) {
                Ok(()) => return Ok(()),
                Err(Error::WriteConcernTimeout { .. }) => {}
                Err(Error::NotPrimary { .. }) => return Err(stepped_down()),
                Err(error) => return Err(CommandError::new(code::INTERNAL_ERROR, error.to_string())),
            }
            let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if over(given) {
                return Err(timed_out());
            }
            if over(asked) {
                return Err(CommandError::new(
                    code::MAX_TIME_EXPIRED,
                    "operation exceeded time limit",
                ));
            }
            self.interrupts.check_endless()?;
        }
    }

    /// Waits for a majority where the server knows of no other members, though the log may be one of several. A primary that this
    /// process has beside the server tells; when there is none, nobody knows whether others have elected another one, and what is
    /// durable here alone is not held by a majority.
    fn wait_for_majority_beside(&self) -> CommandResult<()> {
        let store = &self.server.store;
        if store.member().is_none() {
            return Ok(());
        }
        let is_led = || matches!(standing(store), Some(Standing::Primary(_)));
        if !is_led() {
            return Err(CommandError::new(
                UNSATISFIABLE,
                "others may have this log as well, and nothing here leads them, so that nobody knows what a majority holds: serve it with --replicate, or write with w: 1",
            ));
        }
        if acknowledgement(store, WriteConcern::Majority, Duration::ZERO).is_none() {
            // There is no list of members.
            return Ok(());
        }
        let written = store.log().newest(ReadConcern::Local);
        let now = Instant::now();
        let given = self.request.acknowledged.timeout.map(|time| now + time);
        let asked = self.request.max_time.map(|time| now + time);
        let until = given.into_iter().chain(asked).min();
        while store.log().newest(ReadConcern::Majority) < written {
            if !is_led() {
                return Err(stepped_down());
            }
            let waited = self.wait_for_log(written, ReadConcern::Majority, until);
            waited.map_err(|error| match given.is_some_and(|given| Instant::now() >= given) {
                true => timed_out(),
                false => error,
            })?;
        }
        Ok(())
    }
}

fn stepped_down() -> CommandError {
    CommandError::new((189, "PrimarySteppedDown"), "another member has become primary")
}

fn timed_out() -> CommandError {
    CommandError::new(code::WRITE_CONCERN_FAILED, "waiting for replication timed out")
}

const UNSATISFIABLE: code::Code = (100, "UnsatisfiableWriteConcern");

fn unsatisfiable() -> CommandError {
    CommandError::new(UNSATISFIABLE, "Not enough data-bearing nodes")
}

//! The waiting of who has written for others to hold it.

use std::time::{Duration, Instant};

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use tailwater::ReadConcern;
use tailwater::replication::{Error, Standing, WriteConcern, acknowledgement, standing};

use super::{Held, LOOK_INTERVAL};
use crate::command::{Command, Kind, Runs};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, RETRYABLE, RETRYABLE_LABEL, code};
use crate::member::Leading;
use crate::request::Numbered;

impl Context<'_> {
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
        let now = Instant::now();
        let given = acknowledged.timeout.map(|time| now + time);
        let asked = self.request.deadline();
        let next_look = || {
            let ends = [given, asked].into_iter().flatten();
            ends.fold(Instant::now() + LOOK_INTERVAL, Instant::min)
        };
        let primary = loop {
            match member.leading(next_look()) {
                Leading::Yes(primary) => break primary,
                Leading::No => return Err(stepped_down()),
                Leading::NotYet => self.check_time(given, asked)?,
            }
        };
        // What others have written meanwhile is waited for as well: one sync and one round trip bring both.
        let written = self.server.store.log().newest(ReadConcern::Local);
        loop {
            match primary.wait(written, concern, next_look().saturating_duration_since(Instant::now())) {
                Ok(()) => return Ok(()),
                Err(Error::WriteConcernTimeout { .. }) => {}
                Err(Error::NotPrimary { .. }) => return Err(stepped_down()),
                Err(error) => return Err(CommandError::new(code::INTERNAL_ERROR, error.to_string())),
            }
            self.check_time(given, asked)?;
        }
    }

    /// Refuses to wait longer when the time is up that the write concern gives or the operation has, or when nobody waits any more.
    fn check_time(&self, given: Option<Instant>, asked: Option<Instant>) -> CommandResult<()> {
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
        self.interrupts.check_endless()
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
        let asked = self.request.deadline();
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

pub(super) fn stepped_down() -> CommandError {
    CommandError::new((189, "PrimarySteppedDown"), "another member has become primary")
}

fn timed_out() -> CommandError {
    CommandError::new(code::WRITE_CONCERN_FAILED, "waiting for replication timed out")
}

const UNSATISFIABLE: code::Code = (100, "UnsatisfiableWriteConcern");

fn unsatisfiable() -> CommandError {
    CommandError::new(UNSATISFIABLE, "Not enough data-bearing nodes")
}

//! What a request may read, and the waiting for it.

use std::time::{Duration, Instant};

use tailwater::oplog::{Interrupt, WaitOutcome};
use tailwater::{LogError, OpId, ReadConcern};

use super::LOOK_INTERVAL;
use super::writes::stepped_down;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};

/// How long a read waits for a majority to hold it, unless it says how long.
const MAJORITY_WAIT_MAX: Duration = Duration::from_secs(10);
/// What a few entries take that are applied at once.
const APPLYING: Duration = Duration::from_millis(1);

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
        let deadline = self.request.deadline();
        let is_there = |op_id| {
            let entry = store.log().get(op_id, ReadConcern::Local);
            entry.is_ok_and(|entry| tailwater::cluster_time(entry.timestamp()) >= after)
        };
        // Who is promoted meanwhile has what there is.
        while store.is_following() && !is_there(self.server.seen()) {
            let newest = store.log().newest(ReadConcern::Local);
            if is_there(newest) {
                // What is in the log is seen by reads from here on.
                return self.wait_for_state(newest, deadline);
            }
            self.wait_for_log(newest.next(), ReadConcern::Local, deadline)?;
        }
        Ok(())
    }

    /// Waits until what has been read stays, if the request asks for that.
    pub(crate) fn settle_reads(&self) -> CommandResult<()> {
        if !self.request.reading.is_settled() || self.transaction.is_some() {
            return Ok(());
        }
        let store = &self.server.store;
        let concern = self.sees();
        let confirms = self.request.reading.is_linearizable() && concern == ReadConcern::Majority;
        if confirms {
            // What was read may be held by a majority that has another primary by now. A majority that holds what this one writes
            // behind it has none (MongoDB manual: *Read Concern "linearizable"*).
            store.append_noop("linearizable read")?;
        }
        let read = self.server.seen();
        if !store.is_following() {
            store.sync()?;
        }
        self.wait_for_majority(|| match store.log().newest(concern) >= read {
            true => Ok(None),
            false if confirms && store.is_following() => Err(stepped_down()),
            false => Ok(Some((read, concern))),
        })
    }

    /// Waits until a majority is known to hold anything, for who begins to watch there, if a majority is asked for: in its first
    /// moments a primary has heard of nobody.
    pub(crate) fn await_majority(&self) -> CommandResult<()> {
        let log = self.server.store.log();
        let concern = self.sees();
        self.wait_for_majority(|| match log.newest_known(concern) {
            Ok(_) => Ok(None),
            Err(LogError::MajorityUnknown { .. }) => Ok(Some((log.oldest(), concern))),
            Err(error) => Err(tailwater::Error::from(error).into()),
        })
    }

    /// Waits for what is `missing`, an entry and who has to hold it, as long as the request allows, or for a while.
    fn wait_for_majority(&self, missing: impl Fn() -> CommandResult<Option<(OpId, ReadConcern)>>) -> CommandResult<()> {
        let asked = self.request.deadline();
        let until = asked.unwrap_or_else(|| Instant::now() + MAJORITY_WAIT_MAX);
        while let Some((entry, concern)) = missing()? {
            let Err(error) = self.wait_for_log(entry, concern, Some(until)) else {
                continue;
            };
            // It may have come in the last moment.
            if missing()?.is_none() {
                break;
            }
            return Err(match asked {
                None if error.code == code::MAX_TIME_EXPIRED.0 => CommandError::new(
                    (134, "ReadConcernMajorityNotAvailableYet"),
                    "a majority of the members does not hold what was asked for: see that they are connected, or read with another readConcern",
                ),
                _ => error,
            });
        }
        Ok(())
    }

    /// Waits until a follower, whose log has entry `op_id`, has it in its state.
    fn wait_for_state(&self, op_id: OpId, deadline: Option<Instant>) -> CommandResult<()> {
        let store = &self.server.store;
        loop {
            let look = Instant::now() + LOOK_INTERVAL;
            let until = deadline.map_or(look, |deadline| deadline.min(look));
            if store.await_applied(op_id, Some(until))? {
                return Ok(());
            }
            self.look_up(deadline)?;
            if Instant::now() < until {
                // It is being applied by who has appended it, which takes that long at most, or left to others.
                std::thread::sleep(APPLYING);
            }
        }
    }

    /// Waits for an entry, for a while: whoever asks looks whether it is there. Fails when the deadline is over, or nobody waits
    /// for the answer any more.
    pub(super) fn wait_for_log(
        &self,
        next: OpId,
        concern: ReadConcern,
        deadline: Option<Instant>,
    ) -> CommandResult<()> {
        let look = Instant::now() + LOOK_INTERVAL;
        let until = deadline.map_or(look, |deadline| deadline.min(look));
        let log = self.server.store.log();
        match log.wait(next, concern, Some(until), &Interrupt::new()) {
            WaitOutcome::Closed => Err(tailwater::Error::from(LogError::Closed).into()),
            WaitOutcome::Ready => Ok(()),
            _ => self.look_up(deadline),
        }
    }

    /// Whether to go on waiting.
    fn look_up(&self, deadline: Option<Instant>) -> CommandResult<()> {
        match deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            true => Err(CommandError::new(
                code::MAX_TIME_EXPIRED,
                "operation exceeded time limit",
            )),
            false => self.interrupts.check_endless(),
        }
    }
}

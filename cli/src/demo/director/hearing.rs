//! What the director makes of what the processes say, and of their ends.

use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use indicatif::HumanCount;
use tailwater::OpId;

use super::Director;
use super::part::{Part, Role, State};
use crate::demo::journal;
use crate::demo::process::{Heard, Process, Report};
use crate::demo::watcher::WATCHERS;
use crate::demo::wire::Message;
use crate::failure::{Exit, Failure, Outcome};

const SIGKILL: i32 = 9;

impl Director<'_> {
    /// Takes note of a report.
    pub(super) fn hear(&mut self, Report { from, what }: Report<Role>) -> Outcome {
        match (what, from) {
            (Heard::Message(Message::Ready { found }), Role::Writer) => self.writer_is_ready(found),
            (Heard::Message(Message::Ready { found }), Role::Watcher(_)) => self.watcher_is_ready(from, found),
            (Heard::Message(Message::Ack { index, op_id }), Role::Writer) => self.acknowledged(index, op_id),
            (Heard::Message(Message::Seen { count, position }), Role::Watcher(_)) => {
                let part = self.part(from)?;
                (part.count, part.position) = (count, position);
                Ok(())
            }
            (Heard::Message(Message::Done), _) => {
                let part = self.part(from)?;
                if matches!(part.state, State::Running) {
                    part.state = State::Finishing;
                }
                Ok(())
            }
            (Heard::Closed(errors), _) => self.closed(from, &errors),
            (Heard::Message(message), _) => Err(unexpected(from, &format!("{message:?}"))),
            (Heard::Gibberish(line), _) => Err(unexpected(from, &line)),
        }
    }

    fn writer_is_ready(&mut self, found: u64) -> Outcome {
        let writer = self.part(Role::Writer)?;
        let (before, again) = (writer.count, writer.kills > 0);
        writer.count = found;
        let id = writer.process.as_ref().map_or(0, Process::id);
        if found < before {
            let message = format!("lost: {before} writes were acknowledged, and after the kill the log has {found}");
            return Err(Failure::new(Exit::Damage, message));
        }
        if again {
            self.record.found += found - before;
            let more = found - before;
            let found = HumanCount(found);
            self.view.tell(&format!(
                "writer is back ({id}): {found} writes in the log, {more} unacknowledged"
            ));
        } else {
            std::fs::create_dir(journal::directory(self.stage.dir()))
                .map_err(|e| Failure::io("make a directory for the watchers' files", &e))?;
            self.parts
                .extend(WATCHERS.map(|watcher| Part::new(Role::Watcher(watcher))));
            self.view
                .tell(&format!("writer runs as process {id}; now the watchers start"));
        }
        Ok(())
    }

    fn watcher_is_ready(&mut self, role: Role, found: u64) -> Outcome {
        let part = self.part(role)?;
        part.count = found;
        let (again, id) = (part.kills > 0, part.process.as_ref().map_or(0, Process::id));
        if again {
            let (name, found) = (role.name(), HumanCount(found));
            self.view.tell(&format!(
                "{name} is back ({id}): {found} events in its file, and its last token"
            ));
        }
        Ok(())
    }

    fn acknowledged(&mut self, index: usize, op_id: OpId) -> Outcome {
        self.part(Role::Writer)?.count = index as u64 + 1;
        match self.record.acks.insert(index, op_id) {
            None => Ok(()),
            Some(_) => Err(Failure::new(
                Exit::Damage,
                format!("operation {index} was acknowledged twice"),
            )),
        }
    }

    /// A process has ended, and all it said has been heard.
    fn closed(&mut self, role: Role, errors: &str) -> Outcome {
        let down = match role {
            Role::Writer => self.pace.writer_down,
            Role::Watcher(_) => self.pace.watcher_down,
        };
        let part = self.part(role)?;
        let status = match (&part.state, &mut part.process) {
            (State::Killed(status), _) if status.signal() == Some(SIGKILL) => {
                let id = part.process.take().map_or(0, |process| process.id());
                part.state = State::Waiting(Instant::now() + down);
                // Only now is it known how far the writer had come: its last words lay in the pipe.
                let written = HumanCount(self.parts[0].count);
                self.view.tell(&format!(
                    "SIGKILL to {} (process {id}) after write {written}",
                    role.name()
                ));
                return Ok(());
            }
            (State::Killed(status), _) => *status,
            (_, Some(process)) => process.wait()?,
            (_, None) => return Ok(()),
        };
        if matches!(part.state, State::Finishing) && status.success() {
            part.state = State::Done;
            return Ok(());
        }
        let exit = match status.code() {
            Some(4) => Exit::Environment,
            Some(5) => Exit::Damage,
            Some(6) => Exit::History,
            _ => Exit::Failure,
        };
        Err(Failure::new(
            exit,
            format!("the process {} ended by itself with {status}: {errors}", role.name()),
        ))
    }
}

fn unexpected(from: Role, what: &str) -> Failure {
    Failure::new(
        Exit::Failure,
        format!("the process {} said something unexpected: {what}", from.name()),
    )
}

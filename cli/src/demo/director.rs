//! The director: starts the processes, kills two of them in the middle of their work, starts them anew, and remembers what
//! was acknowledged. It never opens the store meanwhile; what it knows, it knows from the pipes.
//!
//! ```text
//!            ┌────────────── killed ◄──── SIGKILL ────┐
//!            ▼ after a pause                          │
//!   start ─► running ────────────────────────────► done (said so, and ended well)
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use tailwater::{LogView, OpId, ReadConcern, log_directory};

use super::Pace;
use super::journal;
use super::kills::{self, Kill};
use super::plan::Plan;
use super::process::{Heard, Process, Report};
use super::stage::Stage;
use super::view::{Scene, Standing, View};
use super::watcher::{WATCHERS, Watcher};
use super::wire::{Message, end_order};
use crate::failure::{Exit, Failure, Outcome};

/// After so long the demo ends, whatever hangs.
const DEADLINE: Duration = Duration::from_secs(55);
const SIGKILL: i32 = 9;

/// Who a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Writer,
    Watcher(Watcher),
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Watcher(watcher) => watcher.name(),
        }
    }
}

/// What a run leaves to be proved, beside the files.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The acknowledged operations of the plan, with the OpIDs they were acknowledged with.
    pub(crate) acks: BTreeMap<usize, OpId>,
    /// Operations that a restarted writer found in the log without their ever having been acknowledged.
    pub(crate) found: u64,
    /// Names of those that were killed.
    pub(crate) killed: Vec<&'static str>,
}

#[derive(Debug)]
enum State {
    /// Not started yet, or waiting to be started again.
    Waiting(Instant),
    Running,
    /// Killed, and its last words are not all heard.
    Killed(ExitStatus),
    /// It has said that it is done.
    Finishing,
    Done,
}

#[derive(Debug)]
struct Part {
    role: Role,
    process: Option<Process>,
    state: State,
    /// Operations acknowledged or found, or events received.
    count: u64,
    /// How far its stream has come.
    position: OpId,
    kills: u32,
}

impl Part {
    fn new(role: Role) -> Part {
        Part {
            role,
            process: None,
            state: State::Waiting(Instant::now()),
            count: 0,
            position: OpId::ZERO,
            kills: 0,
        }
    }

    fn standing(&self) -> Standing {
        let id = self.process.as_ref().map_or(0, Process::id);
        let again = if self.kills > 0 { ", resumed" } else { "" };
        Standing {
            name: self.role.name(),
            count: self.count,
            state: match self.state {
                State::Waiting(_) if self.kills > 0 => "killed".to_owned(),
                State::Waiting(_) => "starting".to_owned(),
                State::Killed(_) => "killed".to_owned(),
                State::Running => format!("process {id}{again}"),
                State::Finishing | State::Done => "done".to_owned(),
            },
        }
    }
}

/// See the module documentation.
pub(crate) struct Director<'a> {
    stage: &'a Stage,
    plan: &'a Plan,
    pace: Pace,
    view: &'a mut View,
    /// The writer, then the watchers.
    parts: Vec<Part>,
    kills: Vec<Kill>,
    sender: Sender<Report<Role>>,
    reports: Receiver<Report<Role>>,
    record: Record,
    /// The last entry, once the writer is done and every kill has been.
    end: Option<OpId>,
}

impl<'a> Director<'a> {
    /// A director who has started nothing yet.
    pub(crate) fn new(stage: &'a Stage, plan: &'a Plan, pace: Pace, view: &'a mut View) -> Director<'a> {
        let (sender, reports) = channel();
        Director {
            stage,
            plan,
            pace,
            view,
            parts: vec![Part::new(Role::Writer)],
            kills: kills::draw(plan.operations.len()),
            sender,
            reports,
            record: Record::default(),
            end: None,
        }
    }

    /// Runs the whole of it; nothing when nobody reads the output any more.
    pub(crate) fn run(mut self) -> Outcome<Option<Record>> {
        let watchers = WATCHERS.map(|watcher| Part::new(Role::Watcher(watcher)).standing());
        let scene = self.scene();
        self.view.raise(&Scene {
            watchers: watchers.to_vec(),
            ..scene
        });
        while !self.parts.iter().all(|part| matches!(part.state, State::Done)) {
            self.start_who_waits()?;
            if let Ok(report) = self.reports.recv_timeout(Duration::from_millis(20)) {
                self.hear(report)?;
            }
            self.kill_who_is_due()?;
            self.end_when_all_is_written()?;
            let scene = self.scene();
            self.view.progress(&scene);
            if !self.view.is_read()? {
                return Ok(None);
            }
            if self.view.elapsed() > DEADLINE {
                return Err(self.overdue());
            }
        }
        Ok(Some(self.record))
    }

    fn part(&mut self, role: Role) -> Outcome<&mut Part> {
        let part = self.parts.iter_mut().find(|part| part.role == role);
        part.ok_or_else(|| Failure::new(Exit::Failure, format!("there is no {} yet", role.name())))
    }

    fn scene(&self) -> Scene {
        Scene {
            writer: self.parts[0].standing(),
            operations: self.plan.operations.len() as u64,
            watchers: self.parts[1..].iter().map(Part::standing).collect(),
        }
    }

    fn start_who_waits(&mut self) -> Outcome {
        for index in 0..self.parts.len() {
            if matches!(self.parts[index].state, State::Waiting(until) if until <= Instant::now()) {
                let role = self.parts[index].role;
                let mut process = Process::start(&self.arguments(role), role, self.sender.clone())?;
                if let (Role::Watcher(_), Some(end)) = (role, self.end) {
                    process.order(&end_order(end));
                }
                let part = &mut self.parts[index];
                part.process = Some(process);
                part.state = State::Running;
            }
        }
        Ok(())
    }

    fn arguments(&self, role: Role) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["demo", "--dir"].map(OsString::from).to_vec();
        arguments.push(self.stage.dir().into());
        let mut push = |texts: &[&str]| arguments.extend(texts.iter().map(OsString::from));
        match role {
            Role::Writer => {
                let next_kill = self.kills.iter().find(|kill| kill.whom == Role::Writer);
                let until = next_kill.map_or(usize::MAX, |kill| kill.at + self.pace.slack);
                push(&["--role", "writer", "--until", &until.to_string()]);
            }
            Role::Watcher(watcher) => push(&["--role", "watcher", "--watcher", watcher.name()]),
        }
        if self.pace.fast {
            push(&["--fast"]);
        }
        arguments
    }

    fn hear(&mut self, Report { from, what }: Report<Role>) -> Outcome {
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
            let message = format!(
                "lost: {before} writes were acknowledged, and after the kill the log has {found}; the store is in {}",
                self.stage.dir().display()
            );
            return Err(Failure::new(Exit::Damage, message));
        }
        if again {
            self.record.found += found - before;
            let more = found - before;
            let found = HumanCount(found);
            self.view.tell(&format!(
                "writer resumes as process {id}: the log has {found} writes, {more} of them cut off before they were acknowledged"
            ));
        } else {
            std::fs::create_dir(journal::directory(self.stage.dir()))
                .map_err(|e| Failure::io("make a directory for the watchers' files", &e))?;
            self.parts
                .extend(WATCHERS.map(|watcher| Part::new(Role::Watcher(watcher))));
            self.view.tell(&format!(
                "writer runs as process {id}; the watchers start, each a process of its own"
            ));
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
                "{name} resumes as process {id}: its file has {found} events, and the token of the last to go on from"
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

    fn kill_who_is_due(&mut self) -> Outcome {
        let Some(&kill) = self.kills.first() else { return Ok(()) };
        let acknowledged = self.record.acks.len();
        let part = self.part(kill.whom);
        // A watcher that has received nothing yet would not be in the middle of anything.
        let Some(part) = part
            .ok()
            .filter(|part| part.count > 0 && matches!(part.state, State::Running))
        else {
            return Ok(());
        };
        let Some(process) = part.process.as_mut().filter(|_| acknowledged >= kill.at) else {
            return Ok(());
        };
        std::thread::sleep(kill.moment);
        part.state = State::Killed(process.kill()?);
        part.kills += 1;
        self.kills.remove(0);
        self.record.killed.push(kill.whom.name());
        Ok(())
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
                // Only now is it known how much was acknowledged: the last words lay in the pipe.
                let (name, acknowledged) = (role.name(), HumanCount(self.record.acks.len() as u64));
                self.view.tell(&format!(
                    "SIGKILL to {name} (process {id}); {acknowledged} writes are acknowledged"
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

    fn end_when_all_is_written(&mut self) -> Outcome {
        if self.end.is_some() || !self.kills.is_empty() || !matches!(self.parts[0].state, State::Done) {
            return Ok(());
        }
        let end = LogView::open(log_directory(self.stage.dir()))?.newest(ReadConcern::Durable);
        self.end = Some(end);
        for part in &mut self.parts[1..] {
            if let Some(process) = &mut part.process {
                process.order(&end_order(end));
            }
        }
        Ok(())
    }

    fn overdue(&self) -> Failure {
        let late = self
            .parts
            .iter()
            .filter(|part| !matches!(part.state, State::Done))
            .map(|part| {
                let Standing { name, count, state } = part.standing();
                match part.role {
                    Role::Writer => format!(
                        "{name} ({state}) has acknowledged {count} of {}",
                        self.plan.operations.len()
                    ),
                    Role::Watcher(_) => format!(
                        "{name} ({state}) has received {count} events up to OpID {}",
                        part.position
                    ),
                }
            });
        let late: Vec<String> = late.collect();
        let message = format!(
            "the demo was not through after {} s: {}. Is the disk that holds {} very slow?",
            DEADLINE.as_secs(),
            late.join("; "),
            self.stage.dir().display()
        );
        Failure::new(Exit::Failure, message)
    }
}

fn unexpected(from: Role, what: &str) -> Failure {
    Failure::new(
        Exit::Failure,
        format!("the process {} said something unexpected: {what}", from.name()),
    )
}

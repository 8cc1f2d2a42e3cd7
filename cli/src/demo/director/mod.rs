//! The director: starts the processes, kills two of them in the middle of their work, starts them anew, and remembers what
//! was acknowledged. It never opens the store meanwhile; what it knows, it knows from the pipes.
//!
//! ```text
//!            ┌────────────── killed ◄──── SIGKILL ────┐
//!            ▼ after a pause                          │
//!   start ─► running ────────────────────────────► done (said so, and ended well)
//! ```

mod hearing;
mod part;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tailwater::{LogView, OpId, ReadConcern, log_directory};

use self::part::{Part, State};
use super::Pace;
use super::kills::{self, Kill};
use super::plan::Plan;
use super::process::{Process, Report};
use super::stage::Stage;
use super::view::{Scene, View};
use super::watcher::WATCHERS;
use super::wire::end_order;
use super::writer::OPERATIONS_BEYOND_KILL;
use crate::failure::{Exit, Failure, Outcome};

pub(crate) use self::part::Role;

/// After so long the demo ends, whatever hangs.
const DEADLINE: Duration = Duration::from_secs(55);

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
                let until = next_kill.map_or(usize::MAX, |kill| kill.at + OPERATIONS_BEYOND_KILL);
                push(&["--role", "writer", "--until", &until.to_string()]);
            }
            Role::Watcher(watcher) => push(&["--role", "watcher", "--watcher", watcher.name()]),
        }
        if self.pace.fast {
            push(&["--fast"]);
        }
        arguments
    }

    fn kill_who_is_due(&mut self) -> Outcome {
        let Some(&kill) = self.kills.first() else { return Ok(()) };
        let written = self.parts[0].count;
        let part = self.part(kill.whom);
        // A watcher that has received nothing yet would not be in the middle of anything.
        let Some(part) = part
            .ok()
            .filter(|part| part.count > 0 && matches!(part.state, State::Running))
        else {
            return Ok(());
        };
        let Some(process) = part.process.as_mut().filter(|_| written >= kill.at as u64) else {
            return Ok(());
        };
        std::thread::sleep(kill.moment);
        part.state = State::Killed(process.kill()?);
        part.kills += 1;
        self.kills.remove(0);
        self.record.killed.push(kill.whom.name());
        Ok(())
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
        let late = self.parts.iter().filter(|part| !matches!(part.state, State::Done));
        let late: Vec<String> = late.map(|part| part.progress(self.plan.operations.len())).collect();
        let message = format!(
            "the demo was not through after {} s: {}. Is the disk that holds {} very slow?",
            DEADLINE.as_secs(),
            late.join("; "),
            self.stage.dir().display()
        );
        Failure::new(Exit::Failure, message)
    }
}

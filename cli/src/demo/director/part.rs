//! One process in the director's books: who it is, how it stands, how far it has come.

use std::process::ExitStatus;
use std::time::Instant;

use tailwater::OpId;

use crate::demo::process::Process;
use crate::demo::view::Standing;
use crate::demo::watcher::Watcher;

/// Who a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Writer,
    Watcher(Watcher),
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Watcher(watcher) => watcher.name(),
        }
    }
}

/// How a process stands; see the director.
#[derive(Debug)]
pub(super) enum State {
    /// Not started yet, or waiting to be started again.
    Waiting(Instant),
    Running,
    /// Killed, and its last words are not all heard.
    Killed(ExitStatus),
    /// It has said that it is done.
    Finishing,
    Done,
}

/// A process, from its first start to its last end.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) role: Role,
    pub(super) process: Option<Process>,
    pub(super) state: State,
    /// Operations acknowledged or found, or events received.
    pub(super) count: u64,
    /// How far its stream has come.
    pub(super) position: OpId,
    pub(super) kills: u32,
}

impl Part {
    /// A process that is to be started.
    pub(super) fn new(role: Role) -> Part {
        Part {
            role,
            process: None,
            state: State::Waiting(Instant::now()),
            count: 0,
            position: OpId::ZERO,
            kills: 0,
        }
    }

    /// How it is shown.
    pub(super) fn standing(&self) -> Standing {
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

    /// How far it has come, in words.
    pub(super) fn progress(&self, operations: usize) -> String {
        let Standing { name, count, state } = self.standing();
        match self.role {
            Role::Writer => format!("{name} ({state}) has acknowledged {count} of {operations}"),
            Role::Watcher(_) => format!(
                "{name} ({state}) has received {count} events up to OpID {}",
                self.position
            ),
        }
    }
}

//! Making a damaged log openable again, without throwing a byte away.
//!
//! Entries that damage has taken are gone; a repair decides what becomes of those that are left. OpIDs are dense, so of
//! the gap-free runs that damage has left, one can stay a log. [`plan`] says which runs there are, which one would stay and
//! what would be set aside; [`apply`] does it. `docs/durability.md` argues why it may be interrupted at any moment.
//!
//! ```text
//!   prepare  repair-<time>/          originals (hard links), new/ files, STEPS, report.txt; all synced
//!   commit   MANIFEST removed        from here on nobody can open the log, and STEPS is carried out to its end
//!   steps    originals removed, new files moved in, MANIFEST replaced last
//! ```
//!
//! The work is divided as it is done: `found` reads the segment files as they stand, with what `salvage` can make of damaged
//! headers; `runs` says which gap-free runs they hold; `plan` decides what becomes of each file; `apply` does it. Everything
//! passes through the disk's seam, so that `sim/repair.rs` can interrupt a repair at each operation.

#[path = "repair/apply.rs"]
mod apply;
#[path = "repair/found.rs"]
mod found;
#[path = "repair/plan.rs"]
mod plan;
#[path = "repair/runs.rs"]
mod runs;
#[path = "repair/salvage.rs"]
mod salvage;

use std::fmt;
use std::path::{Path, PathBuf};

use self::plan::Work;
pub(crate) use self::plan::plan_on;
use crate::disk::{LockError, OsDisk};
use crate::error::{Error, Result};
use crate::folders::Folders;
use crate::format::LOCK;
use crate::ids::{LogId, OpId};

/// Which of the gap-free runs of entries stays the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// The oldest: everything before the damage. When damage has taken the oldest entries themselves, the first run that
    /// is left.
    #[default]
    Prefix,
    /// The newest: everything after the last damage, as a log whose history begins there.
    Suffix,
}

/// Consecutive entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first.
    pub first: OpId,
    /// The last.
    pub last: OpId,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "OpID {}", self.first);
        }
        write!(f, "OpIDs {} to {}", self.first, self.last)
    }
}

/// Entries that will not be in the repaired log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Which.
    pub span: Span,
    /// Whether they could still be read, and are only set aside because OpIDs must stay dense.
    pub readable: bool,
}

/// A file that is set aside or replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its name in the log's directory. The original is kept under the same name in the repair's folder.
    pub name: String,
    /// Its length in bytes; 0 when there is none yet.
    pub bytes: u64,
    /// What becomes of it.
    pub action: Action,
}

/// What a repair does with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Taken out of the log.
    SetAside,
    /// Replaced by one that holds the entries that stay.
    Replace,
    /// Made anew.
    Create,
}

/// What a repair would do. See [`plan`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepairPlan {
    /// Directory of the log.
    pub path: PathBuf,
    /// Which run was asked for.
    pub keep: Keep,
    /// Identity of the log.
    pub log_id: LogId,
    /// What is wrong, as opening and [`verify`](crate::verify) say it. Empty for a log that needs no repair.
    pub reasons: Vec<String>,
    /// The gap-free runs of whole entries that are left, oldest first.
    pub runs: Vec<Span>,
    /// The one that stays; nothing when the log holds no entry at all.
    pub kept: Option<Span>,
    /// Entries that will not be in the log, oldest first.
    pub losses: Vec<Loss>,
    /// What becomes of which file.
    pub changes: Vec<Change>,
    /// The folder of a repair that was interrupted and will be carried to its end; the plan is then that repair's.
    pub interrupted: Option<PathBuf>,
    work: Work,
}

impl RepairPlan {
    /// Whether there is nothing to repair.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.interrupted.is_none() && self.reasons.is_empty()
    }

    /// The plan in words, one fact a line.
    #[must_use]
    pub fn report(&self) -> String {
        if let Some(folder) = &self.interrupted {
            return format!("carries on the interrupted repair of {}\n", folder.display());
        }
        if self.is_sound() {
            return String::from("nothing to repair\n");
        }
        let mut text = format!("log {} at {}\n", self.log_id, self.path.display());
        for reason in &self.reasons {
            text += &format!("found: {reason}\n");
        }
        for run in &self.runs {
            text += &format!("whole: {run}\n");
        }
        match &self.kept {
            Some(kept) => text += &format!("stays: {kept}\n"),
            None => text += "stays: an empty log\n",
        }
        for Loss { span, readable } in &self.losses {
            let what = if *readable {
                "whole, set aside"
            } else {
                "cannot be read"
            };
            text += &format!("lost: {span} ({what})\n");
        }
        for change in &self.changes {
            let (name, bytes) = (&change.name, change.bytes);
            text += &match change.action {
                Action::SetAside => format!("sets aside: {name} ({bytes} bytes)\n"),
                Action::Replace => format!("replaces: {name} ({bytes} bytes)\n"),
                Action::Create => format!("creates: {name}\n"),
            };
        }
        text
    }
}

/// What [`apply`] has done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// Where everything is that was removed or replaced, with `report.txt`; nothing when there was nothing to repair.
    pub folder: Option<PathBuf>,
}

/// Looks at the log in `dir` and says what a repair would do, without changing a byte.
///
/// # Errors
///
/// [`Error::Locked`] while a writer is alive; [`Error::NotFound`], [`Error::NotALog`], [`Error::NewerFormat`];
/// [`Error::Unrepairable`] when no whole entry is left to begin with; [`Error::Io`].
pub fn plan(dir: impl AsRef<Path>, keep: Keep) -> Result<RepairPlan> {
    let disk = OsDisk::new(dir.as_ref());
    refuse_writer(&disk)?;
    plan_on(&disk, keep)
}

/// Carries a plan out: makes the log one that opens, and keeps every byte that is removed or replaced in a folder
/// `repair-<time>` in the log's directory. For a sound log it does nothing.
///
/// It may be interrupted at any moment and be done again: nothing is changed before everything is kept durably, and once
/// something has been changed, the log does not open until a repair has carried this one to its end.
///
/// # Errors
///
/// As [`plan`]; [`Error::Unrepairable`] when the log is no longer as it was when the plan was made.
pub fn apply(plan: &RepairPlan) -> Result<Repaired> {
    apply_on(&OsDisk::new(&plan.path), plan)
}

/// Takes the log's lock and does what was planned.
pub(crate) fn apply_on(disk: &dyn Folders, plan: &RepairPlan) -> Result<Repaired> {
    if plan.is_sound() {
        return Ok(Repaired { folder: None });
    }
    let _lock = disk.lock(LOCK).map_err(|e| match e {
        LockError::Held { holder } => Error::locked(plan.path.clone(), holder),
        LockError::Io(e) => Error::io("lock", plan.path.join(LOCK))(e),
    })?;
    let fresh = plan_on(disk, plan.keep)?;
    if fresh.work != plan.work || fresh.interrupted != plan.interrupted {
        return Err(Error::Unrepairable {
            path: plan.path.clone(),
            what: "it has changed since the plan was made; plan again",
        });
    }
    let folder = match plan.work.interrupted.clone() {
        Some(folder) => folder,
        None => apply::prepare(disk, plan)?,
    };
    apply::carry_out(disk, &folder)?;
    Ok(Repaired {
        folder: Some(disk.path().join(folder)),
    })
}

fn refuse_writer(disk: &dyn Folders) -> Result<()> {
    match disk
        .lock_holder(LOCK)
        .map_err(Error::io("look at", disk.path().join(LOCK)))?
    {
        Some(holder) => Err(Error::locked(disk.path().to_path_buf(), holder)),
        None => Ok(()),
    }
}

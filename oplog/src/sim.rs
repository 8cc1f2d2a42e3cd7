//! A disk that can lose power: the `Disk` seam over heap memory, with everything a real one may do to what was not
//! synced.
//!
//! Each file has a *durable* image beside its current bytes; `Durable::sync` copies the one to the other. Names have a
//! durable set and a list of changes that no `Disk::sync_directory` has covered. [`SimDisk::crash`] makes the disk that
//! the next boot finds: of every 512-byte sector of every file that was not synced independently the old bytes, the new
//! ones, or a cut inside it; of the changed names a prefix, or any subset in which no change rests on a lost one.
//!
//! Names are paths: a directory within the disk's is a prefix of them, synced apart. A file that is moved from one directory to
//! another has its new name when that one's directory has been synced, and the old one beside it until the other has been.
//!
//! A sync can be made to fail. As on Linux, the pages are then taken for clean: they read as new, the disk has the old
//! bytes, and the next sync skips them unless they have been written again.

#[path = "sim/each_call.rs"]
mod each_call;
#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/files.rs"]
mod files;
#[path = "sim/folders.rs"]
mod folders;
#[path = "sim/image.rs"]
mod image;
#[path = "sim/injected.rs"]
mod injected;
#[path = "sim/leader.rs"]
mod leader;
#[path = "sim/lies.rs"]
mod lies;
#[path = "sim/repair.rs"]
mod repair;
#[path = "sim/retention.rs"]
mod retention;
#[path = "sim/rng.rs"]
mod rng;
#[path = "sim/rounds.rs"]
mod rounds;
#[path = "sim/schedules.rs"]
mod schedules;
#[path = "sim/short.rs"]
mod short;
#[path = "sim/slots.rs"]
mod slots;
#[path = "sim/unasked.rs"]
mod unasked;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::ThreadId;

use image::{Change, File, Law, Names};
use injected::{Faults, Gate, Planned};
pub(crate) use rng::Rng;
use rustix::io::Errno;

use crate::primitives::{Mutex, MutexGuard};

#[derive(Debug, Default)]
struct State {
    files: HashMap<u64, File>,
    names: Names,
    durable_names: Names,
    changes: Vec<Change>,
    next_inode: u64,
    faults: Faults,
    /// Made at the moment power failed; from then on every operation fails.
    image: Option<SimDisk>,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
    locked: Arc<AtomicBool>,
    /// Changes with each boot, as the identity of the tail page must.
    boot: u64,
    owner: ThreadId,
    /// What the names in this directory begin with: nothing, or a path that ends with a slash.
    prefix: String,
    path: PathBuf,
    gate: Arc<Gate>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk")
            .field("names", &self.state().names)
            .finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new() -> SimDisk {
        SimDisk::with(State::default(), 1)
    }

    fn with(state: State, boot: u64) -> SimDisk {
        let owner = std::thread::current().id();
        SimDisk {
            state: Arc::new(Mutex::new(state)),
            locked: Arc::default(),
            boot,
            owner,
            prefix: String::new(),
            // A directory that exists, so that a missing manifest is told from a missing directory.
            path: PathBuf::from("/"),
            gate: Arc::default(),
        }
    }

    fn at(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What is there after power was lost now and has come back.
    pub(crate) fn crash(&self, rng: &mut Rng) -> SimDisk {
        self.crash_state(&self.state(), rng)
    }

    /// As [`SimDisk::crash`], and nothing that was not synced survives.
    pub(crate) fn crash_to_durable(&self) -> SimDisk {
        let law = Law {
            cut: 0,
            new: 0,
            names_in_order: true,
        };
        self.crash_by(&self.state(), &law, 0, &mut Rng::new(0))
    }

    fn crash_state(&self, state: &State, rng: &mut Rng) -> SimDisk {
        let law = Law {
            cut: rng.pick(&[0, 0, 10, 50]),
            new: rng.pick(&[0, 10, 50, 90, 100]),
            names_in_order: rng.percent(50),
        };
        let kept = rng.below(state.changes.len() as u64 + 1);
        self.crash_by(state, &law, kept, rng)
    }

    fn crash_by(&self, state: &State, law: &Law, kept: u64, rng: &mut Rng) -> SimDisk {
        let mut names = state.durable_names.clone();
        let mut lost: HashSet<String> = HashSet::new();
        for (i, change) in state.changes.iter().enumerate() {
            let keep = match law.names_in_order {
                true => (i as u64) < kept,
                false => rng.percent(50) && change.touched().iter().all(|name| !lost.contains(name)),
            };
            if keep {
                change.apply(&mut names);
            } else {
                lost.extend(change.touched());
            }
        }
        let mut files = HashMap::new();
        for &inode in names.values() {
            let bytes = state.files[&inode].crashed(law, rng);
            files.insert(inode, File::new(bytes.clone(), bytes));
        }
        let durable_names = names.clone();
        let next_inode = state.next_inode;
        SimDisk::with(
            State {
                files,
                names,
                durable_names,
                next_inode,
                ..State::default()
            },
            self.boot + 1,
        )
    }

    /// What is there after the process was killed: everything, and nothing of it more durable than before.
    pub(crate) fn kill(&self) -> SimDisk {
        let state = self.state();
        let copy = |file: &File| File {
            lost: file.lost.clone(),
            ..File::new(file.durable.clone(), file.bytes())
        };
        let copied = State {
            files: state.files.iter().map(|(&inode, file)| (inode, copy(file))).collect(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            changes: state.changes.clone(),
            next_inode: state.next_inode,
            ..State::default()
        };
        SimDisk::with(copied, self.boot)
    }

    /// Has power fail after `operations` more operations of this thread.
    pub(crate) fn lose_power_after(&self, operations: u64, seed: u64) {
        self.state().faults.power = Some((operations, seed));
    }

    /// What power loss left, once it has come.
    pub(crate) fn after_power_loss(&self) -> Option<SimDisk> {
        self.state().image.clone()
    }

    /// Has the sync after `successes` more fail with an I/O error.
    pub(crate) fn fail_sync(&self, successes: u64, for_ever: bool) {
        self.state().faults.sync = Some((successes, for_ever));
    }

    /// Has so many of a hundred syncs do nothing, and say that they have.
    pub(crate) fn lie(&self, percent: u64, seed: u64) {
        self.state().faults.lies = Some((percent, Rng::new(seed)));
    }

    /// Has the preparation after `successes` more find no space.
    pub(crate) fn fill_up(&self, successes: u64, for_ever: bool) {
        self.state().faults.prepare = Some((successes, for_ever));
    }

    /// Has the write after `successes` more fail, as on a file system that copies what it overwrites and is full.
    pub(crate) fn fail_write(&self, successes: u64, for_ever: bool) {
        self.state().faults.write = Some((successes, for_ever));
    }

    /// Has the sync of a directory after `successes` more fail once.
    pub(crate) fn fail_sync_directory(&self, successes: u64) {
        self.state().faults.directory = Some((successes, false));
    }

    /// Has the opening of a file after `successes` more fail once.
    pub(crate) fn fail_open(&self, successes: u64) {
        self.state().faults.open = Some((successes, false));
    }

    /// Has the removal after `successes` more fail.
    pub(crate) fn fail_remove(&self, successes: u64, for_ever: bool) {
        self.state().faults.remove = Some((successes, for_ever));
    }

    /// Has the operation after `successes` more fail once with `error`, whichever it is, also one that only looks: one of the
    /// owning thread's, or one of the log's own threads'.
    pub(crate) fn fail_operation(&self, successes: u64, owner: bool, error: Errno) {
        let mut state = self.state();
        state.faults.operation_failed = false;
        state.faults.operation = Some(Planned {
            left: successes,
            owner,
            error,
        });
    }

    /// Ends that, and says whether it has come to it.
    pub(crate) fn has_operation_failed(&self) -> bool {
        let mut state = self.state();
        state.faults.operation = None;
        std::mem::take(&mut state.faults.operation_failed)
    }

    /// As an open does with another descriptor: a failed sync of the directory is forgotten.
    pub(crate) fn open_directory_anew(&self) {
        self.state().faults.directory_syncs = Arc::default();
    }

    /// Has the next rename fail.
    pub(crate) fn fail_rename(&self) {
        self.state().faults.rename = true;
    }

    /// Has reads of those bytes of a file fail.
    pub(crate) fn fail_reads(&self, name: &str, range: Range<usize>) {
        self.state().faults.unreadable = Some((name.to_owned(), range));
    }

    /// Changes what a file has, in memory and on the disk.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.file(name).unwrap();
        let mut bytes = file.bytes();
        change(&mut bytes);
        *file = File::new(bytes.clone(), bytes);
    }

    /// Has `act` done in the middle of the next sync, or not at all after [`SimDisk::nothing_meanwhile`].
    pub(crate) fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        self.state().faults.meanwhile.0 = Some(Box::new(act));
    }

    /// Has `act` done behind the owning thread's next write, or not at all after [`SimDisk::nothing_meanwhile`].
    pub(crate) fn behind_write(&self, act: impl FnOnce() + Send + 'static) {
        self.state().faults.behind_write.0 = Some(Box::new(act));
    }

    pub(crate) fn nothing_meanwhile(&self) {
        let acts = {
            let faults = &mut self.state().faults;
            [faults.meanwhile.0.take(), faults.behind_write.0.take()]
        };
        // They may hold the last handle of a log, whose drop uses the disk.
        drop(acts);
    }

    /// Has all threads but this one wait before they do that to a file: "prepare", "replace" or "remove", and a name, or what it
    /// begins with.
    pub(crate) fn hold(&self, what: &'static str) {
        self.gate.set_closed(Some(what));
    }

    /// Returns when one of them waits.
    pub(crate) fn await_arrival(&self) {
        self.gate.await_arrival();
    }

    /// Lets them go on.
    pub(crate) fn release(&self) {
        self.gate.set_closed(None);
    }

    fn is_owner(&self) -> bool {
        std::thread::current().id() == self.owner
    }

    /// There is space again.
    pub(crate) fn heal_space(&self) {
        self.state().faults.prepare = None;
    }

    /// Ends all faults that are due.
    pub(crate) fn heal(&self) {
        self.state().faults = Faults::default();
    }

    /// Fails if it is this operation's turn. Each passes here first.
    fn look(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match state.faults.operation_due(self.is_owner()) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }

    /// As [`SimDisk::look`], for an operation that changes something.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.powered()?;
        match state.faults.operation_due(self.is_owner()) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }

    /// Every operation that changes something passes here first.
    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        // Only the owner's operations count, so that the same seed fails at the same place whatever the log's own threads
        // do meanwhile.
        if std::thread::current().id() == self.owner
            && state.image.is_none()
            && let Some((left, seed)) = state.faults.power
        {
            state.faults.power = Some((left.saturating_sub(1), seed));
            if left == 0 {
                state.image = Some(self.crash_state(&state, &mut Rng::new(seed)));
            }
        }
        match state.image {
            Some(_) => Err(io::Error::other("power is off")),
            None => Ok(state),
        }
    }
}

impl State {
    fn inode(&self, name: &str) -> io::Result<u64> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let inode = self.inode(name)?;
        self.files.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, name: &str, file: File) -> u64 {
        self.next_inode += 1;
        self.files.insert(self.next_inode, file);
        self.change(Change::Link(name.to_owned(), self.next_inode));
        self.next_inode
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn sync_names(&mut self, directory: &str) {
        let changes = std::mem::take(&mut self.changes);
        let (durable, rest): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.directory() == directory);
        for change in durable {
            change.apply(&mut self.durable_names);
        }
        self.changes = rest;
    }
}

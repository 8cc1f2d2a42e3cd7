//! A disk that can lose power: the [`Disk`] seam over heap memory, with everything a real one may do to what was not
//! synced.
//!
//! Each file has a *durable* image beside its current bytes; [`Durable::sync`] copies the one to the other. Names have a
//! durable set and a list of changes that no [`Disk::sync_directory`] has covered. [`SimDisk::crash`] makes the disk that
//! the next boot finds: of every 512-byte sector of every file that was not synced independently the old bytes, the new
//! ones, or a cut inside it; of the changed names a prefix, or any subset in which no change rests on a lost one.
//!
//! Names are paths: a directory within the disk's is a prefix of them, synced apart. A file that is moved from one directory to
//! another has its new name when that one's directory has been synced, and the old one beside it until the other has been.
//!
//! A sync can be made to fail. As on Linux, the pages are then taken for clean: they read as new, the disk has the old
//! bytes, and the next sync skips them unless they have been written again.

#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/folders.rs"]
mod folders;
#[path = "sim/repair.rs"]
mod repair;
#[path = "sim/retention.rs"]
mod retention;
#[path = "sim/schedules.rs"]
mod schedules;
#[path = "sim/slots.rs"]
mod slots;

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use crate::disk::{Disk, Durable, FileIdentity, LockError, Medium};
use crate::format::FRAMES_START;
use crate::primitives::{Condvar, Mutex, MutexGuard};
use crate::region::Region;

/// What a disk writes as a whole, or cuts; the smallest unit in use.
const SECTOR: usize = 512;

/// Random numbers from a seed that a failing test prints (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

#[derive(Debug)]
enum Current {
    Bytes(Vec<u8>),
    Mapped(Arc<Region>),
}

#[derive(Debug)]
struct File {
    durable: Vec<u8>,
    current: Current,
    /// Sectors whose write failed, as they read since then. While they read so, a sync takes them for clean.
    lost: HashMap<usize, Vec<u8>>,
}

impl File {
    fn new(durable: Vec<u8>, current: Vec<u8>) -> File {
        File {
            durable,
            current: Current::Bytes(current),
            lost: HashMap::new(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match &self.current {
            Current::Bytes(bytes) => bytes.clone(),
            Current::Mapped(region) => {
                let mut bytes = vec![0; self.durable.len()];
                region.load(0, &mut bytes);
                bytes
            }
        }
    }

    /// Sectors that differ from the durable image, and what they read; without those taken for clean.
    fn dirty(&self, current: &[u8]) -> Vec<Range<usize>> {
        let sectors = (0..current.len())
            .step_by(SECTOR)
            .map(|at| at..current.len().min(at + SECTOR));
        let dirty = sectors.filter(|sector| {
            let bytes = &current[sector.clone()];
            self.durable.get(sector.clone()) != Some(bytes)
                && self.lost.get(&sector.start).is_none_or(|lost| lost != bytes)
        });
        dirty.collect()
    }

    fn sync(&mut self) {
        let current = self.bytes();
        for sector in self.dirty(&current) {
            self.lost.remove(&sector.start);
            self.durable.resize(current.len().max(self.durable.len()), 0);
            self.durable[sector.clone()].copy_from_slice(&current[sector]);
        }
    }

    fn fail_sync(&mut self) {
        let current = self.bytes();
        for sector in self.dirty(&current) {
            self.lost.insert(sector.start, current[sector].to_vec());
        }
    }

    /// What power loss leaves.
    fn crashed(&self, law: &Law, rng: &mut Rng) -> Vec<u8> {
        let current = self.bytes();
        let mut bytes = self.durable.clone();
        bytes.resize(current.len(), 0);
        for sector in self.dirty(&current) {
            let (old, new) = (&mut bytes[sector.clone()], &current[sector]);
            if rng.percent(law.cut) {
                let at = rng.below(new.len() as u64 + 1) as usize;
                let side = if rng.percent(70) { 0..at } else { at..new.len() };
                old[side.clone()].copy_from_slice(&new[side]);
            } else if rng.percent(law.new) {
                old.copy_from_slice(new);
            }
        }
        bytes
    }
}

/// How a power loss goes about it, drawn anew for each, so that extremes are seen as well as mixtures.
#[derive(Debug)]
struct Law {
    /// Of a hundred sectors so many are cut.
    cut: u64,
    /// Of a hundred others so many are new.
    new: u64,
    /// Whether changed names are kept in order.
    names_in_order: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
    /// The old name of a file that has been moved to another directory, and the new one, without which this one stays.
    Leave(String, String),
}

type Names = BTreeMap<String, u64>;

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Change::Unlink(name) | Change::Leave(name, _) => {
                names.remove(name);
            }
        }
    }

    fn touched(&self) -> Vec<String> {
        match self {
            Change::Link(name, _) | Change::Unlink(name) => vec![name.clone()],
            Change::Rename(from, to) | Change::Leave(from, to) => vec![from.clone(), to.clone()],
        }
    }

    /// The directory whose sync makes it durable, as the prefix of its names.
    fn directory(&self) -> &str {
        let (Change::Link(name, _) | Change::Rename(_, name) | Change::Unlink(name) | Change::Leave(name, _)) = self;
        &name[..name.rfind('/').map_or(0, |slash| slash + 1)]
    }
}

/// Faults that are due.
#[derive(Debug, Default)]
struct Faults {
    /// Power fails at the operation of the owning thread after so many more; with the seed of the loss.
    power: Option<(u64, u64)>,
    /// The sync after so many more fails; and all that follow, when `true`.
    sync: Option<(u64, bool)>,
    /// The preparation after so many more finds no space; and all that follow, when `true`.
    prepare: Option<(u64, bool)>,
    rename: bool,
    /// Bytes of a file that cannot be read.
    unreadable: Option<(String, Range<usize>)>,
    /// The write after so many more does half of its work and fails; and all that follow, when `true`.
    write: Option<(u64, bool)>,
    /// Done in the middle of the owning thread's next sync: what other threads get in meanwhile.
    meanwhile: Meanwhile,
}

/// Holds the log's own threads up at the next file they remove, until it is opened, and notes what they prepare and remove.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    /// Names with what is done to them, in order, since the gate was closed.
    passed: Vec<String>,
    waiting: bool,
}

impl Gate {
    fn set_closed(&self, closed: bool) {
        let mut state = self.state.lock().unwrap();
        state.closed = closed;
        if closed {
            state.passed.clear();
        }
        self.changed.notify_all();
    }

    fn pass(&self, what: String, stops: bool) {
        let mut state = self.state.lock().unwrap();
        while stops && state.closed {
            state.waiting = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.waiting = false;
        state.passed.push(what);
    }

    fn await_arrival(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.waiting {
            state = self.changed.wait(state).unwrap();
        }
    }
}

#[derive(Default)]
struct Meanwhile(Option<Box<dyn FnOnce() + Send>>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meanwhile").field(&self.0.is_some()).finish()
    }
}

/// Whether a fault that is due after so many more is due now.
fn due(fault: &mut Option<(u64, bool)>) -> bool {
    match fault {
        Some((0, for_ever)) => {
            if !*for_ever {
                *fault = None;
            }
            true
        }
        Some((left, _)) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

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

    /// Has the preparation after `successes` more find no space.
    pub(crate) fn fill_up(&self, successes: u64, for_ever: bool) {
        self.state().faults.prepare = Some((successes, for_ever));
    }

    /// Has the write after `successes` more fail, as on a file system that copies what it overwrites and is full.
    pub(crate) fn fail_write(&self, successes: u64, for_ever: bool) {
        self.state().faults.write = Some((successes, for_ever));
    }

    /// Has the next rename fail.
    pub(crate) fn fail_rename(&self) {
        self.state().faults.rename = true;
    }

    /// Has reads of those bytes of a file fail.
    pub(crate) fn fail_reads(&self, name: &str, range: Range<usize>) {
        self.state().faults.unreadable = Some((name.to_owned(), range));
    }

    /// Has `act` done in the middle of the next sync, or not at all after [`SimDisk::nothing_meanwhile`].
    pub(crate) fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        self.state().faults.meanwhile.0 = Some(Box::new(act));
    }

    pub(crate) fn nothing_meanwhile(&self) {
        let act = self.state().faults.meanwhile.0.take();
        // It may hold the last handle of a log, whose drop uses the disk.
        drop(act);
    }

    /// Has the log's own threads wait before they remove a file.
    pub(crate) fn hold_removals(&self) {
        self.gate.set_closed(true);
    }

    /// Returns when one of them waits.
    pub(crate) fn await_removal(&self) {
        self.gate.await_arrival();
    }

    /// Lets them go on.
    pub(crate) fn release_removals(&self) {
        self.gate.set_closed(false);
    }

    /// What they have prepared and removed since they were first held, in order: "prepare" or "remove", and the name.
    pub(crate) fn passed(&self) -> Vec<String> {
        self.gate.state.lock().unwrap().passed.clone()
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

    /// Every operation that changes something passes here first.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
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

/// A region with these bytes.
fn region(bytes: &[u8]) -> Region {
    let region = Region::heap(bytes.len());
    let (head, frames) = bytes.split_at(bytes.len().min(FRAMES_START));
    region.store(0, head);
    if !frames.is_empty() {
        region.store(FRAMES_START, frames);
    }
    region
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.inode)
    }
}

impl Durable for SimFile {
    fn write_at(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let fails = due(&mut state.faults.write);
        let file = state.files.get_mut(&self.inode).expect("open files stay");
        let written = if fails { (bytes.len() / 2) & !7 } else { bytes.len() };
        match &mut file.current {
            Current::Mapped(region) => region.store(offset, &bytes[..written]),
            Current::Bytes(current) => current[offset..offset + written].copy_from_slice(&bytes[..written]),
        }
        match fails {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let fails = due(&mut state.faults.sync);
        let file = state.files.get_mut(&self.inode).expect("open files stay");
        if fails {
            file.fail_sync();
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        file.sync();
        if std::thread::current().id() == self.disk.owner {
            let meanwhile = state.faults.meanwhile.0.take();
            drop(state);
            if let Some(act) = meanwhile {
                act();
            }
        }
        Ok(())
    }

    fn rewrite(&self, range: Range<usize>) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let file = state.files.get_mut(&self.inode).expect("open files stay");
        file.lost.retain(|&at, _| at + SECTOR <= range.start || at >= range.end);
        Ok(())
    }

    fn probe(&self, range: Range<usize>) -> io::Result<()> {
        let state = self.disk.state();
        match &state.faults.unreadable {
            Some((name, bad)) if state.inode(name).is_ok_and(|inode| inode == self.inode) => {
                match bad.start < range.end && range.start < bad.end {
                    true => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        let within = state.names.keys().filter_map(|name| name.strip_prefix(&self.prefix));
        let mut names: Vec<String> = within
            .filter_map(|name| Some(name.split('/').next()?.to_owned()))
            .collect();
        names.dedup();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().file(&self.at(name)).ok().map(|file| file.bytes()))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.state().file(&self.at(name)).map(|file| file.bytes().len() as u64)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let name = self.at(name);
        let temporary = format!("{name}.tmp");
        let inode = self
            .operate()?
            .create(&temporary, File::new(Vec::new(), bytes.to_vec()));
        if let Some(file) = self.operate()?.files.get_mut(&inode) {
            file.sync();
        }
        self.operate()?.change(Change::Rename(temporary, name));
        self.sync_directory()
    }

    fn prepare(&self, name: &str, length: u64, _: bool, records: &[(usize, Vec<u8>)]) -> io::Result<()> {
        if !self.is_owner() {
            self.gate.pass(format!("prepare {name}"), false);
        }
        let mut bytes = vec![0; length as usize];
        for (at, record) in records {
            bytes[*at..at + record.len()].copy_from_slice(record);
        }
        let inode = {
            let mut state = self.operate()?;
            let name = self.at(name);
            if state.names.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if due(&mut state.faults.prepare) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.create(&name, File::new(Vec::new(), bytes))
        };
        if let Some(file) = self.operate()?.files.get_mut(&inode) {
            file.sync();
        }
        Ok(())
    }

    fn extend(&self, name: &str, length: u64) -> io::Result<()> {
        let mut state = self.operate()?;
        let file = state.file(&self.at(name))?;
        let mut bytes = file.bytes();
        bytes.resize(length as usize, 0);
        *file = File::new(bytes.clone(), bytes);
        Ok(())
    }

    fn open(&self, name: &str, length: usize, writable: bool) -> io::Result<Medium> {
        let mut state = self.state();
        let inode = state.inode(&self.at(name))?;
        let file = state.file(&self.at(name))?;
        let bytes = file.bytes();
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let region = region(&bytes[..length]);
        let region = Arc::new(if writable { region } else { region.read_only() });
        if writable {
            assert_eq!(length, bytes.len());
            file.current = Current::Mapped(Arc::clone(&region));
        }
        Ok(Medium {
            region,
            file: Arc::new(SimFile {
                disk: self.clone(),
                inode,
            }),
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        if std::mem::take(&mut state.faults.rename) {
            return Err(io::Error::other("renames fail"));
        }
        state.inode(&self.at(from))?;
        state.change(Change::Rename(self.at(from), self.at(to)));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.is_owner() {
            self.gate.pass(format!("remove {name}"), true);
        }
        let mut state = self.operate()?;
        state.inode(&self.at(name))?;
        state.change(Change::Unlink(self.at(name)));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.operate()?.sync_names(&self.prefix);
        Ok(())
    }

    fn open_shared(&self, name: &str, length: usize, writable: bool) -> io::Result<(Medium, FileIdentity)> {
        if writable && self.state().inode(&self.at(name)).is_err() {
            self.operate()?
                .create(&self.at(name), File::new(vec![0; length], vec![0; length]));
        }
        let medium = self.open(name, length, writable)?;
        let inode = self.state().inode(&self.at(name))?;
        Ok((
            medium,
            FileIdentity {
                device: self.boot,
                inode,
            },
        ))
    }

    fn lock(&self, _: &str) -> Result<Box<dyn Any + Send + Sync>, LockError> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(LockError::Held {
                holder: "this test".into(),
            });
        }
        Ok(Box::new(Unlock(Arc::clone(&self.locked))))
    }
}

struct Unlock(Arc<AtomicBool>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

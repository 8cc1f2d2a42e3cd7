//! The operations of the simulated disk, and of its files.

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SimDisk;
use super::image::{Change, Current, File, SECTOR};
use super::injected::due;
use crate::disk::{Disk, Durable, FileIdentity, LockError, Medium};
use crate::format::FRAMES_START;
use crate::region::Region;

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

fn io_error() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
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
        let mut state = self.disk.powered()?;
        let failure = match due(&mut state.faults.write) {
            true => Some(io::ErrorKind::StorageFull.into()),
            false => state.faults.operation_due(self.disk.is_owner()),
        };
        let file = state.files.get_mut(&self.inode).expect("open files stay");
        let written = match failure {
            Some(_) => (bytes.len() / 2) & !7,
            None => bytes.len(),
        };
        match &mut file.current {
            Current::Mapped(region) => region.store(offset, &bytes[..written]),
            Current::Bytes(current) => current[offset..offset + written].copy_from_slice(&bytes[..written]),
        }
        if let Some(error) = failure {
            return Err(error);
        }
        if std::thread::current().id() == self.disk.owner {
            let act = state.faults.behind_write.0.take();
            drop(state);
            if let Some(act) = act {
                act();
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.powered()?;
        let failure = match due(&mut state.faults.sync) {
            true => Some(io_error()),
            false => state.faults.operation_due(self.disk.is_owner()),
        };
        let lies = state
            .faults
            .lies
            .as_mut()
            .is_some_and(|(percent, rng)| rng.percent(*percent));
        let file = state.files.get_mut(&self.inode).expect("open files stay");
        if let Some(error) = failure {
            file.fail_sync();
            return Err(error);
        }
        if !lies {
            file.sync();
        }
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
        let state = self.disk.look()?;
        match &state.faults.unreadable {
            Some((name, bad)) if state.inode(name).is_ok_and(|inode| inode == self.inode) => {
                match bad.start < range.end && range.start < bad.end {
                    true => Err(io_error()),
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
        let state = self.look()?;
        let within = state.names.keys().filter_map(|name| name.strip_prefix(&self.prefix));
        let mut names: Vec<String> = within
            .filter_map(|name| Some(name.split('/').next()?.to_owned()))
            .collect();
        names.dedup();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.look()?.file(&self.at(name)).ok().map(|file| file.bytes()))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.look()?.file(&self.at(name)).map(|file| file.bytes().len() as u64)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if !self.is_owner() {
            self.gate.pass(&format!("replace {name}"));
        }
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

    fn prepare(&self, name: &str, length: u64, _: u64, records: &[(usize, Vec<u8>)]) -> io::Result<()> {
        if !self.is_owner() {
            self.gate.pass(&format!("prepare {name}"));
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
        // Otherwise the real one removes it.
        if let Some(file) = self.powered()?.files.get_mut(&inode) {
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
        let mut state = self.look()?;
        let inode = state.inode(&self.at(name))?;
        if due(&mut state.faults.open) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
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
            self.gate.pass(&format!("remove {name}"));
        }
        let mut state = self.operate()?;
        state.inode(&self.at(name))?;
        if due(&mut state.faults.remove) {
            return Err(io_error());
        }
        state.change(Change::Unlink(self.at(name)));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let sync = || {
            let mut state = self.operate()?;
            if due(&mut state.faults.directory) {
                return Err(io_error());
            }
            state.sync_names(&self.prefix);
            Ok(())
        };
        let syncs = Arc::clone(&self.state().faults.directory_syncs);
        syncs.sync(sync)
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

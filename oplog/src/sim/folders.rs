//! Directories within the simulated one: what a repair needs. A directory is there as soon as it is made; what is in it may be
//! lost as anything else.

use std::io;
use std::sync::atomic::Ordering;

use super::{Change, SimDisk};
use crate::disk::Disk;
use crate::folders::Folders;

impl Folders for SimDisk {
    fn lock_holder(&self, _: &str) -> io::Result<Option<String>> {
        Ok(self.locked.load(Ordering::SeqCst).then(|| "this test".to_owned()))
    }

    fn again(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }

    fn within(&self, folder: &str) -> Box<dyn Folders> {
        Box::new(SimDisk {
            prefix: format!("{}{folder}/", self.prefix),
            path: self.path.join(folder),
            ..self.clone()
        })
    }

    fn make_directory(&self, folder: &str) -> io::Result<Box<dyn Folders>> {
        self.operate().map(|_| self.within(folder))
    }

    fn remove_directory(&self, _: &str) -> io::Result<()> {
        self.operate().map(drop)
    }

    fn keep_in(&self, folder: &str, name: &str) -> io::Result<()> {
        let inode = {
            let mut state = self.operate()?;
            let inode = state.inode(&self.at(name))?;
            state.change(Change::Link(format!("{}{folder}/{name}", self.prefix), inode));
            inode
        };
        if let Some(file) = self.operate()?.files.get_mut(&inode) {
            file.sync();
        }
        Ok(())
    }

    fn is_kept_in(&self, folder: &str, name: &str) -> io::Result<bool> {
        let state = self.state();
        let ours = state.inode(&self.at(name))?;
        let Ok(theirs) = state.inode(&format!("{}{folder}/{name}", self.prefix)) else {
            return Ok(false);
        };
        Ok(ours == theirs || state.files[&ours].bytes() == state.files[&theirs].bytes())
    }

    fn take_from(&self, folder: &str, name: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let (from, to) = (format!("{}{folder}/{name}", self.prefix), self.at(name));
        let inode = state.inode(&from)?;
        state.change(Change::Link(to.clone(), inode));
        state.change(Change::Leave(from, to));
        Ok(())
    }
}

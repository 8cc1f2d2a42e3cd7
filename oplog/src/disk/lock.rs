//! The writer's lock: one process at a time, and one handle in it.
//!
//! It is the kernel's lock on the open file (`flock`), so it ends with its holder however that dies, and a number left in the
//! file holds nobody up. Only what shares the *open file* shares the lock:
//!
//! * A program that the holder starts does not: the descriptor is closed when another program is executed.
//! * A bare `fork` does, and keeps the lock for as long as it lives, after its parent's death too. A handle that is closed
//!   gives the lock up for both. A forked child must execute another program, or exit, without touching a handle.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

use super::{LockError, change, check_limit, write};
use crate::ids::Timestamp;

/// How often, and after which pause, a lock that is held is tried again before its holder counts as a writer.
const LOOKS: usize = 10;
/// As [`LOOKS`], while those who hold it share it, which no writer does: ten seconds.
const LOOKS_AT_LOOKERS: usize = 5_000;
const PAUSE: Duration = Duration::from_millis(2);

/// The lock, until it is dropped or the process dies.
#[derive(Debug)]
pub(super) struct WriterLock {
    file: File,
    /// The process that took it: a forked copy of this value must not give it up.
    pid: u32,
}

impl WriterLock {
    /// Takes the lock on the file at `path`, and says so in it.
    pub(super) fn take(path: &Path) -> Result<WriterLock, LockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = change(|| options.open(path)).map_err(LockError::Io)?;
        let mut looks = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // It may be one who only looks, see `holder`, however long a busy machine lets it; or a child of this process
                // that has yet to execute its program.
                Err(TryLockError::WouldBlock) if looks < LOOKS || is_looked_at(&file) && looks < LOOKS_AT_LOOKERS => {
                    looks += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held {
                        holder: described(&mut file),
                    });
                }
                Err(TryLockError::Error(e)) => return Err(LockError::Io(e)),
            }
        }
        let pid = std::process::id();
        // For people only; the kernel's lock is what counts.
        let note = format!("pid {pid} since {}\n", Timestamp::now().as_millis() / 1000);
        check_limit(note.len() as u64)
            .and_then(|()| change(|| file.set_len(0)))
            .and_then(|()| write(&file, note.as_bytes(), 0))
            .map_err(LockError::Io)?;
        Ok(WriterLock { file, pid })
    }

    /// What the file says about the process that holds the lock; nothing when nobody does.
    ///
    /// Looking holds the lock shared for an instant; [`WriterLock::take`] outlasts that.
    pub(super) fn holder(path: &Path) -> io::Result<Option<String>> {
        let mut file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(described(&mut file))),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

/// Whether those who hold the lock only look. Like them, this holds it shared for an instant.
fn is_looked_at(file: &File) -> bool {
    let shared = file.try_lock_shared().is_ok();
    if shared {
        let _ = file.unlock();
    }
    shared
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            // Closing the file is not enough where a forked child has it open, too.
            let _ = self.file.unlock();
        }
    }
}

/// What a lock file says about its holder.
fn described(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    match holder.trim() {
        "" => "unknown".to_owned(),
        holder if has_ended(holder) => {
            format!("{holder}, which does not run here any more; a process that it forked may, or another container's")
        }
        holder => holder.to_owned(),
    }
}

/// Whether no process has the number that `holder` begins with. One of another user counts as alive, and so does whoever
/// got the number since.
fn has_ended(holder: &str) -> bool {
    let pid = holder.split_whitespace().nth(1).and_then(|pid| pid.parse().ok());
    let ended = |pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
    pid.and_then(Pid::from_raw).is_some_and(ended)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    use super::*;

    /// A program that waits until its standard input is closed.
    fn waiting() -> Child {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    /// The lock, as soon as nobody holds it. Other tests of this process start programs all the time: until such a child has
    /// executed its program, it has every descriptor of this process, and with them the lock.
    fn take_when_free(path: &Path) -> WriterLock {
        for _ in 0..10_000 {
            match WriterLock::take(path) {
                Err(LockError::Held { .. }) => {}
                taken => return taken.unwrap(),
            }
        }
        panic!("somebody holds it")
    }

    /// Somebody who looks whether there is a writer, and is held up meanwhile, is no writer.
    #[test]
    fn who_looks_at_the_lock_holds_no_writer_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        drop(WriterLock::take(&path).unwrap());
        let looker = File::open(&path).unwrap();
        looker.lock_shared().unwrap();
        let (asked, taken) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                asked.store(true, Ordering::SeqCst);
                drop(WriterLock::take(&path).unwrap());
                taken.store(true, Ordering::SeqCst);
            });
            while !asked.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            // Far longer than a writer is waited for.
            std::thread::sleep(PAUSE * (4 * LOOKS as u32));
            assert!(!taken.load(Ordering::SeqCst));
            drop(looker);
        });
        assert!(taken.load(Ordering::SeqCst));
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_program_that_the_holder_starts_does_not_hold_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let lock = WriterLock::take(&path).unwrap();
        assert!(fcntl_getfd(&lock.file).unwrap().contains(FdFlags::CLOEXEC));
        let child = waiting();
        assert!(WriterLock::holder(&path).unwrap().is_some());
        lock.close_only();
        take_when_free(&path);
        end(child);
    }

    /// A descriptor that survives the execution of a program stands for what a bare `fork` inherits.
    #[test]
    fn a_lock_that_was_inherited_is_given_up_by_a_close_and_named_after_a_death() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let lock = WriterLock::take(&path).unwrap();
        fcntl_setfd(&lock.file, FdFlags::empty()).unwrap();
        let child = waiting();
        drop(lock);
        drop(WriterLock::take(&path).expect("a close gives the lock up for both"));
        end(child);

        let lock = WriterLock::take(&path).unwrap();
        fcntl_setfd(&lock.file, FdFlags::empty()).unwrap();
        let child = waiting();
        lock.close_only();
        // No process has so high a number.
        std::fs::write(&path, "pid 4194305 since 0\n").unwrap();
        let Err(LockError::Held { holder }) = WriterLock::take(&path) else {
            panic!("the child holds it")
        };
        assert!(holder.contains("4194305") && holder.contains("forked"), "{holder}");
        assert_eq!(WriterLock::holder(&path).unwrap(), Some(holder));
        end(child);
        take_when_free(&path);
    }

    impl WriterLock {
        /// Closes the file without giving up the lock, as the death of the process would.
        fn close_only(mut self) {
            self.pid = 0;
        }
    }
}

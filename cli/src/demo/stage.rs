//! The directory in which the demo plays, and who removes it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::failure::{Exit, Failure, Outcome};

/// How the names of temporary directories begin.
const PREFIX: &str = "tailwater-demo-";

/// The store's directory.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: PathBuf,
    /// When the demo made it: the directory and the process that removes it when this one is interrupted.
    temporary: Option<(TempDir, Option<Sweeper>)>,
}

impl Stage {
    /// Takes the directory that the user named, which has to be new or empty, or makes a temporary one.
    pub(crate) fn set(named: Option<&Path>) -> Outcome<Stage> {
        if let Some(dir) = named {
            let failed = |e| Failure::new(Exit::Environment, format!("cannot use {}: {e}", dir.display()));
            std::fs::create_dir_all(dir).map_err(failed)?;
            if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
                let message = format!(
                    "{} is not empty; name a new directory, or leave --dir out",
                    dir.display()
                );
                return Err(Failure::new(Exit::Usage, message));
            }
            let dir = dir.to_path_buf();
            return Ok(Stage { dir, temporary: None });
        }
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let temporary = made.map_err(|e| Failure::new(Exit::Environment, format!("cannot make a directory: {e}")))?;
        let dir = temporary.path().to_path_buf();
        let sweeper = Sweeper::start(&dir).ok();
        Ok(Stage {
            dir,
            temporary: Some((temporary, sweeper)),
        })
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it goes when the demo ends.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Has it stay.
    pub(crate) fn keep(&mut self) {
        if let Some((temporary, sweeper)) = self.temporary.take() {
            if let Some(mut sweeper) = sweeper {
                sweeper.dismiss();
            }
            let _ = temporary.keep();
        }
    }
}

/// A process that removes the directory when this one ends without having done so: at Ctrl-C, above all.
#[derive(Debug)]
struct Sweeper(Child);

impl Sweeper {
    fn start(dir: &Path) -> std::io::Result<Sweeper> {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new(std::env::current_exe()?);
        command.args(["demo", "--role", "sweeper", "--dir"]).arg(dir);
        // In a group of its own, which Ctrl-C does not reach.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(Sweeper)
    }

    fn dismiss(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// The sweeper's process: waits until its parent is gone, and removes what is left of the directory.
pub(crate) fn sweep(dir: &Path) -> Outcome {
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    // A role for the demo's own directories, not a way to remove others.
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    if !name.starts_with(PREFIX) || dir.parent() != Some(&std::env::temp_dir()) {
        return Err(Failure::new(
            Exit::Usage,
            "that is not a temporary directory of the demo",
        ));
    }
    // The parent's other processes end as well, and may still be writing.
    for _ in 0..100 {
        let _ = std::fs::remove_dir_all(dir);
        if !dir.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine");
        std::fs::write(&file, "x").unwrap();
        let failure = Stage::set(Some(dir.path())).unwrap_err();
        assert!(failure.message.contains("not empty"), "{}", failure.message);
        assert!(file.exists());
    }

    #[test]
    fn a_named_directory_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("new");
        drop(Stage::set(Some(&dir)).unwrap());
        assert!(dir.is_dir());
    }
}

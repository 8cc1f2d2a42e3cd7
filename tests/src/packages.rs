//! Packages of other languages, for tests that need them: installed below cargo's target directory from lock files, once for each
//! content of these, and run as they are found there.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the packages are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// `package.json` and `package-lock.json`, installed by npm.
    Node,
    /// `requirements.txt`, installed by pip.
    Python,
}

impl Language {
    fn lock_file(self) -> &'static str {
        match self {
            Language::Node => "package-lock.json",
            Language::Python => "requirements.txt",
        }
    }
}

/// A folder with lock files, and scripts that use what these name.
#[derive(Clone, Copy, Debug)]
pub struct Packages<'a> {
    /// What it is called where it is installed.
    pub name: &'a str,
    /// What it is for.
    pub language: Language,
    /// The folder.
    pub sources: &'a Path,
    /// The lock files and the scripts.
    pub files: &'a [&'a str],
    /// `CARGO_TARGET_TMPDIR` of the test.
    pub below: &'a Path,
}

impl Packages<'_> {
    /// Runs one of the scripts, with what it needs to find its packages.
    ///
    /// # Panics
    ///
    /// When the packages cannot be installed; it says what is needed.
    #[must_use]
    pub fn script(&self, name: &str) -> Command {
        let dir = self.installed();
        let mut command = Command::new(match self.language {
            Language::Node => "node",
            Language::Python => "python3",
        });
        command.arg(dir.join(name)).env("PYTHONPATH", dir.join("packages"));
        command
    }

    /// What the machine must have.
    #[must_use]
    pub fn needs(&self) -> &'static str {
        match self.language {
            Language::Node => "this test needs Node 20 or later with npm, and once a connection to npm's registry",
            Language::Python => "this test needs Python 3.9 or later with pip, and once a connection to PyPI",
        }
    }

    /// The directory it is installed in.
    fn installed(&self) -> PathBuf {
        let mut hash = DefaultHasher::new();
        for file in self.files {
            hash.write(&fs::read(self.sources.join(file)).unwrap());
        }
        let name = format!("{}-{:016x}", self.name, hash.finish());
        let parent = self.below.join("packages");
        fs::create_dir_all(&parent).unwrap();
        // Tests of one process, and processes, come here at the same time; one of them installs.
        let lock = File::create(parent.join(format!("{name}.lock"))).unwrap();
        lock.lock().unwrap();
        let dir = parent.join(name);
        if !dir.exists() {
            let fresh = tempfile::tempdir_in(&parent).unwrap();
            for file in self.files {
                fs::copy(self.sources.join(file), fresh.path().join(file)).unwrap();
            }
            self.install(fresh.path());
            // Under its name only once it is complete.
            fs::rename(fresh.keep(), &dir).unwrap();
        }
        dir
    }

    fn install(&self, dir: &Path) {
        // A script without a lock file needs no packages.
        if !self.files.contains(&self.language.lock_file()) {
            return;
        }
        let (program, arguments): (_, &[&str]) = match self.language {
            Language::Node => ("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"]),
            Language::Python => (
                "python3",
                &[
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                    "--target",
                    "packages",
                    "-r",
                    "requirements.txt",
                ],
            ),
        };
        let output = match Command::new(program).args(arguments).current_dir(dir).output() {
            Ok(output) => output,
            Err(error) => panic!("cannot run {program}: {error}; {}", self.needs()),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{program} has failed; {}\n{said}",
            self.needs()
        );
    }
}

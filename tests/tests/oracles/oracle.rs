//! The other implementations: how they are installed and asked.
//!
//! Both are installed below cargo's target directory, from the lock files in `tests/oracles/`, once for each content of these.
//! They run as they are found there: a small script that reads cases and writes answers, line by line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::case::{Answer, Case, Refusal};

/// An independent implementation of MongoDB's semantics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Oracle {
    /// A matcher and aggregator for objects in JavaScript.
    Mingo,
    /// A database in Python that stands in for MongoDB in tests.
    Mongomock,
}

/// Where the scripts and the lock files are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oracles");

impl Oracle {
    pub(crate) const ALL: [Oracle; 2] = [Oracle::Mingo, Oracle::Mongomock];

    fn files(self) -> &'static [&'static str] {
        match self {
            Oracle::Mingo => &["package.json", "package-lock.json", "mingo_oracle.mjs"],
            Oracle::Mongomock => &["requirements.txt", "mongomock_oracle.py"],
        }
    }

    /// What the cases come to over there, in their order.
    pub(crate) fn ask(self, cases: &[Case]) -> Vec<Answer> {
        let dir = self.installed();
        let mut command = match self {
            Oracle::Mingo => Command::new("node"),
            Oracle::Mongomock => Command::new("python3"),
        };
        let script = self.files().last().expect("the script is the last of the files");
        let questions = tempfile::tempfile().unwrap();
        let mut writer = std::io::BufWriter::new(&questions);
        for case in cases {
            writeln!(writer, "{}", case.to_json()).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        std::io::Seek::rewind(&mut &questions).unwrap();
        command.arg(dir.join(script)).env("PYTHONPATH", dir.join("packages"));
        let mut child = command
            .stdin(questions)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{self:?} does not start: {error}; {}", self.needs()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answers: Vec<Answer> = lines.map(|line| answer(&line.unwrap())).collect();
        assert!(child.wait().unwrap().success(), "{self:?} ended with an error");
        assert_eq!(answers.len(), cases.len(), "{self:?} answers each case");
        answers
    }

    fn needs(self) -> &'static str {
        match self {
            Oracle::Mingo => {
                "this test needs Node 20 or later with npm, and once a connection to npm's registry, for the packages in tests/oracles"
            }
            Oracle::Mongomock => {
                "this test needs Python 3.9 or later with pip, and once a connection to PyPI, for the packages in tests/oracles"
            }
        }
    }

    /// The directory it is installed in.
    fn installed(self) -> PathBuf {
        let mut hash = std::hash::DefaultHasher::new();
        for file in self.files() {
            std::hash::Hasher::write(&mut hash, &fs::read(Path::new(SOURCES).join(file)).unwrap());
        }
        let name = format!("{self:?}-{:016x}", std::hash::Hasher::finish(&hash)).to_lowercase();
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracles");
        fs::create_dir_all(&parent).unwrap();
        // Tests of one process, and processes, come here at the same time; one of them installs.
        let lock = File::create(parent.join(format!("{name}.lock"))).unwrap();
        lock.lock().unwrap();
        let dir = parent.join(name);
        if !dir.exists() {
            let fresh = tempfile::tempdir_in(&parent).unwrap();
            for file in self.files() {
                fs::copy(Path::new(SOURCES).join(file), fresh.path().join(file)).unwrap();
            }
            self.install(fresh.path());
            // Under its name only once it is complete.
            fs::rename(fresh.keep(), &dir).unwrap();
        }
        dir
    }

    fn install(self, dir: &Path) {
        let mut command = match self {
            Oracle::Mingo => {
                let mut npm = Command::new("npm");
                npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
                npm
            }
            Oracle::Mongomock => {
                let mut pip = Command::new("python3");
                pip.args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-deps",
                ]);
                pip.args([
                    "--only-binary",
                    ":all:",
                    "--target",
                    "packages",
                    "-r",
                    "requirements.txt",
                ]);
                pip
            }
        };
        let output = match command.current_dir(dir).output() {
            Ok(output) => output,
            Err(error) => panic!("cannot run {command:?}: {error}; {}", self.needs()),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{command:?} has failed; {}\n{said}",
            self.needs()
        );
    }
}

fn answer(line: &str) -> Answer {
    let mut answer: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    match answer["documents"].take() {
        Value::Array(documents) => Ok(documents),
        _ => Err(Refusal {
            code: None,
            message: answer["error"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}

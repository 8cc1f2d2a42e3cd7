//! How a test runs a client, and a watcher beside others.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tailwater_tests::driver::{Profile, rust_driver};
use tailwater_tests::packages::{Language, Packages};
use tailwater_tests::served::Served;

const NODE: &[&str] = &[
    "package.json",
    "package-lock.json",
    "driver.mjs",
    "encrypted.mjs",
    "login.mjs",
    "members.mjs",
    "mongoose.mjs",
    "operations.mjs",
    "reconnect.mjs",
    "streams.mjs",
    "users.mjs",
    "watch.mjs",
];
const PYTHON: &[&str] = &[
    "requirements.txt",
    "change.py",
    "driver.py",
    "encrypted.py",
    "fail_points.py",
    "login.py",
    "members.py",
    "mongodump.py",
    "operations.py",
    "oplog.py",
    "retry.py",
    "secondary.py",
    "streams.py",
    "watch.py",
    "write.py",
    "write_one.py",
];
const SHELL: &[&str] = &[
    "package.json",
    "package-lock.json",
    "shell.js",
    "streams.js",
    "watch.js",
];

/// An official driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Driver {
    Node,
    Python,
    Rust,
}

impl Driver {
    pub(crate) const ALL: [Driver; 3] = [Driver::Node, Driver::Python, Driver::Rust];

    /// One of its scripts, by the name that each has for it.
    pub(crate) fn task(self, name: &str) -> Command {
        let (folder, language, files, suffix) = match self {
            Driver::Node => ("node", Language::Node, NODE, "mjs"),
            Driver::Python => ("python", Language::Python, PYTHON, "py"),
            Driver::Rust => {
                static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
                let mut command = Command::new(PROGRAM.get_or_init(|| rust_driver(below(), Profile::Dev)));
                command.arg(name);
                return command;
            }
        };
        let packages = Packages {
            name: &format!("clients-{folder}"),
            language,
            sources: &sources().join(folder),
            files,
            below: below(),
        };
        packages.script(&format!("{name}.{suffix}"))
    }
}

/// The shell, which runs one of its scripts at an address.
pub(crate) fn shell(script: &str, uri: &str) -> Command {
    let sources = sources().join("mongosh");
    let packages = Packages {
        name: "clients-mongosh",
        language: Language::Node,
        sources: &sources,
        files: SHELL,
        below: below(),
    };
    let mut command = packages.script("node_modules/mongosh/bin/mongosh.js");
    command
        .args([uri, "--quiet", "--norc", "--file"])
        .arg(sources.join(script));
    // It keeps settings and a history where its user is at home.
    command.env("HOME", below());
    command
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn below() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// How long a client may say nothing, or take to its end, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs a client to its end.
pub(crate) fn run(command: &mut Command) -> String {
    let piped = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = piped.spawn().unwrap();
    let id = child.id().to_string();
    let (tells, ended) = channel();
    thread::spawn(move || tells.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        let _ = Command::new("kill").args(["-9", &id]).status();
        panic!("{command:?} does not come to its end");
    };
    let output = output.unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}\n{out}{err}");
    out.into_owned()
}

/// The two ways in which clients find the server, and a compressor.
pub(crate) fn uris(served: &Served) -> [String; 2] {
    let address = served.address();
    [
        format!("mongodb://{address}/?directConnection=true"),
        format!("mongodb://{address}/?replicaSet=rs0&compressors=zlib"),
    ]
}

/// Writes documents `{n: …}` to `numbers.numbers`; the last of all says that it is.
pub(crate) fn write_numbers(served: &Served, from: u64, to: u64, last: &str) {
    let mut writer = Driver::Python.task("write");
    run(writer.args([&uris(served)[0], &from.to_string(), &to.to_string(), last]));
}

/// A watcher in another process.
pub(crate) struct Watcher {
    child: Child,
    lines: Receiver<String>,
}

impl Watcher {
    /// Starts it; it watches from now on.
    pub(crate) fn start(mut command: Command) -> Watcher {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tells, lines) = channel();
        thread::spawn(move || {
            // Until it has ended, or nobody listens.
            output.map_while(Result::ok).try_for_each(|line| tells.send(line))
        });
        let mut watcher = Watcher { child, lines };
        assert_eq!(watcher.next_line(), "ready");
        watcher
    }

    /// What it says next.
    pub(crate) fn next_line(&mut self) -> String {
        self.told().expect("the watcher has ended")
    }

    /// The same; nothing when it has ended.
    fn told(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                panic!("the watcher says nothing");
            }
        }
    }

    /// What it says from now until it comes to its end.
    pub(crate) fn lines(mut self) -> Vec<String> {
        let lines = std::iter::from_fn(|| self.told()).collect();
        assert!(self.child.wait().unwrap().success());
        lines
    }

    /// The numbers it was told of, when it has come to its end.
    pub(crate) fn numbers(self) -> Vec<u64> {
        self.lines().iter().map(|line| line.parse().unwrap()).collect()
    }
}

//! Real clients against a real server: the official drivers for Node and Python, Mongoose and the shell, as their users use
//! them, watchers whose server is killed under them, and browsers.
//!
//! The first run installs the clients from their registries, pinned by the lock files in `tests/clients/`; later ones do not.

mod browser;
mod crowd;
mod security;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tailwater_tests::packages::{Language, Packages};
use tailwater_tests::served::Served;

const NODE: &[&str] = &[
    "package.json",
    "package-lock.json",
    "driver.mjs",
    "mongoose.mjs",
    "watch.mjs",
    "login.mjs",
    "operations.mjs",
    "encrypted.mjs",
];
const PYTHON: &[&str] = &[
    "requirements.txt",
    "driver.py",
    "fail_points.py",
    "oplog.py",
    "retry.py",
    "watch.py",
    "write.py",
    "login.py",
    "operations.py",
    "change.py",
    "encrypted.py",
];

fn client(language: Language, script: &str) -> Command {
    let (name, folder, files) = match language {
        Language::Node => ("clients-node", "clients/node", NODE),
        Language::Python => ("clients-python", "clients/python", PYTHON),
    };
    let packages = Packages {
        name,
        language,
        sources: &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
        files,
        below: Path::new(env!("CARGO_TARGET_TMPDIR")),
    };
    packages.script(script)
}

/// The shell, which runs a script at an address.
fn shell(uri: &str) -> Command {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/mongosh");
    let below = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let packages = Packages {
        name: "clients-mongosh",
        language: Language::Node,
        sources: &sources,
        files: &["package.json", "package-lock.json", "shell.js"],
        below,
    };
    let mut command = packages.script("node_modules/mongosh/bin/mongosh.js");
    command
        .args([uri, "--quiet", "--norc", "--file"])
        .arg(sources.join("shell.js"));
    // It keeps settings and a history where its user is at home.
    command.env("HOME", below);
    command
}

/// Runs a client to its end.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}\n{out}{err}");
    out.into_owned()
}

/// The two ways in which clients find the server, and a compressor.
fn uris(served: &Served) -> [String; 2] {
    let address = served.address();
    [
        format!("mongodb://{address}/?directConnection=true"),
        format!("mongodb://{address}/?replicaSet=rs0&compressors=zlib"),
    ]
}

#[test]
fn the_driver_for_node_works_as_with_mongodb() {
    let served = Served::start();
    for uri in uris(&served) {
        run(client(Language::Node, "driver.mjs").arg(uri));
    }
    served.stop();
}

#[test]
fn mongoose_works_as_with_mongodb() {
    let served = Served::start();
    for uri in uris(&served) {
        run(client(Language::Node, "mongoose.mjs").arg(uri));
    }
    served.stop();
}

#[test]
fn the_driver_for_python_works_as_with_mongodb() {
    let served = Served::start();
    for uri in uris(&served) {
        run(client(Language::Python, "driver.py").arg(uri));
    }
    served.stop();
}

#[test]
fn the_shell_works_as_with_mongodb() {
    let served = Served::start();
    for uri in uris(&served) {
        let said = run(&mut shell(&uri));
        assert!(said.trim_end().ends_with("done"), "{said}");
    }
    served.stop();
}

#[test]
fn tools_that_tail_the_oplog_find_one() {
    let served = Served::start();
    let [uri, _] = uris(&served);
    run(client(Language::Python, "oplog.py").arg(uri));
    served.stop();
}

#[test]
fn a_driver_resumes_and_retries_what_its_specifications_say() {
    let served = Served::start_with(&["--test-commands"]);
    let [uri, _] = uris(&served);
    run(client(Language::Python, "fail_points.py").arg(uri));
    served.stop();
}

#[test]
fn a_write_whose_answer_a_killed_server_took_along_is_carried_out_once() {
    let mut served = Served::start();
    let mut command = client(Language::Python, "retry.py");
    command.arg(served.address().to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut again = child.stdin.take().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kills = lines
        .inspect(|line| {
            assert_eq!(line.as_deref().unwrap(), "kill");
            served.kill();
            served.start_again();
            writeln!(again, "again").unwrap();
        })
        .count();
    assert!(child.wait().unwrap().success());
    assert_eq!(kills, 7);
    served.stop();
}

/// A watcher in another language.
struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    /// Starts it; it watches from now on.
    fn start(mut command: Command) -> Watcher {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Watcher { child, lines }
    }

    /// What it has said when it has come to its end.
    fn lines(mut self) -> Vec<String> {
        let lines = self.lines.map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success());
        lines
    }

    /// The numbers it was told of, when it has come to its end.
    fn numbers(self) -> Vec<u64> {
        self.lines().iter().map(|line| line.parse().unwrap()).collect()
    }
}

#[test]
fn watchers_get_every_event_once_and_in_order_while_the_server_is_killed_and_started_again() {
    const COUNT: u64 = 100_000;
    let mut served = Served::start();
    let [uri, _] = uris(&served);
    let watchers = [(Language::Node, "watch.mjs"), (Language::Python, "watch.py")].map(|(language, script)| {
        let mut command = client(language, script);
        command.arg(&uri);
        (script, Watcher::start(command))
    });
    let write = |from: u64, to: u64, last: &str| {
        let mut writer = client(Language::Python, "write.py");
        run(writer.args([&uri, &from.to_string(), &to.to_string(), last]));
    };
    write(0, COUNT / 2, "more");
    served.kill();
    served.start_again();
    write(COUNT / 2, COUNT, "last");
    for (script, watcher) in watchers {
        let numbers = watcher.numbers();
        let different: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(
            numbers.len() as u64,
            COUNT,
            "{script}: {} different ones",
            different.len()
        );
        assert!(numbers.iter().copied().eq(0..COUNT), "{script}: out of order");
    }
    served.stop();
}

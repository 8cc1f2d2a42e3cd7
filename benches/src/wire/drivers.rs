//! The drivers: the scripts `measure` of `tests/clients`, and its program in Rust.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tailwater_tests::driver::{Profile, rust_driver};
use tailwater_tests::packages::{Language, Packages};

use crate::child::Child;
use crate::harness::{Plan, Result};

/// An official driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Driver {
    Node,
    Python,
    Rust,
}

impl Driver {
    /// A process that is to carry out a task so many times, at a server.
    pub(super) fn command(self, plan: &Plan, task: &str, uri: &str, count: u64) -> Command {
        // Beside the program whatever the directory for data is: it is not installed again for each.
        let program = std::env::current_exe().ok();
        let beside = program.as_deref().and_then(Path::parent).unwrap_or(plan.dir());
        let below = beside.join("clients");
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
        let script = |language, folder: &str, files: &[&str], script: &str| {
            let packages = Packages {
                name: &format!("measured-{folder}"),
                language,
                sources: &clients.join(folder),
                files,
                below: &below,
            };
            packages.script(script)
        };
        let mut command = match self {
            Driver::Node => script(
                Language::Node,
                "node",
                &["package.json", "package-lock.json", "measure.mjs"],
                "measure.mjs",
            ),
            Driver::Python => script(
                Language::Python,
                "python",
                &["requirements.txt", "measure.py"],
                "measure.py",
            ),
            Driver::Rust => {
                static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
                Command::new(PROGRAM.get_or_init(|| rust_driver(&below, Profile::Release)))
            }
        };
        command.args([task, uri, &count.to_string()]).stdin(Stdio::null());
        command
    }

    /// How long a task takes it, behind its preparations.
    pub(super) fn time(self, plan: &Plan, task: &str, uri: &str, count: u64) -> Result<Duration> {
        let child = Child::start(&mut self.command(plan, task, uri, count))?;
        nanoseconds(&child.rest()?)
    }
}

/// What a driver has measured.
pub(super) fn nanoseconds(said: &str) -> Result<Duration> {
    Ok(Duration::from_nanos(said.trim().parse()?))
}

/// How drivers are told of a server; with what they are to ask for besides.
pub(super) fn uri(address: SocketAddr, options: &str) -> String {
    format!("mongodb://{address}/?directConnection=true{options}")
}

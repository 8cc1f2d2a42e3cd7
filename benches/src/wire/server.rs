//! `tailwater serve` in a process of its own, on an empty store.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Plan, Result};

/// A server; killed, and its store removed, when it is dropped.
#[derive(Debug)]
pub(super) struct Served {
    child: Child,
    /// Where it serves MongoDB's protocol.
    pub(super) address: SocketAddr,
    /// Where it serves HTTP.
    pub(super) http: SocketAddr,
    /// Read no further, but open: a server that cannot write would end.
    _output: Lines<BufReader<ChildStdout>>,
    _dir: TempDir,
}

impl Served {
    /// Starts the program `tailwater` that stands beside this one.
    pub(super) fn start(plan: &Plan) -> Result<Served> {
        let program = std::env::current_exe()?.with_file_name("tailwater");
        if !program.exists() {
            return Err(format!(
                "there is no {}: build it first by `cargo build --release`",
                program.display()
            )
            .into());
        }
        let dir = plan.scratch()?;
        let mut child = Command::new(program)
            .args(["serve", "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("a child without output")?).lines();
        let mut address = || -> Result<SocketAddr> {
            let line = lines.next().ok_or("the server has ended before it was ready")??;
            let mut words = line.split(|c: char| c.is_whitespace() || c == '/');
            let found = words.find_map(|word| word.trim_end_matches([',', '.']).parse().ok());
            found.ok_or_else(|| format!("the server says no address: {line}").into())
        };
        let (mongodb, http) = (address()?, address()?);
        Ok(Served {
            child,
            address: mongodb,
            http,
            _output: lines,
            _dir: dir,
        })
    }

    /// Memory of its own that it has now, in bytes. Not a number where the system does not tell.
    pub(super) fn memory(&self) -> f64 {
        self.status("RssAnon:")
    }

    /// All of it that is in memory, the pages of mapped files included, in bytes.
    pub(super) fn resident(&self) -> f64 {
        self.status("VmRSS:")
    }

    fn status(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kibibytes.map_or(f64::NAN, |kibibytes| kibibytes * 1024.0)
    }

    /// Milliseconds that its threads have had of a processor. Threads that have ended are not counted.
    pub(super) fn processor_time(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let times = fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += times.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        Ok(nanoseconds / 1e6)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

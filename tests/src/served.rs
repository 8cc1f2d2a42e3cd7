//! `tailwater serve` in a process of its own, with HTTP.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::binary::tailwater;
use crate::ports::Port;

/// A server, killed when it is dropped.
pub struct Served {
    address: Port,
    http: Port,
    dir: tempfile::TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl Served {
    /// Starts a server on an empty store.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start() -> Served {
        Served::start_with(&[])
    }

    /// Starts a server on an empty store, with further arguments.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Served {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Served::start_at(Port::free(), arguments)
    }

    /// Starts a server at that port on an empty store, with further arguments.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_at(address: Port, arguments: Vec<String>) -> Served {
        let http = Port::free();
        let dir = tempfile::tempdir().unwrap();
        let child = spawn(address.address(), http.address(), dir.path(), &arguments);
        Served {
            address,
            http,
            dir,
            arguments,
            child,
        }
    }

    /// Where it serves MongoDB's protocol.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address.address()
    }

    /// Where it serves HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http.address()
    }

    /// The directory of its store.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    ///
    /// # Panics
    ///
    /// When the system refuses.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it on the same store and addresses.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.child = spawn(self.address(), self.http(), self.dir.path(), &self.arguments);
    }

    /// Starts it on the same store and addresses, with other arguments.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again_with(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
        self.start_again();
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When the system refuses.
    pub fn signal(&self, name: &str) {
        let (name, pid) = (format!("-{name}"), self.child.id().to_string());
        assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
    }

    /// Asks it to stop by SIGTERM, and waits for it to end in order.
    ///
    /// # Panics
    ///
    /// When it ends with an error.
    pub fn stop(mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success(), "the server ends with an error");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the server and waits until it listens.
fn spawn(address: SocketAddr, http: SocketAddr, dir: &Path, arguments: &[String]) -> Child {
    let mut child = Command::new(tailwater())
        .args([
            "serve",
            "--bind",
            &address.to_string(),
            "--http",
            &http.to_string(),
            "--dir",
        ])
        .arg(dir)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for address in [address, http] {
        let line = lines.next().map(Result::unwrap).unwrap_or_default();
        assert!(
            line.contains(&address.to_string()),
            "the server does not listen: {line}"
        );
    }
    child
}

//! `tailwater serve` in a process of its own, with HTTP.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::binary::tailwater;

/// A server, killed when it is dropped.
pub struct Served {
    address: SocketAddr,
    http: SocketAddr,
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
        // Ports that are free now, so that the server can have them again when it is started again.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, http] = free.map(|listener| listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let child = spawn(address, http, dir.path(), &arguments);
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
        self.address
    }

    /// Where it serves HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
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
        self.child = spawn(self.address, self.http, self.dir.path(), &self.arguments);
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

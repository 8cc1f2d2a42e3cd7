//! `tailwater serve` in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tailwater_tests::binary::tailwater;

/// A server, killed when it is dropped.
pub(crate) struct Served {
    address: SocketAddr,
    dir: tempfile::TempDir,
    child: Child,
    flags: &'static [&'static str],
}

impl Served {
    /// Starts a server on an empty store.
    pub(crate) fn start() -> Served {
        Served::start_with(&[])
    }

    /// The same, with further flags.
    pub(crate) fn start_with(flags: &'static [&'static str]) -> Served {
        // A port that is free now, so that the server can have it again when it is started again.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let child = spawn(address, dir.path(), flags);
        Served {
            address,
            dir,
            child,
            flags,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it on the same store and address.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.address, self.dir.path(), self.flags);
    }

    /// Asks it to stop by SIGTERM, and waits for it to end in order.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
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
fn spawn(address: SocketAddr, dir: &Path, flags: &[&str]) -> Child {
    let mut child = Command::new(tailwater())
        .args(["serve", "--bind", &address.to_string(), "--dir"])
        .arg(dir)
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(
        line.contains(&address.to_string()),
        "the server does not listen: {line}"
    );
    child
}

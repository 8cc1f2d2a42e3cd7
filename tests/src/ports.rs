//! Ports of this machine that nobody else takes while a test has them, also while the server that listens there is away.
//!
//! They lie below those that the system gives to connections, and each is held by a lock on a file, so that tests that run beside
//! each other, in one process or several, have different ones.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Where ports are looked for: below what Linux, macOS and the IANA have for connections that do not ask for one.
const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;

/// A port that is held until it is dropped.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _lock: File,
}

impl Port {
    /// One that is free.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn free() -> Port {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let locks = std::env::temp_dir().join("tailwater-test-ports");
        fs::create_dir_all(&locks).unwrap();
        // Processes begin at different places, so that they seldom meet.
        let start = u16::try_from(u64::from(process::id()) * 97 % u64::from(COUNT)).unwrap();
        let tried = (0..COUNT).map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
        let mut free = tried.filter_map(|port| {
            let lock = File::create(locks.join(port.to_string())).ok()?;
            lock.try_lock().ok()?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            TcpListener::bind(address).ok()?;
            Some(Port { address, _lock: lock })
        });
        free.next().expect("there is no port free")
    }

    /// The loopback address with that port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

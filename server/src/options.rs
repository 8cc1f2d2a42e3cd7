//! How a server is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Options of a server. All have defaults.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address to listen on, which must be a loopback one. Port 0 takes any that is free. Default `127.0.0.1:27017`.
    pub bind: SocketAddr,
    /// The name of the replica set whose only member it is. Default `rs0`.
    pub replica_set: String,
    /// `host:port` by which clients reach it, which it tells them in the handshake. Default: the address that the client's
    /// connection came in by.
    pub advertise: Option<String>,
    /// Most connections at a time; one more is closed at once. Each has a thread. Default 1,000.
    pub connections_max: usize,
    /// How long a cursor may stand that nobody asks for more. Default ten minutes, as MongoDB's.
    pub cursor_timeout: Duration,
    /// How long a session may go without a command before what it holds is given up. Default thirty minutes, as MongoDB's.
    pub session_timeout: Duration,
    /// Whether it has what only tests of drivers want: `configureFailPoint`. Default no.
    pub test_commands: bool,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 27017)),
            replica_set: "rs0".to_owned(),
            advertise: None,
            connections_max: 1000,
            cursor_timeout: Duration::from_secs(600),
            session_timeout: Duration::from_secs(1800),
            test_commands: false,
        }
    }
}

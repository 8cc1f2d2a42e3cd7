//! How a server is set up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tailwater_auth::Tls;

use crate::member::Member;

/// Options of a server. All have defaults.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address to listen on. One that other machines reach needs users that have to log in, and [`ServerOptions::tls`] or
    /// [`ServerOptions::allow_plaintext`]. Port 0 takes any that is free. Default `127.0.0.1:27017`.
    pub bind: SocketAddr,
    /// The name of the replica set that it is a member of. Default `rs0`.
    pub replica_set: String,
    /// What it is among others that have the same log. Default none: it is alone.
    pub member: Option<Arc<Member>>,
    /// `host:port` by which clients reach it, which it tells them in the handshake. Default: the address that the client's
    /// connection came in by.
    pub advertise: Option<String>,
    /// Most connections at a time; one more is closed at once. Each has a thread. Default 1,000.
    pub connections_max: usize,
    /// Encrypts all connections. Default: none is encrypted.
    pub tls: Option<Arc<Tls>>,
    /// Whether an address that other machines reach may be served without encryption. Default no.
    pub allow_plaintext: bool,
    /// How long a new connection may take until it has said hello, encryption included. Default ten seconds.
    pub handshake_timeout: Duration,
    /// Most bytes of a message of a client that has to log in and has not. Default 64 KiB.
    pub message_bytes_before_login: usize,
    /// Most cursors at a time. Default 100,000.
    pub cursors_max: usize,
    /// Most cursors at a time of one user; where nobody has to log in, everybody is one. Default 100,000.
    pub cursors_per_user_max: usize,
    /// Most bytes that may be written while a cursor stands on a state of the past, before it is closed: that state is kept for
    /// it, so this bounds what all cursors keep together. Default 1 GiB.
    pub cursor_memory_max: u64,
    /// Most connections at a time from one address, of IPv6 from one network of 64 bits. Default: none for this machine's own
    /// addresses, three quarters of [`ServerOptions::connections_max`] for others.
    pub connections_per_address_max: Option<usize>,
    /// Most bytes that messages may have together while they are read and answered; a connection that sends more is closed. Default 1 GiB.
    pub message_memory_max: usize,
    /// Most bytes that open transactions may have staged together, those of one user three quarters of it; the one that goes beyond
    /// is aborted. Default 1 GiB.
    pub transaction_memory_max: u64,
    /// Most bytes that the sorts and groups of all queries may hold together, those of cursors that stand among them, and documents
    /// that cursors have read ahead; the query that goes beyond fails. Default 1 GiB.
    pub query_memory_max: usize,
    /// How long a cursor may stand that nobody asks for more. Default ten minutes, as MongoDB's.
    pub cursor_timeout: Duration,
    /// How long a session may go without a command before what it holds is given up. Default thirty minutes, as MongoDB's.
    pub session_timeout: Duration,
    /// Whether it has what only tests of drivers want: `configureFailPoint`. Default no.
    pub test_commands: bool,
}

impl ServerOptions {
    /// Most connections at a time from that address.
    pub(crate) fn connections_max_of(&self, address: IpAddr) -> usize {
        match self.connections_per_address_max {
            Some(max) => max,
            None if address.to_canonical().is_loopback() => self.connections_max,
            None => self.connections_max - self.connections_max / 4,
        }
    }
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 27017)),
            replica_set: "rs0".to_owned(),
            member: None,
            advertise: None,
            connections_max: 1000,
            tls: None,
            allow_plaintext: false,
            handshake_timeout: Duration::from_secs(10),
            message_bytes_before_login: 64 << 10,
            cursors_max: 100_000,
            cursors_per_user_max: 100_000,
            cursor_memory_max: 1 << 30,
            connections_per_address_max: None,
            message_memory_max: 1 << 30,
            transaction_memory_max: 1 << 30,
            query_memory_max: 1 << 30,
            cursor_timeout: Duration::from_secs(600),
            session_timeout: Duration::from_secs(1800),
            test_commands: false,
        }
    }
}

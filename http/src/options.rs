//! How a server is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tailwater::ReadConcern;
use tailwater_auth::Tls;

/// Options of a server. All have defaults.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The address to listen on. One that other machines reach needs users that have to log in, and [`HttpOptions::tls`] or
    /// [`HttpOptions::allow_plaintext`]. Port 0 takes any that is free. Default `127.0.0.1:27080`.
    pub bind: SocketAddr,
    /// Encrypts all connections: HTTPS. Default: none is encrypted.
    pub tls: Option<Arc<Tls>>,
    /// How long a new connection may take until it is encrypted, where that is asked for. Default ten seconds.
    pub handshake_deadline: Duration,
    /// Whether an address that other machines reach may be served though nothing is encrypted. Default: no.
    pub allow_plaintext: bool,
    /// Origins whose pages may read what is served, such as `https://shop.example`, besides pages of the server itself.
    /// Default: none.
    pub allowed_origins: Vec<String>,
    /// Names by which clients may reach it, besides IP addresses and `localhost`. A name that is not among them is refused, so
    /// that a page on the web cannot reach a server on this machine by giving its address to a name of its own (DNS
    /// rebinding). Default: none.
    pub allowed_hosts: Vec<String>,
    /// Whether the store has members whose majority counts: then a watch shows what a majority holds, and otherwise what survives
    /// power loss here. Default: no.
    pub counts_majority: bool,
    /// Most connections at a time, of which each can be a watch; one more is told so and closed. Default 20,000.
    pub connections_max: usize,
    /// Most connections at a time from one address, of IPv6 from one network of 64 bits. Default: none for this machine's own
    /// addresses, three quarters of [`HttpOptions::connections_max`] for others.
    pub connections_per_address_max: Option<usize>,
    /// Most bytes that large events may take together on their way to clients, while they are written and until they are taken; a
    /// watch whose event has no place waits for it. Default 256 MiB.
    pub event_memory_max: usize,
    /// How long a client may take to send the head of a request, and how long a connection may lie idle between two. Default 30
    /// seconds.
    pub header_deadline: Duration,
    /// How long a client may take nothing of what waits for it before its connection is closed. Its watch is parked from the
    /// moment on at which the socket is full, and can be resumed with its last token. Default five minutes.
    pub stall_deadline: Duration,
    /// How often a watch without events tells its client that it is alive, and where it is. Default 15 seconds.
    pub heartbeat: Duration,
    /// How long connections may take to finish what they are at when the server stops. Default five seconds.
    pub grace: Duration,
    /// Threads that serve the connections. Default: as many as there are cores, four at most.
    pub workers: usize,
}

impl HttpOptions {
    /// What watches see that ask for `majority`, or for nothing.
    pub(crate) fn majority(&self) -> ReadConcern {
        match self.counts_majority {
            true => ReadConcern::Majority,
            false => ReadConcern::Durable,
        }
    }
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        HttpOptions {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 27080)),
            tls: None,
            handshake_deadline: Duration::from_secs(10),
            allow_plaintext: false,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            counts_majority: false,
            connections_max: 20_000,
            connections_per_address_max: None,
            event_memory_max: 256 << 20,
            header_deadline: Duration::from_secs(30),
            stall_deadline: Duration::from_secs(300),
            heartbeat: Duration::from_secs(15),
            grace: Duration::from_secs(5),
            workers: cores.min(4),
        }
    }
}

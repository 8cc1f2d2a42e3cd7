//! HTTP beside MongoDB's protocol: flags, and a thread that serves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tailwater::Store;
use tailwater_auth::{Authority, Tls};
use tailwater_http::{HttpError, HttpHandle, HttpOptions, HttpResult, HttpServer, WireStats};
use tailwater_server::ServerHandle;

use crate::failure::{Exit, Failure, Outcome};

#[derive(Debug, clap::Args)]
pub(super) struct HttpArguments {
    /// Also serve HTTP: change streams for browsers, metrics, and a dashboard. Port 0 takes any that is free.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:27080")]
    http: Option<SocketAddr>,
    /// HTTP is not encrypted, though drivers' connections are (--tls-cert): for a proxy that encrypts.
    #[arg(long)]
    http_no_tls: bool,
    /// Serves HTTP at an address that other machines reach, though it is not encrypted.
    #[arg(long)]
    http_allow_plaintext: bool,
    /// An origin whose pages may read what is served over HTTP, such as `https://shop.example`; several with commas between.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    http_allow_origin: Vec<String>,
    /// A name by which HTTP clients may ask for the server, besides addresses and localhost; several with commas between.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    http_allow_host: Vec<String>,
    /// Most HTTP connections at a time.
    #[arg(long, value_name = "N", default_value_t = HttpOptions::default().connections_max)]
    http_connections_max: usize,
    /// Most HTTP connections at a time from one address; if not given, three quarters of them all, and for this machine all.
    #[arg(long, value_name = "N")]
    http_connections_per_address_max: Option<usize>,
    /// Most bytes that large events may take together on their way to HTTP clients.
    #[arg(long, value_name = "BYTES", default_value_t = HttpOptions::default().event_memory_max)]
    http_event_memory_max: usize,
}

/// HTTP that is being served.
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    pub(super) is_encrypted: bool,
    pub(super) handle: HttpHandle,
    thread: JoinHandle<HttpResult<()>>,
}

impl HttpArguments {
    /// Refuses what says how HTTP is served that is not served at all. It may come from several places, so it is looked at here.
    pub(super) fn check(&self) -> Outcome {
        let given = self.http_no_tls
            || self.http_allow_plaintext
            || !self.http_allow_origin.is_empty()
            || !self.http_allow_host.is_empty();
        match given && self.http.is_none() {
            true => Err(Failure::new(
                Exit::Usage,
                "settings of HTTP are given, and HTTP is not served: give --http",
            )),
            false => Ok(()),
        }
    }

    /// Begins to serve, if that is asked for, and again where it was served before. `wire` is the server of MongoDB's protocol, whose
    /// numbers are shown; it is stopped when HTTP cannot be served. What encrypts that server, as `encryption` has it with the time
    /// that a handshake may take, encrypts HTTP as well, unless it is told not to. `counts_majority` says whether there is a majority
    /// of members.
    pub(super) fn begin(
        &self,
        before: Option<SocketAddr>,
        store: &Store,
        authority: &Arc<Authority>,
        wire: &ServerHandle,
        encryption: (Option<&Arc<Tls>>, Duration),
        counts_majority: bool,
    ) -> Outcome<Option<Serving>> {
        let Some(bind) = before.or(self.http) else {
            return Ok(None);
        };
        let (tls, handshake_deadline) = encryption;
        let options = HttpOptions {
            bind,
            tls: tls.filter(|_| !self.http_no_tls).cloned(),
            handshake_deadline,
            allow_plaintext: self.http_allow_plaintext,
            counts_majority,
            allowed_origins: self.http_allow_origin.clone(),
            allowed_hosts: self.http_allow_host.clone(),
            connections_max: self.http_connections_max,
            connections_per_address_max: self.http_connections_per_address_max,
            event_memory_max: self.http_event_memory_max,
            ..HttpOptions::default()
        };
        let is_encrypted = options.tls.is_some();
        let shown = wire.clone();
        let server =
            HttpServer::bind(store.clone(), Arc::clone(authority), options)?.with_wire(move || wire_stats(&shown));
        let (address, handle) = (server.local_addr(), server.handle());
        let wire = wire.clone();
        let thread = thread::Builder::new().name("tailwater-http".into()).spawn(move || {
            let served = server.run();
            if served.is_err() {
                wire.stop();
            }
            served
        });
        let thread = thread.map_err(|error| Failure::io("start a thread", &error))?;
        Ok(Some(Serving {
            address,
            is_encrypted,
            handle,
            thread,
        }))
    }
}

impl Serving {
    /// Stops it and waits for its end.
    pub(super) fn end(self) -> Outcome {
        self.handle.stop();
        match self.thread.join() {
            Ok(served) => Ok(served?),
            Err(_) => Err(Failure::new(Exit::Failure, "serving HTTP has panicked")),
        }
    }
}

fn wire_stats(server: &ServerHandle) -> WireStats {
    let stats = server.stats();
    WireStats {
        connections: stats.connections as u64,
        connections_max: stats.connections_max as u64,
        connections_total: stats.connections_total,
        commands_total: stats.commands_total,
        cursors: stats.cursors as u64,
        sessions: stats.sessions as u64,
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Failure {
        let exit = match &error {
            HttpError::WithoutUsers { .. } | HttpError::WithoutTls { .. } => Exit::Usage,
            HttpError::Listen { .. } => Exit::Environment,
            _ => Exit::Failure,
        };
        Failure::of(exit, &error)
    }
}

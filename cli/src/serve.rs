//! `tailwater serve`: a store that MongoDB's drivers can talk to, and browsers.

pub(crate) mod control;
mod http;
mod member;
mod program;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tailwater::StoreOptions;
use tailwater::oplog::Retention;
use tailwater_auth::{Authentication, ClientCertificates, Tls, TlsOptions};
use tailwater_server::{ServerError, ServerOptions};

use tracing_subscriber::EnvFilter;

use crate::failure::{Exit, Failure, Outcome};
use control::Control;
use http::HttpArguments;
use member::MemberArguments;
use program::{Event, Program};

/// Serves a store to MongoDB's drivers, tools and shells.
///
/// It presents itself as the primary of a replica set, so that change streams, transactions and retryable writes work as they are.
/// With --follow it is a secondary, whose store is that of another one.
///
/// Clients have to log in as soon as there is a user (createUser), or from the beginning with --auth. An address that other machines
/// reach needs users that log in, and encryption.
///
/// SIGTERM or SIGINT ends it in order: waits for changes end with an error after which drivers resume, what is running is
/// finished, and everything that was written is made durable. SIGHUP has it read its certificates again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every flag can be set by a variable (TAILWATER_TLS_CERT for --tls-cert) or in the file of --config, too; \
    the command line goes first, then the environment.\n\n\
    Examples:\n  \
    tailwater serve --dir ./store\n  \
    tailwater serve --dir ./store --auth --bind 0.0.0.0:27017 --tls-cert server.pem --tls-key server.key\n  \
    mongosh 'mongodb://127.0.0.1:27017/?directConnection=true'\n  \
    tailwater serve --dir ./a --name a --members a,b,c --replicate 127.0.0.1:7001\n  \
    tailwater serve --dir ./b --name b --members a,b,c --follow 127.0.0.1:7001 --bind 127.0.0.1:27018\n  \
    tailwater serve --dir ./store --http\n  \
    curl -N 'http://127.0.0.1:27080/v1/watch/shop/orders'"
)]
pub(crate) struct Arguments {
    /// Directory of the store, which is made if need be.
    #[arg(long)]
    dir: PathBuf,
    /// A TOML file with settings, under the names of these flags.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints the settings that are in force, and where each is set, and serves nothing.
    #[arg(long)]
    print_config: bool,
    /// Where to listen. Port 0 takes any that is free.
    #[arg(long, value_name = "ADDRESS", default_value_t = ServerOptions::default().bind)]
    bind: SocketAddr,
    /// Name of the replica set.
    #[arg(long, value_name = "NAME", default_value_t = ServerOptions::default().replica_set)]
    replica_set: String,
    /// How clients reach it, if not by the address they connect to.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Clients have to log in, also as long as there are no users: then somebody on this machine makes the first one.
    #[arg(long)]
    auth: bool,
    /// Nobody has to log in, even if there are users: for a password that was lost. Loopback addresses only.
    #[arg(long, conflicts_with = "auth")]
    no_auth: bool,
    /// What is told on the standard error output: error, warn, info, debug or trace, or that for parts of the program
    /// (`warn,tailwater_server=debug`).
    #[arg(long, value_name = "FILTER", default_value = "error", value_parser = log_filter)]
    pub(crate) log: String,
    /// Adds what only tests of drivers want: `configureFailPoint`.
    #[arg(long)]
    test_commands: bool,
    #[command(flatten)]
    member: MemberArguments,
    #[command(flatten)]
    history: HistoryArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    http: HttpArguments,
}

/// What the program's own log shows, if it can be read.
fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// How much history the log keeps: all of it, if nothing is given. Whole segments go, the oldest first.
#[derive(Debug, clap::Args)]
struct HistoryArguments {
    /// Bytes that the log's segments may take: the oldest go when there are more, but for what followers and durable consumers need.
    #[arg(long, value_name = "BYTES")]
    log_max_bytes: Option<u64>,
    /// Seconds after which entries go, but for what followers and durable consumers need.
    #[arg(long, value_name = "SECONDS")]
    log_max_age: Option<u64>,
    /// Bytes that the log's segments may take whoever needs them: a follower or consumer that is further behind is lost.
    #[arg(long, value_name = "BYTES")]
    log_hard_max_bytes: Option<u64>,
}

impl HistoryArguments {
    fn retention(&self) -> Retention {
        Retention {
            max_bytes: self.log_max_bytes,
            max_age: self.log_max_age.map(Duration::from_secs),
            hard_max_bytes: self.log_hard_max_bytes,
        }
    }
}

/// Encryption.
#[derive(Debug, clap::Args)]
struct TlsArguments {
    /// The server's certificate, with those between it and an authority that clients know; PEM. Connections are then encrypted.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of that certificate; PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The certificates of the authorities that clients' certificates are of; PEM. Clients then have to show one.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Who shows a certificate: the server alone, a client that has one as well, or every client.
    #[arg(long, value_name = "MODE")]
    tls_mode: Option<TlsMode>,
    /// Serves an address that other machines reach without encryption.
    #[arg(long)]
    allow_plaintext: bool,
}

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TlsMode {
    /// The server alone.
    Server,
    /// A client that has one as well.
    Optional,
    /// Every client.
    Mutual,
}

/// What clients can take of the server at most.
#[derive(Debug, clap::Args)]
struct Limits {
    /// Most connections at a time.
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().connections_max)]
    connections_max: usize,
    /// Most connections at a time from one address; if not given, three quarters of them all, and for this machine all.
    #[arg(long, value_name = "N")]
    connections_per_address_max: Option<usize>,
    /// Bytes that may be written while a cursor stands, before it is closed: what was there is kept for it.
    #[arg(long, value_name = "BYTES", default_value_t = ServerOptions::default().cursor_memory_max)]
    cursor_memory_max: u64,
    /// Seconds after which a cursor is closed that nobody asks for more.
    #[arg(long, value_name = "SECONDS", default_value_t = ServerOptions::default().cursor_timeout.as_secs())]
    cursor_timeout: u64,
    /// Most cursors at a time.
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().cursors_max)]
    cursors_max: usize,
    /// Most cursors at a time of one user.
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().cursors_per_user_max)]
    cursors_per_user_max: usize,
    /// Seconds that a new connection may take until it has said hello.
    #[arg(long, value_name = "SECONDS", default_value_t = ServerOptions::default().handshake_timeout.as_secs())]
    handshake_timeout: u64,
    /// Most bytes that messages may have together while they are read and answered.
    #[arg(long, value_name = "BYTES", default_value_t = ServerOptions::default().message_memory_max)]
    message_memory_max: usize,
    /// Most bytes that the sorts and groups of all queries may hold together.
    #[arg(long, value_name = "BYTES", default_value_t = ServerOptions::default().query_memory_max)]
    query_memory_max: usize,
    /// Most bytes that open transactions may have staged together.
    #[arg(long, value_name = "BYTES", default_value_t = ServerOptions::default().transaction_memory_max)]
    transaction_memory_max: u64,
}

impl TlsArguments {
    /// What encrypts connections, if that is asked for.
    fn load(&self) -> Result<Option<Arc<Tls>>, Failure> {
        let (certificate, key) = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) if self.tls_ca.is_none() && self.tls_mode.is_none() => return Ok(None),
            _ => return Err(Failure::new(Exit::Usage, "encryption needs both tls-cert and tls-key")),
        };
        let mode = self.tls_mode.unwrap_or(match self.tls_ca {
            None => TlsMode::Server,
            Some(_) => TlsMode::Mutual,
        });
        let tls = Tls::load(TlsOptions {
            certificate: certificate.clone(),
            key: key.clone(),
            client_authorities: self.tls_ca.clone(),
            client_certificates: match mode {
                TlsMode::Server => ClientCertificates::NotAsked,
                TlsMode::Optional => ClientCertificates::Optional,
                TlsMode::Mutual => ClientCertificates::Required,
            },
        });
        match tls {
            Ok(tls) => Ok(Some(Arc::new(tls))),
            Err(error) => Err(Failure::of(Exit::Usage, &error)),
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    allow_files(arguments.limits.connections_max);
    // Whoever can read the store's files needs no login: they are their owner's alone.
    umask(Mode::RWXG | Mode::RWXO);
    arguments
        .member
        .check(arguments.advertise.as_deref(), arguments.no_auth)?;
    arguments.http.check()?;
    let tls = arguments.tls.load()?;
    let limits = &arguments.limits;
    let options = ServerOptions {
        bind: arguments.bind,
        replica_set: arguments.replica_set.clone(),
        advertise: arguments.advertise.clone(),
        tls: tls.clone(),
        allow_plaintext: arguments.tls.allow_plaintext,
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_per_address_max,
        cursor_memory_max: limits.cursor_memory_max,
        handshake_timeout: Duration::from_secs(limits.handshake_timeout),
        message_memory_max: limits.message_memory_max,
        query_memory_max: limits.query_memory_max,
        transaction_memory_max: limits.transaction_memory_max,
        cursors_max: limits.cursors_max,
        cursors_per_user_max: limits.cursors_per_user_max,
        cursor_timeout: Duration::from_secs(limits.cursor_timeout),
        test_commands: arguments.test_commands,
        ..ServerOptions::default()
    };
    let authentication = match (arguments.auth, arguments.no_auth) {
        // In different places, or it would not have come this far.
        (true, true) => return Err(Failure::new(Exit::Usage, "auth and no-auth are both set: choose one")),
        (true, false) => Authentication::Required,
        (false, true) => Authentication::Off,
        (false, false) => Authentication::OnceThereAreUsers,
    };
    let (says, events) = channel();
    heed(&says)?;
    let mut store = StoreOptions::default();
    store.oplog.retention = arguments.history.retention();
    let standing = arguments.member.begin(&arguments.dir, store, &says)?;
    let control = match standing.member().filter(|_| arguments.member.follows()) {
        Some(member) => Some(Control::listen(&arguments.dir, member)?),
        None => None,
    };
    let program = Program {
        options,
        authentication,
        tls,
        http: &arguments.http,
        says,
        events,
        http_address: None,
        is_announced: false,
    };
    program.run(standing, control)
}

/// Files that the store may have open beside connections.
const FILES_OF_STORE: u64 = 256;

/// Has the system allow as many open files as it may: each connection is one, and what a process begins with is often 1,024.
fn allow_files(connections_max: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let needed = FILES_OF_STORE + connections_max as u64;
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < needed) {
        tracing::error!(
            allowed,
            needed,
            "the system allows fewer open files than there may be connections: raise its limit, or lower --connections-max"
        );
    }
}

/// Has signals be told, from before anything can be written: one never meets a server that does not listen to it.
fn heed(says: &Sender<Event>) -> Outcome {
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]);
    let mut signals = signals.map_err(|error| Failure::io("listen to the system's signals", &error))?;
    let says = says.clone();
    let heeding = thread::Builder::new().name("tailwater-signals".into()).spawn(move || {
        for signal in signals.forever() {
            if says.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    heeding.map_err(|error| Failure::io("start a thread", &error))?;
    Ok(())
}

impl From<tailwater_auth::Error> for Failure {
    fn from(error: tailwater_auth::Error) -> Failure {
        match error {
            tailwater_auth::Error::Store(error) => error.into(),
            tailwater_auth::Error::Record { .. } => Failure::of(Exit::Damage, &error),
            error => Failure::of(Exit::Failure, &error),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Failure {
        let exit = match &error {
            ServerError::WithoutUsers { .. } | ServerError::WithoutTls { .. } => Exit::Usage,
            ServerError::Listen { .. } => Exit::Environment,
            _ => Exit::Failure,
        };
        Failure::of(exit, &error)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};
    use tailwater_http::HttpOptions;

    use super::*;

    #[test]
    fn options_that_are_printed_show_where_keys_are_and_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let pem = signed.signing_key.serialize_pem();
        std::fs::write(&certificate, signed.cert.pem()).unwrap();
        std::fs::write(&key, &pem).unwrap();
        let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
        let flags = [
            "serve",
            "--dir",
            "unused",
            "--http",
            "--tls-cert",
            certificate,
            "--tls-key",
            key,
        ];
        let matches = Arguments::augment_args(Command::new("serve")).get_matches_from(flags);
        let arguments = Arguments::from_arg_matches(&matches).unwrap();
        let tls = arguments.tls.load().unwrap();
        let server = ServerOptions {
            tls: tls.clone(),
            ..ServerOptions::default()
        };
        let http = HttpOptions {
            tls: tls.clone(),
            ..HttpOptions::default()
        };
        for printed in [
            format!("{arguments:?}"),
            format!("{tls:?}"),
            format!("{server:?}"),
            format!("{http:?}"),
        ] {
            assert!(printed.contains(key), "{printed}");
            for line in pem.lines().filter(|line| !line.starts_with("-----")) {
                assert!(!printed.contains(line), "{printed}");
            }
            let bytes = format!("{:?}", &signed.signing_key.serialize_der()[..16]);
            assert!(!printed.contains(bytes.trim_matches(['[', ']'])), "{printed}");
        }
    }
}

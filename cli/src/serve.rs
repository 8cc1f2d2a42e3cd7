//! `tailwater serve`: a store that MongoDB's drivers can talk to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tailwater::Store;
use tailwater_server::{Server, ServerError, ServerOptions};

use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// Serves a store to MongoDB's drivers, tools and shells.
///
/// It presents itself as the primary of a replica set of one member, so that change streams, transactions and retryable
/// writes work as they are. There are no users yet, so it only listens on loopback addresses.
///
/// SIGTERM or SIGINT ends it in order: waits for changes end with an error after which drivers resume, what is running is
/// finished, and everything that was written is made durable.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater serve --dir ./store\n  \
    mongosh 'mongodb://127.0.0.1:27017/?directConnection=true'")]
pub(crate) struct Arguments {
    /// Directory of the store, which is made if need be.
    #[arg(long)]
    dir: PathBuf,
    /// Where to listen: a loopback address. Port 0 takes any that is free.
    #[arg(long, value_name = "ADDRESS", default_value_t = ServerOptions::default().bind)]
    bind: SocketAddr,
    /// Name of the replica set whose only member it is.
    #[arg(long, value_name = "NAME", default_value_t = ServerOptions::default().replica_set)]
    replica_set: String,
    /// How clients reach it, if not by the address they connect to.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Most connections at a time.
    #[arg(long, value_name = "N", default_value_t = ServerOptions::default().connections_max)]
    connections_max: usize,
    /// Seconds after which a cursor is closed that nobody asks for more.
    #[arg(long, value_name = "SECONDS", default_value_t = ServerOptions::default().cursor_timeout.as_secs())]
    cursor_timeout: u64,
    /// Adds what only tests of drivers want: `configureFailPoint`.
    #[arg(long)]
    test_commands: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let options = ServerOptions {
        bind: arguments.bind,
        replica_set: arguments.replica_set.clone(),
        advertise: arguments.advertise.clone(),
        connections_max: arguments.connections_max,
        cursor_timeout: Duration::from_secs(arguments.cursor_timeout),
        test_commands: arguments.test_commands,
        ..ServerOptions::default()
    };
    // Before anything can be written, so that a signal never meets a server that does not listen to it.
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("listen to the system's signals", &error))?;
    let store = Store::open(&arguments.dir)?;
    let server = Server::bind(store.clone(), options)?;
    let handle = server.handle();
    let waiting = thread::Builder::new().name("tailwater-signals".into()).spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            handle.stop();
        }
        // Whoever asks again does not want to wait for its end.
        if signals.next().is_some() {
            std::process::exit(i32::from(Exit::Failure as u8));
        }
    });
    waiting.map_err(|error| Failure::io("start a thread", &error))?;
    output::print(&format!(
        "listening on mongodb://{}/?directConnection=true\n",
        server.local_addr()
    ))?;
    server.run()?;
    Ok(store.close()?)
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Failure {
        let exit = match &error {
            ServerError::NotLoopback { .. } => Exit::Usage,
            ServerError::Listen { .. } => Exit::Environment,
            _ => Exit::Failure,
        };
        Failure::of(exit, &error)
    }
}

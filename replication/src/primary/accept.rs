//! Who connects to a primary gets a thread, up to a limit; all of them are waited for in the end.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::hub::Hub;
use super::{Settings, serve, spawn};

/// Connections at most.
const CONNECTIONS_MAX: usize = 64;

/// A connection that is being served.
struct Served {
    stream: TcpStream,
    thread: JoinHandle<()>,
}

/// Accepts connections until the primary is stopped.
pub(super) fn accept(listener: &TcpListener, hub: &Arc<Hub>, settings: &Arc<Settings>) {
    let mut served: Vec<Served> = Vec::new();
    for stream in listener.incoming() {
        if hub.is_stopped() {
            break;
        }
        served.retain(|connection| !connection.thread.is_finished());
        let Ok((stream, other)) = stream.and_then(|stream| Ok((stream.try_clone()?, stream))) else {
            // Too many files, most likely: some will be closed.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        if served.len() >= CONNECTIONS_MAX {
            tracing::warn!("too many connections: turning one away");
            continue;
        }
        let (served_hub, served_settings) = (Arc::clone(hub), Arc::clone(settings));
        match spawn("tailwater-serve", move || {
            serve::run(&served_hub, &served_settings, other);
        }) {
            Ok(thread) => served.push(Served { stream, thread }),
            Err(error) => tracing::warn!(%error, "turning a connection away"),
        }
    }
    for connection in served {
        // It may have ended by itself.
        let _ = connection.stream.shutdown(Shutdown::Both);
        // A panic over there has been reported by the panic hook.
        let _ = connection.thread.join();
    }
}

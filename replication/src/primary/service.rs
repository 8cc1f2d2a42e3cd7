//! Serving what a log has, whoever is primary: the threads around a [`Hub`].

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tailwater_oplog::{Interrupt, ReadConcern, WaitOutcome};

use super::hub::Hub;
use super::offer::Copies;
use super::serve;
use crate::error::{Error, Result};
use crate::link::Security;

/// Connections at most.
const CONNECTIONS_MAX: usize = 64;

/// What the connections go by.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) heartbeat: Duration,
    pub(super) security: Security,
    pub(super) chunk_bytes: usize,
    pub(super) lag_bytes_max: u64,
    /// Not below the other.
    pub(super) copy_lag_bytes_max: u64,
    pub(super) copies: Copies,
}

/// A hub that followers can connect to.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) hub: Arc<Hub>,
    pub(crate) address: SocketAddr,
    interrupt: Interrupt,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Service {
    /// Starts to serve. The log is held for a follower that falls behind by as much as the first limit, and by the second while it
    /// copies.
    pub(crate) fn start(
        hub: Arc<Hub>,
        listener: TcpListener,
        security: Security,
        heartbeat: Duration,
        (lag_bytes_max, copy_lag_bytes_max): (u64, u64),
    ) -> Result<Service> {
        let address = listener
            .local_addr()
            .map_err(Error::network("this member", "listening"))?;
        let settings = Arc::new(Settings {
            heartbeat,
            security,
            chunk_bytes: 1 << 20,
            lag_bytes_max,
            copy_lag_bytes_max: copy_lag_bytes_max.max(lag_bytes_max),
            copies: Copies::new(hub.store.log().path().with_file_name("copies"))?,
        });
        let interrupt = Interrupt::new();
        let (pulse_hub, pulse_interrupt) = (Arc::clone(&hub), interrupt.clone());
        let accept_hub = Arc::clone(&hub);
        let threads = vec![
            spawn("tailwater-pulse", move || pulse(&pulse_hub, &pulse_interrupt))?,
            spawn("tailwater-accept", move || accept(&listener, &accept_hub, &settings))?,
        ];
        Ok(Service {
            hub,
            address,
            interrupt,
            threads: Mutex::new(threads),
        })
    }

    /// Has a thread joined when this stops.
    pub(super) fn add(&self, thread: JoinHandle<()>) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread);
    }

    /// Ends all connections and waits for the threads.
    pub(crate) fn stop(&self) {
        self.hub.stop();
        self.hub.store.log().interrupt(&self.interrupt);
        // Whoever waits for a connection gets one.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic over there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map_err(Error::network("this member", "starting a thread"))
}

/// Tells the decisions of what has become durable.
fn pulse(hub: &Hub, interrupt: &Interrupt) {
    let log = hub.store.log();
    loop {
        if hub.is_stopped() {
            return;
        }
        let seen = log.newest(ReadConcern::Durable);
        if let Err(error) = hub.advance() {
            // Nobody would be sent anything any more: better to be seen to have failed.
            hub.fail(error);
            return;
        }
        // A trim is worth a look now and then.
        let deadline = Instant::now() + Duration::from_secs(1);
        match log.wait(seen.next(), ReadConcern::Durable, Some(deadline), interrupt) {
            WaitOutcome::Ready | WaitOutcome::TimedOut => {}
            WaitOutcome::Interrupted => return,
            WaitOutcome::Closed => {
                hub.stop();
                return;
            }
        }
    }
}

/// A connection that is being served.
struct Served {
    stream: TcpStream,
    thread: JoinHandle<()>,
}

fn accept(listener: &TcpListener, hub: &Arc<Hub>, settings: &Arc<Settings>) {
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

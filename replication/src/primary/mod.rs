//! A primary that others follow: the threads around the decisions.
//!
//! ```text
//!   accept ──► connection: reads reports ──► hub (decisions, under a lock) ──► connection: sends frames, from the map
//!                                             ▲
//!                    log becomes durable ── pulse
//! ```
//!
//! Writers do not notice: they append to the log as ever, and nothing here holds a lock that they take. A follower that is slow
//! has a credit of bytes, beyond which nothing is read for it; what it has yet to get waits in the log, held by a slot with a
//! cap.

mod fence;
mod hub;
mod offer;
mod serve;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tailwater_oplog::{Interrupt, OpId, ReadConcern, Term, WaitOutcome};
use tailwater_storage::Store;

use self::hub::Hub;
use self::offer::Copies;
pub(crate) use self::offer::checksum_of;
use crate::decision::{LogName, Primary as Decisions, WriteConcern};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::link::Security;
use crate::summary::history_of;
use crate::tls::TlsOptions;

/// Connections at most.
const CONNECTIONS_MAX: usize = 64;

/// What the connections of a primary go by.
#[derive(Debug)]
struct Settings {
    heartbeat: Duration,
    security: Security,
    chunk_bytes: usize,
    lag_bytes_max: u64,
    copies: Copies,
}

/// Options of a primary. See [`Primary::builder`].
#[derive(Clone, Debug)]
pub struct PrimaryBuilder {
    store: Store,
    name: String,
    members: Vec<String>,
    listen: SocketAddr,
    plaintext: bool,
    tls: Option<TlsOptions>,
    heartbeat: Duration,
    lag_bytes_max: u64,
    fence: Vec<String>,
}

impl PrimaryBuilder {
    /// The members whose majority counts, this one among them; the same list, in the same order, everywhere. Without it there
    /// is no write concern `majority`, and the operator's word is enough for everything. Default none.
    #[must_use]
    pub fn members<S: Into<String>>(mut self, members: impl IntoIterator<Item = S>) -> PrimaryBuilder {
        self.members = members.into_iter().map(Into::into).collect();
        self
    }

    /// Where followers connect. Default a free port of `127.0.0.1`.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> PrimaryBuilder {
        self.listen = address;
        self
    }

    /// Allows an address that is not of this machine, though nothing is encrypted: for networks that are protected otherwise.
    #[must_use]
    pub fn allow_plaintext(mut self) -> PrimaryBuilder {
        self.plaintext = true;
        self
    }

    /// Encrypts connections, and has both sides show certificates; then any address is allowed. The same authority everywhere.
    /// Default not encrypted.
    #[must_use]
    pub fn tls(mut self, options: TlsOptions) -> PrimaryBuilder {
        self.tls = Some(options);
        self
    }

    /// How often something is said when there is nothing to say; a connection that is silent for four times as long is given
    /// up. The same everywhere. Default one second.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> PrimaryBuilder {
        self.heartbeat = interval;
        self
    }

    /// How far a follower may fall behind before the log is no longer held for it, in bytes. Default 16 GiB.
    #[must_use]
    pub fn lag_bytes_max(mut self, bytes: u64) -> PrimaryBuilder {
        self.lag_bytes_max = bytes;
        self
    }

    /// Where other members serve followers, or may do so again: each is told, as soon as it can be reached, that it is primary no
    /// longer. Default none: then a primary of the past learns that from the first follower of this one that comes to it.
    #[must_use]
    pub fn fence<S: Into<String>>(mut self, addresses: impl IntoIterator<Item = S>) -> PrimaryBuilder {
        self.fence = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// Starts to serve followers. The store begins a new term; one that follows has to be [promoted](Store::promote) first.
    ///
    /// # Errors
    ///
    /// [`Error::NotPrimary`] when the store follows, [`Error::Plaintext`], [`Error::Certificate`], [`Error::InvalidOption`],
    /// [`Error::Network`]; the store's.
    pub fn start(self) -> Result<Primary> {
        let identity = Identity::new(&self.name, &self.members)?;
        let security = Security::new(self.tls.as_ref(), self.plaintext)?;
        security.check(self.listen)?;
        if self.heartbeat < Duration::from_millis(10) {
            return Err(Error::InvalidOption {
                option: "heartbeat",
                what: "shorter than ten milliseconds",
            });
        }
        let store = self.store;
        if store.is_following() {
            return Err(Error::NotPrimary { promised: None });
        }
        let listening = |error| Error::network(self.listen.to_string(), "listening")(error);
        let listener = TcpListener::bind(self.listen).map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        // What watchers may see at majority is said by the hub, once it knows.
        store.set_majority((!identity.members.is_empty()).then_some(OpId::ZERO));
        let term = identity.promote(&store)?;
        let log = store.log();
        let history = history_of(&log, LogName::from(log.log_id()))?;
        let durable = log.newest(ReadConcern::Durable);
        let (member, members) = (identity.member, identity.members.clone());
        let (decisions, outputs) = Decisions::new(member, members, history, store.promised(), term, durable);
        let settings = Arc::new(Settings {
            heartbeat: self.heartbeat,
            security: security.clone(),
            chunk_bytes: 1 << 20,
            lag_bytes_max: self.lag_bytes_max,
            copies: Copies::new(log.path().with_file_name("copies"))?,
        });
        let hub = Arc::new(Hub::new(store, decisions));
        hub.begin(outputs)?;
        let interrupt = Interrupt::new();
        let (pulse_hub, pulse_interrupt) = (Arc::clone(&hub), interrupt.clone());
        let accept_hub = Arc::clone(&hub);
        let mut threads = vec![
            spawn("tailwater-pulse", move || pulse(&pulse_hub, &pulse_interrupt))?,
            spawn("tailwater-accept", move || accept(&listener, &accept_hub, &settings))?,
        ];
        for other in self.fence {
            let (fence_hub, identity) = (Arc::clone(&hub), identity.clone());
            let (security, heartbeat) = (security.clone(), self.heartbeat);
            threads.push(spawn("tailwater-fence", move || {
                fence::run(&fence_hub, &identity, &other, &security, heartbeat);
            })?);
        }
        tracing::info!(%address, %term, "serving followers");
        Ok(Primary {
            hub,
            address,
            interrupt,
            threads: Mutex::new(threads),
        })
    }
}

/// A store that others follow. Dropping it ends the connections; the store stays open, and keeps its role.
#[derive(Debug)]
pub struct Primary {
    hub: Arc<Hub>,
    address: SocketAddr,
    interrupt: Interrupt,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Primary {
    /// Options for a primary over `store`, which is called `name` among the members.
    #[must_use]
    pub fn builder(store: Store, name: impl Into<String>) -> PrimaryBuilder {
        PrimaryBuilder {
            store,
            name: name.into(),
            members: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            plaintext: false,
            tls: None,
            heartbeat: Duration::from_secs(1),
            lag_bytes_max: 16 << 30,
            fence: Vec::new(),
        }
    }

    /// Where followers connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.hub.store
    }

    /// The term that is written in.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hub.term()
    }

    /// Whether it is still primary. It is no longer when a member has promised a newer term to another: then the store refuses
    /// writes, and can follow.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.hub.is_primary()
    }

    /// The last entry that a majority of the members holds.
    #[must_use]
    pub fn majority(&self) -> OpId {
        self.hub.majority()
    }

    /// How many followers are connected.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.hub.followers()
    }

    /// Blocks until as many members as `concern` asks for have entry `op_id` on their disks.
    ///
    /// # Errors
    ///
    /// [`Error::WriteConcernTimeout`] after `timeout`; [`Error::NotPrimary`] when another one has become primary: then nobody
    /// here can tell; [`Error::NoMembers`].
    pub fn wait(&self, op_id: OpId, concern: WriteConcern, timeout: Duration) -> Result<()> {
        self.hub.wait(op_id, concern, timeout)
    }

    /// Blocks until it is stopped.
    ///
    /// # Errors
    ///
    /// [`Error::NotPrimary`] when another one has become primary; what made it give up.
    pub fn join(&self) -> Result<()> {
        self.hub.join()
    }

    /// Ends all connections and waits for the threads.
    pub fn stop(&self) {
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

impl Drop for Primary {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
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

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
mod service;
pub(crate) mod slots;
mod status;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tailwater_oplog::{OpId, ReadConcern, Term};
use tailwater_storage::{Acknowledge, Store};

pub(crate) use self::hub::Hub;
pub(crate) use self::offer::checksum_of;
pub(crate) use self::service::Service;
pub use self::status::{MemberStatus, PrimaryStatus};
use crate::decision::{LogName, Primary as Decisions, WriteConcern};
use crate::error::{Error, Result};
use crate::heartbeat;
use crate::identity::Identity;
use crate::link::Security;
use crate::standby;
use crate::standing::Standings;
use crate::summary::history_of;
use crate::tls::TlsOptions;

/// Options of a primary. See [`Primary::builder`].
#[derive(Clone, Debug)]
pub struct PrimaryBuilder {
    store: Store,
    name: String,
    members: Vec<String>,
    listen: SocketAddr,
    listener: Option<Arc<TcpListener>>,
    plaintext: bool,
    tls: Option<TlsOptions>,
    heartbeat: Duration,
    lag_bytes_max: u64,
    copy_lag_bytes_max: u64,
    fence: Vec<String>,
}

/// How far a follower may fall behind when nobody says otherwise.
pub(crate) const LAG_BYTES_MAX: u64 = 16 << 30;
/// The same while a copy is made for it, and until it has caught up.
pub(crate) const COPY_LAG_BYTES_MAX: u64 = 64 << 30;

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
    /// up. From ten milliseconds to a minute, the same everywhere. Default one second.
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

    /// A socket that is bound already, instead of an address to listen at.
    #[must_use]
    pub fn listener(mut self, listener: TcpListener) -> PrimaryBuilder {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// How much may be written, in bytes of the log, from the moment a copy of the state is begun for a follower until it has
    /// caught up: the log is held for it so long. When it is more, the copy is given up, and both sides say so. At least
    /// [`PrimaryBuilder::lag_bytes_max`]. Default 64 GiB.
    #[must_use]
    pub fn copy_lag_bytes_max(mut self, bytes: u64) -> PrimaryBuilder {
        self.copy_lag_bytes_max = bytes;
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
    /// [`Error::NotPrimary`] when the store follows, [`Error::AlreadyPrimary`], [`Error::Plaintext`], [`Error::Certificate`], [`Error::InvalidOption`],
    /// [`Error::Network`]; the store's.
    pub fn start(self) -> Result<Primary> {
        let identity = Identity::new(&self.name, &self.members)?;
        let security = Security::new(self.tls.as_ref(), self.plaintext)?;
        let listening = |error| Error::network(self.listen.to_string(), "listening")(error);
        let listen = match &self.listener {
            Some(listener) => listener.local_addr().map_err(listening)?,
            None => self.listen,
        };
        security.check(listen)?;
        heartbeat::check(self.heartbeat)?;
        let store = self.store;
        let standings = store.attached(Standings::default);
        let _alone = standings.begin_primary().ok_or(Error::AlreadyPrimary)?;
        if store.is_following() {
            return Err(Error::NotPrimary { promised: None });
        }
        let listener = match self.listener {
            Some(listener) => listener.try_clone().map_err(listening)?,
            None => TcpListener::bind(listen).map_err(listening)?,
        };
        // What watchers may see at majority is said by the hub, once it knows.
        store.set_majority((!identity.members.is_empty()).then_some(OpId::ZERO));
        let term = identity.promote(&store)?;
        let log = store.log();
        let history = history_of(&log, LogName::from(log.log_id()))?;
        standby::take_over(&store, identity.member, &identity.members, &history, self.lag_bytes_max);
        let durable = log.newest(ReadConcern::Durable);
        let (member, members) = (identity.member, identity.members.clone());
        let (decisions, outputs) = Decisions::new(member, members, history, store.promised(), term, durable);
        let hub = Arc::new(Hub::new(store, decisions.with_name(&identity.name)));
        hub.begin(outputs)?;
        Standings::is_served_by(&hub.store, Arc::downgrade(&hub));
        let lag_bytes_max = (self.lag_bytes_max, self.copy_lag_bytes_max);
        let service = Service::start(hub, listener, security.clone(), self.heartbeat, lag_bytes_max)?;
        service.listen_to_syncs();
        for other in self.fence {
            let (fence_hub, identity) = (Arc::clone(&service.hub), identity.clone());
            let (security, heartbeat) = (security.clone(), self.heartbeat);
            service.call("tailwater-fence", move |dial| {
                fence::run(&fence_hub, dial, &identity, &other, &security, heartbeat);
            })?;
        }
        tracing::info!(address = %service.address, %term, "serving followers");
        Ok(Primary(service))
    }
}

/// A store that others follow. Dropping it ends the connections; the store stays open, and keeps its role.
#[derive(Debug)]
pub struct Primary(Service);

impl Primary {
    /// Options for a primary over `store`, which is called `name` among the members.
    #[must_use]
    pub fn builder(store: Store, name: impl Into<String>) -> PrimaryBuilder {
        PrimaryBuilder {
            store,
            name: name.into(),
            members: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            listener: None,
            plaintext: false,
            tls: None,
            heartbeat: Duration::from_secs(1),
            lag_bytes_max: LAG_BYTES_MAX,
            copy_lag_bytes_max: COPY_LAG_BYTES_MAX,
            fence: Vec::new(),
        }
    }

    /// Where followers connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.hub.store
    }

    /// The term that is written in.
    #[must_use]
    pub fn term(&self) -> Term {
        self.0.hub.term()
    }

    /// Whether it is still primary. It is no longer when a member has promised a newer term to another: then the store refuses
    /// writes, and can follow.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.0.hub.is_primary()
    }

    /// The last entry that a majority of the members holds.
    #[must_use]
    pub fn majority(&self) -> OpId {
        self.0.hub.majority()
    }

    /// How it stands, and what the members hold.
    #[must_use]
    pub fn status(&self) -> PrimaryStatus {
        self.0.hub.status()
    }

    /// How many followers are connected.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.0.hub.followers()
    }

    /// Blocks until as many members as `concern` asks for have entry `op_id` on their disks.
    ///
    /// # Errors
    ///
    /// [`Error::WriteConcernTimeout`] after `timeout`; [`Error::NotPrimary`] when another one has become primary: then nobody
    /// here can tell; [`Error::NoMembers`].
    pub fn wait(&self, op_id: OpId, concern: WriteConcern, timeout: Duration) -> Result<()> {
        self.0.hub.wait(op_id, concern, timeout)
    }

    /// The same as [`Primary::wait`] for each write of a collection that is given it
    /// ([`with_acknowledgement`](tailwater_storage::Collection::with_acknowledgement)). It is good as long as this is primary:
    /// afterwards such a write is refused, or not acknowledged.
    #[must_use]
    pub fn acknowledgement(&self, concern: WriteConcern, timeout: Duration) -> Arc<dyn Acknowledge> {
        acknowledgement_by(Arc::clone(&self.0.hub), concern, timeout)
    }

    /// Blocks until it is stopped.
    ///
    /// # Errors
    ///
    /// [`Error::NotPrimary`] when another one has become primary; what made it give up.
    pub fn join(&self) -> Result<()> {
        self.0.hub.join()
    }

    /// Ends all connections and waits for the threads.
    pub fn stop(&self) {
        self.0.stop();
    }
}

pub(crate) fn acknowledgement_by(hub: Arc<Hub>, concern: WriteConcern, timeout: Duration) -> Arc<dyn Acknowledge> {
    Arc::new(Acknowledgement { hub, concern, timeout })
}

/// A write concern, with what can tell.
#[derive(Debug)]
struct Acknowledgement {
    hub: Arc<Hub>,
    concern: WriteConcern,
    timeout: Duration,
}

impl Acknowledge for Acknowledgement {
    fn acknowledge(&self, op_id: OpId) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.hub.wait(op_id, self.concern, self.timeout)?)
    }
}

//! What a server is among others that have the same log: the primary, or a follower, with the addresses by which clients reach
//! each of them.
//!
//! A server without a [`Member`] is alone, the one member of its replica set. One with it serves the store of a [`Primary`] or
//! of a [`Follower`]. Whether writes are taken the store says itself, and so whether the server presents itself as a primary or
//! as a secondary; the member knows the others, waits for them, and is promoted.
//!
//! ```text
//!   follow ──► Follower ── promote ──► Promoting ──► Primary ◄── lead
//!                  │                       │             │ another has become primary
//!                  └──────────────────► Ended ◄──────────┘
//! ```
//!
//! Who is ended does not come back: the program that serves it ends, and is started again as what it is to be then.

mod troubles;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tailwater::oplog::{self, Term};
use tailwater::replication::decision::number_of;
use tailwater::replication::{
    Error, Follower, FollowerBuilder, FollowerEvent, FollowerStatus, Primary, PrimaryStatus, Result, Selection,
    TlsOptions,
};
use tailwater::{Store, StoreOptions, log_directory};

use crate::topology::Topology;
use troubles::Troubles;

/// What a member is told, whatever it is at the moment.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// Its name among the members.
    pub name: String,
    /// The members whose majority counts; the same list, in the same order, everywhere. Without it nobody can ask for a majority
    /// of them.
    pub members: Vec<String>,
    /// Names of members with the addresses, `host:port`, by which clients reach them.
    pub hosts: Vec<(String, String)>,
    /// Where others follow it. Default a free port of this machine's own address.
    pub listen: SocketAddr,
    /// Encrypts what members say to each other. Not what clients say: that is [`ServerOptions::tls`](crate::ServerOptions::tls).
    pub tls: Option<TlsOptions>,
    /// Whether members may be on other machines without encryption.
    pub allow_plaintext: bool,
    /// How often members say something when there is nothing to say.
    pub heartbeat: Duration,
    /// Where other members serve followers, who are told that they are primary no longer once this one is.
    pub fence: Vec<String>,
    /// Whether what is here may be replaced by a copy when it is of no use any more.
    pub resync: bool,
    /// What a follower keeps, if not everything: it is then a partial copy, which is on no list of members and is never promoted.
    /// A primary takes no notice of it.
    pub selection: Option<Selection>,
    /// Bytes of log that are kept for a member that is away. Default [`MemberOptions::LAG_BYTES_MAX`].
    pub lag_bytes_max: u64,
    /// Bytes of log that are kept for a member from the beginning of its copy of the state until it has caught up. Default
    /// [`MemberOptions::COPY_LAG_BYTES_MAX`].
    pub copy_lag_bytes_max: u64,
    /// Most bytes that are rolled back without anybody being asked; more ends the member with an error, and nothing is cut.
    /// Default [`MemberOptions::ROLLBACK_BYTES_MAX`].
    pub rollback_bytes_max: u64,
    /// Options of the store of a follower, which opens it itself.
    pub store: StoreOptions,
}

impl MemberOptions {
    /// 16 GiB.
    pub const LAG_BYTES_MAX: u64 = 16 << 30;
    /// 64 GiB.
    pub const COPY_LAG_BYTES_MAX: u64 = 64 << 30;
    /// 300 MiB.
    pub const ROLLBACK_BYTES_MAX: u64 = 300 << 20;

    /// A member of that name, and nothing else.
    #[must_use]
    pub fn new(name: impl Into<String>) -> MemberOptions {
        MemberOptions {
            name: name.into(),
            members: Vec::new(),
            hosts: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            allow_plaintext: false,
            heartbeat: Duration::from_secs(1),
            fence: Vec::new(),
            resync: false,
            selection: None,
            lag_bytes_max: Self::LAG_BYTES_MAX,
            copy_lag_bytes_max: Self::COPY_LAG_BYTES_MAX,
            rollback_bytes_max: Self::ROLLBACK_BYTES_MAX,
            store: StoreOptions::default(),
        }
    }

    fn follower(&self, dir: PathBuf, from: &str) -> FollowerBuilder {
        let mut builder = Store::follower(dir, &self.name, from)
            .members(&self.members)
            .heartbeat(self.heartbeat)
            .listen(self.listen)
            .lag_bytes_max(self.lag_bytes_max)
            .copy_lag_bytes_max(self.copy_lag_bytes_max)
            .rollback_bytes_max(self.rollback_bytes_max)
            .store_options(self.store.clone());
        if self.allow_plaintext {
            builder = builder.allow_plaintext();
        }
        if let Some(tls) = &self.tls {
            builder = builder.tls(tls.clone());
        }
        if self.resync {
            builder = builder.resync();
        }
        if let Some(selection) = &self.selection {
            builder = builder.filter(selection.clone());
        }
        builder
    }

    /// `listener` is where others follow it already.
    fn primary(&self, store: &Store, listener: Option<TcpListener>) -> Result<Primary> {
        let mut builder = store
            .primary(&self.name)
            .members(&self.members)
            .heartbeat(self.heartbeat)
            .listen(self.listen)
            .lag_bytes_max(self.lag_bytes_max)
            .copy_lag_bytes_max(self.copy_lag_bytes_max)
            .fence(&self.fence);
        if self.allow_plaintext {
            builder = builder.allow_plaintext();
        }
        if let Some(tls) = &self.tls {
            builder = builder.tls(tls.clone());
        }
        if let Some(listener) = listener {
            builder = builder.listener(listener);
        }
        builder.start()
    }
}

/// What becomes of a member, as it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MemberEvent {
    /// [`Member::store`] has a store to serve.
    Opened,
    /// The store was closed, to be cut back or replaced. Another one is opened afterwards.
    Closed,
    /// It may have come to its end: [`Member::failure`] says so.
    Ended,
}

type Listener = Arc<dyn Fn(MemberEvent) + Send + Sync>;

/// What it is at the moment.
enum Standing {
    Follower(Follower),
    /// On the way from the one to the other, which may take long: unique indexes are completed before it takes writes.
    Promoting(Promoting),
    Primary(Arc<Primary>, Store),
    Ended(Error),
}

/// What there is of a member while it becomes the primary.
struct Promoting {
    store: Option<Store>,
    address: Option<SocketAddr>,
    /// Whether it was stopped meanwhile.
    is_stopped: bool,
}

/// Whether a member is the primary.
pub(crate) enum Leading {
    Yes(Arc<Primary>),
    /// It takes writes, and nobody can follow it yet.
    NotYet,
    No,
}

/// How others stand, as far as a member knows.
pub(crate) enum Others {
    OfPrimary(PrimaryStatus),
    OfFollower(FollowerStatus),
    Unknown,
}

/// A member. See the module documentation.
pub struct Member {
    options: MemberOptions,
    standing: Mutex<Standing>,
    /// A promotion has come to its end.
    promoted: Condvar,
    /// Who is told when clients should look again.
    topologies: Arc<Mutex<Vec<Weak<Topology>>>>,
    on_event: Listener,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Member {
    /// Has a store that takes writes be the primary, in a new term.
    ///
    /// # Errors
    ///
    /// As [`PrimaryBuilder::start`](tailwater::replication::PrimaryBuilder::start).
    pub fn lead(
        options: MemberOptions,
        store: &Store,
        on_event: impl Fn(MemberEvent) + Send + Sync + 'static,
    ) -> Result<Member> {
        let on_event: Listener = Arc::new(on_event);
        let standing = begin(&options, store, None, &on_event)?;
        Ok(Member {
            options,
            standing: Mutex::new(standing),
            promoted: Condvar::new(),
            topologies: Arc::default(),
            on_event,
        })
    }

    /// Follows the member at `from` (`HOST:PORT`) with a store in `dir`, which is there after [`MemberEvent::Opened`].
    ///
    /// # Errors
    ///
    /// As [`FollowerBuilder::start`].
    pub fn follow(
        options: MemberOptions,
        dir: impl Into<PathBuf>,
        from: &str,
        on_event: impl Fn(MemberEvent) + Send + Sync + 'static,
    ) -> Result<Member> {
        let on_event: Listener = Arc::new(on_event);
        let topologies: Arc<Mutex<Vec<Weak<Topology>>>> = Arc::default();
        let (tell, told) = (Arc::clone(&on_event), Arc::clone(&topologies));
        let troubles = Troubles::default();
        let builder = options.follower(dir.into(), from).on_event(move |event| {
            troubles.log(event);
            match event {
                FollowerEvent::Opened => tell(MemberEvent::Opened),
                FollowerEvent::Closed => tell(MemberEvent::Closed),
                FollowerEvent::Ended => tell(MemberEvent::Ended),
                // It may be another primary than before.
                FollowerEvent::Following { .. } => change(&told),
                _ => {}
            }
        });
        let standing = Standing::Follower(builder.start()?);
        Ok(Member {
            options,
            standing: Mutex::new(standing),
            promoted: Condvar::new(),
            topologies,
            on_event,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // Every change is one step.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store to be served; nothing while there is none.
    #[must_use]
    pub fn store(&self) -> Option<Store> {
        match &*self.lock() {
            Standing::Follower(follower) => Store::of_follower(follower),
            Standing::Promoting(promoting) => promoting.store.clone(),
            Standing::Primary(_, store) => Some(store.clone()),
            Standing::Ended(_) => None,
        }
    }

    /// Where others follow it, while it is something that can be followed.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &*self.lock() {
            Standing::Follower(follower) => follower.address(),
            Standing::Promoting(promoting) => promoting.address,
            Standing::Primary(primary, _) => Some(primary.address()),
            Standing::Ended(_) => None,
        }
    }

    /// Why it has ended, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        match &*self.lock() {
            Standing::Follower(follower) => match follower.ended()? {
                Ok(()) => Some(Error::Stopped),
                Err(error) => Some(error),
            },
            Standing::Promoting(_) => None,
            Standing::Primary(primary, _) if primary.is_primary() => None,
            Standing::Primary(primary, store) => Some(match primary.join() {
                Err(error) => error,
                Ok(()) => Error::NotPrimary {
                    promised: Some(store.promised()),
                },
            }),
            Standing::Ended(error) => Some(error.clone()),
        }
    }

    /// Makes a follower the primary, in a new term, which is returned. Clients that watch the server are told, and those that are
    /// connected stay. Until then it serves reads as the follower that it was.
    ///
    /// # Errors
    ///
    /// [`Error::NotFollower`] when it is none, or becomes the primary already; [`Error::Stopped`] when it has no whole store yet; that
    /// of a partial copy ([`oplog::Error::Partial`]). After any other it has ended: what stopped it from following, the store's
    /// errors, and those of [`Member::lead`].
    pub fn promote(&self) -> Result<Term> {
        let mut standing = self.lock();
        let promoting = match &*standing {
            Standing::Follower(follower) if follower.store().is_none() => return Err(Error::Stopped),
            // The log says the same, when it has stopped following.
            Standing::Follower(follower) if self.options.selection.is_some() => {
                let path = log_directory(follower.directory());
                return Err(Error::Log(oplog::Error::Partial { path }));
            }
            Standing::Follower(follower) => Promoting {
                store: Store::of_follower(follower),
                address: follower.address(),
                is_stopped: false,
            },
            Standing::Promoting(_) | Standing::Primary(..) | Standing::Ended(_) => return Err(Error::NotFollower),
        };
        let before = std::mem::replace(&mut *standing, Standing::Promoting(promoting));
        let Standing::Follower(follower) = before else {
            return Err(Error::NotFollower);
        };
        // Who asks meanwhile how it stands is answered, and who stops it does not wait.
        drop(standing);
        // Nobody else is to have the address when the new term has been written.
        let listener = follower.listener();
        let promoted = follower.promote().map(Store::from).and_then(|store| {
            let leading = begin(&self.options, &store, listener, &self.on_event)?;
            Ok((leading, store.term()))
        });
        let mut standing = self.lock();
        let is_stopped = matches!(&*standing, Standing::Promoting(promoting) if promoting.is_stopped);
        let promoted = match promoted {
            Ok((leading, term)) => {
                *standing = leading;
                tracing::info!(%term, "promoted");
                Ok(term)
            }
            Err(error) => {
                *standing = Standing::Ended(error.clone());
                Err(error)
            }
        };
        drop(standing);
        self.promoted.notify_all();
        if is_stopped {
            self.stop();
        }
        change(&self.topologies);
        if promoted.is_err() {
            (self.on_event)(MemberEvent::Ended);
        }
        promoted
    }

    /// Ends it: followers are disconnected, or it follows nobody any more. The store stays open. One that is becoming the primary
    /// ends as soon as it is.
    pub fn stop(&self) {
        let primary = match &mut *self.lock() {
            Standing::Follower(follower) => {
                follower.stop();
                return;
            }
            Standing::Promoting(promoting) => {
                promoting.is_stopped = true;
                return;
            }
            Standing::Primary(primary, _) => Arc::clone(primary),
            Standing::Ended(_) => return,
        };
        primary.stop();
    }

    /// The primary that it is, if it is one. Waits for the last steps of a promotion, in which the store takes writes already, but no
    /// longer than until then.
    pub(crate) fn leading(&self, until: Instant) -> Leading {
        let takes_writes = |promoting: &Promoting| promoting.store.as_ref().is_some_and(|store| !store.is_following());
        let mut standing = self.lock();
        loop {
            match &*standing {
                Standing::Primary(primary, _) => return Leading::Yes(Arc::clone(primary)),
                Standing::Promoting(promoting) if takes_writes(promoting) => {}
                Standing::Follower(_) | Standing::Promoting(_) | Standing::Ended(_) => return Leading::No,
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Leading::NotYet;
            }
            let waited = self.promoted.wait_timeout(standing, left);
            standing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is known of the others.
    pub(crate) fn others(&self) -> Others {
        match &*self.lock() {
            Standing::Follower(follower) => Others::OfFollower(follower.status()),
            Standing::Primary(primary, _) => Others::OfPrimary(primary.status()),
            Standing::Promoting(_) | Standing::Ended(_) => Others::Unknown,
        }
    }

    /// How clients reach the member of that name.
    pub(crate) fn host_of(&self, name: &str) -> Option<&str> {
        let hosts = &self.options.hosts;
        hosts
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, host)| host.as_str())
    }

    /// The name of the member whose terms have that number, as far as names are known.
    pub(crate) fn name_of(&self, number: oplog::Member) -> Option<&str> {
        let MemberOptions {
            name, members, hosts, ..
        } = &self.options;
        let names = members.iter().chain([name]).chain(hosts.iter().map(|(name, _)| name));
        let mut named = names.filter(|name| number_of(name, members).0 == number.get());
        let found = named.next()?;
        // Members that are on no list may share a number.
        named.all(|other| other == found).then_some(found)
    }

    pub(crate) fn options(&self) -> &MemberOptions {
        &self.options
    }

    /// Whether there is a majority that can be asked for.
    #[must_use]
    pub fn has_majority(&self) -> bool {
        !self.options.members.is_empty()
    }

    /// Has those be told that watch this topology when it is another.
    pub(crate) fn tell(&self, topology: &Arc<Topology>) {
        let mut topologies = self.topologies.lock().unwrap_or_else(PoisonError::into_inner);
        topologies.retain(|other| other.strong_count() > 0);
        topologies.push(Arc::downgrade(topology));
    }
}

/// Begins to lead; says so when that is over.
fn begin(
    options: &MemberOptions,
    store: &Store,
    listener: Option<TcpListener>,
    on_event: &Listener,
) -> Result<Standing> {
    let primary = Arc::new(options.primary(store, listener)?);
    let (watched, tell) = (Arc::clone(&primary), Arc::clone(on_event));
    let watching = thread::Builder::new().name("tailwater-lead".into()).spawn(move || {
        // Why it has ended is asked of the member.
        drop(watched.join());
        tell(MemberEvent::Ended);
    });
    match watching {
        Ok(_) => Ok(Standing::Primary(primary, store.clone())),
        Err(source) => Err(Error::Network {
            peer: "this member".to_owned(),
            action: "starting a thread",
            source: Arc::new(source),
        }),
    }
}

fn change(topologies: &Mutex<Vec<Weak<Topology>>>) {
    let topologies = topologies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    topologies
        .iter()
        .filter_map(Weak::upgrade)
        .for_each(|topology| topology.change());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_end_of_a_promotion_waits_no_longer_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        // It takes writes, and its promotion never comes to its end.
        let promoting = Promoting {
            store: Some(Store::open(dir.path()).unwrap()),
            address: None,
            is_stopped: false,
        };
        let member = Member {
            options: MemberOptions::new("a"),
            standing: Mutex::new(Standing::Promoting(promoting)),
            promoted: Condvar::new(),
            topologies: Arc::default(),
            on_event: Arc::new(|_| {}),
        };
        assert!(matches!(member.leading(Instant::now()), Leading::NotYet));
        let soon = Instant::now() + Duration::from_millis(10);
        assert!(matches!(member.leading(soon), Leading::NotYet));
    }
}

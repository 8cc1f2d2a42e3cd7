//! Options of a follower, and its start.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use tailwater_storage::{Selection, StoreOptions};

use super::Follower;
use super::attempt::follow;
use super::event::{FollowerEvent, Listener};
use super::relay::Relay;
use super::shared::Settings;
use crate::dial::Dial;
use crate::error::{Error, Result};
use crate::heartbeat;
use crate::identity::Identity;
use crate::link::Security;
use crate::primary::{COPY_LAG_BYTES_MAX, LAG_BYTES_MAX};
use crate::tls::TlsOptions;

/// Options of a follower. See [`Follower::builder`].
#[derive(Clone)]
pub struct FollowerBuilder {
    dir: PathBuf,
    name: String,
    from: String,
    members: Vec<String>,
    plaintext: bool,
    tls: Option<TlsOptions>,
    heartbeat: Duration,
    window_bytes: u64,
    batch_bytes_max: usize,
    rollback_bytes_max: u64,
    resync: bool,
    selection: Option<Selection>,
    store: StoreOptions,
    listen: Option<SocketAddr>,
    lag_bytes_max: u64,
    copy_lag_bytes_max: u64,
    on_event: Option<Listener>,
}

impl fmt::Debug for FollowerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowerBuilder")
            .field("dir", &self.dir)
            .field("name", &self.name)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl FollowerBuilder {
    pub(super) fn new(dir: PathBuf, name: String, from: String) -> FollowerBuilder {
        FollowerBuilder {
            dir,
            name,
            from,
            members: Vec::new(),
            plaintext: false,
            tls: None,
            heartbeat: Duration::from_secs(1),
            window_bytes: 8 << 20,
            batch_bytes_max: 128 << 20,
            rollback_bytes_max: 300 << 20,
            resync: false,
            selection: None,
            store: StoreOptions::default(),
            listen: None,
            lag_bytes_max: LAG_BYTES_MAX,
            copy_lag_bytes_max: COPY_LAG_BYTES_MAX,
            on_event: None,
        }
    }

    /// The members whose majority counts; the same list, in the same order, everywhere. Default none.
    #[must_use]
    pub fn members<S: Into<String>>(mut self, members: impl IntoIterator<Item = S>) -> FollowerBuilder {
        self.members = members.into_iter().map(Into::into).collect();
        self
    }

    /// Allows a primary on another machine, though nothing is encrypted: for networks that are protected otherwise.
    #[must_use]
    pub fn allow_plaintext(mut self) -> FollowerBuilder {
        self.plaintext = true;
        self
    }

    /// Encrypts connections, and has both sides show certificates; then any address is allowed. The same authority everywhere.
    /// Default not encrypted.
    #[must_use]
    pub fn tls(mut self, options: TlsOptions) -> FollowerBuilder {
        self.tls = Some(options);
        self
    }

    /// Allows what is here to be replaced by a copy when it is of no use any more: because the primary's log has been trimmed
    /// beyond its end, or because what would have to be cut cannot be. What is here stays until the copy has come; what the member
    /// has promised, and what it is known to have had, it keeps. Default not allowed: the follower stops, and says so.
    #[must_use]
    pub fn resync(mut self) -> FollowerBuilder {
        self.resync = true;
        self
    }

    /// Keeps only the documents that `selection` names: a partial copy, in less space, which answers reads and change streams of
    /// what it has. Its log has every OpID, so it resumes as others do, and its tokens are those of the primary; but the entries
    /// of no concern to it are only places. It is told by the same name in every start, holds nothing for a write concern, is
    /// never promoted, and can be followed only by those that filter as narrowly. Not on the list of members. Default all.
    #[must_use]
    pub fn filter(mut self, selection: Selection) -> FollowerBuilder {
        self.selection = Some(selection);
        self
    }

    /// As [`PrimaryBuilder::heartbeat`](crate::PrimaryBuilder::heartbeat). Default one second.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> FollowerBuilder {
        self.heartbeat = interval;
        self
    }

    /// Bytes of frames that may be on their way. Default 8 MiB. A batch that is larger comes as a whole all the same.
    #[must_use]
    pub fn window_bytes(mut self, bytes: u64) -> FollowerBuilder {
        self.window_bytes = bytes.max(1);
        self
    }

    /// Bytes of the largest batch that is taken; at least what the primary's segments hold. Default 128 MiB.
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> FollowerBuilder {
        self.batch_bytes_max = bytes;
        self
    }

    /// Most bytes that are rolled back without anybody being asked; more is an error. Default 300 MiB, as MongoDB's once was.
    #[must_use]
    pub fn rollback_bytes_max(mut self, bytes: u64) -> FollowerBuilder {
        self.rollback_bytes_max = bytes;
        self
    }

    /// Options of the store.
    #[must_use]
    pub fn store_options(mut self, options: StoreOptions) -> FollowerBuilder {
        self.store = options;
        self
    }

    /// Lets others follow this one, at that address: see [`Follower::address`]. They get what is here, with the primary's bytes,
    /// and what they hold counts at the primary. Default nobody can.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> FollowerBuilder {
        self.listen = Some(address);
        self
    }

    /// As [`PrimaryBuilder::lag_bytes_max`](crate::PrimaryBuilder::lag_bytes_max), for those that [follow this
    /// one](FollowerBuilder::listen), and for the primary's other followers, which may have to. Default 16 GiB.
    #[must_use]
    pub fn lag_bytes_max(mut self, bytes: u64) -> FollowerBuilder {
        self.lag_bytes_max = bytes;
        self
    }

    /// As [`PrimaryBuilder::copy_lag_bytes_max`](crate::PrimaryBuilder::copy_lag_bytes_max), for those that [follow this
    /// one](FollowerBuilder::listen). Default 64 GiB.
    #[must_use]
    pub fn copy_lag_bytes_max(mut self, bytes: u64) -> FollowerBuilder {
        self.copy_lag_bytes_max = bytes;
        self
    }

    /// Is told what happens, from the follower's threads: [`FollowerEvent::Progress`] comes from the one that makes entries durable
    /// and reports them, which goes on when this returns. It may call [`Follower::stop`], which waits for nothing then; what waits
    /// for the follower to end, or to come somewhere, must not be called there.
    #[must_use]
    pub fn on_event(mut self, on_event: impl Fn(&FollowerEvent) + Send + Sync + 'static) -> FollowerBuilder {
        self.on_event = Some(Arc::new(on_event));
        self
    }

    /// Starts to follow.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`], [`Error::Certificate`], [`Error::File`], [`Error::Plaintext`], and [`Error::Network`] for an
    /// address that cannot be listened at; everything else is told later, by [`Follower::join`] and the events.
    pub fn start(self) -> Result<Follower> {
        let identity = Identity::new(&self.name, &self.members)?;
        heartbeat::check(self.heartbeat)?;
        if self.selection.is_some() && self.members.contains(&self.name) {
            return Err(Error::InvalidOption {
                option: "the name of a follower with a filter",
                what: "on the list of members, whose majority has everything; take it off, or the filter away",
            });
        }
        std::fs::create_dir_all(&self.dir).map_err(Error::file("create", &self.dir))?;
        let security = Security::new(self.tls.as_ref(), self.plaintext)?;
        let heartbeat = self.heartbeat;
        let caps = (self.lag_bytes_max, self.copy_lag_bytes_max);
        let relay = |address| Relay::bind(address, &identity, &security, heartbeat, caps);
        let relay = self.listen.map(relay).transpose()?;
        let settings = Arc::new_cyclic(|own| Settings {
            own: Weak::clone(own),
            identity,
            from: self.from,
            security,
            heartbeat,
            relay,
            window_bytes: self.window_bytes,
            batch_bytes_max: self.batch_bytes_max,
            rollback_bytes_max: self.rollback_bytes_max,
            lag_bytes_max: self.lag_bytes_max,
            resync: self.resync,
            selection: self.selection,
            store: self.store,
            on_event: self.on_event,
            state: Mutex::default(),
            changed: Condvar::new(),
            dial: Dial::default(),
        });
        let (dir, thread_settings) = (self.dir.clone(), Arc::clone(&settings));
        let thread = std::thread::Builder::new()
            .name("tailwater-follow".into())
            .spawn(move || {
                let over = Over(&thread_settings);
                let ended = follow(&dir, &thread_settings);
                if let Err(error) = &ended {
                    tracing::error!(%error, "the follower stops");
                }
                thread_settings.lock().ended = Some(ended);
                drop(over);
            });
        Ok(Follower {
            settings,
            dir: self.dir.clone(),
            thread: Mutex::new(Some(thread.map_err(Error::file("start a thread for", &self.dir))?)),
        })
    }
}

/// Whoever waits for a follower is told that it has ended, also when its thread has panicked.
struct Over<'a>(&'a Settings);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().ended.get_or_insert(Err(Error::Panicked));
        self.0.changed.notify_all();
        self.0.tell(&FollowerEvent::Ended);
    }
}

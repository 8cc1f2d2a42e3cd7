//! A follower: keeps a store that is the primary's, entry for entry.
//!
//! ```text
//!   no store ──► fetch a copy of the state ──► the log from there ──► open the store ──► live
//!                     ▲                                                     │
//!                     └── resync (if allowed) ◄── history lost ◄────────────┤
//!                                     cut back, with a rollback file ◄──────┘
//! ```
//!
//! Every step resumes where it stopped. What only passes (the network, a full disk, a primary that is not one at the moment) is
//! tried again, with pauses that grow; what does not is an error, and the follower stops.

mod discard;
mod fetch;
mod replica;
mod rollback;
mod session;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tailwater_oplog::{OpId, Term, Timestamp};
use tailwater_storage::{Error as StoreError, Store, StoreOptions};

use self::replica::{Kept, Replica};
use self::session::Ending;
use crate::decision::Apart;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::link::{Hangup, Security};
use crate::tls::TlsOptions;
use crate::token::{CausalToken, Stand};

/// Pauses between attempts: from this …
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// … to this, each twice as long as the one before.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often frames at one entry may be refused before the follower gives up.
const BAD_FRAMES_MAX: u32 = 5;

/// What a follower does, as it happens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FollowerEvent {
    /// The primary makes a copy of its state: so many bytes of about so many.
    Preparing {
        /// Bytes so far.
        bytes: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The copy is being fetched.
    Copying {
        /// Bytes that are here.
        bytes: u64,
        /// Bytes of the whole copy.
        total: u64,
    },
    /// The primary has let it on, and its entries follow.
    Following {
        /// The primary's term.
        term: Term,
        /// The first entry that is to come.
        from: OpId,
    },
    /// Entries that the primary does not have were written to a file and cut off.
    RolledBack {
        /// The last entry that stayed.
        last: OpId,
        /// The file.
        file: PathBuf,
    },
    /// What was here is replaced by a copy.
    Resyncing {
        /// Why.
        apart: Apart,
    },
    /// Something failed that may pass; it is tried again.
    Retrying {
        /// What failed; nothing when the primary is only not one to follow at the moment.
        error: Option<Error>,
        /// After this pause.
        after: Duration,
    },
}

/// Who is told what a follower does.
type Listener = Arc<dyn Fn(&FollowerEvent) + Send + Sync>;

/// How a follower stands.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FollowerStatus {
    /// The primary's address, while there is a connection.
    pub primary: Option<String>,
    /// The last entry that is durable here.
    pub durable: OpId,
    /// The newest entry that the primary has spoken of.
    pub newest: OpId,
    /// The last entry here that a majority holds.
    pub majority: OpId,
    /// When the primary was last heard.
    pub heard: Option<Instant>,
}

/// What a follower goes by, and what is known of it.
pub(crate) struct Settings {
    identity: Identity,
    from: String,
    security: Security,
    heartbeat: Duration,
    window_bytes: u64,
    batch_bytes_max: usize,
    rollback_bytes_max: u64,
    resync: bool,
    store: StoreOptions,
    on_event: Option<Listener>,
    state: Mutex<State>,
    changed: Condvar,
    hangup: Mutex<Option<Hangup>>,
}

#[derive(Debug, Default)]
struct State {
    status: FollowerStatus,
    store: Option<Store>,
    stopped: bool,
    ended: Option<Result<()>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.identity.name)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &FollowerEvent) {
        if let Some(on_event) = &self.on_event {
            on_event(event);
        }
    }

    fn connected(&self, peer: &str) {
        self.lock().status.primary = Some(peer.to_owned());
    }

    fn heard(&self, newest: OpId) {
        let mut state = self.lock();
        state.status.newest = state.status.newest.max(newest);
        state.status.heard = Some(Instant::now());
        drop(state);
        // Something may have been applied.
        self.changed.notify_all();
    }

    /// Whether that is news.
    fn durable(&self, op_id: OpId) -> bool {
        let mut state = self.lock();
        let news = op_id > state.status.durable;
        state.status.durable = op_id;
        drop(state);
        self.changed.notify_all();
        news
    }

    fn majority(&self, op_id: OpId) {
        self.lock().status.majority = op_id;
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Shows a store that has been opened, or that there is none at the moment.
    fn show(&self, store: Option<Store>) {
        self.lock().store = store;
        self.changed.notify_all();
    }

    /// Sleeps; whether to go on afterwards.
    fn pause(&self, length: Duration) -> bool {
        let until = Instant::now() + length;
        let mut state = self.lock();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        false
    }
}

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
    store: StoreOptions,
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

    /// Is told what happens, from the follower's thread.
    #[must_use]
    pub fn on_event(mut self, on_event: impl Fn(&FollowerEvent) + Send + Sync + 'static) -> FollowerBuilder {
        self.on_event = Some(Arc::new(on_event));
        self
    }

    /// Starts to follow.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`], [`Error::Certificate`], [`Error::File`]; everything else is told later, by [`Follower::join`] and the events.
    pub fn start(self) -> Result<Follower> {
        let identity = Identity::new(&self.name, &self.members)?;
        std::fs::create_dir_all(&self.dir).map_err(Error::file("create", &self.dir))?;
        let settings = Arc::new(Settings {
            identity,
            from: self.from,
            security: Security::new(self.tls.as_ref(), self.plaintext)?,
            heartbeat: self.heartbeat.max(Duration::from_millis(10)),
            window_bytes: self.window_bytes,
            batch_bytes_max: self.batch_bytes_max,
            rollback_bytes_max: self.rollback_bytes_max,
            resync: self.resync,
            store: self.store,
            on_event: self.on_event,
            state: Mutex::default(),
            changed: Condvar::new(),
            hangup: Mutex::default(),
        });
        let (dir, thread_settings) = (self.dir.clone(), Arc::clone(&settings));
        let thread = std::thread::Builder::new()
            .name("tailwater-follow".into())
            .spawn(move || {
                let ended = follow(&dir, &thread_settings);
                if let Err(error) = &ended {
                    tracing::error!(%error, "the follower stops");
                }
                thread_settings.lock().ended = Some(ended);
                thread_settings.changed.notify_all();
            });
        Ok(Follower {
            settings,
            dir: self.dir.clone(),
            thread: Mutex::new(Some(thread.map_err(Error::file("start a thread for", &self.dir))?)),
        })
    }
}

/// A store that follows another. Dropping it stops it and closes the store.
#[derive(Debug)]
pub struct Follower {
    settings: Arc<Settings>,
    dir: PathBuf,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Options for a follower in `dir`, called `name` among the members, of the primary at `from` (`HOST:PORT`).
    #[must_use]
    pub fn builder(dir: impl Into<PathBuf>, name: impl Into<String>, from: impl Into<String>) -> FollowerBuilder {
        FollowerBuilder {
            dir: dir.into(),
            name: name.into(),
            from: from.into(),
            members: Vec::new(),
            plaintext: false,
            tls: None,
            heartbeat: Duration::from_secs(1),
            window_bytes: 8 << 20,
            batch_bytes_max: 128 << 20,
            rollback_bytes_max: 300 << 20,
            resync: false,
            store: StoreOptions::default(),
            on_event: None,
        }
    }

    /// Directory of the store.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> FollowerStatus {
        self.settings.lock().status.clone()
    }

    /// The store, which answers reads and refuses writes; nothing while there is none, as during the first copy. Entries that
    /// are rolled back, and a new copy, close it: ask again then.
    #[must_use]
    pub fn store(&self) -> Option<Store> {
        self.settings.lock().store.clone()
    }

    /// Waits until the store holds entry `op_id`, durably, and returns it: "read what I wrote" on a follower.
    ///
    /// # Errors
    ///
    /// [`Error::NotYet`] after `timeout`; what ended the follower.
    pub fn wait_for(&self, op_id: OpId, timeout: Duration) -> Result<Store> {
        let until = Instant::now() + timeout;
        let mut state = self.settings.lock();
        loop {
            if let Some(store) = state
                .store
                .as_ref()
                .filter(|store| state.status.durable.min(store.applied()) >= op_id)
            {
                return Ok(store.clone());
            }
            match &state.ended {
                Some(Err(error)) => return Err(error.clone()),
                Some(Ok(())) => return Err(Error::Stopped),
                None => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waited = timeout;
                return Err(Error::NotYet { op_id, waited });
            }
            let waited = self.settings.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the store holds the entry that `token` names, durably, and returns it. While another entry stands there, which
    /// may be rolled back, it waits, too.
    ///
    /// # Errors
    ///
    /// [`Error::NotYet`] after `timeout`, or [`Error::OtherHistory`] when there is another entry then; what ended the follower.
    pub fn wait_for_token(&self, token: CausalToken, timeout: Duration) -> Result<Store> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let store = self.wait_for(token.op_id, left).map_err(|error| match error {
                Error::NotYet { .. } => token.not_yet(timeout),
                other => other,
            })?;
            let stand = match token.stand(&store) {
                // It has been closed meanwhile, to be cut back.
                Err(_) if store.log().is_closed() => Stand::NotYet,
                stand => stand?,
            };
            let state = self.settings.lock();
            let left = until.saturating_duration_since(Instant::now());
            match stand {
                Stand::Here => return Ok(store),
                Stand::Other(found) if left.is_zero() => return Err(token.other(found)),
                Stand::NotYet if left.is_zero() => return Err(token.not_yet(timeout)),
                // What may change it is heard of at every heartbeat.
                _ => drop(
                    self.settings
                        .changed
                        .wait_timeout(state, left.min(self.settings.heartbeat)),
                ),
            }
        }
    }

    /// How far the newest entry here is behind the clock; nothing while there is no store, or nothing in it.
    #[must_use]
    pub fn lag(&self) -> Option<Duration> {
        let log = self.store()?.log();
        let newest = log.newest(tailwater_oplog::ReadConcern::Local);
        let written = log.get(newest, tailwater_oplog::ReadConcern::Local).ok()?.timestamp();
        let nanos = Timestamp::now().as_nanos().saturating_sub(written.as_nanos());
        Some(Duration::from_nanos(nanos))
    }

    /// Stops following, and waits for what was under way. The store stays open while somebody has it.
    pub fn stop(&self) {
        self.settings.lock().stopped = true;
        self.settings.changed.notify_all();
        if let Some(hangup) = &*self.settings.hangup.lock().unwrap_or_else(PoisonError::into_inner) {
            hangup.now();
        }
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic over there has been reported by the panic hook.
            let _ = thread.join();
        }
    }

    /// Blocks until the follower ends by itself or is stopped.
    ///
    /// # Errors
    ///
    /// What made it give up.
    pub fn join(&self) -> Result<()> {
        let mut state = self.settings.lock();
        loop {
            if let Some(ended) = &state.ended {
                return ended.clone();
            }
            state = self
                .settings
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stops following and makes the store take writes, in a new term; give it to [`Primary::builder`](crate::Primary::builder)
    /// to have others follow it.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when there is no whole store yet; what ended the follower; the store's.
    pub fn promote(self) -> Result<Store> {
        self.stop();
        let store = self.store();
        match self.join() {
            Ok(()) => {}
            // It is promoted because the primary is gone; but what is wrong with the store itself is not passed over.
            Err(error) if error.is_passing() || matches!(error, Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let store = match store {
            Some(store) => store,
            // Stopped before it was opened.
            None if replica::is_there(&self.dir) => match Replica::open(&self.dir, &self.settings.store)? {
                Replica::Store(store) => store,
                Replica::Log(..) => return Err(Error::Stopped),
            },
            None => return Err(Error::Stopped),
        };
        self.settings.identity.promote(&store)?;
        Ok(store)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The follower's thread.
fn follow(dir: &Path, settings: &Settings) -> Result<()> {
    let mut pause = PAUSE_MIN;
    let mut replica = None;
    let mut bad = (OpId::ZERO, 0);
    loop {
        let before = settings.lock().status.durable;
        let attempt = attempt(dir, settings, &mut replica);
        settings.lock().status.primary = None;
        if settings.is_stopped() {
            return Ok(());
        }
        let error = match attempt {
            // Progress of any kind begins the pauses anew.
            Ok(true) => {
                pause = PAUSE_MIN;
                continue;
            }
            Ok(false) => None,
            Err(error) if error.is_passing() => {
                if let Error::BadFrames { expected, .. } = error {
                    bad = (expected, if bad.0 == expected { bad.1 + 1 } else { 1 });
                    if bad.1 >= BAD_FRAMES_MAX {
                        return Err(error);
                    }
                }
                Some(error)
            }
            Err(error) => return Err(error),
        };
        if settings.lock().status.durable > before {
            pause = PAUSE_MIN;
        }
        tracing::debug!(?error, ?pause, "trying again");
        settings.tell(&FollowerEvent::Retrying { error, after: pause });
        if !settings.pause(pause) {
            return Ok(());
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One attempt at whatever comes next; whether to make the next one at once.
fn attempt(dir: &Path, settings: &Settings, held: &mut Option<Replica>) -> Result<bool> {
    let replica = match held.take() {
        Some(replica) => replica,
        None => {
            fetch::finish(dir)?;
            if !replica::is_there(dir) {
                fetch::run(dir, settings, None)?;
            }
            match Replica::open(dir, &settings.store) {
                // The copy that it was made from covered entries that were rolled back everywhere.
                Err(Error::Store(StoreError::StateDiverged { .. })) => {
                    let log = Replica::open_log(dir, &settings.store)?;
                    resync(dir, settings, log, Apart::Unrelated)?;
                    return Ok(true);
                }
                opened => opened?,
            }
        }
    };
    if settings.lock().store.is_none()
        && let Some(store) = replica.store()
    {
        if settings.identity.members.is_empty() {
            // Nobody counts.
            replica.set_majority(None);
        }
        settings.durable(store.log().watermarks().durable);
        settings.show(Some(store.clone()));
    }
    let ending = session::run(&replica, settings);
    match ending {
        Ok(Ending::StoreDue) => {
            replica.close()?;
            Ok(true)
        }
        Ok(Ending::Aside) => {
            settings.show(None);
            replica.set_newest_segment_aside(dir, &settings.store)?;
            Ok(true)
        }
        Ok(Ending::Cut(last)) => {
            settings.show(None);
            let kept = replica.kept()?;
            match replica.cut_back(dir, last, settings.rollback_bytes_max)? {
                Some(file) => {
                    settings.tell(&FollowerEvent::RolledBack { last, file });
                    settings.durable(last);
                }
                None => replace(dir, settings, kept, Apart::Unrelated)?,
            }
            Ok(true)
        }
        Ok(Ending::Resync(apart)) => {
            settings.show(None);
            resync(dir, settings, replica, apart)?;
            Ok(true)
        }
        Ok(Ending::Retry(why)) => {
            tracing::debug!(?why, "not following for now");
            *held = Some(replica);
            Ok(false)
        }
        Ok(Ending::Stopped) => {
            *held = Some(replica);
            Ok(false)
        }
        Err(error) => {
            if error.needs_reopening() {
                settings.show(None);
                // What it says about that is what has just been said.
                let _ = replica.close();
            } else if error.is_passing() {
                *held = Some(replica);
            }
            Err(error)
        }
    }
}

/// Closes what is here, and replaces it by a copy.
fn resync(dir: &Path, settings: &Settings, replica: Replica, apart: Apart) -> Result<()> {
    let kept = replica.kept()?;
    replica.close()?;
    replace(dir, settings, kept, apart)
}

/// Replaces what is here, closed, by a copy, if that is allowed. It stays until all of the copy has come.
fn replace(dir: &Path, settings: &Settings, kept: Kept, apart: Apart) -> Result<()> {
    if !settings.resync {
        return Err(Error::ResyncNeeded { apart });
    }
    tracing::warn!(?apart, "what is here is replaced by a copy");
    settings.tell(&FollowerEvent::Resyncing { apart });
    settings.durable(OpId::ZERO);
    fetch::run(dir, settings, Some(kept))
}

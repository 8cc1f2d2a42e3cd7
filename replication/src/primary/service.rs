//! Serving what a log has, whoever is primary: the threads around a [`Hub`].
//!
//! All of them can be ended at any moment, without a descriptor or a connection more: the one that accepts waits for a bell
//! besides, and one that connects to somebody does so by a [`Dial`].

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tailwater_oplog::{Interrupt, ReadConcern, SyncListenerId, WaitOutcome};

use super::hub::Hub;
use super::offer::Copies;
use super::serve;
use crate::dial::Dial;
use crate::error::{Error, Result};
use crate::link::Security;

/// How long it may not be possible to look at the log, for lack of descriptors or memory, say, before the primary ends …
const BLIND_MAX: Duration = Duration::from_secs(30);
/// … and how long between two looks meanwhile.
const BLIND_PAUSE: Duration = Duration::from_millis(100);

/// Connections of members at most.
const CONNECTIONS_MAX: usize = 64;
/// Connections at most over which nobody has introduced himself yet: strangers take no place of a member's.
const STRANGERS_MAX: usize = 16;

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
    bell: Arc<OwnedFd>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// By which some of them connect to others.
    dials: Mutex<Vec<Dial>>,
    /// By which the log tells the hub of syncs that begin, if it does.
    listener: OnceLock<SyncListenerId>,
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
        let listening = || Error::network("this member", "listening");
        let address = listener.local_addr().map_err(listening())?;
        // Who connects may have gone before it is accepted: that must not be waited for.
        listener.set_nonblocking(true).map_err(listening())?;
        let bell =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| listening()(error.into()))?;
        let bell = Arc::new(bell);
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
        let (accept_hub, accept_bell, pulse_bell) = (Arc::clone(&hub), Arc::clone(&bell), Arc::clone(&bell));
        let threads = vec![
            spawn("tailwater-pulse", move || {
                pulse(&pulse_hub, &pulse_interrupt, BLIND_MAX, || pulse_hub.advance());
                // However it has ended, there is nothing to connect to any more.
                ring(&pulse_bell);
            })?,
            spawn("tailwater-accept", move || {
                accept(&listener, &accept_bell, &accept_hub, &settings);
            })?,
        ];
        Ok(Service {
            hub,
            address,
            interrupt,
            bell,
            threads: Mutex::new(threads),
            dials: Mutex::default(),
            listener: OnceLock::new(),
        })
    }

    /// Has entries sent as soon as the log's sync of them begins. For a primary: a follower sends only what is durable.
    pub(super) fn listen_to_syncs(&self) {
        let hub = Arc::downgrade(&self.hub);
        let begun = move || hub.upgrade().is_some_and(|hub| hub.sync_begun());
        self.listener.get_or_init(|| self.hub.store.on_sync(Box::new(begun)));
    }

    /// Starts a thread that connects to others, and that is ended and joined when this stops.
    pub(super) fn call(&self, name: &str, work: impl FnOnce(&Dial) + Send + 'static) -> Result<()> {
        let dial = Dial::default();
        let calling = dial.clone();
        let thread = spawn(name, move || work(&calling))?;
        self.dials.lock().unwrap_or_else(PoisonError::into_inner).push(dial);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread);
        Ok(())
    }

    /// Ends all connections and waits for the threads.
    pub(crate) fn stop(&self) {
        // Nobody comes to the hub from the log behind this. To that of another primary, who has taken this one's place, he does.
        if let Some(listener) = self.listener.get() {
            self.hub.store.end_on_sync(*listener);
        }
        self.hub.stop();
        self.hub.store.log().interrupt(&self.interrupt);
        ring(&self.bell);
        for dial in &*self.dials.lock().unwrap_or_else(PoisonError::into_inner) {
            dial.end();
        }
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

fn ring(bell: &OwnedFd) {
    // Any number but zero rings it. When it has been rung so often that this fails, it rings all the same.
    let _ = rustix::io::write(bell, &[1; 8]);
}

/// Has the decisions told of what has become durable, and of what is about to and may be sent, by `look`. What only passes is waited out, for `blind_max`.
fn pulse(hub: &Hub, interrupt: &Interrupt, blind_max: Duration, look: impl Fn() -> Result<()>) {
    let log = hub.store.log();
    let mut blind: Option<Instant> = None;
    loop {
        if hub.is_stopped() {
            return;
        }
        let seen = (log.syncing(), log.newest(ReadConcern::Durable));
        match look() {
            Ok(()) => blind = None,
            Err(error) => {
                let since = *blind.get_or_insert_with(Instant::now);
                let passes = error.is_passing() && !error.needs_reopening();
                if !passes || since.elapsed() >= blind_max {
                    // Nobody would be sent anything any more: better to be seen to have failed.
                    hub.fail(error);
                    return;
                }
                tracing::warn!(%error, "a primary cannot look at its log, and tries again");
                std::thread::sleep(BLIND_PAUSE);
                continue;
            }
        }
        // A trim is worth a look now and then.
        let deadline = Instant::now() + Duration::from_secs(1);
        match log.wait_for_sync(seen, deadline, interrupt) {
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
    introduced: Arc<AtomicBool>,
    dismissed: bool,
}

impl Served {
    fn is_introduced(&self) -> bool {
        self.introduced.load(Ordering::SeqCst)
    }

    fn is_stranger(&self) -> bool {
        !self.dismissed && !self.is_introduced()
    }

    fn dismiss(&mut self) {
        self.dismissed = true;
        // It may have ended by itself.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Waits until somebody connects, or the bell is rung; for `pause` it only waits for the bell.
fn wait(listener: &TcpListener, bell: &OwnedFd, pause: Option<Duration>) {
    let mut waited = vec![PollFd::new(bell, PollFlags::IN)];
    if pause.is_none() {
        waited.push(PollFd::new(listener, PollFlags::IN));
    }
    let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
    // Whatever comes back, the caller looks for itself.
    let _ = poll(&mut waited, pause.as_ref());
}

fn accept(listener: &TcpListener, bell: &OwnedFd, hub: &Arc<Hub>, settings: &Arc<Settings>) {
    let mut served: Vec<Served> = Vec::new();
    let mut pause = None;
    loop {
        wait(listener, bell, pause.take());
        if hub.is_stopped() {
            break;
        }
        served.retain(|connection| !connection.thread.is_finished());
        match listener.accept().and_then(|(one, _)| Ok((one.try_clone()?, one))) {
            Ok((stream, other)) => serve_one(&mut served, stream, other, hub, settings),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Too many files, most likely: some will be closed.
            Err(_) => pause = Some(Duration::from_millis(50)),
        }
    }
    // First all of them: one may wait for what another has until its link takes more.
    served.iter_mut().for_each(Served::dismiss);
    for connection in served {
        // A panic over there has been reported by the panic hook.
        let _ = connection.thread.join();
    }
}

/// Serves a connection, if there are not too many.
fn serve_one(served: &mut Vec<Served>, stream: TcpStream, other: TcpStream, hub: &Arc<Hub>, settings: &Arc<Settings>) {
    if served.iter().filter(|connection| connection.is_introduced()).count() >= CONNECTIONS_MAX {
        tracing::warn!("too many connections: turning one away");
        return;
    }
    // A member introduces itself at once: who has not done so for longest is the least likely to be one.
    if served.iter().filter(|connection| connection.is_stranger()).count() >= STRANGERS_MAX
        && let Some(oldest) = served.iter_mut().find(|connection| connection.is_stranger())
    {
        tracing::warn!("too many connections of nobody known: ending the oldest");
        oldest.dismiss();
    }
    let introduced = Arc::new(AtomicBool::new(false));
    let (served_hub, served_settings, says) = (Arc::clone(hub), Arc::clone(settings), Arc::clone(&introduced));
    match spawn("tailwater-serve", move || {
        serve::run(&served_hub, &served_settings, other, &says);
    }) {
        Ok(thread) => served.push(Served {
            stream,
            thread,
            introduced,
            dismissed: false,
        }),
        Err(error) => tracing::warn!(%error, "turning a connection away"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read;

    use tailwater_oplog::{Error as LogError, Member};
    use tailwater_storage::{Store, StoreOptions};

    use super::*;
    use crate::decision::{LogName, Primary as Decisions};
    use crate::summary::history_of;

    fn hub(store: &Store) -> Arc<Hub> {
        let log = store.log();
        let history = history_of(&log, LogName::from(log.log_id())).unwrap();
        let durable = log.watermarks().durable;
        let decisions = Decisions::relay(Member::new(1).unwrap(), Vec::new(), history, durable);
        Arc::new(Hub::new(store.clone(), decisions))
    }

    fn no_descriptor() -> Error {
        let source = std::io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        Error::Log(LogError::Io {
            action: "map",
            path: "a segment".into(),
            source: Arc::new(source),
        })
    }

    #[test]
    fn what_passes_ends_no_primary_unless_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreOptions::default().open(dir.path()).unwrap();
        for (error, blind_max, looks) in [
            // Until the test ends it.
            (no_descriptor(), Duration::MAX, 3),
            (no_descriptor(), Duration::ZERO, 1),
            (Error::Log(LogError::Closed), Duration::MAX, 1),
            (Error::Panicked, Duration::MAX, 1),
        ] {
            let (hub, looked) = (hub(&store), Cell::new(0));
            pulse(&hub, &Interrupt::new(), blind_max, || {
                looked.set(looked.get() + 1);
                match looked.get() < 3 {
                    true => Err(error.clone()),
                    false => {
                        assert!(!hub.is_stopped(), "{error}");
                        hub.stop();
                        Ok(())
                    }
                }
            });
            assert_eq!(looked.get(), looks, "{error}");
            assert_eq!(hub.join().is_err(), looks == 1, "{error}");
        }
    }

    #[test]
    fn nobody_is_let_on_by_a_hub_that_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreOptions::default().open(dir.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let security = Security::Plaintext { anywhere: false };
        let never = Duration::from_secs(60);
        let service = Service::start(hub(&store), listener, security, never, (1, 1)).unwrap();
        // It has come before, and says nothing.
        let mut waiting = TcpStream::connect(service.address).unwrap();
        let mut preface = [0; 1];
        waiting.read_exact(&mut preface).unwrap();
        service.hub.fail(Error::Panicked);
        let mut rest = Vec::new();
        // Closed, or reset for what was not read.
        let _ = waiting.read_to_end(&mut rest);
        // And nothing listens there.
        while TcpStream::connect(service.address).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

//! How things are, in numbers: what the dashboard shows and `/v1/stats` gives, and `/metrics` gives in another form.
//!
//! Looking at a log reads its directory and each segment's metadata, so what was found is given to all who ask within a second.

mod expiry;
mod history;
mod snapshot;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::{MissedTickBehavior, interval};

use crate::body::Body;
use crate::problem::{Answer, Problem};
use crate::router::in_background;
use crate::server::Shared;
use history::{History, Totals};
pub(crate) use snapshot::{Dispatcher, Snapshot};

/// How long what was found is good.
const FRESH: Duration = Duration::from_secs(1);
/// How often a point of the plots is taken.
const INTERVAL: Duration = Duration::from_secs(2);

/// Numbers of a server of MongoDB's protocol in the same process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WireStats {
    /// Connections that are open.
    pub connections: u64,
    /// Most connections at a time.
    pub connections_max: u64,
    /// Connections since it began.
    pub connections_total: u64,
    /// Commands since it began.
    pub commands_total: u64,
    /// Cursors that are open, change streams among them.
    pub cursors: u64,
    /// Logical sessions that are open.
    pub sessions: u64,
}

type Wire = Arc<dyn Fn() -> WireStats + Send + Sync>;

/// Looks at a running program, for whoever asks.
pub(crate) struct Monitor {
    started: Instant,
    wire: Option<Wire>,
    history: Mutex<History>,
    found: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Default for Monitor {
    fn default() -> Monitor {
        Monitor {
            started: Instant::now(),
            wire: None,
            history: Mutex::default(),
            found: Mutex::default(),
        }
    }
}

impl Monitor {
    pub(crate) fn with_wire(mut self, wire: impl Fn() -> WireStats + Send + Sync + 'static) -> Monitor {
        self.wire = Some(Arc::new(wire));
        self
    }

    pub(crate) fn wire(&self) -> Option<WireStats> {
        self.wire.as_ref().map(|wire| wire())
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes points of the plots until it is dropped.
    pub(crate) async fn sample(shared: &Arc<Shared>) {
        let mut ticks = interval(INTERVAL);
        // A machine that was asleep has no points to make up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // It takes locks that others may hold for as long as a disk takes.
            let done = in_background(shared, |shared| {
                let totals = Totals::of(&shared.store);
                let watches = shared.store.listed_watches().len();
                shared.monitor.lock_history().add(totals, watches);
                Ok(())
            });
            // What has failed is in the log; the next point comes with the next tick.
            let _ = done.await;
        }
    }

    fn lock_history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How things are now, or were less than a second ago. May wait for a disk.
    pub(crate) fn snapshot(&self, shared: &Shared) -> Answer<Arc<Snapshot>> {
        // Who asks meanwhile waits, and gets what was found for the first.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, snapshot)) = &*found
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(snapshot));
        }
        let history = self.lock_history().points();
        let snapshot = Arc::new(Snapshot::take(shared, history)?);
        *found = Some((Instant::now(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    pub(crate) fn json(&self, shared: &Shared) -> Answer<Vec<u8>> {
        let snapshot = self.snapshot(shared)?;
        let failed = |error| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the numbers cannot be written: {error}"),
            )
        };
        serde_json::to_vec(&*snapshot).map_err(failed)
    }

    /// Whether requests are worth sending: the log takes writes, and can be read.
    pub(crate) fn readiness(&self, shared: &Shared) -> Answer {
        let unready = |what: &str| Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, what));
        if shared.store.log().is_closed() {
            return unready("the store is closed");
        }
        if shared.store.log_stats().poisoned {
            return unready("a sync has failed, and the log takes no more writes: open the store again");
        }
        let mut response = Response::new(Body::whole("ready\n"));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

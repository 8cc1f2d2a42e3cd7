//! What the server's role is, as clients that watch it are told: a version that changes with it, and who waits for that (driver
//! specification: *Server Discovery and Monitoring*, streaming protocol).
//!
//! A client sends the version that it knows with a time, and is answered when the version is another, or when the time is
//! over. Nobody polls: a change wakes who waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{RawDocument, RawDocumentBuf, rawdoc};

use crate::error::{CommandError, CommandResult, code};
use crate::value::Value;

/// Nobody waits longer: the client may be gone, which a wait does not see. Drivers ask for ten seconds.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A version of the topology as one server sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TopologyVersion {
    /// Another one for each start of the server.
    process: ObjectId,
    counter: i64,
}

impl TopologyVersion {
    /// What a client has sent.
    pub(crate) fn parse(field: Value<'_>) -> CommandResult<TopologyVersion> {
        let document = field.document()?;
        let (process, counter) = (document.get_object_id("processId"), document.get_i64("counter"));
        match (process, counter) {
            (Ok(process), Ok(counter)) if counter >= 0 => Ok(TopologyVersion { process, counter }),
            _ => Err(CommandError::new(
                code::BAD_VALUE,
                "topologyVersion must have a processId, an ObjectId, and a counter, a long from 0 on",
            )),
        }
    }

    pub(crate) fn to_document(self) -> RawDocumentBuf {
        rawdoc! { "processId": self.process, "counter": self.counter }
    }
}

/// Whether clients take an error of this code to say that the server's role has changed. They then no longer count on it until its
/// monitor has told them more, unless the error comes with the version they know (driver specification: *Server Discovery and
/// Monitoring*, "not writable primary" and "node is recovering", `topologyVersion` of errors).
pub(crate) fn is_state_change(code: i32) -> bool {
    matches!(code, 91 | 189 | 10058 | 10107 | 11600 | 11602 | 13435 | 13436)
}

#[derive(Clone, Copy)]
struct State {
    version: TopologyVersion,
    /// Whether it followed another when the version was told last.
    is_following: bool,
    is_stopping: bool,
}

/// The server's place. See the module documentation.
pub(crate) struct Topology {
    state: Mutex<State>,
    changed: Condvar,
}

impl Topology {
    pub(crate) fn new(is_following: bool) -> Topology {
        let version = TopologyVersion {
            process: ObjectId::new(),
            counter: 0,
        };
        Topology {
            state: Mutex::new(State {
                version,
                is_following,
                is_stopping: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of a server that follows another, or does not: one more than before when it is not as it was. So an error that says
    /// it has become something else never comes with a version that clients know already, which they would take for an error
    /// of the past.
    pub(crate) fn current(&self, is_following: bool) -> TopologyVersion {
        let mut state = self.lock();
        if state.is_following != is_following {
            state.is_following = is_following;
            state.version.counter += 1;
            self.changed.notify_all();
        }
        state.version
    }

    /// The version as it is, or as soon as it is another than the one that is known; as it is still when the time is over.
    ///
    /// # Errors
    ///
    /// `ShutdownInProgress` as soon as the server stops: clients look for another then.
    pub(crate) fn version(&self, known: Option<(TopologyVersion, Duration)>) -> CommandResult<TopologyVersion> {
        let mut state = self.lock();
        if let Some((known, time)) = known.filter(|(known, _)| known.process == state.version.process) {
            if known.counter > state.version.counter {
                return Err(CommandError::new(
                    (31382, "Location31382"),
                    "the topologyVersion is one that this server has not reached",
                ));
            }
            let until = Instant::now() + time.min(WAIT_MAX);
            while state.version == known {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        match state.is_stopping {
            false => Ok(state.version),
            true => Err(CommandError::new(
                (91, "ShutdownInProgress"),
                "the server is shutting down",
            )),
        }
    }

    /// The server is something else from now on, or the primary is another: whoever waits is told.
    pub(crate) fn change(&self) {
        self.lock().version.counter += 1;
        self.changed.notify_all();
    }

    /// The server stops: nobody waits any longer.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.version.counter += 1;
        state.is_stopping = true;
        drop(state);
        self.changed.notify_all();
    }
}

/// Whether a `hello` with these fields may be answered again and again: it says what it knows and how long to wait.
pub(crate) fn is_awaitable(body: &RawDocument) -> bool {
    ["topologyVersion", "maxAwaitTimeMS"]
        .iter()
        .all(|name| body.get(name).is_ok_and(|field| field.is_some()))
}

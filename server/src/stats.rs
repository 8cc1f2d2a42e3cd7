//! What a server has done and has open, in numbers that any metrics system can export.

use std::sync::atomic::Ordering;

use crate::server::{ServerHandle, Shared};

/// What a server has done since it began, and has open now. Parts of it may be a moment apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections that are open.
    pub connections: usize,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Connections since it began.
    pub connections_total: u64,
    /// Commands since it began.
    pub commands_total: u64,
    /// Cursors that are open, change streams among them.
    pub cursors: usize,
    /// Logical sessions that are open.
    pub sessions: usize,
}

impl ServerStats {
    fn of(shared: &Shared) -> ServerStats {
        let (connections, made) = shared.connection_count();
        ServerStats {
            connections,
            connections_max: shared.options.connections_max,
            connections_total: u64::try_from(made).unwrap_or(0),
            commands_total: shared.commands_run.load(Ordering::Relaxed),
            cursors: shared.cursors.len(),
            sessions: shared.sessions.len(),
        }
    }
}

impl ServerHandle {
    /// What the server has done, and has open.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        ServerStats::of(self.shared())
    }
}

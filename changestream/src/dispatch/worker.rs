//! A thread that is waited for when its owner goes.

use std::sync::Arc;

use crate::error::Result;
use crate::primitives::thread::{self, JoinHandle};

#[derive(Debug)]
pub(crate) struct Worker(Option<JoinHandle<()>>);

impl Worker {
    pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<Worker> {
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
        let handle = spawned.map_err(|source| tailwater_oplog::Error::Io {
            action: "start a thread for",
            path: "watches".into(),
            source: Arc::new(source),
        })?;
        Ok(Worker(Some(handle)))
    }

    /// Waits for its end, unless it is the caller: a waker may drop anything.
    pub(crate) fn join(&mut self) {
        if let Some(handle) = self.0.take()
            && handle.thread().id() != thread::current().id()
        {
            // A panic over there has been reported by the panic hook.
            let _ = handle.join();
        }
    }
}

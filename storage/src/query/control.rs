//! What whoever runs a query holds over it while it runs: when it has to end, and what it may hold.
//!
//! A query looks at documents for as long as it takes, also at those that it leaves out, and sorts and groups before it gives the
//! first. So it asks in between, once for [`LOOK_INTERVAL`] documents.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::budget::{MemoryBudget, MemoryShare};
use crate::error::{Error, Result};

/// Documents that are looked at between two questions.
const LOOK_INTERVAL: u32 = 64;

/// Ends a query in the middle, and bounds what it holds. Clones are the same one; the default lets it run.
///
/// It is no part of what is asked: options that differ in it alone are equal.
#[derive(Clone, Debug, Default)]
pub struct QueryControl(Option<Arc<Control>>);

#[derive(Debug)]
struct Control {
    memory: MemoryBudget,
    ends: Mutex<Ends>,
}

/// When a query has to end.
#[derive(Debug, Default)]
struct Ends {
    killed: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl QueryControl {
    /// Over queries whose sorts and groups have their memory of `memory`.
    #[must_use]
    pub fn new(memory: MemoryBudget) -> QueryControl {
        QueryControl(Some(Arc::new(Control {
            memory,
            ends: Mutex::default(),
        })))
    }

    /// From now on it ends at the deadline, and when `killed` is set.
    pub fn set_ends(&self, killed: Arc<AtomicBool>, deadline: Option<Instant>) {
        if let Some(control) = &self.0 {
            *control.ends.lock().unwrap_or_else(PoisonError::into_inner) = Ends { killed, deadline };
        }
    }

    /// Refuses to go on when it has to end.
    ///
    /// # Errors
    ///
    /// [`Error::QueryInterrupted`], [`Error::QueryTimeExpired`].
    pub fn check(&self) -> Result<()> {
        let Some(control) = &self.0 else { return Ok(()) };
        let ends = control.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.killed.load(Ordering::Relaxed) {
            return Err(Error::QueryInterrupted);
        }
        match ends.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            true => Err(Error::QueryTimeExpired),
            false => Ok(()),
        }
    }

    /// Whether anybody holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn share(&self) -> MemoryShare {
        self.0
            .as_ref()
            .map_or_else(MemoryShare::default, |control| control.memory.share())
    }
}

impl PartialEq for QueryControl {
    fn eq(&self, _: &QueryControl) -> bool {
        true
    }
}

/// Asks now and then.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    control: QueryControl,
    /// Since it was asked.
    documents: u32,
}

impl Looks {
    pub(crate) fn new(control: QueryControl) -> Looks {
        Looks { control, documents: 0 }
    }

    /// One more document is looked at.
    pub(crate) fn next(&mut self) -> Result<()> {
        self.documents += 1;
        if self.documents < LOOK_INTERVAL {
            return Ok(());
        }
        self.documents = 0;
        self.control.check()
    }
}

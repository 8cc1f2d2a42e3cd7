//! What whoever runs a query holds over it while it runs: when it has to end, and what it may hold.
//!
//! A query looks at documents for as long as it takes, also at those that it leaves out, and sorts and groups before it gives the
//! first. So it asks in between, once for [`LOOK_INTERVAL`] documents, and within one document once for some thousand steps of what is
//! evaluated on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tailwater_matcher::{Interrupt, Interruption, StepScope};

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
    other: Option<Other>,
}

/// Something else that ends it.
struct Other(Arc<dyn Interrupt>);

impl std::fmt::Debug for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Other")
    }
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

    /// From now on it ends at the deadline, and when `killed` is set: between two documents, and within one while an expression is
    /// evaluated on it.
    pub fn set_ends(&self, killed: Arc<AtomicBool>, deadline: Option<Instant>) {
        if let Some(control) = &self.0 {
            *control.ends() = Ends {
                killed,
                deadline,
                other: None,
            };
        }
    }

    /// Until [`QueryControl::set_ends`] is called again it ends as well when `other` says so.
    pub fn set_other_end(&self, other: Arc<dyn Interrupt>) {
        if let Some(control) = &self.0 {
            control.ends().other = Some(Other(other));
        }
    }

    /// Refuses to go on when it has to end.
    ///
    /// # Errors
    ///
    /// [`Error::QueryInterrupted`], [`Error::QueryTimeExpired`].
    pub fn check(&self) -> Result<()> {
        let checked = self.0.as_ref().map_or(Ok(()), |control| control.check());
        checked.map_err(|interruption| match interruption {
            Interruption::TimeExpired => Error::QueryTimeExpired,
            _ => Error::QueryInterrupted,
        })
    }

    /// Has it end what this thread evaluates until the scope is dropped.
    pub(crate) fn scope(&self) -> Option<StepScope> {
        let control = Arc::clone(self.0.as_ref()?);
        Some(StepScope::interrupted_by(control))
    }

    /// What of an error is to be told: an evaluation that was ended in the middle of a document is a query that was.
    pub(crate) fn told(&self, error: Error) -> Error {
        match error {
            Error::Evaluate(evaluation) if evaluation.ran_out() => {
                self.check().err().unwrap_or(Error::Evaluate(evaluation))
            }
            other => other,
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

impl Control {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt for Control {
    fn check(&self) -> Result<(), Interruption> {
        let ends = self.ends();
        if ends.killed.load(Ordering::Relaxed) {
            return Err(Interruption::Killed);
        }
        if ends.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Interruption::TimeExpired);
        }
        ends.other.as_ref().map_or(Ok(()), |Other(other)| other.check())
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

    pub(crate) fn control(&self) -> &QueryControl {
        &self.control
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

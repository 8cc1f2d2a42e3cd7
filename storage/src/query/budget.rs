//! A bound on what several queries hold in memory together.
//!
//! Each sort and each stage of a pipeline has a bound of its own, and there may be many of them: those of a cursor that nobody asks
//! for more keep what they hold until it is closed. Who serves many clients gives all their queries one budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// See the module documentation. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    held: AtomicUsize,
    bytes_max: usize,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> MemoryBudget {
        MemoryBudget(Arc::new(Budget {
            held: AtomicUsize::new(0),
            bytes_max,
        }))
    }

    /// Bytes that are held of it.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// A share of it with nothing in it yet.
    #[must_use]
    pub fn share(&self) -> MemoryShare {
        MemoryShare {
            budget: Some(self.clone()),
            bytes: 0,
        }
    }
}

/// What somebody holds of a [`MemoryBudget`]; given back when it is dropped. Without a budget it only counts.
#[derive(Debug, Default)]
pub struct MemoryShare {
    budget: Option<MemoryBudget>,
    bytes: usize,
}

impl MemoryShare {
    /// Bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryBudgetExceeded`] when there are not as many left; then nothing is taken.
    pub fn take(&mut self, bytes: usize) -> Result<()> {
        if let Some(MemoryBudget(budget)) = &self.budget {
            let before = budget.held.fetch_add(bytes, Ordering::Relaxed);
            if before.saturating_add(bytes) > budget.bytes_max {
                budget.held.fetch_sub(bytes, Ordering::Relaxed);
                return Err(Error::MemoryBudgetExceeded {
                    bytes_max: budget.bytes_max,
                });
            }
        }
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Gives so many back, of those that it holds.
    pub fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        if let Some(MemoryBudget(budget)) = &self.budget {
            budget.held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_held_until_it_is_given_back_and_no_more_than_there_is() {
        let budget = MemoryBudget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.take(6).unwrap();
        assert!(matches!(
            other.take(5),
            Err(Error::MemoryBudgetExceeded { bytes_max: 10 })
        ));
        other.take(4).unwrap();
        assert_eq!((budget.held(), other.bytes()), (10, 4));
        one.release(100);
        assert_eq!(budget.held(), 4);
        drop(other);
        assert_eq!(budget.held(), 0);
        let mut unbounded = MemoryShare::default();
        unbounded.take(usize::MAX).unwrap();
    }
}

//! The memory of what open transactions have staged, over all sessions: one may hold as much as a segment of the log, and a client
//! may have as many as it likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all of them hold.
#[derive(Clone, Default, Debug)]
pub(crate) struct StagedBytes(Arc<AtomicU64>);

impl StagedBytes {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The part of somebody who holds nothing yet.
    pub(crate) fn part(&self) -> Part {
        Part {
            all: self.clone(),
            bytes: 0,
        }
    }
}

/// What one of them holds, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    all: StagedBytes,
    bytes: u64,
}

impl Part {
    pub(crate) fn set(&mut self, bytes: u64) {
        // Wraps around where it becomes less, and the sum with it.
        self.all.0.fetch_add(bytes.wrapping_sub(self.bytes), Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_holds_is_counted_until_it_is_gone() {
        let all = StagedBytes::default();
        let (mut one, mut other) = (all.part(), all.part());
        one.set(10);
        other.set(5);
        one.set(3);
        assert_eq!(all.get(), 8);
        drop(one);
        assert_eq!(all.get(), 5);
        other.set(0);
        assert_eq!(all.get(), 0);
    }
}

//! What a write waits for beyond this machine: a replicated store's members, which this crate knows nothing of.

use std::error::Error as StdError;
use std::fmt::Debug;

use tailwater_oplog::OpId;

/// Knows when a write may be acknowledged. See [`Collection::with_acknowledgement`](crate::Collection::with_acknowledgement).
pub trait Acknowledge: Debug + Send + Sync {
    /// Blocks until everything up to `op_id`, which is written, may be acknowledged.
    ///
    /// # Errors
    ///
    /// Why it cannot be, or not in time. The write stays done.
    fn acknowledge(&self, op_id: OpId) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

//! What a write waits for beyond this machine: a replicated store's members, which this crate knows nothing of.

use std::error::Error as StdError;
use std::fmt::Debug;

use tailwater_oplog::OpId;

use crate::error::{Error, Result};

/// Knows when a write may be acknowledged. See [`Collection::with_acknowledgement`](crate::Collection::with_acknowledgement),
/// [`Transaction::acknowledge_by`](crate::Transaction::acknowledge_by) and
/// [`Store::bulk_write_acknowledged`](crate::Store::bulk_write_acknowledged).
pub trait Acknowledge: Debug + Send + Sync {
    /// Blocks until everything up to `op_id`, which is written, may be acknowledged.
    ///
    /// # Errors
    ///
    /// Why it cannot be, or not in time. The write stays done.
    fn acknowledge(&self, op_id: OpId) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// Waits for it.
pub(crate) fn acknowledge(acknowledgement: &dyn Acknowledge, op_id: OpId) -> Result<()> {
    let acknowledged = acknowledgement.acknowledge(op_id);
    acknowledged.map_err(|reason| Error::WriteConcernFailed {
        op_id,
        reason: reason.into(),
    })
}

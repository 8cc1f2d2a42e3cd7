//! Whether log and state belong together: the state names the log it was made from, and term and timestamp of the last entry
//! that it covers.

use std::path::Path;

use tailwater_oplog::{LogId, OpId, ReadConcern, Term, Timestamp};

use super::shared::Core;
use crate::engine::EngineBatch;
use crate::error::{Error, Result};

/// Key under which the engine's catalogue names the log, and term and timestamp of the last entry it covers.
const ORIGIN: &[u8] = b"origin";

fn decode_origin(value: &[u8]) -> Option<(LogId, Term, Timestamp)> {
    let (log_id, rest) = value.split_first_chunk::<16>()?;
    let (term, timestamp) = rest.split_first_chunk::<4>()?;
    Some((
        LogId::from_bytes(*log_id),
        Term::new(u32::from_le_bytes(*term)),
        Timestamp::from_nanos(u64::from_le_bytes(timestamp.try_into().ok()?)),
    ))
}

impl Core {
    /// Checks that the engine's state was made from this log, or marks it so when it is new.
    pub(crate) fn check_origin(&self, state: &Path) -> Result<()> {
        let engine = self.engine()?;
        let applied = OpId::new(engine.applied());
        let watermarks = self.log.watermarks();
        let entries = engine.snapshot().catalog()?;
        let origin = entries.iter().find(|(key, _)| key == ORIGIN).map(|(_, value)| value);
        let Some(origin) = origin else {
            return Ok(());
        };
        let (log_id, term, timestamp) = decode_origin(origin).ok_or(Error::Inconsistent {
            op_id: applied,
            what: "the state's origin is malformed",
        })?;
        let path = state.to_path_buf();
        if log_id != self.log.log_id() {
            return Err(Error::ForeignState {
                path,
                expected: self.log.log_id(),
                found: log_id,
            });
        }
        // What the state covers was durable when it was applied, also where the log has yet to prove that.
        if applied > watermarks.appended {
            return Err(Error::StateAhead {
                applied,
                newest: watermarks.appended,
            });
        }
        if applied >= watermarks.oldest {
            let checked = self.log.view().check_position(applied, term, timestamp);
            return checked.map_err(|error| match error {
                tailwater_oplog::Error::Diverged { .. } => Error::StateDiverged { path, applied },
                error => error.into(),
            });
        }
        Ok(())
    }

    /// Adds to a batch what [`Core::check_origin`] checks.
    pub(crate) fn record_origin(&self, batch: &mut EngineBatch, applied: OpId) -> Result<()> {
        let entry = self.log.view().get(applied, ReadConcern::Local)?;
        let mut value = self.log.log_id().to_bytes().to_vec();
        value.extend_from_slice(&entry.term().get().to_le_bytes());
        value.extend_from_slice(&entry.timestamp().as_nanos().to_le_bytes());
        batch.put_catalog(ORIGIN, &value);
        Ok(())
    }
}

//! How streams get on that do more than read the log, snapshots and live queries: in short steps, so that whoever polls one
//! comes to do other things as well, and whoever waits for one can stop it.

use crate::error::Result;

/// How many steps a poll takes at most.
pub(crate) const STEPS_PER_POLL: u32 = 256;

/// What one step came to.
pub(crate) enum Step<E> {
    Event(E),
    /// Nothing for the reader, but there is more to look at.
    More,
    /// There is nothing now.
    Nothing,
}

/// Goes on until there is an event, or nothing now.
pub(crate) fn until_event<E>(mut step: impl FnMut() -> Result<Step<E>>) -> Result<Option<E>> {
    loop {
        match step()? {
            Step::Event(event) => return Ok(Some(event)),
            Step::More => {}
            Step::Nothing => return Ok(None),
        }
    }
}

//! Heartbeats that go on whatever the threads of a connection wait for: a disk above all.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::wire::HEARTBEAT_MAX;

/// An error by name for an interval with which no connection would last.
pub(crate) fn check(interval: Duration) -> Result<()> {
    let what = match interval {
        short if short < Duration::from_millis(10) => "shorter than ten milliseconds",
        long if long > HEARTBEAT_MAX => "longer than a minute, which is what the other side waits for at most",
        _ => return Ok(()),
    };
    let option = "heartbeat";
    Err(Error::InvalidOption { option, what })
}

/// Calls `beat` at every `interval`, from a thread of its own, while `work` is done. A beat that fails is the last: whoever does
/// the work finds out by itself that the connection has ended.
///
/// # Errors
///
/// What `work` returns; [`Error::Network`] when there is no thread to be had.
pub(crate) fn during<T>(
    interval: Duration,
    mut beat: impl FnMut() -> Result<()> + Send,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    std::thread::scope(|scope| {
        let (over, ended) = channel::<()>();
        let beating = std::thread::Builder::new().name("tailwater-beat".into());
        let beating = beating.spawn_scoped(scope, move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
                if beat().is_err() {
                    return;
                }
            }
        });
        beating.map_err(Error::network("this member", "starting a thread"))?;
        let done = work();
        drop(over);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_come_while_the_work_waits_and_end_with_it() {
        let (beaten, beats) = channel();
        let beat = move || beaten.send(()).map_err(|_| Error::Stopped);
        let interval = Duration::from_millis(1);
        let waited = during(interval, beat, || {
            // It takes as long as five of them, however long that is.
            Ok((0..5).map_while(|_| beats.recv().ok()).count())
        });
        assert_eq!(waited.unwrap(), 5);
        // Whoever beats has ended, and so do they.
        beats.iter().for_each(drop);
    }

    #[test]
    fn a_beat_that_fails_is_the_last() {
        let (beaten, beats) = channel();
        let beat = move || {
            let _ = beaten.send(());
            Err(Error::Stopped)
        };
        let counted = during(Duration::from_millis(1), beat, || Ok(beats.iter().count()));
        assert_eq!(counted.unwrap(), 1);
    }
}

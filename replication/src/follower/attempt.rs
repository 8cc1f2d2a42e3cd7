//! The follower's thread: one attempt after the other at whatever comes next.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tailwater_oplog::OpId;
use tailwater_storage::{Error as StoreError, Selection};

use super::event::FollowerEvent;
use super::fetch;
use super::incoming;
use super::replica::{Kept, Replica};
use super::session::{self, Ending};
use super::shared::Settings;
use crate::decision::Apart;
use crate::error::{Error, Result};
use crate::standby;

/// Pauses between attempts: from this …
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// … to this, each twice as long as the one before.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often frames at one entry may be refused before the follower gives up.
const BAD_FRAMES_MAX: u32 = 5;

/// The follower's thread.
pub(super) fn follow(dir: &Path, settings: &Settings) -> Result<()> {
    let mut pause = PAUSE_MIN;
    let mut replica = None;
    let mut bad = (OpId::ZERO, 0);
    loop {
        let before = settings.lock().status.durable;
        let attempt = attempt(dir, settings, &mut replica);
        settings.lock().status.primary = None;
        if settings.is_stopped() {
            return Ok(());
        }
        let error = match attempt {
            // Progress of any kind begins the pauses anew.
            Ok(true) => {
                pause = PAUSE_MIN;
                continue;
            }
            Ok(false) => None,
            Err(error) if error.is_passing() => {
                if let Error::BadFrames { expected, .. } = error {
                    bad = (expected, if bad.0 == expected { bad.1 + 1 } else { 1 });
                    if bad.1 >= BAD_FRAMES_MAX {
                        return Err(error);
                    }
                }
                Some(error)
            }
            Err(error) => return Err(error),
        };
        if settings.lock().status.durable > before {
            pause = PAUSE_MIN;
        }
        tracing::debug!(?error, ?pause, "trying again");
        settings.tell(&FollowerEvent::Retrying { error, after: pause });
        if !settings.pause(pause) {
            return Ok(());
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One attempt at whatever comes next; whether to make the next one at once.
fn attempt(dir: &Path, settings: &Settings, held: &mut Option<Replica>) -> Result<bool> {
    let replica = match held.take() {
        Some(replica) => replica,
        None => {
            incoming::finish(dir)?;
            if !incoming::has_log(dir) {
                fetch::run(dir, settings, None, || Ok(()))?;
            }
            match Replica::open(dir, &settings.store) {
                // The copy that it was made from covered entries that were rolled back everywhere.
                Err(Error::Store(StoreError::StateDiverged { .. })) => {
                    resync_log(dir, settings, Apart::Unrelated)?;
                    return Ok(true);
                }
                Err(Error::Store(StoreError::EnteredPart { .. })) => {
                    resync_log(dir, settings, Apart::Entered)?;
                    return Ok(true);
                }
                opened => opened?,
            }
        }
    };
    if let Err(error) = check_part(dir, settings, &replica) {
        return Err(closed_for(replica, error));
    }
    if settings.lock().store.is_none()
        && let Some(store) = replica.store()
    {
        if settings.identity.members.is_empty() {
            // Nobody counts.
            replica.set_majority(None);
        }
        // It took writes until now if it knows of nothing that its primary's disk has. What a relay holds is its own affair.
        if settings.relay.is_none() || store.confirmed().is_none() {
            standby::step_back(store, settings.lag_bytes_max);
        }
        settings.resynced();
        settings.durable(store.log().watermarks().durable);
        settings.show(Some(store.clone()));
    } else if let (Some(relay), Some(store)) = (&settings.relay, replica.store()) {
        relay.mend(store);
    }
    if replica.store().is_none() {
        // It may have less than it had before it was opened anew.
        settings.durable(replica.view().watermarks().durable);
    }
    let ending = session::run(&replica, settings);
    match ending {
        Ok(Ending::StoreDue) => {
            replica.close()?;
            Ok(true)
        }
        Ok(Ending::Aside) => {
            settings.show(None);
            replica.set_newest_segment_aside(dir, &settings.store)?;
            Ok(true)
        }
        Ok(Ending::Cut(last)) => {
            // Nothing is given up before it is kept: while there is no space for it, everything stays as it is.
            let file = match replica.keep_behind(dir, last, settings.rollback_bytes_max) {
                Ok(file) => file,
                Err(error) => {
                    if error.is_passing() {
                        *held = Some(replica);
                    } else {
                        settings.show(None);
                    }
                    return Err(error);
                }
            };
            settings.show(None);
            cut_back(dir, settings, replica, last, file)?;
            Ok(true)
        }
        Ok(Ending::Resync(apart)) => {
            resync(dir, settings, replica, apart, held)?;
            Ok(true)
        }
        Ok(Ending::Retry(why)) => {
            tracing::debug!(?why, "not following for now");
            *held = Some(replica);
            Ok(false)
        }
        Ok(Ending::Stopped) => {
            *held = Some(replica);
            Ok(false)
        }
        Err(error @ Error::Store(StoreError::EnteredPart { .. })) => {
            // Opened again, it comes to that entry again, and is replaced there.
            settings.show(None);
            tracing::warn!(%error, "a partial copy cannot go on");
            closed_for(replica, error);
            Ok(true)
        }
        Err(error) => {
            if error.needs_reopening() {
                settings.show(None);
                return Err(closed_for(replica, error));
            }
            if error.is_passing() {
                *held = Some(replica);
            }
            Err(error)
        }
    }
}

/// Whether what is here is of the part that is asked for: entries that were left out do not come again.
fn check_part(dir: &Path, settings: &Settings, replica: &Replica) -> Result<()> {
    let found = replica.selection()?;
    if found == settings.selection {
        return Ok(());
    }
    let named = |selection: &Option<Selection>| match selection {
        Some(selection) => selection.to_string(),
        None => "everything".to_owned(),
    };
    Err(Error::OtherPart {
        path: dir.to_path_buf(),
        found: named(&found),
        asked: named(&settings.selection),
    })
}

/// Cuts off what lies behind `last`, and is kept in `file`; where that is not possible, all is replaced by a copy.
fn cut_back(dir: &Path, settings: &Settings, replica: Replica, last: OpId, file: PathBuf) -> Result<()> {
    let kept = match replica.kept() {
        Ok(kept) => kept,
        Err(error) => return Err(closed_for(replica, error)),
    };
    match replica.cut_back(last)? {
        true => {
            settings.tell(&FollowerEvent::RolledBack { last, file });
            settings.durable(last);
            Ok(())
        }
        false => replace(dir, settings, kept, Apart::Unrelated, || Ok(())),
    }
}

/// Replaces what is here by a copy of the same part. The state cannot be opened, but the log can.
fn resync_log(dir: &Path, settings: &Settings, apart: Apart) -> Result<()> {
    let log = Replica::open_log(dir, &settings.store)?;
    match check_part(dir, settings, &log) {
        Ok(()) => resync(dir, settings, log, apart, &mut None),
        Err(error) => Err(closed_for(log, error)),
    }
}

/// Replaces what is here by a copy. It answers reads until all of that has come, and is `held` when nothing comes of it for now.
fn resync(dir: &Path, settings: &Settings, replica: Replica, apart: Apart, held: &mut Option<Replica>) -> Result<()> {
    let kept = match replica.kept() {
        Ok(kept) => kept,
        Err(error) => {
            settings.show(None);
            return Err(closed_for(replica, error));
        }
    };
    let mut open = Some(replica);
    let replaced = replace(dir, settings, kept, apart, || {
        settings.show(None);
        open.take().map_or(Ok(()), Replica::close)
    });
    match (replaced, open) {
        (Err(error), Some(replica)) if error.is_passing() => {
            *held = Some(replica);
            Err(error)
        }
        (Err(error), Some(replica)) => {
            settings.show(None);
            Err(closed_for(replica, error))
        }
        (replaced, _) => replaced,
    }
}

/// Closes what is here because of an error, which it returns. Others may have the store, too: it could not be opened again while
/// they do.
pub(super) fn closed_for(replica: Replica, error: Error) -> Error {
    if let Err(second) = replica.close() {
        tracing::debug!(error = %second, "closing what failed");
    }
    error
}

/// Replaces what is here by a copy, if that is allowed. It stays until all of the copy has come, and is closed then by `close`.
fn replace(
    dir: &Path,
    settings: &Settings,
    kept: Kept,
    apart: Apart,
    close: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if !settings.resync {
        return Err(Error::ResyncNeeded { apart });
    }
    if settings.resyncs(apart) {
        tracing::warn!(?apart, "what is here is replaced by a copy");
        settings.tell(&FollowerEvent::Resyncing { apart });
    }
    fetch::run(dir, settings, Some(kept), close)
}

//! A store as a member of a replicated one: it follows, taking the primary's entries as they are, or it is the primary.
//!
//! A store that follows answers reads and refuses writes: every write ends with the append, and the log refuses that. What it
//! would do by itself, delete expired documents, go on with index builds, it leaves to the primary, whose entries say what came
//! of it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{
    AppendOutcome, FramesOutcome, Member, OpId, ReadConcern, SegmentStart, SyncListenerId, Term, entries_in,
};

use super::apply::Logged;
use super::backlog::AT_ONCE_BYTES_MAX;
use super::commit::{Draft, Unapplied};
use super::shared::Core;
use super::{STATE_DIRECTORY, Store};
use crate::error::{Error, Result};
use crate::selection::Selection;

/// What became of [`Store::cut_back`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutBack {
    /// The log ends where it should; the next opening replays it.
    Done,
    /// The log begins with this entry, so that the state could not be made anew: nothing was cut, the store is closed, and needs
    /// a copy of another member's state.
    NeedsCopy {
        /// The oldest entry.
        oldest: OpId,
    },
}

/// Whether an entry changes documents and what is kept of sessions, and nothing else.
fn is_plain_entry(kind: u8, payload: &[u8]) -> bool {
    use EntryKind::{Delete, Insert, Leave, Noop, Replace, SessionWrite, Update};
    // Of what a partial log does not have there is nothing to apply.
    EntryKind::from_number(kind).is_none_or(|kind| match kind {
        Insert | Update | Replace | Delete | SessionWrite | Noop => true,
        // A document that leaves a part; without a key it is a collection.
        Leave => StoreEntry::decode(payload).is_ok_and(|entry| entry.key.is_some()),
        _ => false,
    })
}

/// Entries of a follower that are applied together, until the batch ends: for each group the commit lock is taken once.
const TOGETHER: usize = 1024;

impl Store {
    /// Whether the store follows another member and refuses writes.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.core().log.is_following()
    }

    /// Which documents a partial copy has; nothing for a store that has everything.
    ///
    /// # Errors
    ///
    /// [`Error::Selection`] when a newer release has written what this one does not understand.
    pub fn selection(&self) -> Result<Option<Selection>> {
        let part = self.core().log.part();
        Ok(part.map(Selection::from_bytes).transpose()?)
    }

    /// Which member of a replicated store it is, if it has ever been one.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        self.core().log.member()
    }

    /// The last entry that reads see.
    #[must_use]
    pub fn applied(&self) -> OpId {
        self.core().applied()
    }

    /// The term that it writes in, or that of its newest entry when it follows.
    #[must_use]
    pub fn term(&self) -> Term {
        self.core().log.term()
    }

    /// The newest term that it has promised; nothing will be taken from a primary of an older one.
    #[must_use]
    pub fn promised(&self) -> Term {
        self.core().log.promised()
    }

    /// Says what a majority of the members holds; see [`Oplog::set_majority`](tailwater_oplog::Oplog::set_majority).
    pub fn set_majority(&self, held: Option<OpId>) {
        self.core().log.set_majority(held);
        self.core().wake_if_settled();
    }

    /// Says how far the member that is followed has its log on its disk; see
    /// [`Oplog::set_confirmed`](tailwater_oplog::Oplog::set_confirmed).
    pub fn set_confirmed(&self, up_to: OpId) {
        self.core().log.set_confirmed(up_to);
        self.core().wake_if_settled();
    }

    /// How far that is; see [`Oplog::confirmed`](tailwater_oplog::Oplog::confirmed).
    #[must_use]
    pub fn confirmed(&self) -> Option<OpId> {
        self.core().log.confirmed()
    }

    /// Has what nobody waits for become durable sooner; see [`Oplog::set_sync_pace`](tailwater_oplog::Oplog::set_sync_pace).
    pub fn set_sync_pace(&self, pace: Option<Duration>) {
        self.core().log.set_sync_pace(pace);
    }

    /// Has `listener` called when a sync begins; see [`Oplog::on_sync`](tailwater_oplog::Oplog::on_sync).
    pub fn on_sync(&self, listener: Box<dyn Fn() -> bool + Send + Sync>) -> SyncListenerId {
        self.core().log.on_sync(listener)
    }

    /// Has that one not called any more; see [`Oplog::end_on_sync`](tailwater_oplog::Oplog::end_on_sync).
    pub fn end_on_sync(&self, listener: SyncListenerId) {
        self.core().log.end_on_sync(listener);
    }

    /// The newest term that it knows of; see [`Oplog::known`](tailwater_oplog::Oplog::known).
    #[must_use]
    pub fn known(&self) -> Term {
        self.core().log.known()
    }

    /// Promises a term; see [`Oplog::promise`](tailwater_oplog::Oplog::promise).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn promise(&self, term: Term) -> Result<()> {
        Ok(self.core().log.promise(term)?)
    }

    /// Makes the store follow: from here on it refuses writes. What was written is durable afterwards.
    ///
    /// # Errors
    ///
    /// As [`Oplog::follow`](tailwater_oplog::Oplog::follow).
    pub fn follow(&self) -> Result<()> {
        let _alone = self.receive();
        self.core().log.follow()?;
        {
            // What was appended before is in the state once this lock is free.
            let _applied = self.core().lock();
            self.core().show_applied();
        }
        self.ensure_filling()
    }

    /// Makes the store take writes, in a new term of `member`; returns it. For one that takes them already, this begins a new
    /// term all the same. A unique index that the primary had completed and this store had not comes to be complete first, however
    /// long that takes: without it, writes could not be checked.
    ///
    /// # Errors
    ///
    /// As [`Oplog::promote`](tailwater_oplog::Oplog::promote); those of dropping what an unfinished `$out` has left, and of going
    /// on with index builds.
    pub fn promote(&self, member: Member) -> Result<Term> {
        let (term, was_following) = {
            let _alone = self.receive();
            let was_following = self.is_following();
            self.core().finish_backlog()?;
            self.core().fill(|index| index.definition.unique)?;
            (self.core().log.promote(member)?, was_following)
        };
        self.core().wake_if_settled();
        // Otherwise the collections that an `$out` fills for a while may be those of one that runs.
        if was_following {
            self.begin_writing()?;
        }
        Ok(term)
    }

    /// Begins a newer term with an entry that changes nothing; see [`Oplog::begin_term`](tailwater_oplog::Oplog::begin_term).
    ///
    /// # Errors
    ///
    /// As there, and those of a write.
    pub fn begin_term(&self, term: Term) -> Result<AppendOutcome> {
        let core = self.core();
        let mut commit = core.lock_commit()?;
        core.log.begin_term(term)?;
        let detail = bson::rawdoc! { "newTerm": i64::from(term.get()) };
        let entry = StoreEntry {
            detail: Some(&detail),
            ..StoreEntry::default()
        };
        core.commit(&mut commit, &[Draft::new(EntryKind::Noop, &entry)])
    }

    /// Appends an entry that changes nothing, in the term that it has. Who holds that entry holds everything before it, and only
    /// who leads has others hold it: so whoever waits for a majority to hold it knows that no other has led them meanwhile.
    ///
    /// # Errors
    ///
    /// Those of a write.
    pub fn append_noop(&self, message: &str) -> Result<AppendOutcome> {
        let core = self.core();
        let mut commit = core.lock_commit()?;
        let detail = bson::rawdoc! { "msg": message };
        let entry = StoreEntry {
            detail: Some(&detail),
            ..StoreEntry::default()
        };
        core.commit(&mut commit, &[Draft::new(EntryKind::Noop, &entry)])
    }

    /// Makes an empty segment, as the primary has it, the log's newest; see
    /// [`Oplog::begin_segment`](tailwater_oplog::Oplog::begin_segment).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn begin_segment(&self, start: &SegmentStart) -> Result<()> {
        let _alone = self.receive();
        Ok(self.core().log.begin_segment(start)?)
    }

    /// Appends frames that the primary has written, and applies their entries, batch by batch. Many at once are only appended, and
    /// applied [in the background](Store::await_applied), as far as not too much waits for that; otherwise it waits. They are not
    /// durable yet when it returns.
    ///
    /// # Errors
    ///
    /// As [`Oplog::append_frames`](tailwater_oplog::Oplog::append_frames): then nothing was appended. Those of applying an entry,
    /// after which the store takes no more of them, and has to be opened anew.
    pub fn append_frames(&self, frames: &[u8]) -> Result<FramesOutcome> {
        let _alone = self.receive();
        let core = self.core();
        let is_plain = are_plain(frames);
        if is_plain && (frames.len() > AT_ONCE_BYTES_MAX || core.has_backlog()) {
            core.await_room_in_backlog(frames.len())?;
            let outcome = core.log.append_frames(frames)?;
            self.leave_to_backlog(outcome.last, frames.len())?;
            return Ok(outcome);
        }
        core.finish_backlog()?;
        // What stops the store's writes stops these, before they are in the log.
        drop(core.lock_commit()?);
        let outcome = core.log.append_frames(frames)?;
        core.apply_frames(frames).inspect_err(|error| {
            // What comes later must not be applied over what is missing. A store that closes will replay it.
            if !core.stopping.load(Ordering::SeqCst) {
                core.fail(error.clone());
            }
        })?;
        if !is_plain {
            self.ensure_filling()?;
        }
        Ok(outcome)
    }

    /// Whether the store still takes entries, of its own or of another member.
    ///
    /// # Errors
    ///
    /// What has ended that, such as an error of applying what was left to the background; the store has to be opened anew.
    pub fn check_writing(&self) -> Result<()> {
        self.core().check_failure()
    }

    /// Waits until everything up to `op_id` is in the state, of a store that follows and has it in its log, until `deadline` at
    /// most; whether it is. Nothing is waited for that is not in the log.
    ///
    /// # Errors
    ///
    /// What has ended applying; that the store is closed.
    pub fn await_applied(&self, op_id: OpId, deadline: Option<Instant>) -> Result<bool> {
        self.core().await_applied(op_id, deadline)
    }

    /// Closes the store and cuts its log back to entry `last`; other handles find it closed. What was not settled was kept out of
    /// the engine, as far as there was room for it; so most often the state there covers nothing that goes, and stays. If it does,
    /// it cannot be taken back: it is removed, and the next opening makes it anew from the log, if that is complete. If it is not,
    /// nothing is changed.
    ///
    /// # Errors
    ///
    /// As [`Oplog::cut_back`](tailwater_oplog::Oplog::cut_back) and [`Store::close`]; [`Error::Directory`] when the state could
    /// not be removed.
    pub fn cut_back(self, last: OpId) -> Result<CutBack> {
        let log = self.log();
        let (path, oldest) = (log.path().to_path_buf(), log.watermarks().oldest);
        let options = self.core().options.oplog.clone();
        if self.handle.close_covering()?.is_some_and(|covered| covered <= last) {
            // What goes was never given to the engine.
            options.open(&path)?.cut_back(last)?;
            return Ok(CutBack::Done);
        }
        if oldest > OpId::FIRST {
            return Ok(CutBack::NeedsCopy { oldest });
        }
        let state = path.with_file_name(STATE_DIRECTORY);
        let removing = |source| Error::Directory {
            path: state.clone(),
            source: Arc::new(source),
        };
        let gone = state.with_extension("gone");
        // The state first, and in one step: without it the log is replayed, however far it was cut.
        remove_if_there(&gone)
            .and_then(|()| std::fs::rename(&state, &gone))
            .and_then(|()| File::open(path.parent().unwrap_or(&path))?.sync_all())
            .map_err(removing)?;
        options.open(&path)?.cut_back(last)?;
        remove_if_there(&gone).map_err(removing)?;
        Ok(CutBack::Done)
    }

    /// Waits for the writes that are being applied: what was in the log before the call is in the state when this returns, unless
    /// applying it has failed.
    pub fn finish_applying(&self) {
        let core = self.core();
        let newest = core.log.view().newest(ReadConcern::Local);
        let applied = || core.await_applied(newest, None);
        if matches!(applied(), Ok(false)) {
            // It is being applied under these locks, or is about to be left to the backlog.
            let received = self.receive();
            drop(core.lock());
            drop(received);
            let _ = applied();
        }
    }

    /// What a store does that takes writes, beside taking them. While it follows, only what is its own affair.
    pub(super) fn begin_writing(&self) -> Result<()> {
        if self.is_following() {
            return self.ensure_filling();
        }
        // A copy of a follower may have become a store of its own.
        self.core().fill(|index| index.definition.unique)?;
        self.drop_temporary()?;
        self.resume_builds()?;
        self.ensure_filling()?;
        self.ensure_expiry()
    }

    fn receive(&self) -> MutexGuard<'_, ()> {
        self.core().receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Applies what was appended, whole batches together: what is published is what some moment on the primary looked like.
    pub(super) fn apply_frames(&self, frames: &[u8]) -> Result<()> {
        let mut together = Vec::new();
        let (mut batch, mut is_plain) = (0, true);
        for entry in entries_in(frames) {
            together.push(Logged {
                op_id: entry.op_id,
                kind: entry.kind,
                payload: entry.payload,
                document: None,
            });
            is_plain &= is_plain_entry(entry.kind, entry.payload);
            if !entry.ends_batch {
                continue;
            }
            if !is_plain {
                // What it defines may look at the state, which has to be there.
                self.apply_together(&together[..batch])?;
                self.apply_together(&together[batch..])?;
                together.clear();
            } else if together.len() >= TOGETHER {
                self.apply_together(&together)?;
                together.clear();
            }
            (batch, is_plain) = (together.len(), true);
        }
        self.apply_together(&together)
    }

    fn apply_together(&self, entries: &[Logged<'_>]) -> Result<()> {
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let mut commit = self.lock_commit()?;
        let layers = self.layers()?;
        let unapplied = Unapplied::new(self);
        let generation = &layers.generations[0];
        let before = generation.bytes();
        unapplied.check(self.apply_all(&mut commit.ahead, &layers, entries))?;
        self.publish(&commit.ahead, last.op_id);
        unapplied.applied();
        // Before the applier gives it to the engine: what that has is released.
        self.show_applied();
        self.wake_if_due(generation, before);
        Ok(())
    }
}

/// Whether these frames change documents and what is kept of sessions, and nothing else.
fn are_plain(frames: &[u8]) -> bool {
    entries_in(frames).all(|entry| is_plain_entry(entry.kind, entry.payload))
}

/// Removes a directory, which an earlier removal may have left.
fn remove_if_there(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

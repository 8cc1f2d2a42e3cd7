//! A log that is a member of a replicated one: frames that another member wrote, appended as they are; promotion; terms.
//!
//! A log either writes or follows. While it follows, [`Oplog::append`] refuses and [`Oplog::append_frames`] takes what another
//! member's [`OplogView::frames`](crate::OplogView::frames) has read: the same bytes at the same place in a segment of the same
//! name, seed and length, so the checksum that was computed when an entry was written is the one that every member checks.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::append::Appender;
use super::opening::write_manifest;
use super::{Core, Oplog};
use crate::entry;
use crate::error::{Error, Result};
use crate::format::{self, FRAMES_START};
use crate::frame::check_frame;
use crate::frames::SegmentStart;
use crate::ids::{OpId, Term, Timestamp};
use crate::keeper::Prepared;
use crate::member::Member;
use crate::options::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::role_file::{Base, Role, write_role};
use crate::segment::{frames_capacity, header_records};
use crate::sync::{SyncListener, SyncListenerId};
use crate::view::ReadConcern;

/// Frames that [`Oplog::append_frames`] has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FramesOutcome {
    /// The first entry.
    pub first: OpId,
    /// The last one.
    pub last: OpId,
    /// The term of the last one.
    pub term: Term,
    /// When the first one was written.
    pub timestamp: Timestamp,
}

/// What a chunk of frames holds, once every one of them has been checked.
struct Checked {
    /// OpID and length of each.
    frames: Vec<(OpId, usize)>,
    term: Term,
    /// The last one's.
    timestamp: Timestamp,
    /// The first one's.
    begun: Timestamp,
}

impl Oplog {
    /// Whether the log follows another member, and refuses entries of its own.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.core().following.load(Ordering::SeqCst)
    }

    /// Which part of another log's entries this one has, as [`create_partial_follower`](crate::create_partial_follower) was
    /// told; nothing for a log that has everything.
    #[must_use]
    pub fn part(&self) -> Option<&[u8]> {
        self.core().part.as_deref()
    }

    /// The newest term that was [promised](Oplog::promise).
    #[must_use]
    pub fn promised(&self) -> Term {
        self.core().role.lock().unwrap_or_else(PoisonError::into_inner).promised
    }

    /// The newest term that it knows of, written in or promised, by itself or by others: whatever it begins is newer.
    #[must_use]
    pub fn known(&self) -> Term {
        self.core().known_term()
    }

    /// Which member it is, if it has ever been one.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        self.core().role.lock().unwrap_or_else(PoisonError::into_inner).member
    }

    /// Writes durably that nothing will be taken from a primary of an older term than this, and that this log will not begin
    /// one that is older. A term older than the one promised changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Closed`]; [`Error::InvalidOption`] for a term that no log can have, or [so far ahead](Term::is_near) that nobody
    /// can have come to it.
    pub fn promise(&self, term: Term) -> Result<()> {
        self.core().promise(term)
    }

    /// Says up to which entry, which is durable here, a majority of the members holds everything: that is what readers with
    /// [`ReadConcern::Majority`] see. It does not go back. `None` says that there are no members to be counted, and whatever is
    /// durable may be seen.
    ///
    /// A log that follows, and that of a member on a list, is opened with nothing known; any other with nobody counted.
    pub fn set_majority(&self, held: Option<OpId>) {
        let core = self.core();
        let moved = {
            // Which a close waits for: the page may be another writer's afterwards.
            let _role = core.role.lock().unwrap_or_else(PoisonError::into_inner);
            if core.is_closed() {
                return;
            }
            core.tail().set_majority(held)
        };
        core.tail().ring_majority(moved);
    }

    /// Says up to which entry the member that this log follows has everything on its disk: what is durable here is
    /// [released](crate::Watermarks::released) up to there. What lies behind it is kept, but not shown to those who want what no power
    /// loss takes back: over there, one still may. It does not go back. A log that does not follow, or that nobody has said this to
    /// since it was opened (but [`Options::follow`](crate::Options::follow)), releases whatever is durable, as
    /// far as [it is applied](Oplog::set_applied) where somebody says that.
    pub fn set_confirmed(&self, up_to: OpId) {
        let core = self.core();
        // Against a promotion, and a close.
        let _role = core.role.lock().unwrap_or_else(PoisonError::into_inner);
        if !core.is_closed() && core.following.load(Ordering::SeqCst) {
            core.tail().set_confirmed(Some(up_to));
        }
    }

    /// Says up to which entry the state has everything that is made of this log, which follows: nothing behind it is
    /// [released](crate::Watermarks::released), though it is durable, so that who is told of an entry can read what it did. What has
    /// been released stays so. Nothing lifts that, and so does a promotion; a log is opened without it.
    pub fn set_applied(&self, up_to: Option<OpId>) {
        let core = self.core();
        // Against a promotion, and a close.
        let _role = core.role.lock().unwrap_or_else(PoisonError::into_inner);
        if !core.is_closed() && core.following.load(Ordering::SeqCst) {
            core.tail().set_applied(up_to);
        }
    }

    /// Up to which entry what is durable here may be released, as it was [last said](Oplog::set_confirmed), or found when the log was
    /// opened to follow; nothing when that is all of it.
    #[must_use]
    pub fn confirmed(&self) -> Option<OpId> {
        self.core().tail().confirmed()
    }

    /// The last entry that no history of another member takes back: what a majority holds, where members are counted, and what
    /// [has been confirmed](Oplog::set_confirmed), in a log that follows; whether it is durable here or not. Nothing for any other
    /// log, all of which stays.
    #[must_use]
    pub fn settled(&self) -> Option<OpId> {
        let tail = self.core().tail();
        [tail.confirmed(), tail.held_by_majority()].into_iter().flatten().min()
    }

    /// Has what nobody waits for become durable within `pace` instead of [`sync_interval`](crate::Options::sync_interval), if that
    /// is longer: for whom only durable entries are of use, as for followers. `None` ends that.
    pub fn set_sync_pace(&self, pace: Option<std::time::Duration>) {
        self.core().syncer.set_pace(pace);
    }

    /// Has `listener` called when a sync begins, by the thread that syncs, which waits for it: it must not. It says whether it has
    /// woken those who want to know; if not, who [waits for that](crate::OplogView::wait_for_sync) is woken. It replaces the one
    /// before; what is returned [ends](Oplog::end_on_sync) it.
    pub fn on_sync(&self, listener: Box<dyn Fn() -> bool + Send + Sync>) -> SyncListenerId {
        self.core().syncer.set_listener(SyncListener(listener))
    }

    /// Has that listener not called any more; when this returns, it is not running either. One that has taken its place stays.
    pub fn end_on_sync(&self, listener: SyncListenerId) {
        self.core().syncer.remove_listener(listener);
    }

    /// Makes the log follow: from here on it refuses entries of its own. Everything it has is durable afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn follow(&self) -> Result<()> {
        let core = self.core();
        {
            // Under the append lock: what was appended before is synced below, and nothing comes after.
            let _appender = core.lock_appender();
            core.following.store(true, Ordering::SeqCst);
        }
        let written = self.sync(self.watermarks().appended).and_then(|()| {
            core.set_role(|role| Role {
                following: true,
                ..role
            })
        });
        if written.is_err() && !core.is_closed() {
            // On disk it still writes; but nobody must take it for the one to write to.
            tracing::error!("the log refuses entries, but could not write down that it follows");
        }
        written
    }

    /// Makes the log write, as `member`, in a new term that was not elected; returns it. Everything it has is durable
    /// afterwards. For a log that writes already, this begins a new term all the same.
    ///
    /// # Errors
    ///
    /// [`Error::Partial`] for a log that has only a part of the entries; [`Error::Io`], [`Error::Poisoned`], [`Error::Closed`];
    /// [`Error::InvalidOption`] when there is no term left.
    pub fn promote(&self, member: Member) -> Result<Term> {
        let core = self.core();
        if core.part.is_some() {
            return Err(Error::Partial {
                path: core.disk().path().to_path_buf(),
            });
        }
        // What frames say was durable elsewhere is durable here before anybody goes by it.
        self.sync(self.watermarks().appended)?;
        let term = {
            let mut manifest = core.manifest.lock().unwrap_or_else(PoisonError::into_inner);
            core.check_not_closed()?;
            let term = member.term_after(Term::new(manifest.term), false).ok_or(NO_TERM)?;
            core.raise_term(&mut manifest, term)?;
            term
        };
        core.set_role(|role| Role {
            following: false,
            member: Some(member),
            ..role
        })?;
        let _appender = core.lock_appender();
        core.term.store(term.get(), Ordering::SeqCst);
        {
            // Nobody else says from here on what is released.
            let _role = core.role.lock().unwrap_or_else(PoisonError::into_inner);
            core.following.store(false, Ordering::SeqCst);
            core.tail().set_confirmed(None);
            core.tail().set_applied(None);
        }
        tracing::info!(%term, path = %core.disk().path().display(), "promoted: writing in a new term");
        Ok(term)
    }

    /// Goes on writing in `term`, which must be newer than the one written in.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Closed`]; [`Error::InvalidOption`] when the term is not newer; [`Error::NotPrimary`].
    pub fn begin_term(&self, term: Term) -> Result<()> {
        let core = self.core();
        core.promise(term)?;
        let appender = core.lock_appender();
        if core.following.load(Ordering::SeqCst) {
            return Err(core.not_primary());
        }
        let before = core.term.fetch_max(term.get(), Ordering::SeqCst);
        drop(appender);
        match before < term.get() {
            true => Ok(()),
            false => Err(Error::InvalidOption {
                option: "term",
                range: "newer than the one that is written in",
                got: term.get().into(),
            }),
        }
    }

    /// Makes an empty segment, as another member has it, the newest one. A follower calls this where the primary's next entry
    /// is the first of a segment.
    ///
    /// # Errors
    ///
    /// [`Error::NotFollowing`]; [`Error::ForeignFrames`] when it is not the successor of the newest segment;
    /// [`Error::StorageFull`], [`Error::Io`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn begin_segment(&self, start: &SegmentStart) -> Result<()> {
        let core = self.core();
        start.check()?;
        let mut appender = core.lock_appender();
        core.check_following()?;
        let foreign = |what| {
            Err(Error::ForeignFrames {
                expected: appender.next,
                what,
            })
        };
        if start.log_id != core.shared.log_id {
            return foreign("the segment is of another log");
        }
        if start.first != appender.next || start.sequence != appender.segment.sequence.next().0 {
            return foreign("the segment does not follow the newest one");
        }
        core.roll_to(&mut appender, start)
    }

    /// Appends frames that another member of the same log has written, whole batches, which follow the newest entry. They are
    /// checked as recovery checks them; when one is not right, none of them is appended.
    ///
    /// # Errors
    ///
    /// [`Error::NotFollowing`]; [`Error::ForeignFrames`] when a frame is damaged, not the next one, one of a partial log's given
    /// to a log that has everything, of an older term than its predecessor or of one [impossibly far ahead](Term::is_near), or when the last batch is not complete;
    /// [`Error::TooLarge`], [`Error::Io`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn append_frames(&self, frames: &[u8]) -> Result<FramesOutcome> {
        let core = self.core();
        let mut appender = core.lock_appender();
        core.check_following()?;
        let checked = core.check_frames(&appender, frames)?;
        // Not the manifest's lock for what is known: a trim holds it while the disk writes.
        if checked.term > core.known_term() {
            core.know(checked.term)?;
        }
        core.write_frames(&mut appender, frames, &checked)?;
        core.meters.batch_entries.add_alone(checked.frames.len() as u64);
        core.meters.append_bytes.add_alone(frames.len() as u64);
        let (first, last) = (checked.frames[0].0, appender.next.previous());
        core.term.fetch_max(checked.term.get(), Ordering::SeqCst);
        let awaited = core.tail().accept(last);
        if appender.offset >= appender.look {
            core.look(&mut appender);
        }
        drop(appender);
        if awaited.here {
            core.tail().appended_bell.wake_here();
        }
        if awaited.elsewhere {
            let _ = core.shared.drain();
        }
        Ok(FramesOutcome {
            first,
            last,
            term: checked.term,
            timestamp: checked.begun,
        })
    }
}

/// No term is left for the member.
const NO_TERM: Error = Error::InvalidOption {
    option: "term",
    range: "below the largest number of 32 bits",
    got: u32::MAX as u64,
};

impl Core {
    pub(super) fn not_primary(&self) -> Error {
        Error::NotPrimary {
            path: self.disk().path().to_path_buf(),
        }
    }

    fn check_following(&self) -> Result<()> {
        self.check_open()?;
        match self.following.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(Error::NotFollowing {
                path: self.disk().path().to_path_buf(),
            }),
        }
    }

    fn promise(&self, term: Term) -> Result<()> {
        // First that it is known: whoever has promised a term never begins an older one.
        self.know(term)?;
        self.set_role(|role| Role {
            promised: role.promised.max(term),
            ..role
        })
    }

    /// Writes durably that there is this term.
    fn know(&self, term: Term) -> Result<()> {
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_not_closed()?;
        match term.is_near(Term::new(manifest.term)) {
            true => self.raise_term(&mut manifest, term),
            false => Err(Error::InvalidOption {
                option: "term",
                range: "at most 2^24 above the newest one known, which over a hundred thousand promotions do not reach",
                got: term.get().into(),
            }),
        }
    }

    /// Writes down, for the log of a member, the last entry before `keep_from`, where the log is about to begin, and the last one
    /// of an elected term: what the member knows must not be forgotten with the entries.
    pub(super) fn keep_before(&self, keep_from: OpId) -> Result<()> {
        let role = *self.role.lock().unwrap_or_else(PoisonError::into_inner);
        if !role.following && role.member.is_none() {
            return Ok(());
        }
        let (view, last) = (self.view(), keep_from.previous());
        let removed = view.elected_up_to(last)?.unwrap_or_default();
        let term = view.get(last, ReadConcern::Local)?.term();
        self.set_role(|role| Role {
            trimmed: role.trimmed.max(removed),
            base: Some(Base { term, op_id: last }),
            ..role
        })
    }

    fn raise_term(&self, manifest: &mut format::Manifest, term: Term) -> Result<()> {
        if term.get() == u32::MAX {
            return Err(NO_TERM);
        }
        if term.get() > manifest.term {
            let changed = format::Manifest {
                term: term.get(),
                ..manifest.clone()
            };
            write_manifest(self.disk(), &changed)?;
            *manifest = changed;
            self.known_term.store(term.get(), Ordering::SeqCst);
        }
        Ok(())
    }

    /// The newest term that is known, as it stands in the manifest on the disk.
    fn known_term(&self) -> Term {
        Term::new(self.known_term.load(Ordering::SeqCst))
    }

    fn set_role(&self, change: impl FnOnce(Role) -> Role) -> Result<()> {
        let mut role = self.role.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(*role);
        if changed != *role {
            self.check_not_closed()?;
            write_role(self.disk(), self.shared.log_id, changed)?;
            *role = changed;
        }
        Ok(())
    }

    fn check_frames(&self, appender: &Appender, bytes: &[u8]) -> Result<Checked> {
        let known = self.known_term();
        let mut checked = Checked {
            frames: Vec::new(),
            term: Term::new(self.term.load(Ordering::SeqCst)),
            timestamp: appender.timestamp,
            begun: appender.timestamp,
        };
        let (mut next, mut at, mut whole) = (appender.next, 0, false);
        while at < bytes.len() || !whole {
            let foreign = |what| Error::ForeignFrames { expected: next, what };
            let header = bytes
                .get(at..)
                .and_then(|rest| check_frame(rest, appender.segment.seed));
            let header = header.ok_or_else(|| foreign("the checksum fails, or the last batch is not complete"))?;
            if header.op_id != next || header.watermark >= header.op_id {
                return Err(foreign("the frame is of another entry"));
            }
            if self.part.is_none() && entry::is_partial(header.kind) {
                return Err(foreign(
                    "only a part of the entry is there, and this log has everything",
                ));
            }
            if header.term < checked.term || !header.term.is_near(known) {
                return Err(foreign(
                    "its term is older than its predecessor's, or impossibly much newer than any known",
                ));
            }
            if checked.frames.is_empty() {
                checked.begun = header.timestamp;
            }
            checked.frames.push((next, header.frame_bytes()));
            checked.term = header.term;
            checked.timestamp = header.timestamp;
            whole = header.ends_batch();
            at += header.frame_bytes();
            next = next.next();
        }
        let entries = next.get() - appender.segment.first.get();
        let capacity = frames_capacity(appender.segment.length(), entries);
        if appender.offset - FRAMES_START + bytes.len() > capacity {
            return Err(Error::ForeignFrames {
                expected: appender.next,
                what: "they do not fit their segment",
            });
        }
        Ok(checked)
    }

    fn write_frames(&self, appender: &mut Appender, bytes: &[u8], checked: &Checked) -> Result<()> {
        let start = appender.base + appender.offset as u64;
        let end = start + bytes.len() as u64;
        if bytes.len() as u64 <= self.shared.buffer().capacity() / 2 {
            while !appender.ring.has_room(end) {
                self.shared.make_room()?;
            }
            appender.ring.write(start, bytes);
            appender.ring.publish(end);
        } else {
            let whole = std::iter::once(bytes.to_vec());
            self.shared.bypass(&mut appender.ring, start, end, whole)?;
        }
        for (op_id, length) in &checked.frames {
            appender.segment.note(*op_id, appender.offset);
            appender.offset += length;
            appender.next = op_id.next();
        }
        appender.timestamp = checked.timestamp;
        Ok(())
    }

    /// Makes the segment that `start` describes the newest.
    fn roll_to(&self, appender: &mut Appender, start: &SegmentStart) -> Result<()> {
        let sequence = appender.segment.sequence.next();
        let mut spare = self.keeper.take_spare(self, sequence)?;
        self.fit(&mut spare, start).inspect_err(|_| {
            // Otherwise the next attempt finds it in its way.
            let _ = self.disk().remove(&spare.name);
        })?;
        self.enter(appender, spare, start.length as usize)
    }

    /// Gives a spare the length and the header that `start` says.
    fn fit(&self, spare: &mut Prepared, start: &SegmentStart) -> Result<()> {
        let path = self.disk().path().join(&spare.name);
        let records = header_records(&start.header());
        if start.length == self.segment_bytes {
            for (offset, record) in &records {
                let written = spare.medium.file.write_at(*offset, record);
                written.map_err(Error::io("write", &path))?;
            }
            spare.medium.file.sync().map_err(Error::io("sync", &path))?;
        } else {
            // Its writer was given other options.
            self.disk().remove(&spare.name).map_err(Error::io("remove", &path))?;
            self.disk()
                .prepare(&spare.name, start.length, 0, &records)
                .map_err(Error::preparing(self.disk().path(), &path, start.length))?;
            let opened = self.disk().open(&spare.name, start.length as usize, true);
            spare.medium = opened.map_err(Error::io("map", &path))?;
        }
        Ok(())
    }
}

impl SegmentStart {
    /// Refuses what no writer can have made.
    fn check(&self) -> Result<()> {
        // Unit tests on the simulated disk have smaller ones.
        const SMALLEST: u64 = if cfg!(test) { 16 << 10 } else { SEGMENT_BYTES_MIN };
        let right = (SMALLEST..=SEGMENT_BYTES_MAX).contains(&self.length) && self.length.is_multiple_of(4096);
        match right {
            true => Ok(()),
            false => Err(Error::InvalidOption {
                option: "the length of another member's segment",
                range: "between 1 MiB and 2 GiB, a multiple of 4096",
                got: self.length,
            }),
        }
    }
}

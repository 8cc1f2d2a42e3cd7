//! What look-ups by index have found lately, so that the tables need not be asked again.
//!
//! Finding the few keys that begin so costs the engine five times a look-up of one key: no filter tells which tables have
//! such keys, so it seeks in all of them. This keeps the answers, whole ones and short ones only, within a number of bytes.
//!
//! # Never stale
//!
//! Commits are numbered. An answer names the commit it was read at, and for each prefix there is the number of the last commit
//! that has changed a key beginning so. It serves a snapshot exactly when it is not younger than the snapshot, and no commit
//! has changed its keys since; so neither do commits remove anything here, nor does an old snapshot see what came after it.
//!
//! - A commit says which prefixes it changes before its snapshot can be had: who has that snapshot finds the number.
//! - For that it must know how long the prefixes are that are asked for. Who is the first to ask for a length registers it, and
//!   keeps answers only from the next commit on: the one that is on its way may not have seen it.
//! - An index with prefixes of many lengths (text has them) would cost each commit a hash for each. Beyond so many lengths a
//!   prefix is watched by its beginning: whatever changes under the one changes under the other, and lengths of beginnings are few.
//! - Prefixes share places by their hash. Those that meet there make each other's answers useless sooner, never wrong.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::sync::{Cache, DefaultLifecycle};
use rustc_hash::FxBuildHasher;

use super::{COLLECTION_PREFIX_BYTES, Slice, StateKey};

/// Keys of one answer; where there are more, only that is kept.
pub(super) const ANSWER_KEYS_MAX: usize = 8;
/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 2048;
/// Bytes of a prefix.
const PREFIX_BYTES_MAX: usize = 512;
/// Lengths that are registered for one index as they are; each costs every later change of it a hash. Prefixes of other lengths
/// are watched by their [`beginning`].
const LENGTHS_MAX: usize = 16;
/// Indexes that have lengths registered.
const INDEXES_MAX: usize = 4096;

/// What an answer costs beside the bytes that do not fit into its handles, with the unused part of the cache's tables.
const ANSWER_BYTES: usize = 160;
/// Byte strings up to this length lie in their handles.
const INLINE_BYTES_MAX: usize = 20;
/// There is a place for the number of a commit for so many bytes of the cache.
const BYTES_PER_PLACE: u64 = 512;
const PLACES_MIN: usize = 1024;

/// Which commit since the engine was opened, counted from one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct CommitNumber(u64);

impl CommitNumber {
    pub(super) fn next(self) -> CommitNumber {
        CommitNumber(self.0 + 1)
    }
}

/// See the module documentation.
pub(super) struct PrefixCache {
    answers: Cache<StateKey, Kept, Weigher, FxBuildHasher>,
    changed: Places,
    registered: Mutex<Registered>,
}

/// By a prefix's hash the last commit that has changed a key with such a prefix.
struct Places(Box<[AtomicU64]>);

/// What was found for a prefix.
#[derive(Clone)]
pub(super) enum Answer {
    /// All keys that begin so, and their values.
    Whole(Packed),
    /// There are more than are kept.
    Long,
}

/// Keys, without the prefix they share, and values, one behind the other with their lengths.
#[derive(Clone)]
pub(super) struct Packed(Slice);

#[derive(Clone)]
struct Kept {
    as_of: CommitNumber,
    /// So much of the prefix's beginning is watched: all of it, or less.
    watched: usize,
    answer: Answer,
}

#[derive(Default)]
struct Registered {
    /// The commit that is on its way, or the last one.
    begun: CommitNumber,
    lengths: Arc<Lengths>,
}

/// By the number of an index the lengths of prefixes, each with the commit after which it counts.
type Lengths = HashMap<u32, Vec<(usize, CommitNumber)>>;

/// A commit on its way. See [`PrefixCache::begin`].
pub(super) struct Changes<'a> {
    changed: &'a Places,
    commit: CommitNumber,
    lengths: Arc<Lengths>,
}

#[derive(Clone)]
struct Weigher;

impl PrefixCache {
    /// A cache of so many bytes.
    pub(super) fn new(bytes: u64) -> PrefixCache {
        let items = usize::try_from(bytes).unwrap_or(usize::MAX) / ANSWER_BYTES;
        PrefixCache {
            answers: Cache::with(items, bytes, Weigher, FxBuildHasher, DefaultLifecycle::default()),
            changed: Places::new(bytes),
            registered: Mutex::default(),
        }
    }

    /// What a snapshot made by commit `at` has under a prefix, if it is known.
    pub(super) fn get(&self, prefix: &StateKey, at: CommitNumber) -> Option<Answer> {
        let kept = self.answers.get(prefix)?;
        let watched = prefix.0.get(..kept.watched)?;
        (kept.as_of <= at && self.changed.last(watched) <= kept.as_of).then_some(kept.answer)
    }

    /// Keeps what a snapshot made by commit `at` has under a prefix: all of it, or nothing where that is too much.
    pub(super) fn keep(&self, prefix: &StateKey, at: CommitNumber, found: Option<&[(StateKey, Slice)]>) {
        let answer = match found {
            Some([]) => return,
            Some(found) => Packed::new(prefix, found).map_or(Answer::Long, Answer::Whole),
            None => Answer::Long,
        };
        let is_newer = |kept: Kept| kept.as_of > at;
        if let Some(watched) = self.watched(prefix, at)
            && !self.answers.peek(prefix).is_some_and(is_newer)
        {
            self.answers.insert(
                prefix.clone(),
                Kept {
                    as_of: at,
                    watched,
                    answer,
                },
            );
        }
    }

    /// How much of a prefix's beginning all commits after `at` look at. If none does yet, later ones will.
    fn watched(&self, prefix: &StateKey, at: CommitNumber) -> Option<usize> {
        let length = prefix.len();
        let index = index_of(&prefix.0).filter(|_| length <= PREFIX_BYTES_MAX)?;
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        let lengths = registered.lengths.get(&index).map_or(&[][..], Vec::as_slice);
        let known = |length: usize| lengths.iter().find(|(known, _)| *known == length);
        let length = match known(length) {
            None if lengths.len() >= LENGTHS_MAX => beginning(length),
            _ => length,
        };
        if let Some((_, after)) = known(length) {
            return (at >= *after).then_some(length);
        }
        if lengths.is_empty() && registered.lengths.len() >= INDEXES_MAX {
            return None;
        }
        let after = registered.begun;
        let lengths = Arc::make_mut(&mut registered.lengths);
        lengths.entry(index).or_default().push((length, after));
        (at >= after).then_some(length)
    }

    /// Makes room for another index, once nothing is left of this one. Its number is never used again.
    pub(super) fn forget(&self, index: u32) {
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        if registered.lengths.contains_key(&index) {
            Arc::make_mut(&mut registered.lengths).remove(&index);
        }
    }

    /// Begins a commit; it must not be published before every key it changes was named.
    pub(super) fn begin(&self, commit: CommitNumber) -> Changes<'_> {
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        registered.begun = commit;
        Changes {
            changed: &self.changed,
            commit,
            lengths: Arc::clone(&registered.lengths),
        }
    }
}

impl Changes<'_> {
    pub(super) fn commit(&self) -> CommitNumber {
        self.commit
    }

    /// Says that the commit changes a key; the index's number stands before it.
    pub(super) fn key(&self, key: &[u8]) {
        let lengths = index_of(key).and_then(|index| self.lengths.get(&index));
        for (length, _) in lengths.into_iter().flatten() {
            if let Some(prefix) = key.get(..*length) {
                self.changed.change(prefix, self.commit);
            }
        }
    }
}

impl Places {
    fn new(cache_bytes: u64) -> Places {
        let places = usize::try_from(cache_bytes / BYTES_PER_PLACE).unwrap_or(PLACES_MIN);
        let places = places.max(PLACES_MIN).next_power_of_two();
        Places((0..places).map(|_| AtomicU64::new(0)).collect())
    }

    fn place(&self, prefix: &[u8]) -> &AtomicU64 {
        use std::hash::BuildHasher;
        let hash = FxBuildHasher.hash_one(prefix);
        // As many bits as count, whatever a machine's word is.
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
        let place = hash as usize & (self.0.len() - 1);
        &self.0[place]
    }

    fn change(&self, prefix: &[u8], commit: CommitNumber) {
        // Relaxed, here and below: the snapshot is published behind all of these, and whoever reads has got it from there.
        // Commits come one after the other, so the numbers only grow.
        self.place(prefix).store(commit.0, Ordering::Relaxed);
    }

    fn last(&self, prefix: &[u8]) -> CommitNumber {
        CommitNumber(self.place(prefix).load(Ordering::Relaxed))
    }
}

impl Packed {
    /// Nothing if it is too long.
    fn new(prefix: &StateKey, found: &[(StateKey, Slice)]) -> Option<Packed> {
        let mut bytes = Vec::with_capacity(INLINE_BYTES_MAX);
        for (key, value) in found {
            for part in [key.0.get(prefix.len()..)?, value] {
                bytes.extend(u16::try_from(part.len()).ok()?.to_le_bytes());
                bytes.extend(part);
            }
            if bytes.len() > ANSWER_BYTES_MAX {
                return None;
            }
        }
        Some(Packed(Slice::new(&bytes)))
    }

    /// The keys, with their prefix, and the values.
    pub(super) fn unpack(&self, prefix: &StateKey) -> Vec<(StateKey, Slice)> {
        let mut found = Vec::with_capacity(1);
        let mut rest = &*self.0;
        while let Some((suffix, behind)) = part(rest)
            && let Some((value, behind)) = part(behind)
        {
            found.push((prefix.with(suffix), Slice::new(value)));
            rest = behind;
        }
        found
    }
}

/// A part of what is packed, and what comes behind it.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_le_bytes(*length).into())
}

impl quick_cache::Weighter<StateKey, Kept> for Weigher {
    fn weight(&self, prefix: &StateKey, kept: &Kept) -> u64 {
        let beside = |bytes: usize| if bytes > INLINE_BYTES_MAX { bytes } else { 0 };
        let packed = match &kept.answer {
            Answer::Whole(Packed(bytes)) => bytes.len(),
            Answer::Long => 0,
        };
        (ANSWER_BYTES + beside(prefix.len()) + beside(packed)) as u64
    }
}

/// The length by which a prefix is watched that has one of too many: its three leading binary digits, so that three quarters of
/// the prefix count at least, and there are four lengths for each power of two.
fn beginning(length: usize) -> usize {
    let dropped = length.checked_ilog2().unwrap_or(0).saturating_sub(2);
    length >> dropped << dropped
}

/// The number before a key.
fn index_of(key: &[u8]) -> Option<u32> {
    key.first_chunk::<COLLECTION_PREFIX_BYTES>()
        .copied()
        .map(u32::from_be_bytes)
}

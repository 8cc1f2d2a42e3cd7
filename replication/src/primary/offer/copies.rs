//! The copies that a primary keeps for its followers.
//!
//! A copy stays until its follower has it, another is made for the same follower, or nobody has asked for it for an hour, so a
//! fetch that was interrupted goes on where it stopped. It is handed out again only to who has a part of it, or when nobody has
//! heard of it yet, and only while the log is held for it. There are four at most: for a fifth, the one goes that nobody has
//! asked for for longest. A copy is gone with the process; what is left of it is removed by the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::decision::Refusal;
use crate::error::{Error, Result};
use crate::wire::{CopyOffer, CopyRequest};

/// Copies at most. Each is as large as the state.
const COPIES_MAX: usize = 4;
/// How long a copy is kept that nobody asks for.
const COPY_LIFETIME: Duration = Duration::from_secs(3600);

/// After a copy could not be made, the next one for the same follower is begun after this at least …
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// … and after this at most.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// A copy that was made.
#[derive(Debug)]
struct Made {
    offer: Arc<CopyOffer>,
    /// Which part of the state it is of; nothing for all.
    part: Option<Vec<u8>>,
    /// Whether its follower has been told of it.
    heard: bool,
    /// When it was last asked for.
    asked: Instant,
    /// Connections that fetch it.
    fetched_by: usize,
}

impl Made {
    fn is_over(&self) -> bool {
        self.fetched_by == 0 && self.asked.elapsed() > COPY_LIFETIME
    }
}

/// The copies there are, by the follower they are for.
#[derive(Debug)]
pub(crate) struct Copies {
    directory: PathBuf,
    made: Mutex<BTreeMap<String, Made>>,
    /// Held while one is made: one at a time.
    making: Mutex<()>,
    /// Followers that have fetched one and have not caught up since.
    catching_up: Mutex<BTreeSet<String>>,
    /// Followers for which making one has failed.
    failed: Mutex<BTreeMap<String, Failed>>,
}

/// A copy that could not be made.
#[derive(Debug)]
struct Failed {
    /// What its follower is told …
    refusal: Refusal,
    /// … until then.
    until: Instant,
    pause: Duration,
}

impl Copies {
    /// Copies are made in `directory`; those that an earlier process has left are removed.
    pub(crate) fn new(directory: PathBuf) -> Result<Copies> {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &directory)(error));
            }
            _ => {}
        }
        Ok(Copies {
            directory,
            made: Mutex::default(),
            making: Mutex::default(),
            catching_up: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// Where a copy lies, or is to lie.
    pub(super) fn path(&self, copy: [u8; 16]) -> PathBuf {
        self.directory.join(uuid::Uuid::from_bytes(copy).simple().to_string())
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to make a copy; nothing while somebody has it.
    pub(super) fn begin_making(&self) -> Option<MutexGuard<'_, ()>> {
        match self.making.try_lock() {
            Ok(alone) => Some(alone),
            // It guards nothing that a panic could have left half done.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The copy that a follower has a part of, or one that was made for it and that it has not heard of, if it is still good:
    /// one that covers what it replaces, and from which on the log is there (`is_held`). It is being fetched from now on.
    pub(super) fn of(&self, request: &CopyRequest, is_held: impl FnOnce(&CopyOffer) -> bool) -> Option<Arc<CopyOffer>> {
        let mut copies = self.lock();
        let made = copies.get_mut(&request.name)?;
        let known = made.offer.copy == request.copy || !made.heard;
        let covers = request
            .replaces
            .is_none_or(|replaced| replaced.rank.op_id <= made.offer.applied);
        if !known || !covers || made.part != request.part || made.is_over() || !is_held(&made.offer) {
            return None;
        }
        made.asked = Instant::now();
        made.fetched_by += 1;
        Some(Arc::clone(&made.offer))
    }

    /// Removes copies that nobody fetches: the one of this follower, those that are too old, and the oldest until there is room
    /// for one more. Whether there is.
    pub(super) fn make_room(&self, name: &str) -> bool {
        let mut copies = self.lock();
        let idle = |made: &Made| made.fetched_by == 0;
        let mut gone: Vec<String> = copies
            .iter()
            .filter(|(of, made)| made.is_over() || idle(made) && *of == name)
            .map(|(of, _)| of.clone())
            .collect();
        let mut rest: Vec<(Instant, String)> = copies
            .iter()
            .filter(|(of, made)| idle(made) && !gone.contains(of))
            .map(|(of, made)| (made.asked, of.clone()))
            .collect();
        rest.sort();
        let surplus = (copies.len() + 1).saturating_sub(gone.len() + COPIES_MAX);
        gone.extend(rest.into_iter().take(surplus).map(|(_, of)| of));
        for of in gone {
            if let Some(made) = copies.remove(&of) {
                remove(&self.path(made.offer.copy));
            }
        }
        copies.len() < COPIES_MAX && !copies.contains_key(name)
    }

    fn lock_failed(&self) -> MutexGuard<'_, BTreeMap<String, Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Making one for that follower, which took so long, has failed. It is not begun again for as long as it took, and for twice as
    /// long with each failure, up to ten minutes.
    pub(super) fn failed(&self, name: &str, took: Duration, refusal: Refusal) {
        let now = Instant::now();
        let mut failed = self.lock_failed();
        // Who has not come again is forgotten.
        failed.retain(|_, failed| now < failed.until + PAUSE_MAX);
        let pause = failed.get(name).map_or(took, |before| (before.pause * 2).max(took));
        let pause = pause.clamp(PAUSE_MIN, PAUSE_MAX);
        let until = now + pause;
        failed.insert(name.to_owned(), Failed { refusal, until, pause });
    }

    /// Why a copy for that follower could not be made, while that is not tried again.
    pub(super) fn failed_lately(&self, name: &str) -> Option<Refusal> {
        let failed = self.lock_failed();
        let failed = failed.get(name).filter(|failed| Instant::now() < failed.until)?;
        Some(failed.refusal.clone())
    }

    /// Adds a copy, which is being fetched from now on.
    pub(super) fn add(&self, request: &CopyRequest, offer: &Arc<CopyOffer>) {
        let made = Made {
            offer: Arc::clone(offer),
            part: request.part.clone(),
            heard: false,
            asked: Instant::now(),
            fetched_by: 1,
        };
        self.lock_failed().remove(&request.name);
        self.lock().insert(request.name.clone(), made);
    }

    /// The follower is told of its copy.
    pub(super) fn heard_of(&self, name: &str, offer: &CopyOffer) {
        let mut copies = self.lock();
        if let Some(made) = copies.get_mut(name).filter(|made| made.offer.copy == offer.copy) {
            made.heard = true;
        }
    }

    /// A connection fetches the copy no longer; with `over` nobody needs it any more.
    pub(super) fn leave(&self, name: &str, offer: &CopyOffer, over: bool) {
        let mut copies = self.lock();
        let Some(made) = copies.get_mut(name).filter(|made| made.offer.copy == offer.copy) else {
            return;
        };
        made.asked = Instant::now();
        made.fetched_by -= 1;
        if over && made.fetched_by == 0 {
            copies.remove(name);
            remove(&self.path(offer.copy));
        }
    }

    fn lock_catching_up(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.catching_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The follower has all of its copy, and now has to catch up.
    pub(super) fn begin_catching_up(&self, name: &str) {
        self.lock_catching_up().insert(name.to_owned());
    }

    /// It has; or it is told that it cannot. Whether it was about to.
    pub(in crate::primary) fn end_catching_up(&self, name: &str) -> bool {
        self.lock_catching_up().remove(name)
    }
}

/// Removes a copy.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(%error, path = %path.display(), "removing a copy that is not needed any more");
    }
}

#[cfg(test)]
mod tests {
    use tailwater_oplog::{OpId, Term};

    use super::*;
    use crate::decision::Position;
    use crate::wire::Replaced;

    fn offer(copy: u8, applied: u64) -> Arc<CopyOffer> {
        Arc::new(CopyOffer {
            copy: [copy; 16],
            applied: OpId::new(applied),
            promised: Term::default(),
            rank: Position::default(),
            base: None,
            segment: tailwater_oplog::SegmentStart {
                log_id: tailwater_oplog::LogId::from_bytes([7; 16]),
                sequence: 1,
                first: OpId::FIRST,
                seed: 1,
                length: 1 << 20,
                created: 0,
            }
            .into(),
            files: Vec::new(),
        })
    }

    fn request(copy: u8, rank: Option<u64>) -> CopyRequest {
        CopyRequest {
            name: "b".into(),
            members: Vec::new(),
            copy: [copy; 16],
            replaces: rank.map(|op_id| Replaced {
                promised: Term::default(),
                rank: Position {
                    term: Term::new(129),
                    op_id: OpId::new(op_id),
                },
            }),
            part: None,
        }
    }

    #[test]
    fn a_copy_is_handed_out_again_only_while_it_is_of_use() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::new(dir.path().join("copies")).unwrap();
        fs::create_dir_all(copies.path([1; 16])).unwrap();
        copies.add(&request(0, None), &offer(1, 100));
        copies.leave("b", &offer(1, 100), false);
        // A part of an older one, or of none: it has not heard of this one yet.
        for had in [0, 9] {
            assert!(copies.of(&request(had, None), |_| true).is_some());
        }
        copies.heard_of("b", &offer(1, 100));
        for (had, rank, held, good) in [
            (1, None, true, true),
            (1, Some(100), true, true),
            (1, Some(101), true, false),
            (1, None, false, false),
            (0, None, true, false),
            (9, None, true, false),
        ] {
            let found = copies.of(&request(had, rank), |_| held).is_some();
            assert_eq!(found, good, "{had} {rank:?} {held}");
        }
        let part = CopyRequest {
            part: Some(vec![1]),
            ..request(1, None)
        };
        assert!(copies.of(&part, |_| true).is_none(), "it is of everything");
        // While somebody fetches it, no other takes its place.
        assert!(!copies.make_room("b"));
        for _ in 0..4 {
            copies.leave("b", &offer(1, 100), false);
        }
        assert!(copies.make_room("b") && !copies.path([1; 16]).exists());
    }

    #[test]
    fn what_has_failed_is_not_begun_again_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::new(dir.path().join("copies")).unwrap();
        assert_eq!(copies.failed_lately("b"), None);
        let mut pauses = Vec::new();
        for took in [0, 100, 0, 1000, 0] {
            copies.failed("b", Duration::from_secs(took), Refusal::NoSpaceForCopy(took, 1));
            assert_eq!(copies.failed_lately("b"), Some(Refusal::NoSpaceForCopy(took, 1)));
            pauses.push(copies.lock_failed()["b"].pause.as_secs());
        }
        assert_eq!(pauses, [1, 100, 200, 600, 600]);
        assert_eq!(copies.failed_lately("c"), None);
        // Over for the time being; the next pause is longer all the same.
        let over = |copies: &Copies| copies.lock_failed().get_mut("b").unwrap().until = Instant::now();
        over(&copies);
        assert_eq!(copies.failed_lately("b"), None);
        copies.add(&request(0, None), &offer(1, 1));
        copies.failed("b", Duration::ZERO, Refusal::Busy);
        assert_eq!(copies.lock_failed()["b"].pause, PAUSE_MIN);
    }

    #[test]
    fn there_are_four_copies_at_most_and_the_one_goes_that_was_asked_for_first() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::new(dir.path().join("copies")).unwrap();
        let names = ["a", "b", "c", "d", "e"];
        for (copy, name) in (0u8..).zip(names) {
            assert!(copies.make_room(name));
            fs::create_dir_all(copies.path([copy; 16])).unwrap();
            let request = CopyRequest {
                name: name.into(),
                ..request(0, None)
            };
            copies.add(&request, &offer(copy, 1));
            copies.leave(name, &offer(copy, 1), false);
        }
        let there = (0u8..5).map(|copy| copies.path([copy; 16]).exists());
        assert_eq!(there.collect::<Vec<_>>(), [false, true, true, true, true]);
    }
}

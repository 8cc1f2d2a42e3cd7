//! The copies that a primary keeps for its followers.
//!
//! A copy stays until its follower has it, another is made for the same follower, or nobody has asked for it for an hour, so a
//! fetch that was interrupted goes on where it stopped. There are four at most: for a fifth, the one goes that nobody has asked
//! for for longest. A copy is gone with the process; what is left of it is removed by the next one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::wire::{CopyOffer, CopyRequest};

/// Copies at most. Each is as large as the state.
const COPIES_MAX: usize = 4;
/// How long a copy is kept that nobody asks for.
const COPY_LIFETIME: Duration = Duration::from_secs(3600);

/// A copy that was made.
#[derive(Debug)]
struct Made {
    offer: Arc<CopyOffer>,
    /// When it was last asked for.
    asked: Instant,
    /// Connections that fetch it.
    fetched_by: usize,
}

/// The copies there are, by the follower they are for.
#[derive(Debug)]
pub(crate) struct Copies {
    pub(super) directory: PathBuf,
    made: Mutex<BTreeMap<String, Made>>,
    /// Held while one is made: one at a time.
    pub(super) making: Mutex<()>,
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
        })
    }

    pub(super) fn path(&self, copy: [u8; 16]) -> PathBuf {
        self.directory.join(uuid::Uuid::from_bytes(copy).simple().to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy that a follower has a part of, or one that was made for it and that it has not heard of. It is being fetched
    /// from now on.
    pub(super) fn of(&self, request: &CopyRequest) -> Option<Arc<CopyOffer>> {
        let mut copies = self.lock();
        let made = copies.get_mut(&request.name)?;
        if ![made.offer.copy, [0; 16]].contains(&request.copy) {
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
            .filter(|(of, made)| idle(made) && (*of == name || made.asked.elapsed() > COPY_LIFETIME))
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
                self.remove(&made.offer);
            }
        }
        copies.len() < COPIES_MAX && !copies.contains_key(name)
    }

    /// Adds a copy, which is being fetched from now on.
    pub(super) fn add(&self, name: &str, offer: &Arc<CopyOffer>) {
        let made = Made {
            offer: Arc::clone(offer),
            asked: Instant::now(),
            fetched_by: 1,
        };
        self.lock().insert(name.to_owned(), made);
    }

    /// A connection fetches the copy no longer; `done` when its follower has all of it.
    pub(super) fn leave(&self, name: &str, offer: &CopyOffer, done: bool) {
        let mut copies = self.lock();
        let Some(made) = copies.get_mut(name).filter(|made| made.offer.copy == offer.copy) else {
            return;
        };
        made.asked = Instant::now();
        made.fetched_by -= 1;
        if done && made.fetched_by == 0 {
            copies.remove(name);
            self.remove(offer);
        }
    }

    fn remove(&self, offer: &CopyOffer) {
        let path = self.path(offer.copy);
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!(%error, path = %path.display(), "removing a copy that is not needed any more");
        }
    }
}

//! The kernel's futexes, over a model's locks.

#![allow(clippy::needless_pass_by_value, reason = "words are references already")]

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::primitives::{Condvar, FutexFlags, Mutex, MutexGuard, lazy_static, thread};

/// A word that threads can sleep on.
pub(crate) trait Word {
    fn address(&self) -> usize;
    fn value(&self) -> u32;
}

/// One that sleeps.
struct Sleeper {
    awake: Mutex<bool>,
    woken: Condvar,
}

type Sleepers = HashMap<usize, Vec<Arc<Sleeper>>>;

lazy_static! {
    /// Who sleeps on which word. As in the kernel, its lock makes comparing and going to sleep one step for who wakes.
    static ref SLEEPERS: Mutex<Sleepers> = Mutex::new(HashMap::new());
}

fn sleepers() -> MutexGuard<'static, Sleepers> {
    SLEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One with a time-out ends at once: that is a schedule, too, and those that rest on it have no wake-up to lose.
pub(crate) fn futex_wait(word: impl Word, _: FutexFlags, seen: u32, timeout: Option<Duration>) {
    if timeout.is_some() {
        thread::yield_now();
        return;
    }
    let sleeper = Arc::new(Sleeper {
        awake: Mutex::new(false),
        woken: Condvar::new(),
    });
    {
        let mut sleepers = sleepers();
        if word.value() != seen {
            return;
        }
        sleepers.entry(word.address()).or_default().push(Arc::clone(&sleeper));
    }
    let mut awake = sleeper.awake.lock().unwrap_or_else(PoisonError::into_inner);
    while !*awake {
        awake = sleeper.woken.wait(awake).unwrap_or_else(PoisonError::into_inner);
    }
}

/// The longest asleep first.
pub(crate) fn futex_wake(word: impl Word, _: FutexFlags, threads: u32) {
    let woken: Vec<_> = {
        let mut sleepers = sleepers();
        let here = sleepers.entry(word.address()).or_default();
        let count = here.len().min(threads as usize);
        here.drain(..count).collect()
    };
    for sleeper in woken {
        *sleeper.awake.lock().unwrap_or_else(PoisonError::into_inner) = true;
        sleeper.woken.notify_all();
    }
}

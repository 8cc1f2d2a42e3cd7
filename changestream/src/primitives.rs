//! What the dispatcher's threads meet through: locks and threads.
//!
//! Here each is the standard library's own. The model in `tests/models` compiles the same files as this crate with another
//! module of this name, over shuttle's types, and so tries out schedules that a machine rarely shows.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread;

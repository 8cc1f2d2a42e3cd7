//! What the dispatcher's threads meet through, over shuttle: each is a point at which another thread may go on.

pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use shuttle::thread;

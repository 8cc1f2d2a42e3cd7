//! A member of a replicated log that follows another one, entry by entry.

use std::path::Path;

use tailwater_oplog::{OpId, Oplog, ReadConcern, create_follower};

use super::{Writer, open};

/// A member that follows `primary` and has nothing of it yet.
pub(crate) fn follower(primary: &Writer, dir: &Path) -> Oplog {
    let view = primary.log.view();
    let start = view.segment_of(OpId::FIRST).unwrap();
    let before = view.before(start.first).unwrap();
    create_follower(dir, &start, primary.log.promised(), primary.log.term(), before).unwrap();
    open(dir)
}

/// Brings a member up to entry `last` of another one; it is not durable yet.
pub(crate) fn append(from: &Writer, to: &Oplog, last: u64) {
    loop {
        let next = to.watermarks().appended.next();
        if next > OpId::new(last) {
            return;
        }
        // No more than one at a time.
        let run = from.log.view().frames(next, 1, ReadConcern::Durable).unwrap().unwrap();
        to.append_frames(run.bytes()).unwrap();
    }
}

/// As [`append`], durably.
pub(crate) fn bring(from: &Writer, to: &Oplog, last: u64) {
    append(from, to, last);
    to.sync(to.watermarks().appended).unwrap();
}

//! Memory that changes after a frame was checked, as with a flipped bit in the page cache: who has checked the frame does
//! not do so again, and everyone else does.

use tailwater_oplog::{Durability, Error, OpId, OplogView, ReadConcern, verify};

use crate::common;

use common::{FRAMES_START, HEADER, flip, options, segments, temporary};

#[test]
fn a_bit_that_flips_after_the_check_is_found_by_all_who_have_not_checked() {
    let dir = temporary();
    let log = options().open(dir.path()).unwrap();
    for n in 1..=3 {
        log.append(200, &[n; 40], Durability::Disk).unwrap();
    }
    let first = OpId::FIRST;
    let read = |view: &OplogView| {
        let found = view.get(first, ReadConcern::Durable);
        found.map(|entry| entry.payload() == [1; 40])
    };
    let before = OplogView::open(dir.path()).unwrap();
    assert!(read(&before).unwrap());
    // Through another descriptor: every map of the file shows it.
    flip(&segments(dir.path())[0], FRAMES_START + HEADER + 5);

    // The writer, whose frame it is, and a reader that has checked it once: outside the promise.
    assert!(!read(&log.view()).unwrap());
    assert!(!read(&before).unwrap());
    // A reader that comes later, as in another process, and `verify`.
    let after = OplogView::open(dir.path()).unwrap();
    let refused = read(&after);
    assert!(
        matches!(&refused, Err(Error::Corrupt { expected, .. }) if *expected == first),
        "{refused:?}"
    );
    assert_eq!(
        after.get(OpId::new(2), ReadConcern::Durable).unwrap().payload(),
        [2; 40]
    );
    assert!(!verify(dir.path()).unwrap().is_sound());
    log.close().unwrap();
    assert!(!verify(dir.path()).unwrap().is_sound());
}

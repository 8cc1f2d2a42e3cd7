//! Single entries, looked up at random and again and again, so that what a segment remembers of earlier look-ups is used.

use tailwater_oplog::{Durability, Error, OpId, Oplog, OplogView, Options, ReadConcern};

const KIND: u8 = 200;
const ENTRIES: u64 = 6_000;

/// Long and short ones in no order; some longer than what is remembered of a frame, and one of no bytes.
fn payload(n: u64) -> Vec<u8> {
    let bytes = match n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56 {
        0..2 => 9_000,
        2..20 => 2_050 + n % 7,
        _ if n == 77 => 0,
        length => 8 + length,
    };
    (0..bytes).map(|i| (n + i) as u8).collect()
}

fn filled(dir: &std::path::Path) -> Oplog {
    let options = Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    };
    let log = options.open(dir).unwrap();
    for n in 1..=ENTRIES {
        log.append(KIND, &payload(n), Durability::Memory).unwrap();
    }
    log.sync(OpId::new(ENTRIES)).unwrap();
    log
}

fn look_up_often(view: &OplogView) {
    // Every entry several times, in an order that jumps (the step has no factor in common with the number of entries).
    let mut n = 0;
    for _ in 0..4 * ENTRIES {
        n = (n + 2_741) % ENTRIES;
        let entry = view.get(OpId::new(n + 1), ReadConcern::Durable).unwrap();
        assert_eq!(entry.op_id(), OpId::new(n + 1));
        assert!(entry.payload() == payload(n + 1), "entry {}", n + 1);
    }
    let beyond = view.get(OpId::new(ENTRIES + 1), ReadConcern::Durable);
    assert!(matches!(beyond, Err(Error::Ahead { .. })), "{beyond:?}");
}

#[test]
fn an_entry_is_found_however_often_its_neighbours_were_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path());
    look_up_often(&log.view());
    // Another view, with maps of its own; and all segments but the newest sealed.
    look_up_often(&OplogView::open(dir.path()).unwrap());
    log.close().unwrap();
    look_up_often(&OplogView::open(dir.path()).unwrap());
}

#[test]
fn what_follows_a_segments_last_entry_is_found_in_the_next_segment() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).close().unwrap();
    let view = OplogView::open(dir.path()).unwrap();
    look_up_often(&view);
    // A cursor goes from each entry to its successor, also across the ends of segments.
    for n in (1..ENTRIES).step_by(97) {
        let mut cursor = view.cursor(OpId::new(n), ReadConcern::Durable).unwrap();
        for expected in [n, n + 1] {
            let entry = cursor.try_next().unwrap().expect("it is there");
            assert_eq!(
                (entry.op_id(), entry.payload()),
                (OpId::new(expected), &payload(expected)[..])
            );
        }
    }
}

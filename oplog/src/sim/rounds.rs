//! What a killed writer leaves in the log buffer: the frames of its last round, and behind them those of the round before.

use std::time::Duration;

use super::SimDisk;
use crate::ids::OpId;
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::view::ReadConcern;

const ENTRIES: u64 = 200;

fn open(disk: &SimDisk) -> Oplog {
    let options = Options {
        segment_bytes: 64 << 10,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    Oplog::on(Box::new(disk.clone()), &options).unwrap()
}

/// Of one length, so that each round's frames begin where the last one's did; and of several, so that they do not.
fn payload(op_id: u64, lengths: &[usize]) -> Vec<u8> {
    vec![op_id as u8; lengths[op_id as usize % lengths.len()]]
}

#[test]
fn frames_of_an_earlier_round_of_the_buffer_are_never_taken_for_new_ones() {
    let fits_a_round = [1024 - 40];
    for lengths in [&fits_a_round[..], &[1000, 40, 333, 2000]] {
        let disk = SimDisk::new();
        let log = open(&disk);
        let mut rounds = 0;
        for n in 1..=ENTRIES {
            log.append(200, &payload(n, lengths), Durability::Memory).unwrap();
            // Now and then all of it is moved, so that the buffer holds old frames only.
            if n % 7 == 0 {
                let _ = log.watermarks();
            }
            let capacity = log.view().shared.buffer().capacity();
            rounds = rounds.max(n * 1024 / capacity);
            let killed = disk.kill();
            let next = open(&killed);
            assert_eq!(next.watermarks().appended, OpId::new(n));
            for at in n.saturating_sub(20).max(1)..=n {
                let entry = next.view().get(OpId::new(at), ReadConcern::Local).unwrap();
                assert!(entry.payload() == payload(at, lengths), "entry {at} of {n}");
            }
        }
        assert!(rounds >= 3, "{rounds}");
    }
}

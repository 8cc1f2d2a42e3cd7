//! A disk that acknowledges syncs and does not write: what it lost cannot be had back, and never reads as something else.

use std::time::Duration;

use super::{Rng, SimDisk};
use crate::error::{ErrorKind, Result};
use crate::ids::OpId;
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::view::{OplogView, ReadConcern};

const KIND: u8 = 200;
const SEEDS: u64 = 400;

fn open(disk: &SimDisk) -> Result<Oplog> {
    let options = Options {
        segment_bytes: 16 << 10,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    Oplog::on(Box::new(disk.clone()), &options)
}

fn payload(op_id: OpId) -> Vec<u8> {
    vec![op_id.get() as u8; 100 + (op_id.get() as usize * 37) % 700]
}

fn append(log: &Oplog) -> OpId {
    let next = log.watermarks().appended.next();
    log.append(KIND, &payload(next), Durability::Disk).unwrap().last
}

/// How far a view reads, and whether an error says that something is missing there.
fn read(view: &OplogView) -> (OpId, bool) {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    loop {
        match cursor.try_next() {
            Ok(Some(entry)) => assert!(entry.payload() == payload(entry.op_id()), "{}", entry.op_id()),
            Ok(None) => return (cursor.position().previous(), false),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                return (cursor.position().previous(), true);
            }
        }
    }
}

#[test]
fn what_a_lying_disk_has_lost_is_a_shorter_log_or_an_error_by_name() {
    let (mut whole, mut shorter, mut told) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new();
        let log = open(&disk).unwrap();
        for _ in 0..rng.below(30) {
            append(&log);
        }
        disk.lie(rng.pick(&[10, 50, 90, 100]), seed);
        let mut last = log.watermarks().appended;
        for _ in 0..rng.below(60) + 1 {
            last = append(&log);
        }
        let crashed = disk.crash(&mut rng);
        drop(log);
        if let Ok(view) = OplogView::on(Box::new(crashed.clone())) {
            assert!(read(&view).0 <= last, "seed {seed}");
        }
        match open(&crashed) {
            Ok(log) => {
                let (found, is_told) = read(&log.view());
                let appended = log.watermarks().appended;
                match (is_told, appended == last) {
                    (true, _) => told += 1,
                    (false, true) => whole += 1,
                    (false, false) => shorter += 1,
                }
                assert!(is_told || found == appended, "seed {seed}");
                // It goes on from there, in a term that tells the lost entries from those that come in their place.
                assert_eq!(append(&log), appended.next(), "seed {seed}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "seed {seed}: {error:?}");
                told += 1;
            }
        }
    }
    assert!(
        [whole, shorter, told].iter().all(|&count| count > SEEDS / 50),
        "{whole}, {shorter}, {told}"
    );
}

//! Repairs on the simulated disk: power lost at each of their operations, and again while the repair is done once more.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{File, Rng, SimDisk};
use crate::disk::Disk;
use crate::error::Error;
use crate::format::{BUFFER, FRAMES_START, FileName, LOCK, MANIFEST, TAIL, parse_name};
use crate::ids::OpId;
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::repair::{Keep, apply_on, plan_on};
use crate::verify::verify_on;
use crate::view::ReadConcern;

const KIND: u8 = 200;
/// Entries in a segment.
const FIT: u64 = 8;
const LAST: OpId = OpId::new(5 * FIT);

fn options() -> Options {
    Options {
        segment_bytes: 16 << 10,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    }
}

fn payload(op_id: OpId) -> Vec<u8> {
    vec![op_id.get() as u8 | 1; 1400]
}

/// A damaged log on a disk where everything is durable, and what is wrong with it.
fn damaged(harm: fn(&mut super::State)) -> SimDisk {
    let disk = SimDisk::new();
    let log = Oplog::on(Box::new(disk.clone()), &options()).unwrap();
    for n in 1..=LAST.get() {
        log.append(KIND, &payload(OpId::new(n)), Durability::Memory).unwrap();
    }
    log.close().unwrap();
    let disk = disk.crash_to_durable();
    harm(&mut disk.state());
    disk.crash_to_durable()
}

fn segment(state: &super::State, sequence: u64) -> String {
    let named = |name: &&String| matches!(parse_name(name), FileName::Segment(found, _) if found.0 == sequence);
    state.names.keys().find(named).unwrap().clone()
}

fn flip(state: &mut super::State, name: &str, at: usize) {
    let file = state.file(name).unwrap();
    let mut bytes = file.bytes();
    bytes[at] ^= 16;
    *file = File::new(bytes.clone(), bytes);
}

fn remove(state: &mut super::State, name: &str) {
    state.names.remove(name);
    state.durable_names.remove(name);
}

/// Damage, and what stays after it with each choice.
type Case = (&'static str, fn(&mut super::State), (u64, u64), (u64, u64));

const CASES: [Case; 3] = [
    (
        "an entry in the middle",
        |state| {
            let name = segment(state, 3);
            flip(state, &name, FRAMES_START + 2 * 1440 + 100);
        },
        (1, 2 * FIT + 2),
        (2 * FIT + 4, 5 * FIT),
    ),
    (
        "a missing segment",
        |state| {
            let name = segment(state, 2);
            remove(state, &name);
        },
        (1, FIT),
        (2 * FIT + 1, 5 * FIT),
    ),
    (
        "the manifest, and an entry of the oldest segment",
        |state| {
            let name = segment(state, 1);
            flip(state, &name, FRAMES_START + 4 * 1440 + 100);
            flip(state, MANIFEST, 40);
        },
        (1, 4),
        (6, 5 * FIT),
    ),
];

/// Every file's contents, wherever it is.
fn contents(disk: &SimDisk) -> BTreeSet<Vec<u8>> {
    let state = disk.state();
    state.names.values().map(|inode| state.files[inode].bytes()).collect()
}

/// The log holds just these entries, and can be written.
fn holds(disk: &SimDisk, (from, to): (u64, u64), case: &str) {
    let report = verify_on(disk).unwrap();
    assert!(report.is_sound(), "{case}: {:?}", report.findings);
    let log = Oplog::on(Box::new(disk.clone()), &options()).unwrap();
    let mut cursor = log.view().cursor_from_oldest(ReadConcern::Local);
    for n in from..=to {
        let entry = cursor
            .try_next()
            .unwrap()
            .unwrap_or_else(|| panic!("{case}: no entry {n}"));
        assert_eq!(
            (entry.op_id(), entry.payload()),
            (OpId::new(n), &payload(OpId::new(n))[..]),
            "{case}"
        );
    }
    assert!(cursor.try_next().unwrap().is_none(), "{case}");
    let next = log.append(KIND, b"more", Durability::Disk).unwrap().first;
    assert_eq!(next, OpId::new(to + 1), "{case}");
}

/// Repairs until no power loss interrupts it.
fn repair(mut disk: SimDisk, keep: Keep, rng: &mut Rng, mut after: u64) -> (SimDisk, u64) {
    let mut losses = 0;
    loop {
        disk.lose_power_after(after, rng.next());
        let done = plan_on(&disk, keep).and_then(|plan| apply_on(&disk, &plan));
        let Some(crashed) = disk.after_power_loss() else {
            done.unwrap();
            disk.heal();
            return (disk, losses);
        };
        assert!(matches!(done, Ok(_) | Err(Error::Io { .. })), "{done:?}");
        losses += 1;
        disk = crashed;
        after = rng.below(40) + losses;
    }
}

#[test]
fn power_loss_at_any_operation_of_a_repair_loses_nothing() {
    let mut losses = 0;
    for (name, harm, prefix, suffix) in CASES {
        for (keep, kept) in [(Keep::Prefix, prefix), (Keep::Suffix, suffix)] {
            for operation in 0..60 {
                for seed in 0..3 {
                    let case = format!("{name}, {keep:?}, operation {operation}, seed {seed}");
                    let disk = damaged(harm);
                    let before = contents(&disk);
                    let (disk, interruptions) = repair(disk, keep, &mut Rng::new(seed), operation);
                    losses += interruptions;
                    let after = contents(&disk);
                    assert!(before.is_subset(&after), "{case}: a file is gone");
                    // Nor does the next power loss take any of it back.
                    holds(&disk.crash(&mut Rng::new(seed)), kept, &case);
                }
            }
        }
    }
    assert!(losses > 500, "{losses} power losses");
}

/// Between the removal of the manifest and its return, nobody opens the log; before and after, what is there is whole.
#[test]
fn an_interrupted_repair_leaves_the_log_as_it_was_or_closed() {
    let (_, harm, kept, _) = CASES[1];
    let (mut as_it_was, mut closed, mut done) = (0, 0, 0);
    for operation in 0..80 {
        let disk = damaged(harm);
        let names = disk.names().unwrap();
        disk.lose_power_after(operation, operation);
        let _ = plan_on(&disk, Keep::Prefix).and_then(|plan| apply_on(&disk, &plan));
        let Some(crashed) = disk.after_power_loss() else { break };
        let left = crashed.names().unwrap();
        match Oplog::on(Box::new(crashed.clone()), &options()) {
            Err(Error::MissingSegment { .. }) => {
                let of_the_log = |name: &String| ![LOCK, TAIL, BUFFER].contains(&name.as_str());
                let gone: Vec<_> = names
                    .iter()
                    .filter(|name| of_the_log(name) && !left.contains(name))
                    .collect();
                assert!(gone.is_empty(), "operation {operation}: {gone:?}");
                as_it_was += 1;
            }
            Err(Error::NotALog { .. }) => closed += 1,
            Err(error) => panic!("operation {operation}: {error:?}"),
            Ok(log) => {
                drop(log);
                assert_eq!(verify_on(&crashed).unwrap().newest, OpId::new(kept.1));
                done += 1;
            }
        }
    }
    assert!(as_it_was > 0 && closed > 0 && done > 0, "{as_it_was}, {closed}, {done}");
}

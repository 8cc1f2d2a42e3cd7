//! Every short schedule, and all that power loss may leave behind it: each sector that was not synced old, new, or cut in the
//! middle, independently, with each prefix of the changed names.

use std::collections::HashMap;
use std::time::Duration;

use super::image::{File, SECTOR};
use super::{SimDisk, State};
use crate::format::{BUFFER, TAIL};
use crate::ids::OpId;
use crate::oplog::{Oplog, Record};
use crate::options::{Durability, Options};
use crate::view::ReadConcern;

const KIND: u8 = 200;
const LENGTH_MAX: u32 = 4;

impl SimDisk {
    /// Calls `act` with every disk that power loss may leave now, and says how many there are. What no open looks at after a
    /// reboot (the tail page and the log buffer) is there as it was.
    fn each_crash(&self, mut act: impl FnMut(SimDisk)) -> u64 {
        let state = self.state();
        let mut crashes = 0;
        for kept in 0..=state.changes.len() {
            let mut names = state.durable_names.clone();
            state.changes[..kept].iter().for_each(|change| change.apply(&mut names));
            let currents: HashMap<_, _> = names
                .values()
                .map(|&inode| (inode, state.files[&inode].bytes()))
                .collect();
            let dirty: Vec<_> = names
                .iter()
                .filter(|(name, _)| ![TAIL, BUFFER].contains(&name.as_str()))
                .flat_map(|(_, &inode)| {
                    let sectors = state.files[&inode].dirty(&currents[&inode]);
                    sectors.into_iter().map(move |sector| (inode, sector))
                })
                .collect();
            assert!(dirty.len() < 10, "{} dirty sectors are too many to try", dirty.len());
            for choice in 0..3_u32.pow(dirty.len() as u32) {
                let mut bytes: HashMap<_, _> = names
                    .iter()
                    .map(|(name, &inode)| {
                        let mut bytes = currents[&inode].clone();
                        if ![TAIL, BUFFER].contains(&name.as_str()) {
                            let durable = &state.files[&inode].durable;
                            let known = durable.len().min(bytes.len());
                            bytes[..known].copy_from_slice(&durable[..known]);
                            bytes[known..].fill(0);
                        }
                        (inode, bytes)
                    })
                    .collect();
                for (i, (inode, sector)) in dirty.iter().enumerate() {
                    let written = match choice / 3_u32.pow(i as u32) % 3 {
                        0 => 0,
                        1 => sector.len(),
                        // A frame begins and ends anywhere; a slot's record lies within.
                        _ => sector.len().min(SECTOR / 2 + 12),
                    };
                    let written = sector.start..sector.start + written;
                    let file = bytes.get_mut(inode).expect("it has a name");
                    file[written.clone()].copy_from_slice(&currents[inode][written]);
                }
                let files = bytes.into_iter().map(|(inode, b)| (inode, File::new(b.clone(), b)));
                let left = State {
                    files: files.collect(),
                    durable_names: names.clone(),
                    names: names.clone(),
                    next_inode: state.next_inode,
                    ..State::default()
                };
                act(SimDisk::with(left, self.boot + 1));
                crashes += 1;
            }
        }
        crashes
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Memory,
    /// Of two.
    Batch,
    Disk,
}

fn options() -> Options {
    Options {
        segment_bytes: 16 << 10,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    }
}

fn payload(op_id: u64) -> Vec<u8> {
    (0..150 + op_id * 17 % 60).map(|i| (op_id * 31 + i) as u8).collect()
}

/// The log after `acts`, each behind the other; what was acknowledged as durable; and where batches end.
fn run(disk: &SimDisk, acts: &[Act]) -> (Oplog, u64, Vec<u64>) {
    let log = Oplog::on(Box::new(disk.clone()), &options()).unwrap();
    let (mut acknowledged, mut ends, mut next) = (0, vec![0], 1);
    for act in acts {
        let (count, durability) = match act {
            Act::Memory => (1, Durability::Memory),
            Act::Batch => (2, Durability::Memory),
            Act::Disk => (1, Durability::Disk),
        };
        let payloads: Vec<_> = (next..next + count).map(payload).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_slice()]).collect();
        let records: Vec<_> = pieces.iter().map(|payload| Record { kind: KIND, payload }).collect();
        next = log.append_batch(&records, durability).unwrap().last.get() + 1;
        if let Act::Disk = act {
            acknowledged = next - 1;
        }
        ends.push(next - 1);
    }
    // Into the segment, where power loss can take it.
    assert_eq!(log.watermarks().appended.get(), next - 1);
    (log, acknowledged, ends)
}

#[test]
fn no_crash_behind_a_short_schedule_loses_what_was_acknowledged() {
    let (mut crashes, mut lost) = (0, 0);
    for length in 1..=LENGTH_MAX {
        for number in 0..3_u32.pow(length) {
            let act = |i| [Act::Memory, Act::Batch, Act::Disk][(number / 3_u32.pow(i) % 3) as usize];
            let acts: Vec<_> = (0..length).map(act).collect();
            let disk = SimDisk::new();
            let (log, acknowledged, ends) = run(&disk, &acts);
            let all = ends.last().copied().unwrap_or(0);
            crashes += disk.each_crash(|left| {
                let found = Oplog::on(Box::new(left), &options()).unwrap_or_else(|e| panic!("{acts:?}: {e:?}"));
                let last = found.watermarks().appended.get();
                assert!(
                    (acknowledged..=all).contains(&last),
                    "{acts:?}: {last} of {acknowledged}"
                );
                assert!(ends.contains(&last), "{acts:?}: half a batch, up to {last}");
                for op_id in 1..=last {
                    let entry = found.view().get(OpId::new(op_id), ReadConcern::Local).unwrap();
                    assert!(entry.payload() == payload(op_id), "{acts:?}: entry {op_id}");
                }
                lost += u64::from(last < all);
            });
            drop(log);
        }
    }
    assert!(
        crashes > 1_000 && lost > 300,
        "{crashes} crashes, {lost} that took something"
    );
}

//! What a schedule does to a log that is open: one of these after the other, as its seed says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rustix::io::Errno;

use super::super::Rng;
use super::{Held, World, Written, appended};
use crate::error::ErrorKind;
use crate::ids::OpId;
use crate::oplog::{Oplog, Record};
use crate::options::Durability;
use crate::slots::{SlotOptions, SlotState};
use crate::view::ReadConcern;

impl World {
    pub(super) fn act(&mut self, log: &Oplog) {
        match self.rng.below(100) {
            0..60 => self.append(log),
            60..65 => {
                self.sync_beside_appends(log);
                self.settle(log);
            }
            65..70 => {
                let appended = appended(log);
                self.append_meanwhile(log);
                if log.sync(appended).is_ok() {
                    self.acknowledged = self.acknowledged.max(appended.get());
                }
                self.settle(log);
            }
            70..76 => self.trim(log),
            76..84 => self.read(log),
            84..90 => {
                let seed = self.rng.next();
                self.disk.lose_power_after(self.rng.below(12), seed);
            }
            90..93 => self.disk.fill_up(self.rng.below(2), self.rng.clone().percent(30)),
            93 if self.rng.percent(30) => self.disk.fail_write(self.rng.below(8), self.rng.clone().percent(30)),
            93 if self.rng.percent(50) => self.disk.fail_rename(),
            93 => self.fail_operation(12),
            94 if self.rng.percent(30) => self.disk.fail_sync(self.rng.below(3), self.rng.clone().percent(30)),
            94 => self.append_beside_a_sync(log),
            95 => self.disk.heal_space(),
            96..98 => self.hold(log),
            // Lets the log's threads come in between.
            _ => std::thread::yield_now(),
        }
    }

    pub(super) fn append(&mut self, log: &Oplog) {
        let count = if self.rng.percent(25) { self.rng.below(5) + 2 } else { 1 };
        let bytes_max = self.rng.pick(&[1, 40, 40, 300, 300, 1500]);
        let first = appended(log).get() as usize;
        assert_eq!(first, self.model.len(), "schedule {}", self.seed);
        for i in 1..=count {
            self.write(bytes_max, i == count);
        }
        let payloads: Vec<_> = self.model[first..].iter().map(Written::payload).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_slice()]).collect();
        let kinds = self.model[first..].iter().map(Written::kind);
        let records: Vec<_> = kinds
            .zip(&pieces)
            .map(|(kind, payload)| Record { kind, payload })
            .collect();
        let durability = if self.rng.percent(30) {
            Durability::Disk
        } else {
            Durability::Memory
        };
        if durability == Durability::Disk {
            self.append_meanwhile(log);
        }
        if let Ok(outcome) = log.append_batch(&records, durability) {
            assert_eq!(outcome.first.get(), first as u64 + 1, "schedule {}", self.seed);
            if durability == Durability::Disk {
                self.acknowledged = outcome.last.get();
            }
        }
        self.settle(log);
    }

    /// Has entries appended in the middle of the next sync, as other threads might; so many now and then that the log rolls
    /// meanwhile.
    fn append_meanwhile(&mut self, log: &Oplog) {
        if self.rng.percent(60) {
            return;
        }
        let entries = self.write_some();
        let log = log.clone();
        self.disk.meanwhile(move || append_all(&log, &entries));
    }

    /// Syncs, while another thread appends from when the leader moves the log buffer on.
    fn sync_beside_appends(&mut self, log: &Oplog) {
        let entries = self.write_some();
        let appended = appended(log);
        let (begin, begins) = mpsc::channel::<()>();
        self.disk.behind_write(move || drop(begin));
        let synced = std::thread::scope(|scope| {
            scope.spawn(move || {
                // Also when there was nothing to move.
                let _ = begins.recv();
                append_all(log, &entries);
            });
            let synced = log.sync(appended);
            self.disk.nothing_meanwhile();
            synced
        });
        if synced.is_ok() {
            self.acknowledged = self.acknowledged.max(appended.get());
        }
    }

    /// Appends, while another thread syncs again and again.
    fn append_beside_a_sync(&mut self, log: &Oplog) {
        let done = AtomicBool::new(false);
        let acknowledged = std::thread::scope(|scope| {
            let syncer = scope.spawn(|| {
                let mut acknowledged = 0;
                while !done.load(Ordering::SeqCst) {
                    let appended = appended(log);
                    if log.sync(appended).is_ok() {
                        acknowledged = appended.get();
                    }
                    std::thread::yield_now();
                }
                acknowledged
            });
            for _ in 0..self.rng.below(12) + 1 {
                self.append(log);
            }
            done.store(true, Ordering::SeqCst);
            syncer.join().unwrap()
        });
        self.acknowledged = self.acknowledged.max(acknowledged);
    }

    /// What is about to be appended in the middle of something.
    fn write_some(&mut self) -> Vec<Written> {
        let (count, bytes_max) = self.rng.pick(&[(1, 300), (1, 300), (4, 1500), (16, 1500)]);
        (0..count).map(|_| self.write(bytes_max, true)).collect()
    }

    /// Has an operation fail, among so many that come next.
    pub(super) fn fail_operation(&mut self, among: u64) {
        let owner = self.rng.percent(70);
        let error = self.rng.pick(&[Errno::IO, Errno::NOSPC]);
        self.disk.fail_operation(self.rng.below(among), owner, error);
    }

    /// An entry that is about to be appended.
    fn write(&mut self, bytes_max: u64, ends_batch: bool) -> Written {
        let written = Written {
            seed: self.rng.next(),
            bytes: self.rng.below(bytes_max) as usize,
            ends_batch,
        };
        self.model.push(written);
        written
    }

    /// After an append or a sync: the model keeps what was appended, whether it was acknowledged or not.
    pub(super) fn settle(&mut self, log: &Oplog) {
        self.disk.nothing_meanwhile();
        self.model.truncate(appended(log).get() as usize);
    }

    fn trim(&mut self, log: &Oplog) {
        let before = OpId::new(self.rng.below(self.model.len() as u64 + 2));
        let durable = log.watermarks().durable;
        match log.trim(before) {
            Ok(oldest) => {
                assert!(
                    oldest <= durable.next() || oldest <= log.watermarks().durable.next(),
                    "schedule {}",
                    self.seed
                );
                assert!(
                    self.held.is_none_or(|held| oldest <= held.high),
                    "schedule {}: {oldest} of {:?}",
                    self.seed,
                    self.held
                );
                // The mark of an earlier one that failed may be on the disk all the same.
                self.oldest = [oldest, oldest.max(self.oldest[1])];
            }
            Err(_) => {
                // Where it would have got to: the mark moves before the files go.
                let chain = log.view().shared.chain.load_full();
                let held = self.held.map_or(before, |held| held.high);
                let before = before.min(held).min(log.watermarks().durable.next());
                let reached = chain
                    .links()
                    .iter()
                    .rev()
                    .map(|link| link.first)
                    .find(|&first| first <= before);
                self.oldest[1] = reached.unwrap_or(self.oldest[0]).max(self.oldest[0]);
            }
        }
    }

    fn read(&mut self, log: &Oplog) {
        let marks = log.watermarks();
        if marks.oldest > marks.appended {
            return;
        }
        let op_id = marks.oldest.get() + self.rng.below(marks.appended.get() - marks.oldest.get() + 1);
        match log.view().get(OpId::new(op_id), ReadConcern::Local) {
            Ok(entry) => self.check_entry(&entry.entry(), op_id),
            Err(error) => {
                let failed = self.disk.has_operation_failed() && error.kind() == ErrorKind::Environment;
                assert!(failed, "schedule {}: reading {op_id}: {error:?}", self.seed);
            }
        }
    }

    pub(super) fn check_slot(&mut self, log: &Oplog) {
        let found = log.slots().pop();
        if std::mem::take(&mut self.doubtful) {
            self.held = found
                .filter(|found| found.state == SlotState::Active)
                .map(|found| Held {
                    low: found.position,
                    high: found.position,
                    surely: true,
                });
            return;
        }
        match (found, &mut self.held) {
            (Some(found), Some(held)) => {
                let sound = found.state == SlotState::Active
                    && (held.low..=held.high).contains(&found.position)
                    && found.position >= log.watermarks().oldest;
                assert!(sound, "schedule {}: {found:?} of {held:?}", self.seed);
                *held = Held {
                    low: found.position,
                    high: found.position,
                    surely: true,
                };
            }
            (Some(found), None) => panic!("schedule {}: {found:?} was dropped", self.seed),
            (None, held) => {
                assert!(
                    !held.is_some_and(|held| held.surely),
                    "schedule {}: {held:?}",
                    self.seed
                );
                *held = None;
            }
        }
    }

    /// Creates the slot, advances it, or drops it.
    fn hold(&mut self, log: &Oplog) {
        let (oldest, next) = (log.view().shared.oldest(), appended(log).next());
        let random = |rng: &mut Rng, from: OpId| OpId::new(from.get() + rng.below(next.get() - from.get() + 1));
        let Some(held) = self.held else {
            let from = random(&mut self.rng, oldest);
            let written = from.min(log.view().newest(ReadConcern::Durable).next());
            let options = SlotOptions {
                max_lag_bytes: u64::MAX,
            };
            let created = log.slot_create("consumer", from, options).is_ok();
            let lost = self.disk.after_power_loss().is_some();
            self.doubtful |= !created && !lost;
            if created || lost {
                self.held = Some(Held {
                    low: written,
                    high: from,
                    surely: created,
                });
            }
            return;
        };
        if self.rng.percent(20) {
            match log.slot_drop("consumer") {
                Ok(()) => self.held = None,
                Err(_) => {
                    let surely = self.disk.after_power_loss().is_none();
                    self.doubtful |= surely;
                    self.held = Some(Held { surely, ..held });
                }
            }
            return;
        }
        let to = random(&mut self.rng, held.high);
        let durability = self
            .rng
            .pick(&[Durability::Memory, Durability::Memory, Durability::Disk]);
        let written = log.slot_advance("consumer", to, durability).is_ok() && durability == Durability::Disk;
        let low = if written { to } else { held.low };
        self.held = Some(Held { low, high: to, ..held });
    }
}

/// Appends them until one is refused: what comes behind that is not in the model's order.
fn append_all(log: &Oplog, entries: &[Written]) {
    let append = |entry: &Written| log.append(entry.kind(), &entry.payload(), Durability::Memory).is_ok();
    let _ = entries.iter().all(append);
}

//! Retention and its slots on the simulated disk: what power loss leaves of them at each operation.

use std::time::Duration;

use super::{Rng, SimDisk};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{MANIFEST, Manifest, encode_checked};
use crate::frame::crc32;
use crate::ids::{OpId, Timestamp, injected};
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::retention::{Pace, Retention};
use crate::slot_file::{RETENTION, RETENTION_SLOTS_MAX};
use crate::slots::{RetentionSlot, SlotOptions, SlotState};
use crate::view::{ReadConcern, read_manifest};

const KIND: u8 = 200;
const SEGMENT: u64 = 16 << 10;
/// Entries in a segment.
const FIT: u64 = 8;
const WIDE: SlotOptions = SlotOptions {
    max_lag_bytes: u64::MAX,
};

fn open(disk: &SimDisk, retention: Retention) -> Result<Oplog> {
    let options = Options {
        segment_bytes: SEGMENT,
        sync_interval: Duration::from_secs(3600),
        retention,
        ..Options::default()
    };
    Oplog::on(Box::new(disk.clone()), &options)
}

fn bytes(max_bytes: u64) -> Retention {
    Retention {
        max_bytes: Some(max_bytes),
        ..Retention::default()
    }
}

fn payload(op_id: OpId) -> Vec<u8> {
    vec![op_id.get() as u8; 1400]
}

/// Appends `count` entries, of which the last is synced.
fn fill(log: &Oplog, count: u64) -> OpId {
    let mut last = OpId::ZERO;
    for _ in 0..count {
        let next = log.core().tail().accepted().next();
        last = log.append(KIND, &payload(next), Durability::Memory).unwrap().last;
    }
    log.sync(last).unwrap();
    last
}

/// What the housekeeping thread does. It may be doing so as well.
fn retain(log: &Oplog) {
    log.core().retain().unwrap();
    log.core().remove_forgotten().unwrap();
}

fn slot(log: &Oplog, name: &str) -> Option<RetentionSlot> {
    log.slots().into_iter().find(|slot| slot.name == name)
}

/// Reads from `from` to the end without a gap.
fn check_from(log: &Oplog, from: OpId) {
    let mut cursor = log.view().cursor(from, ReadConcern::Durable).unwrap();
    let mut next = from;
    while let Some(entry) = cursor.try_next().unwrap() {
        assert_eq!(entry.op_id(), next);
        assert_eq!(entry.payload(), payload(next));
        next = next.next();
    }
    assert_eq!(next, log.watermarks().durable.next());
}

/// What a consumer knows of its slot: between which positions it may be found, and whether it may be missing.
#[derive(Clone, Copy, Debug)]
struct Known {
    low: OpId,
    high: OpId,
    surely: bool,
}

/// Uses two slots and trims, until an error comes. Returns what is known of the slots `a` and `b`.
fn use_slots(log: &Oplog) -> [Option<Known>; 2] {
    let (mut a, mut b) = (None, None);
    let act = |a: &mut Option<Known>, b: &mut Option<Known>| -> Result<()> {
        let known = |from| Known {
            low: OpId::new(from),
            high: OpId::new(from),
            surely: false,
        };
        *a = Some(known(1));
        log.slot_create("a", OpId::new(1), WIDE)?;
        a.as_mut().unwrap().surely = true;
        assert_eq!(log.trim(OpId::new(1000))?, OpId::new(1), "the slot holds it");
        *b = Some(known(3 * FIT));
        log.slot_create("b", OpId::new(3 * FIT), WIDE)?;
        b.as_mut().unwrap().surely = true;
        a.as_mut().unwrap().high = OpId::new(2 * FIT + 2);
        log.slot_advance("a", OpId::new(2 * FIT + 2), Durability::Memory)?;
        log.trim(OpId::new(1000))?;
        log.core().retain()?;
        log.core().remove_forgotten()?;
        a.as_mut().unwrap().high = OpId::new(5 * FIT);
        log.slot_advance("a", OpId::new(5 * FIT), Durability::Disk)?;
        a.as_mut().unwrap().low = OpId::new(5 * FIT);
        log.trim(OpId::new(1000))?;
        b.as_mut().unwrap().surely = false;
        log.slot_drop("b")?;
        *b = None;
        log.core().retain()?;
        log.core().remove_forgotten()?;
        Ok(())
    };
    let done = act(&mut a, &mut b);
    assert!(
        matches!(done, Ok(()) | Err(Error::Io { .. } | Error::Poisoned { .. })),
        "{done:?}"
    );
    [a, b]
}

#[test]
fn power_loss_at_any_operation_leaves_what_the_slots_need() {
    let mut losses = 0;
    for operation in 0..80 {
        for seed in 0..12 {
            let disk = SimDisk::new();
            // Without a limit, so that the log's own threads do not run ahead of the test.
            let log = open(&disk, Retention::default()).unwrap();
            let last = fill(&log, 7 * FIT);
            disk.lose_power_after(operation, seed);
            let known = use_slots(&log);
            let crashed = match disk.after_power_loss() {
                Some(crashed) => {
                    losses += 1;
                    crashed
                }
                None => disk.crash(&mut Rng::new(seed)),
            };
            drop(log);
            let again = open(&crashed, bytes(0)).unwrap_or_else(|e| panic!("operation {operation}, {seed}: {e:?}"));
            let case = format!("operation {operation}, seed {seed}, {known:?}, {:?}", again.slots());
            again.sync(last).unwrap();
            retain(&again);
            assert_eq!(again.watermarks().appended, last, "{case}");
            check_from(&again, again.watermarks().oldest);
            for (name, known) in ["a", "b"].into_iter().zip(known) {
                let (Some(slot), Some(known)) = (slot(&again, name), known) else {
                    assert!(known.is_none_or(|known| !known.surely), "{case}: {name} is gone");
                    continue;
                };
                assert_eq!(slot.state, SlotState::Active, "{case}");
                assert!((known.low..=known.high).contains(&slot.position), "{case}");
                check_from(&again, slot.position);
            }
        }
    }
    assert!(losses > 200, "{losses} power losses");
}

#[test]
fn bytes_are_brought_down_and_the_newest_durable_entry_stays() {
    let disk = SimDisk::new();
    let log = open(&disk, bytes(3 * SEGMENT)).unwrap();
    let last = fill(&log, 10 * FIT);
    retain(&log);
    let left = log.view().shared.chain.load().links().len();
    assert!((2..=3).contains(&left), "{left} segments");
    check_from(&log, log.watermarks().oldest);
    log.close().unwrap();

    let log = open(&disk, bytes(0)).unwrap();
    retain(&log);
    let marks = log.watermarks();
    assert!(
        marks.oldest <= last && marks.oldest.get() + FIT > last.get(),
        "{marks:?}"
    );
    check_from(&log, marks.oldest);
}

/// The newest segment of a log may hold nothing, after power loss or between a roll and a sync.
#[test]
fn retention_keeps_the_newest_durable_entry_though_a_segment_follows_it() {
    let disk = SimDisk::new();
    let log = open(&disk, bytes(0)).unwrap();
    let mut last = OpId::ZERO;
    while log.view().shared.chain.load().links().len() == 1 {
        log.sync(last).unwrap();
        last = last.next();
        log.append(KIND, &payload(last), Durability::Memory).unwrap();
    }
    retain(&log);
    let durable = last.previous();
    log.view().get(durable, ReadConcern::Durable).unwrap();
    let mut empty = 0;
    for seed in 0..50 {
        let log = open(&disk.crash(&mut Rng::new(seed)), bytes(0)).unwrap();
        let newest = log.view().shared.chain.load().newest().unwrap().first;
        empty += u64::from(newest == last && log.watermarks().appended == durable);
        log.sync(log.watermarks().appended).unwrap();
        retain(&log);
        let newest = log.watermarks().durable;
        assert!(newest >= durable);
        log.view().get(newest, ReadConcern::Durable).unwrap();
    }
    assert!(empty > 0, "no crash left an empty segment");
}

#[test]
fn an_old_segment_goes_when_its_last_entry_is_of_age() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    fill(&log, 4 * FIT);
    std::thread::sleep(Duration::from_millis(20));
    log.close().unwrap();
    let age = |max_age| Retention {
        max_age: Some(max_age),
        ..Retention::default()
    };
    let log = open(&disk, age(Duration::from_secs(3600))).unwrap();
    let pace = log.core().retain().unwrap();
    assert!(
        matches!(pace, Pace::After(wait) if wait > Duration::from_secs(3000) && wait < Duration::from_secs(3600)),
        "{pace:?}"
    );
    assert_eq!(log.watermarks().oldest, OpId::FIRST);
    log.close().unwrap();
    let log = open(&disk, age(Duration::from_millis(20))).unwrap();
    retain(&log);
    let newest = log.view().shared.chain.load().newest().unwrap().first;
    assert_eq!(log.watermarks().oldest, newest);
    check_from(&log, newest);
}

#[test]
fn a_slot_that_lags_too_much_is_lost_and_stays_so() {
    let disk = SimDisk::new();
    let log = open(&disk, bytes(0)).unwrap();
    let capped = SlotOptions {
        max_lag_bytes: 3 * SEGMENT,
    };
    log.slot_create("slow", OpId::FIRST, capped).unwrap();
    fill(&log, 3 * FIT);
    retain(&log);
    assert_eq!(slot(&log, "slow").unwrap().state, SlotState::Active);
    check_from(&log, OpId::FIRST);
    let last = fill(&log, 3 * FIT);
    retain(&log);
    let lost = slot(&log, "slow").unwrap();
    assert_eq!((lost.state, lost.position), (SlotState::Lost, OpId::FIRST));
    assert!(log.watermarks().oldest > OpId::FIRST, "it holds nothing any more");
    let disk = disk.crash_to_durable();
    drop(log);

    let log = open(&disk, bytes(0)).unwrap();
    assert_eq!(slot(&log, "slow").unwrap().state, SlotState::Lost);
    for durability in [Durability::Memory, Durability::Disk] {
        let refused = log.slot_advance("slow", last, durability).unwrap_err();
        assert!(
            matches!(&refused, Error::SlotLost { name, .. } if name == "slow"),
            "{refused:?}"
        );
    }
    assert!(matches!(
        log.slot_create("slow", OpId::FIRST, capped),
        Err(Error::HistoryLost { .. })
    ));
    log.slot_create("slow", last, capped).unwrap();
    assert_eq!(
        log.slot_advance("slow", last.next(), Durability::Disk).unwrap(),
        last.next()
    );
}

#[test]
fn a_position_is_written_no_further_than_the_log_is_durable() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    let durable = fill(&log, 3);
    log.slot_create("a", OpId::FIRST, WIDE).unwrap();
    log.append(KIND, &payload(OpId::new(4)), Durability::Memory).unwrap();
    let behind = OpId::new(5);
    assert_eq!(log.slot_advance("a", behind, Durability::Memory).unwrap(), behind);
    assert!(matches!(
        log.slot_advance("a", behind.next(), Durability::Memory),
        Err(Error::Ahead { .. })
    ));
    // Has the file written.
    log.slot_create("b", behind, WIDE).unwrap();
    let crashed = disk.crash_to_durable();
    let file = crashed.read(RETENTION).unwrap().unwrap();
    assert_eq!(file[44..52], durable.next().get().to_le_bytes());
    let log_after = open(&crashed, Retention::default()).unwrap();
    for name in ["a", "b"] {
        assert_eq!(slot(&log_after, name).unwrap().position, durable.next());
    }
    // With `Disk`, the log is synced first.
    log.slot_advance("a", behind, Durability::Disk).unwrap();
    let crashed = disk.crash_to_durable();
    drop(log);
    let log = open(&crashed, Retention::default()).unwrap();
    assert_eq!(slot(&log, "a").unwrap().position, behind);
    assert_eq!(
        log.slot_advance("a", OpId::FIRST, Durability::Disk).unwrap(),
        behind,
        "never back"
    );
}

#[test]
fn every_flipped_bit_of_the_slots_is_refused_and_without_them_the_log_opens() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    fill(&log, 3);
    log.slot_create("one", OpId::new(2), WIDE).unwrap();
    log.slot_create("another", OpId::new(3), WIDE).unwrap();
    log.close().unwrap();
    let good = disk.read(RETENTION).unwrap().unwrap();
    let body = u32::from_le_bytes(good[12..16].try_into().unwrap()) as usize;
    for bit in 0..(16 + body) * 8 {
        disk.edit(RETENTION, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let refused = open(&disk, Retention::default()).unwrap_err();
        assert!(
            matches!(&refused, Error::DamagedMetadata { path, .. } if path.ends_with(RETENTION)),
            "bit {bit}: {refused:?}"
        );
        disk.edit(RETENTION, |bytes| bytes.clone_from(&good));
    }
    assert_eq!(open(&disk, Retention::default()).unwrap().slots().len(), 2);
    disk.remove(RETENTION).unwrap();
    assert!(open(&disk, Retention::default()).unwrap().slots().is_empty());
}

#[test]
fn slots_of_another_log_or_of_a_newer_release_are_refused() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    log.slot_create("one", OpId::FIRST, WIDE).unwrap();
    log.close().unwrap();
    let good = disk.read(RETENTION).unwrap().unwrap();
    let change = |at: usize| {
        disk.edit(RETENTION, |bytes| {
            bytes.clone_from(&good);
            bytes[at] ^= 2;
            let body = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
            let crc = crc32(0, &bytes[12..16 + body]);
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        });
        open(&disk, Retention::default()).unwrap_err()
    };
    assert!(matches!(change(16), Error::NewerFormat { found: 3, .. }));
    // Log id, number of slots, whether it is lost, length of its name.
    for at in [20, 36, 60, 61] {
        let refused = change(at);
        assert!(matches!(refused, Error::DamagedMetadata { .. }), "{at}: {refused:?}");
    }
}

/// A release that does not know slots may have trimmed, or an old manifest and an old end been restored.
#[test]
fn slots_are_fitted_to_the_log_that_is_found() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    let last = fill(&log, 4 * FIT);
    log.slot_create("overtaken", OpId::FIRST, WIDE).unwrap();
    log.slot_create("ahead", last.next(), WIDE).unwrap();
    let second = log.view().shared.chain.load().links()[1].first;
    log.close().unwrap();
    let manifest = Manifest {
        first_sequence: 2,
        first_op_id: second.get(),
        ..read_manifest(&disk).unwrap()
    };
    disk.replace(MANIFEST, &encode_checked(&manifest, 0)).unwrap();
    let log = open(&disk, Retention::default()).unwrap();
    assert_eq!(slot(&log, "overtaken").unwrap().state, SlotState::Lost);
    assert_eq!(slot(&log, "ahead").unwrap().position, last.next());
    log.close().unwrap();
    disk.edit(RETENTION, |bytes| {
        bytes[44..52].copy_from_slice(&(last.get() + 100).to_le_bytes());
        let body = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let crc = crc32(0, &bytes[12..16 + body]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    });
    let log = open(&disk, Retention::default()).unwrap();
    assert_eq!(slot(&log, "ahead").unwrap().position, last.next());
    let crashed = disk.crash_to_durable();
    let file = crashed.read(RETENTION).unwrap().unwrap();
    assert_eq!(
        file[44..52],
        last.next().get().to_le_bytes(),
        "before anything is appended"
    );
}

#[test]
fn there_are_not_more_slots_than_can_be() {
    let disk = SimDisk::new();
    let log = open(&disk, Retention::default()).unwrap();
    for n in 0..RETENTION_SLOTS_MAX {
        log.slot_create(&format!("{n:0120}"), OpId::FIRST, WIDE).unwrap();
    }
    assert!(matches!(
        log.slot_create("one more", OpId::FIRST, WIDE),
        Err(Error::TooManySlots {
            max: RETENTION_SLOTS_MAX
        })
    ));
    assert!(matches!(
        log.slot_create(&format!("{:0120}", 7), OpId::FIRST, WIDE),
        Err(Error::SlotExists { .. })
    ));
    assert!(matches!(log.slot_drop("none"), Err(Error::NoSuchSlot { .. })));
    assert!(matches!(
        log.slot_advance("none", OpId::FIRST, Durability::Memory),
        Err(Error::NoSuchSlot { .. })
    ));
    log.close().unwrap();
    assert_eq!(
        open(&disk, Retention::default()).unwrap().slots().len(),
        RETENTION_SLOTS_MAX
    );
}

/// Seeded: the wall clock stands still, creeps, leaps ten years ahead and goes back by as much or by hours, between appends and
/// looks of retention. What goes is a prefix of segments, each entry of which was of age by the clock and its own timestamp;
/// what has come of age has gone; and OpIDs and timestamps grow.
#[test]
fn retention_by_age_under_a_clock_that_leaps_removes_what_is_of_age_and_nothing_else() {
    const HOUR: u64 = 3_600_000_000_000;
    const DECADE: u64 = 87_660 * HOUR;
    let max_age = Duration::from_nanos(HOUR);
    let policy = Retention {
        max_age: Some(max_age),
        ..Retention::default()
    };
    let (mut removed, mut kept_by_a_clock_set_back) = (0, 0);
    let now = Timestamp::now().as_nanos();
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new();
        // Decades ahead of the machine's, by which the log's own thread goes: that one finds nothing of age.
        let mut clock = now + 3 * DECADE;
        injected::set(Some(Timestamp::from_nanos(clock)));
        let log = open(&disk, policy).unwrap();
        // Of each entry its timestamp; entry n stands at n - 1.
        let mut stamps: Vec<u64> = Vec::new();
        for step in 0..60 {
            let what = format!("seed {seed}, step {step}");
            clock = match rng.below(10) {
                0..=3 => clock + rng.below(HOUR / 4),
                4 => clock,
                5 => clock + rng.below(2 * HOUR),
                6 => clock + DECADE,
                7 => clock - DECADE,
                8 => clock - rng.below(3 * HOUR),
                _ => clock - rng.below(HOUR / 8),
            }
            .clamp(now + DECADE, now + 9 * DECADE);
            injected::set(Some(Timestamp::from_nanos(clock)));
            for _ in 0..rng.below(5) {
                let next = log.core().tail().accepted().next();
                let last = log.append(KIND, &payload(next), Durability::Memory).unwrap().last;
                assert_eq!(last.get(), stamps.len() as u64 + 1, "{what}");
                let stamp = log.view().get(last, ReadConcern::Local).unwrap().timestamp().as_nanos();
                assert!(
                    stamp >= clock && stamps.last().is_none_or(|before| *before < stamp),
                    "{what}"
                );
                stamps.push(stamp);
            }
            log.sync(log.watermarks().appended).unwrap();
            let before = log.watermarks().oldest;
            retain(&log);
            let marks = log.watermarks();
            assert!(marks.oldest >= before, "{what}");
            let of_age = |stamp: u64| stamp.saturating_add(HOUR) <= clock;
            for op_id in before.get()..marks.oldest.get() {
                assert!(of_age(stamps[op_id as usize - 1]), "{what}: entry {op_id} went early");
                removed += 1;
            }
            // Whatever is left, a whole segment of it is not of age: only one that is not, or the newest.
            let chain = log.view().shared.chain.load_full();
            if let [oldest, next, _, ..] = chain.links() {
                assert_eq!(oldest.first, marks.oldest, "{what}");
                assert!(!of_age(stamps[next.first.get() as usize - 2]), "{what}: {marks:?}");
            }
            if marks.oldest < marks.durable && stamps[marks.oldest.get() as usize - 1] > clock {
                kept_by_a_clock_set_back += 1;
            }
            if !stamps.is_empty() {
                check_from(&log, marks.oldest);
            }
        }
        log.close().unwrap();
    }
    injected::set(None);
    assert!(
        removed > 500 && kept_by_a_clock_set_back > 100,
        "{removed}, {kept_by_a_clock_set_back}"
    );
}

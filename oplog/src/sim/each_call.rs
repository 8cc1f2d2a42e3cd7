//! Each operation of each call fails once: the call says so by a name of the environment, reads go on, and nothing that was
//! acknowledged is missing, whether the process goes on, dies or loses power.

use std::time::Duration;

use rustix::io::Errno;

use super::SimDisk;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{OpId, Term};
use crate::oplog::Oplog;
use crate::options::{Durability, Options};
use crate::slots::SlotOptions;
use crate::verify::{Finding, verify_on};
use crate::view::{OplogView, ReadConcern};

const KIND: u8 = 200;
/// Of 500 bytes each: two full segments, and a part of a third.
const ENTRIES: u64 = 70;
/// More than any call has.
const OPERATIONS_MAX: u64 = 1_000;
const SLOT: &str = "consumer";
const WIDE: SlotOptions = SlotOptions {
    max_lag_bytes: u64::MAX,
};

fn open(disk: &SimDisk) -> Result<Oplog> {
    let options = Options {
        segment_bytes: 16 << 10,
        sync_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    Oplog::on(Box::new(disk.clone()), &options)
}

fn payload(op_id: OpId) -> Vec<u8> {
    vec![op_id.get() as u8; 500]
}

fn append(log: &Oplog, durability: Durability) -> Result<OpId> {
    let next = log.watermarks().appended.next();
    log.append(KIND, &payload(next), durability).map(|outcome| outcome.last)
}

/// A log with entries, a slot, and entries that no sync has covered.
fn made() -> (SimDisk, Oplog) {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    for _ in 0..ENTRIES - 3 {
        append(&log, Durability::Memory).unwrap();
    }
    log.sync(log.watermarks().appended).unwrap();
    log.slot_create(SLOT, OpId::new(50), WIDE).unwrap();
    for _ in 0..3 {
        log.append(
            KIND,
            &payload(log.view().newest(ReadConcern::Local).next()),
            Durability::Memory,
        )
        .unwrap();
    }
    (disk, log)
}

/// That everything up to `last`, and from the oldest entry on, is there and right.
fn check(view: &OplogView, last: OpId, what: &str) {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Local);
    let from = cursor.position();
    while cursor.position() <= last {
        let expected = cursor.position();
        let entry = cursor.try_next().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let entry = entry.unwrap_or_else(|| panic!("{what}: {expected} of {last} is not there"));
        assert!(entry.payload() == payload(expected), "{what}: {expected}");
    }
    assert!(from <= OpId::new(ENTRIES / 2 + 30), "{what}: from {from}");
}

fn is_told(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Environment | ErrorKind::Poisoned)
}

type Call = fn(Oplog, &SimDisk) -> Result<()>;

const CALLS: [(&str, Call); 13] = [
    ("a durable append", |log, _| append(&log, Durability::Disk).map(drop)),
    ("a roll", |log, _| {
        let rolls = log.stats().rolls;
        while log.stats().rolls == rolls {
            append(&log, Durability::Memory)?;
        }
        append(&log, Durability::Disk).map(drop)
    }),
    ("a trim", |log, _| log.trim(OpId::new(40)).map(drop)),
    ("a slot that is created", |log, _| {
        log.slot_create("another", OpId::new(60), WIDE)
    }),
    ("a slot that moves on", |log, _| {
        log.slot_advance(SLOT, OpId::new(65), Durability::Disk).map(drop)
    }),
    ("a slot that is limited", |log, _| {
        log.slot_limit(SLOT, SlotOptions { max_lag_bytes: 1 << 20 })
    }),
    ("a slot that is dropped", |log, _| log.slot_drop(SLOT)),
    ("a hold", |log, _| log.hold_from(OpId::new(60))),
    ("a promise", |log, _| log.promise(Term::new(7))),
    ("following", |log, _| log.follow()),
    ("another reader", |_, disk| {
        let view = OplogView::on(Box::new(disk.clone()))?;
        view.get(OpId::new(3), ReadConcern::Durable)?;
        view.slots().map(drop)
    }),
    ("verify", |_, disk| {
        // What it could not look at is the one thing it has found.
        match verify_on(disk)?.findings.pop() {
            Some(Finding::Damage(error)) => Err(error),
            found => {
                assert!(found.is_none(), "{found:?}");
                Ok(())
            }
        }
    }),
    ("a close", |log, _| log.close()),
];

#[test]
fn an_operation_that_fails_is_an_error_by_name_and_costs_nothing_that_was_acknowledged() {
    for (what, call) in CALLS {
        for error in [Errno::IO, Errno::NOSPC] {
            let mut operation = 0;
            while fails_at(what, call, operation, error) {
                operation += 1;
                assert!(operation < OPERATIONS_MAX, "{what}");
            }
            assert!(operation > 0, "{what} does nothing that can fail");
        }
    }
}

/// Whether there was such an operation.
fn fails_at(what: &str, call: Call, operation: u64, error: Errno) -> bool {
    let what = format!("{what}, operation {operation}, {error:?}");
    let (disk, log) = made();
    let view = log.view();
    disk.fail_operation(operation, true, error);
    let outcome = call(log.clone(), &disk);
    let failed = disk.has_operation_failed();
    if let Err(error) = &outcome {
        assert!(failed && is_told(error), "{what}: {error:?}");
    }
    let durable = view.newest(ReadConcern::Durable);
    check(&view, durable, &what);
    let (killed, crashed) = (disk.kill(), disk.crash_to_durable());
    // What the writer goes on with: either it is poisoned, or an append works again.
    match append(&log, Durability::Disk) {
        Ok(last) => check(&log.view(), last, &what),
        Err(error) => assert!(
            matches!(error, Error::Poisoned { .. } | Error::Closed | Error::NotPrimary { .. }),
            "{what}: {error:?}"
        ),
    }
    let _ = log.close();
    disk.heal();
    for (whose, disk) in [("goes on", &disk), ("is killed", &killed), ("loses power", &crashed)] {
        let what = format!("{what}, {whose}");
        let log = open(disk).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        check(&log.view(), durable, &what);
    }
    failed
}

/// Also of one that finds entries in the log buffer: if that cannot be opened, they are not there, and it is no damage.
#[test]
fn an_open_of_which_an_operation_fails_does_nothing_wrong_and_the_next_one_works() {
    let (disk, log) = made();
    let killed = disk.kill();
    drop(log);
    for error in [Errno::IO, Errno::NOSPC, Errno::MFILE] {
        for operation in 0..OPERATIONS_MAX {
            let disk = killed.kill();
            disk.fail_operation(operation, true, error);
            let opened = open(&disk);
            let failed = disk.has_operation_failed();
            let what = format!("operation {operation}, {error:?}");
            match opened {
                Ok(log) => check(&log.view(), OpId::new(ENTRIES), &what),
                Err(error) => assert!(failed && is_told(&error), "{what}: {error:?}"),
            }
            disk.open_directory_anew();
            let log = open(&disk).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            check(&log.view(), OpId::new(ENTRIES), &what);
            if !failed {
                assert!(operation > 20, "{operation}");
                break;
            }
        }
    }
}

/// What is there before the first entry is no log that nobody can open.
#[test]
fn a_log_that_could_not_be_made_is_made_by_the_next_open() {
    for operation in 0..OPERATIONS_MAX {
        for seed in 0..20 {
            let disk = SimDisk::new();
            disk.fail_operation(operation, true, Errno::IO);
            let made = open(&disk).map(drop);
            if !disk.has_operation_failed() {
                return assert!(operation > 5 && made.is_ok(), "{operation}: {made:?}");
            }
            disk.open_directory_anew();
            // The next one comes so far, or loses power on the way.
            disk.lose_power_after(seed % 10, seed);
            let what = format!("operation {operation}, seed {seed}");
            let again = open(&disk).map(drop);
            let disk = match disk.after_power_loss() {
                Some(crashed) => crashed,
                None => {
                    again.unwrap_or_else(|e| panic!("{what}: {e:?}"));
                    // It has fewer operations than that.
                    disk.heal();
                    disk
                }
            };
            let log = open(&disk).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!(append(&log, Durability::Disk).unwrap(), OpId::FIRST, "{what}");
        }
    }
}

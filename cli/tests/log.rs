//! The commands of an operator: looking at a log, reading it backward, trimming and repairing it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tailwater::oplog::{Oplog, Options, SlotOptions};
use tailwater::{Durability, OpId};

/// A log with entries of a program of its own.
struct Log(Oplog);

impl Log {
    fn open(dir: &Path) -> Log {
        let options = Options {
            segment_bytes: 1 << 20,
            ..Options::default()
        };
        Log(options.open(dir).unwrap())
    }

    /// Entries of 100 kB: ten to a segment.
    fn fill(&self, last: u64) {
        for n in self.0.watermarks().appended.next().get()..=last {
            self.0.append(200, &vec![n as u8; 100_000], Durability::Memory).unwrap();
        }
        self.0.sync(self.0.watermarks().appended).unwrap();
    }
}

fn tailwater(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tailwater"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn log(command: &str, dir: &Path, more: &[&str]) -> Output {
    let arguments = [&["log", command, "--dir", dir.to_str().unwrap()], more].concat();
    tailwater(&arguments)
}

#[track_caller]
fn check(output: &Output, code: i32, said: &[&str]) {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    for said in said {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn op_ids(output: &Output) -> Vec<i64> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| entry["opId"].as_i64().unwrap()).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut segments: Vec<_> = names.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    segments.sort();
    segments
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = names.filter(|p| p.is_file()).collect();
    files.sort();
    files.into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

fn thirty() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path());
    log.fill(30);
    log.0.close().unwrap();
    dir
}

#[test]
fn tail_goes_backward_and_stops_where_it_is_told() {
    let dir = thirty();
    let tail = |more: &[&str]| op_ids(&log("tail", dir.path(), more));
    assert_eq!(tail(&["--reverse"]), (1..=30).rev().collect::<Vec<i64>>());
    assert_eq!(tail(&["--reverse", "--limit", "3"]), [30, 29, 28]);
    assert_eq!(tail(&["--reverse", "--from", "12", "--limit", "2"]), [12, 11]);
    assert_eq!(tail(&["--reverse", "--from", "oldest"]), [1]);
    assert_eq!(
        tail(&["--reverse", "--from", "1970-01-01T00:00:00Z"]),
        Vec::<i64>::new()
    );
    assert_eq!(
        tail(&["--reverse", "--from", "2200-01-01T00:00:00Z", "--limit", "1"]),
        [30]
    );
    // It follows no longer than that.
    assert_eq!(tail(&["--limit", "4"]), [1, 2, 3, 4]);
    check(
        &log("tail", dir.path(), &["--reverse", "--from", "31"]),
        2,
        &["entry 31 does not exist yet"],
    );
    let empty = tempfile::tempdir().unwrap();
    Log::open(empty.path()).0.close().unwrap();
    for from in ["oldest", "now", "2200-01-01T00:00:00Z"] {
        let output = log("tail", empty.path(), &["--reverse", "--from", from]);
        assert_eq!(op_ids(&output), Vec::<i64>::new());
    }
}

#[test]
fn stat_tells_what_there_is_beside_a_writer_and_without() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Log::open(dir.path());
    writer.fill(30);
    check(&log("stat", dir.path(), &[]), 0, &["alive (pid", "appended 30", "open"]);
    let live = json(&log("stat", dir.path(), &["--json"]));
    assert_eq!(live["writer"]["alive"], true);
    assert_eq!(live["watermarks"]["durable"], 30);
    assert_eq!(live["buffer"]["count"], 1);
    let id = writer.0.log_id().to_string();
    writer.0.close().unwrap();
    fs::write(dir.path().join("torn-0000000001-9.bin"), "123").unwrap();
    let before = files(dir.path());
    check(
        &log("stat", dir.path(), &[]),
        0,
        &["writer     none", "torn       1 files, 3 bytes"],
    );
    let stat = json(&log("stat", dir.path(), &["--json"]));
    assert_eq!(files(dir.path()), before, "it only reads");
    assert_eq!((stat["logId"].as_str(), stat["term"].as_i64()), (Some(&*id), Some(1)));
    assert_eq!(stat["writer"]["alive"], false);
    let all = stat["segments"].as_array().unwrap();
    assert_eq!(all.len(), segments(dir.path()).len());
    assert_eq!(stat["sealed"].as_u64().unwrap() + 1, all.len() as u64);
    assert_eq!((&all[0]["state"], &all[0]["first"]), (&"sealed".into(), &1.into()));
    let newest = all.last().unwrap();
    assert_eq!((&newest["state"], &newest["last"]), (&"open".into(), &30.into()));
    let entries = 31 - newest["first"].as_i64().unwrap();
    assert_eq!(newest["frameBytes"], entries * 100_040);
    assert_eq!(stat["torn"]["bytes"], 3);
    let bytes: u64 = before.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(stat["bytes"], bytes);
}

#[test]
fn trim_removes_whole_segments_and_says_so() {
    let dir = thirty();
    let firsts: Vec<i64> = json(&log("stat", dir.path(), &["--json"]))["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| segment["first"].as_i64().unwrap())
        .collect();
    let before = (firsts[2] + 1).to_string();
    let was = files(dir.path());
    let planned = json(&log("trim", dir.path(), &["--before", &before, "--dry-run", "--json"]));
    assert_eq!(files(dir.path()), was, "a dry run changes nothing");
    assert_eq!(
        (&planned["removed"]["segments"], &planned["removed"]["last"]),
        (&2.into(), &(firsts[2] - 1).into())
    );
    check(
        &log("trim", dir.path(), &["--before", "1970-01-01T00:00:00Z"]),
        0,
        &["removed nothing"],
    );
    let writer = Log::open(dir.path());
    check(
        &log("trim", dir.path(), &["--before", &before]),
        4,
        &["open for writing elsewhere"],
    );
    check(
        &log("trim", dir.path(), &["--before", &before, "--dry-run"]),
        0,
        &["would remove 2 segments"],
    );
    writer.0.close().unwrap();
    let done = json(&log("trim", dir.path(), &["--before", &before, "--json"]));
    assert_eq!(done["removed"], planned["removed"]);
    assert_eq!(done["left"]["first"], firsts[2]);
    assert_eq!(op_ids(&log("tail", dir.path(), &["--no-follow"]))[0], firsts[2]);
    // By time: everything is older; the newest segment stays.
    check(
        &log("trim", dir.path(), &["--before", "2200-01-01T00:00:00Z"]),
        0,
        &["removed", "left: 1 segments"],
    );
    check(&log("trim", dir.path(), &["--before", "soon"]), 2, &["soon", "an OpID"]);
}

/// A cap that stands in a file of slots nowhere but as one.
const CAP: u64 = 0x0123_4567_89ab_cdef;

/// Sets the cap of the slot `behind` to one byte; no writer sees it happen.
fn lower_the_cap_of_the_slot_behind(dir: &Path) {
    let path = dir.join("RETENTION");
    let mut bytes = fs::read(&path).unwrap();
    let name = bytes.windows(6).position(|part| part == b"behind").unwrap();
    // It stands before the name.
    let at = bytes[..name]
        .windows(8)
        .rposition(|part| part == CAP.to_le_bytes())
        .unwrap();
    bytes[at..at + 8].copy_from_slice(&1u64.to_le_bytes());
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
    let crc = crc32(&bytes[12..16 + length as usize]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// The checksum of the log's small files.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// What a dry run says is what the trim does, also with consumers that hold something or lag too much.
#[test]
fn a_dry_run_of_a_trim_knows_what_slots_hold_and_which_are_lost_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Log::open(dir.path());
    writer.fill(45);
    let capped = SlotOptions { max_lag_bytes: CAP };
    writer.0.slot_create("ahead", OpId::new(24), capped).unwrap();
    writer.0.slot_create("behind", OpId::new(13), capped).unwrap();
    writer.0.close().unwrap();
    let trim = |dry: &[&str]| {
        json(&log(
            "trim",
            dir.path(),
            &[&["--before", "1000", "--json"], dry].concat(),
        ))
    };
    let compare = |lost: &[&str]| {
        let planned = trim(&["--dry-run"]);
        let done = trim(&[]);
        for part in ["removed", "left"] {
            assert_eq!(planned[part], done[part], "{part}");
        }
        assert_eq!(
            (&planned["lostSlots"], &done["lostSlots"]),
            (&lost.into(), &lost.into())
        );
        (planned["removed"]["last"].as_i64(), planned["heldBy"].clone())
    };
    let (last, held_by) = compare(&[]);
    assert!(last.is_some_and(|last| last < 13), "{last:?}");
    assert_eq!(held_by, "behind");
    check(
        &log("trim", dir.path(), &["--before", "1000", "--dry-run"]),
        0,
        &[
            "would remove nothing\n",
            "held back by retention slot \"behind\"",
            "OpID 13",
        ],
    );
    // A slot that came to lag too much, and whose writer died before it came to look.
    lower_the_cap_of_the_slot_behind(dir.path());
    check(
        &log("trim", dir.path(), &["--before", "1000", "--dry-run"]),
        0,
        &["retention slot \"behind\" would be lost", "its cap is 1"],
    );
    let (last, held_by) = compare(&["behind"]);
    assert!(last.is_some_and(|last| (13..24).contains(&last)), "{last:?}");
    assert_eq!(held_by, "ahead");
}

#[test]
fn trimming_a_store_keeps_what_its_state_needs() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = tailwater::StoreOptions::default();
    options.oplog.segment_bytes = 1 << 20;
    let store = tailwater::Store::open_with(dir.path(), &options).unwrap();
    let collection = store.collection("d", "c").unwrap();
    for n in 0..40 {
        let document = bson::rawdoc! { "_id": n, "text": "x".repeat(100_000) };
        collection.insert_one(&document).unwrap();
    }
    store.close().unwrap();
    // Named by the store's directory or by the log's.
    check(
        &log("trim", &dir.path().join("oplog"), &["--before", "15"]),
        0,
        &["removed"],
    );
    check(&log("trim", dir.path(), &["--before", "1000000"]), 0, &["removed"]);
    let store = tailwater::Store::open(dir.path()).unwrap();
    let found = store.collection("d", "c").unwrap().count(&bson::rawdoc! {});
    assert_eq!(found.unwrap(), 40);
}

#[test]
fn repair_says_what_is_lost_and_then_does_it() {
    let dir = thirty();
    check(&log("repair", dir.path(), &[]), 0, &["nothing to repair"]);
    let segment = segments(dir.path()).remove(1);
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"damage", 4096 + 500).unwrap();
    let first: i64 = segment.file_name().unwrap().to_str().unwrap()[11..31].parse().unwrap();
    check(&log("verify", dir.path(), &[]), 5, &["corrupt at offset"]);
    let before = files(dir.path());
    let lost = format!("lost: OpID {first} (cannot be read)");
    let aside = format!("lost: OpIDs {} to 30 (whole, set aside)", first + 1);
    let dry = log("repair", dir.path(), &["--dry-run"]);
    check(&dry, 5, &[&lost, &aside, "corrupt at offset", "nothing was changed"]);
    assert_eq!(files(dir.path()), before);
    let writer = Log::open(dir.path());
    check(&log("repair", dir.path(), &[]), 4, &["open for writing elsewhere"]);
    writer.0.close().unwrap();

    let planned = json(&log("repair", dir.path(), &["--keep", "suffix", "--dry-run", "--json"]));
    assert_eq!(planned["kept"], serde_json::json!({"first": first + 1, "last": 30}));
    check(
        &log("repair", dir.path(), &["--keep", "suffix"]),
        0,
        &[&lost, "repaired", "repair-"],
    );
    check(&log("verify", dir.path(), &[]), 0, &["sound"]);
    check(&log("repair", dir.path(), &[]), 0, &["nothing to repair"]);
    assert_eq!(
        op_ids(&log("tail", dir.path(), &["--no-follow"])),
        (first + 1..=30).collect::<Vec<_>>()
    );
    let stat = json(&log("stat", dir.path(), &["--json"]));
    assert!(stat["repairs"]["count"].as_i64().unwrap() >= 3, "{stat}");

    let writer = Log::open(dir.path());
    writer.fill(40);
    writer.0.close().unwrap();
    fs::write(dir.path().join("MANIFEST"), "").unwrap();
    check(&log("verify", dir.path(), &[]), 5, &["MANIFEST is damaged"]);
    let done = json(&log("repair", dir.path(), &["--json"]));
    assert_eq!(done["kept"], serde_json::json!({"first": first + 1, "last": 40}));
    assert_eq!(done["losses"], serde_json::json!([]));
    check(&log("verify", dir.path(), &[]), 0, &["sound"]);
}

#[test]
fn slots_are_listed_beside_a_writer_and_dropped_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Log::open(dir.path());
    writer.fill(25);
    check(&log("slots", dir.path(), &[]), 0, &["no retention slots"]);
    let capped = SlotOptions { max_lag_bytes: 1 << 30 };
    writer.0.slot_create("warehouse", OpId::new(3), capped).unwrap();
    writer.0.hold_from(OpId::new(20)).unwrap();
    for command in ["slots", "stat"] {
        check(
            &log(command, dir.path(), &[]),
            0,
            &["warehouse", "active", "1073741824", "tailwater.owner"],
        );
    }
    let slots = json(&log("slots", dir.path(), &["--json"]));
    assert_eq!(
        slots[1],
        serde_json::json!({
            "name": "warehouse", "state": "active", "position": 3, "lagEntries": 23, "heldBytes": 2 << 20,
            "maxLagBytes": 1 << 30,
        })
    );
    assert_eq!(json(&log("stat", dir.path(), &["--json"]))["slots"], slots);
    let drop = |name: &str| tailwater(&["log", "slot", "drop", name, "--dir", dir.path().to_str().unwrap()]);
    check(&drop("warehouse"), 4, &["open for writing elsewhere"]);
    writer.0.close().unwrap();
    check(&drop("warehouse"), 0, &["dropped", "warehouse"]);
    check(&drop("warehouse"), 2, &["no retention slot \"warehouse\""]);
    check(&drop("tailwater.owner"), 2, &["reserved"]);
    assert_eq!(
        json(&log("slots", dir.path(), &["--json"])).as_array().unwrap().len(),
        1
    );
    // A file that cannot be told from another is named, not taken for no slots.
    fs::write(dir.path().join("RETENTION"), "slots").unwrap();
    check(&log("slots", dir.path(), &[]), 5, &["RETENTION is damaged"]);
    check(&log("stat", dir.path(), &[]), 0, &["RETENTION is damaged"]);
    check(&log("verify", dir.path(), &[]), 5, &["RETENTION is damaged"]);
    check(
        &log("repair", dir.path(), &[]),
        0,
        &["sets aside: RETENTION", "repaired"],
    );
    check(&log("verify", dir.path(), &[]), 0, &["sound"]);
}

#[test]
fn help_teaches() {
    check(
        &tailwater(&["log", "--help"]),
        0,
        &["stat", "trim", "repair", "--dry-run"],
    );
    check(
        &tailwater(&["log", "trim", "--help"]),
        0,
        &["whole segments", "Examples"],
    );
    check(
        &tailwater(&["log", "repair", "--help"]),
        0,
        &["keeps every byte", "suffix", "Exit codes"],
    );
    check(&tailwater(&["log", "tail", "--help"]), 0, &["--reverse", "--limit"]);
}

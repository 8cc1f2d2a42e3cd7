//! Repairing damaged logs: what is announced is what is lost, every byte that goes is kept, and an interruption does no harm.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{options, temporary};
use tailwater_oplog::repair::{Keep, RepairPlan, apply, plan};
use tailwater_oplog::{Durability, Error, ErrorKind, Oplog, OplogView, ReadConcern, Record, verify};
use tempfile::TempDir;

const KIND: u8 = 200;
const SEGMENT: u64 = 1 << 20;
const FRAMES_START: u64 = 4096;
const LAST: u64 = 150;

fn payload(n: u64) -> Vec<u8> {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(30_000 + (n % 7) as usize, n as u8 | 1);
    payload
}

/// Entries are appended one by one, but for batches of three that begin with every twentieth.
fn fill(log: &Oplog, last: u64) {
    loop {
        let next = log.watermarks().appended.next().get();
        if next > last {
            return;
        }
        let count = if next.is_multiple_of(20) { 3 } else { 1 };
        let payloads: Vec<_> = (next..next + count).map(payload).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_slice()]).collect();
        let records: Vec<_> = pieces.iter().map(|payload| Record { kind: KIND, payload }).collect();
        log.append_batch(&records, Durability::Memory).unwrap();
    }
}

/// A closed log of two terms and five segments.
fn log() -> TempDir {
    let dir = temporary();
    let log = options().open(dir.path()).unwrap();
    fill(&log, 60);
    log.close().unwrap();
    let log = options().open(dir.path()).unwrap();
    fill(&log, LAST);
    log.close().unwrap();
    assert_eq!(segments(dir.path()).len(), 5);
    // Without its tail page: as after a reboot.
    fs::remove_file(dir.path().join("TAIL")).unwrap();
    dir
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut segments: Vec<_> = names.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    segments.sort();
    segments
}

fn first(segment: &Path) -> u64 {
    let name = segment.file_name().unwrap().to_str().unwrap();
    name[11..31].parse().unwrap()
}

/// Every file below `dir` but the lock, by its path.
fn snapshot(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.file_name().unwrap() != "LOCK" {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found
}

fn restore(files: &BTreeMap<String, Vec<u8>>) -> TempDir {
    let dir = temporary();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn flip(file: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 16], offset).unwrap();
}

/// Flips a bit in the payload of entry `n`.
fn damage(dir: &Path, n: u64) {
    let segment = segments(dir).into_iter().rev().find(|s| first(s) <= n).unwrap();
    let frame = |n| (40 + payload(n).len() as u64).next_multiple_of(8);
    let offset = (first(&segment)..n).map(frame).sum::<u64>();
    flip(&segment, FRAMES_START + offset + 1_000);
}

fn spans(plan: &RepairPlan) -> Vec<(u64, u64)> {
    plan.losses
        .iter()
        .map(|l| (l.span.first.get(), l.span.last.get()))
        .collect()
}

/// The log in `dir` is sound and holds just these entries, byte for byte; it can be written again.
#[track_caller]
fn holds(dir: &Path, from: u64, to: u64) {
    let report = verify(dir).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let view = OplogView::open(dir).unwrap();
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    assert_eq!(cursor.position().get(), from);
    for n in from..=to {
        let entry = cursor.try_next().unwrap().unwrap();
        assert_eq!(entry.op_id().get(), n);
        assert!(entry.payload() == payload(n), "entry {n}");
    }
    assert!(cursor.try_next().unwrap().is_none());
    let mut backward = view.reverse_from_newest(ReadConcern::Durable);
    for n in (from..=to).rev() {
        assert!(backward.try_next().unwrap().unwrap().payload() == payload(n));
    }
    let written = restore(&snapshot(dir));
    let log = options().open(written.path()).unwrap();
    assert!(log.term().get() > 2, "{:?}", log.term());
    assert_eq!(log.watermarks().durable.get(), to);
    let outcome = log.append(KIND, &payload(to + 1), Durability::Disk).unwrap();
    assert_eq!(outcome.first.get(), to + 1);
    fill(&log, to + 60);
    log.close().unwrap();
    assert!(verify(written.path()).unwrap().findings.is_empty());
}

/// Repairs a copy of `dir` and checks everything that a repair promises; interrupts it at each of its steps, too.
#[track_caller]
fn check(dir: &Path, keep: Keep, kept: (u64, u64), lost: &[(u64, u64)]) {
    let before = snapshot(dir);
    let copy = restore(&before);
    let announced = plan(copy.path(), keep).unwrap();
    assert!(snapshot(copy.path()) == before, "a plan changes nothing");
    assert!(!copy.path().join("LOCK").exists(), "not even a lock is made");
    let span = announced.kept.unwrap();
    assert_eq!((span.first.get(), span.last.get()), kept, "{}", announced.report());
    assert_eq!(spans(&announced), lost, "{}", announced.report());

    let folder = apply(&announced).unwrap().folder.unwrap();
    let after = snapshot(copy.path());
    let inside = folder.file_name().unwrap().to_str().unwrap().to_owned();
    for (name, bytes) in &before {
        let stays = after.get(name) == Some(bytes);
        let is_kept = after.get(&format!("{inside}/{name}")) == Some(bytes);
        assert!(stays || is_kept, "{name} is gone");
        assert_eq!(is_kept || name == "MANIFEST", !stays || name == "MANIFEST", "{name}");
    }
    assert!(fs::read_to_string(folder.join("report.txt")).unwrap() == announced.report());
    holds(copy.path(), kept.0, kept.1);
    let again = plan(copy.path(), keep).unwrap();
    assert!(again.is_sound(), "{}", again.report());
    assert!(apply(&again).unwrap().folder.is_none());

    interrupt(&before, &after, &inside, keep, kept);
}

/// The directory as each step of the repair leaves it, made from what was there before and after.
fn interrupt(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
    inside: &str,
    keep: Keep,
    kept: (u64, u64),
) {
    let steps = String::from_utf8(after[&format!("{inside}/STEPS")].clone()).unwrap();
    let names = |what: &str| -> Vec<String> {
        let lines = steps.lines().filter_map(|line| line.strip_prefix(what));
        lines.map(|name| name.trim().to_owned()).collect()
    };
    let (retire, place) = (names("retire"), names("place"));
    let mut state = before.clone();
    let own = after.iter().filter(|(name, _)| name.starts_with(inside));
    // While it prepares: without its steps, it is only a folder.
    let mut prepared: BTreeMap<_, _> = own.map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
    for name in place.iter().chain([&"MANIFEST".to_owned()]) {
        prepared.insert(format!("{inside}/new/{name}"), after[name].clone());
    }
    let mut unfinished = before.clone();
    for (name, bytes) in prepared.iter().filter(|(name, _)| !name.ends_with("STEPS")) {
        unfinished.insert(name.clone(), bytes.clone());
    }
    resume(&unfinished, keep, kept, false);
    let torn = steps.trim_end_matches("end\n").as_bytes().to_vec();
    unfinished.insert(format!("{inside}/STEPS"), torn);
    resume(&unfinished, keep, kept, false);
    // Prepared, and then step by step.
    state.extend(prepared);
    resume(&state, keep, kept, !before.contains_key("MANIFEST"));
    state.remove("MANIFEST");
    resume(&state, keep, kept, true);
    for name in &retire {
        state.remove(name);
        resume(&state, keep, kept, true);
    }
    for name in &place {
        let bytes = state.remove(&format!("{inside}/new/{name}")).unwrap();
        state.insert(name.clone(), bytes);
        resume(&state, keep, kept, true);
    }
    // The manifest is there, its preparation not yet removed.
    state.insert("MANIFEST".to_owned(), after["MANIFEST"].clone());
    let done = restore(&state);
    assert!(plan(done.path(), keep).unwrap().is_sound());
    holds(done.path(), kept.0, kept.1);
}

#[track_caller]
fn resume(state: &BTreeMap<String, Vec<u8>>, keep: Keep, kept: (u64, u64), begun: bool) {
    let dir = restore(state);
    let plan = plan(dir.path(), keep).unwrap();
    assert_eq!(plan.interrupted.is_some(), begun, "{}", plan.report());
    if begun {
        // Nobody can come in between.
        let opened = options().open(dir.path());
        assert!(matches!(opened, Err(Error::NotALog { .. })), "{opened:?}");
        assert!(OplogView::open(dir.path()).is_err());
    }
    apply(&plan).unwrap();
    let view = OplogView::open(dir.path()).unwrap();
    assert_eq!(view.watermarks().oldest.get(), kept.0);
    assert_eq!(view.newest(ReadConcern::Durable).get(), kept.1);
    assert!(verify(dir.path()).unwrap().is_sound());
    // Whatever was there is still there.
    let left = snapshot(dir.path());
    for (name, bytes) in state {
        let transient = name.contains("/new/") || name.ends_with("STEPS") || name.ends_with("report.txt");
        assert!(transient || left.values().any(|other| other == bytes), "{name} is gone");
    }
}

#[test]
fn a_sound_log_and_a_torn_tail_need_no_repair() {
    let dir = log();
    let before = snapshot(dir.path());
    assert!(plan(dir.path(), Keep::Prefix).unwrap().is_sound());
    let newest = segments(dir.path()).pop().unwrap();
    flip(&newest, SEGMENT - 5_000);
    let plan = plan(dir.path(), Keep::Suffix).unwrap();
    assert!(plan.is_sound(), "{}", plan.report());
    assert!(apply(&plan).unwrap().folder.is_none());
    flip(&newest, SEGMENT - 5_000);
    assert!(snapshot(dir.path()) == before);
    let empty = temporary();
    options().open(empty.path()).unwrap().close().unwrap();
    assert!(
        tailwater_oplog::repair::plan(empty.path(), Keep::Prefix)
            .unwrap()
            .is_sound()
    );
}

#[test]
fn damage_in_the_middle_of_a_segment() {
    let dir = log();
    damage(dir.path(), 75);
    assert!(!verify(dir.path()).unwrap().is_sound());
    check(dir.path(), Keep::Prefix, (1, 74), &[(75, 75), (76, LAST)]);
    check(dir.path(), Keep::Suffix, (76, LAST), &[(1, 74), (75, 75)]);
}

#[test]
fn damage_in_a_batch_takes_the_batch() {
    let dir = log();
    damage(dir.path(), 101);
    check(dir.path(), Keep::Prefix, (1, 99), &[(100, 102), (103, LAST)]);
    check(dir.path(), Keep::Suffix, (103, LAST), &[(1, 99), (100, 102)]);
}

#[test]
fn damage_to_the_first_and_to_the_newest_entry() {
    let dir = log();
    damage(dir.path(), 1);
    check(dir.path(), Keep::Prefix, (2, LAST), &[(1, 1)]);
    damage(dir.path(), LAST);
    check(dir.path(), Keep::Prefix, (2, LAST - 1), &[(1, 1), (LAST, LAST)]);
    check(dir.path(), Keep::Suffix, (2, LAST - 1), &[(1, 1), (LAST, LAST)]);
}

#[test]
fn damage_at_both_ends_of_a_segment_and_in_several() {
    let dir = log();
    let firsts: Vec<u64> = segments(dir.path()).iter().map(|s| first(s)).collect();
    let (a, b) = (firsts[2] - 1, firsts[2]);
    damage(dir.path(), a);
    check(dir.path(), Keep::Prefix, (1, a - 1), &[(a, a), (b, LAST)]);
    check(dir.path(), Keep::Suffix, (b, LAST), &[(1, a - 1), (a, a)]);
    damage(dir.path(), b);
    damage(dir.path(), 5);
    let rest = (b + 1, LAST);
    check(dir.path(), Keep::Prefix, (1, 4), &[(5, 5), (6, a - 1), (a, b), rest]);
    check(dir.path(), Keep::Suffix, rest, &[(1, 4), (5, 5), (6, a - 1), (a, b)]);
}

#[test]
fn a_missing_segment_wherever_it_was() {
    let dir = log();
    let all = segments(dir.path());
    let firsts: Vec<u64> = all.iter().map(|s| first(s)).chain([LAST + 1]).collect();
    let sound = snapshot(dir.path());
    for i in 0..all.len() {
        let mut files = sound.clone();
        files.remove(all[i].file_name().unwrap().to_str().unwrap());
        let damaged = restore(&files);
        let (gap, before, after) = (
            (firsts[i], firsts[i + 1] - 1),
            (1, firsts[i] - 1),
            (firsts[i + 1], LAST),
        );
        if i == 0 {
            check(damaged.path(), Keep::Prefix, after, &[gap]);
        } else if i == all.len() - 1 {
            // How many were in it nobody knows.
            check(damaged.path(), Keep::Prefix, before, &[]);
            check(damaged.path(), Keep::Suffix, before, &[]);
        } else {
            check(damaged.path(), Keep::Prefix, before, &[gap, after]);
            check(damaged.path(), Keep::Suffix, after, &[before, gap]);
        }
    }
}

#[test]
fn both_headers_of_a_segment_are_made_anew_from_its_frames() {
    let dir = log();
    let all = segments(dir.path());
    let firsts: Vec<u64> = all.iter().map(|s| first(s)).chain([LAST + 1]).collect();
    for i in [0, 1, 4] {
        for offset in [20, 1536 + 20] {
            flip(&all[i], offset);
        }
        check(dir.path(), Keep::Prefix, (1, LAST), &[]);
        check(dir.path(), Keep::Suffix, (1, LAST), &[]);
        let end = firsts[i + 1] - 1;
        damage(dir.path(), end);
        let lost = (end, end);
        if end == LAST {
            check(dir.path(), Keep::Suffix, (1, end - 1), &[lost]);
        } else {
            check(dir.path(), Keep::Prefix, (1, end - 1), &[lost, (end + 1, LAST)]);
        }
        damage(dir.path(), end);
        // The seed is had from the first frame. Without that, the whole segment is set aside.
        flip(&all[i], FRAMES_START + 2_000);
        let (gap, before, after) = (
            (firsts[i], firsts[i + 1] - 1),
            (1, firsts[i] - 1),
            (firsts[i + 1], LAST),
        );
        match i {
            0 => check(dir.path(), Keep::Prefix, after, &[gap]),
            4 => check(dir.path(), Keep::Suffix, before, &[]),
            _ => {
                check(dir.path(), Keep::Prefix, before, &[gap, after]);
                check(dir.path(), Keep::Suffix, after, &[before, gap]);
            }
        }
        for offset in [20, 1536 + 20, FRAMES_START + 2_000] {
            flip(&all[i], offset);
        }
    }
}

#[test]
fn a_damaged_manifest_or_none_is_made_anew_and_nothing_is_lost() {
    let dir = log();
    let manifest = dir.path().join("MANIFEST");
    let id = OplogView::open(dir.path()).unwrap().log_id();
    flip(&manifest, 30);
    let planned = plan(dir.path(), Keep::Prefix).unwrap();
    assert_eq!(planned.log_id, id);
    check(dir.path(), Keep::Prefix, (1, LAST), &[]);
    fs::remove_file(&manifest).unwrap();
    check(dir.path(), Keep::Prefix, (1, LAST), &[]);
    damage(dir.path(), 75);
    check(dir.path(), Keep::Suffix, (76, LAST), &[(1, 74), (75, 75)]);
}

#[test]
fn a_segment_cut_short() {
    let dir = log();
    let segment = &segments(dir.path())[1];
    let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
    let (from, to) = (first(segment), first(&segments(dir.path())[2]) - 1);
    // Its footer only: no entry is lost.
    file.set_len(SEGMENT - 64).unwrap();
    check(dir.path(), Keep::Prefix, (1, LAST), &[]);
    // In the middle of its third entry.
    file.set_len(FRAMES_START + 75_000).unwrap();
    check(
        dir.path(),
        Keep::Prefix,
        (1, from + 1),
        &[(from + 2, to), (to + 1, LAST)],
    );
    check(
        dir.path(),
        Keep::Suffix,
        (to + 1, LAST),
        &[(1, from + 1), (from + 2, to)],
    );
}

#[test]
fn segments_of_another_log_swapped_ones_and_doubles() {
    let dir = log();
    let all = segments(dir.path());
    let firsts: Vec<u64> = all.iter().map(|s| first(s)).collect();
    let sound = snapshot(dir.path());
    let stranger = log();
    fs::copy(&segments(stranger.path())[2], &all[2]).unwrap();
    let (before, gap, after) = ((1, firsts[2] - 1), (firsts[2], firsts[3] - 1), (firsts[3], LAST));
    check(dir.path(), Keep::Prefix, before, &[gap, after]);
    check(dir.path(), Keep::Suffix, after, &[before, gap]);

    let dir = restore(&sound);
    let all = segments(dir.path());
    fs::rename(&all[1], dir.path().join("away")).unwrap();
    fs::rename(&all[2], &all[1]).unwrap();
    fs::rename(dir.path().join("away"), &all[2]).unwrap();
    let gap = (firsts[1], firsts[3] - 1);
    check(dir.path(), Keep::Prefix, (1, firsts[1] - 1), &[gap, after]);

    let dir = restore(&sound);
    let all = segments(dir.path());
    let double = dir.path().join(format!("0000000003-{:020}.seg", firsts[2] + 1));
    fs::copy(&all[2], double).unwrap();
    check(dir.path(), Keep::Prefix, (1, LAST), &[]);

    // The newest under a wrong name, alone and beside the right one.
    let dir = restore(&sound);
    let newest = segments(dir.path()).pop().unwrap();
    let wrong = dir.path().join(format!("0000000005-{:020}.seg", firsts[4] - 1));
    fs::copy(&newest, &wrong).unwrap();
    check(dir.path(), Keep::Prefix, (1, LAST), &[]);
    fs::remove_file(&newest).unwrap();
    check(dir.path(), Keep::Prefix, (1, LAST), &[]);
}

const CHILD: &str = "TAILWATER_REPAIR_CHILD";

/// A killed writer has left entries in the log buffer, and damage is found in what lies before them.
#[test]
fn entries_in_the_buffer_of_a_killed_writer_are_not_forgotten() {
    if let Some(path) = std::env::var_os(CHILD) {
        let log = options().open(path).unwrap();
        for n in LAST + 1..=LAST + 3 {
            log.append(KIND, &payload(n), Durability::Memory).unwrap();
        }
        std::process::abort();
    }
    let dir = log();
    let path = dir.path().to_path_buf();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "repair::entries_in_the_buffer_of_a_killed_writer_are_not_forgotten",
        ])
        .env(CHILD, &path)
        .output()
        .unwrap();
    assert!(!child.status.success());
    assert!(path.join("BUFFER").exists());
    damage(&path, 75);
    // Tail page and buffer are known by their inodes, so this repair is done in place.
    let planned = plan(&path, Keep::Suffix).unwrap();
    assert_eq!(planned.kept.unwrap().last.get(), LAST + 3, "{}", planned.report());
    apply(&planned).unwrap();
    holds(&path, 76, LAST + 3);
}

#[test]
fn what_it_refuses() {
    let dir = log();
    let nowhere = plan(dir.path().join("nowhere"), Keep::Prefix).unwrap_err();
    assert!(matches!(nowhere, Error::NotFound { .. }), "{nowhere:?}");
    let stranger = temporary();
    fs::write(stranger.path().join("letter"), "dear log").unwrap();
    let error = plan(stranger.path(), Keep::Prefix).unwrap_err();
    assert!(matches!(error, Error::NotALog { .. }), "{error:?}");

    damage(dir.path(), 75);
    let planned = plan(dir.path(), Keep::Prefix).unwrap();
    let writer = options().open(dir.path()).unwrap();
    for error in [
        plan(dir.path(), Keep::Prefix).map(|_| ()).unwrap_err(),
        apply(&planned).map(|_| ()).unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Locked { holder, .. } if holder.contains("pid")),
            "{error:?}"
        );
    }
    drop(writer);
    // It is another log than the one that was planned for.
    damage(dir.path(), 90);
    let error = apply(&planned).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("plan again"), "{error}");

    let ruin = temporary();
    let log = options().open(ruin.path()).unwrap();
    log.append(KIND, b"only", Durability::Disk).unwrap();
    log.close().unwrap();
    flip(&segments(ruin.path())[0], FRAMES_START + 3);
    let error = plan(ruin.path(), Keep::Prefix).unwrap_err();
    assert!(matches!(error, Error::Unrepairable { .. }), "{error:?}");
}

/// Several kinds of damage at once, anywhere. Whatever it is: what a plan announces is what happens.
#[test]
fn any_damage_ends_in_the_log_that_was_announced() {
    let dir = log();
    let sound = snapshot(dir.path());
    let names: Vec<String> = sound.keys().filter(|name| name.ends_with(".seg")).cloned().collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut repaired, mut given_up) = (0, 0);
    for round in 0..150 {
        let mut files = sound.clone();
        let mut done = Vec::new();
        for _ in 0..=random(3) {
            let name = names[random(names.len() as u64) as usize].clone();
            let kind = random(8);
            done.push((kind, name.clone()));
            let Some(bytes) = files.get_mut(&name) else { continue };
            match kind {
                0 => {
                    files.remove(&name);
                }
                1 => {
                    let length = random(bytes.len() as u64 + 1) as usize;
                    bytes.truncate(length);
                }
                2 => {
                    files.get_mut("MANIFEST").unwrap()[random(64) as usize] ^= 4;
                }
                3 => {
                    let other = names[random(names.len() as u64) as usize].clone();
                    if let (Some(a), Some(b)) = (files.get(&name).cloned(), files.get(&other).cloned()) {
                        files.insert(name, b);
                        files.insert(other, a);
                    }
                }
                4 => {
                    // Sectors that read as zeros, aligned as disks lose them.
                    let at = random(bytes.len() as u64 / 512) as usize * 512;
                    let end = bytes.len().min(at + 512 * (1 + random(200) as usize));
                    bytes[at..end].fill(0);
                }
                5 => {
                    for byte in bytes.iter_mut().take(4096) {
                        *byte ^= 1;
                    }
                }
                _ => {
                    if !bytes.is_empty() {
                        let at = random(bytes.len() as u64) as usize;
                        bytes[at] ^= 1 << random(8);
                    }
                }
            }
        }
        let keep = if random(2) == 0 { Keep::Prefix } else { Keep::Suffix };
        let damaged = restore(&files);
        let what = format!("round {round}: {done:?}, {keep:?}");
        let planned = match plan(damaged.path(), keep) {
            Ok(planned) => planned,
            Err(Error::Unrepairable { .. }) => {
                given_up += 1;
                continue;
            }
            Err(error) => panic!("{what}: {error:?}"),
        };
        if planned.is_sound() {
            assert!(verify(damaged.path()).unwrap().is_sound(), "{what}");
            options()
                .open(damaged.path())
                .unwrap_or_else(|e| panic!("{what}: {e:?}"));
            continue;
        }
        assert!(snapshot(damaged.path()) == files, "{what}");
        apply(&planned).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        repaired += 1;
        let left = snapshot(damaged.path());
        for (name, bytes) in &files {
            assert!(left.values().any(|other| other == bytes), "{what}: {name} is gone");
        }
        let kept = planned.kept.unwrap();
        let report = verify(damaged.path()).unwrap();
        assert!(report.is_sound(), "{what}: {report:?}\n{}", planned.report());
        assert_eq!((report.oldest, report.newest), (kept.first, kept.last), "{what}");
        let again = plan(damaged.path(), keep).unwrap();
        assert!(again.is_sound(), "{what}: {}", again.report());
        let log = options()
            .open(damaged.path())
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let mut cursor = log.view().cursor_from_oldest(ReadConcern::Durable);
        for n in kept.first.get()..=kept.last.get() {
            assert!(
                cursor.try_next().unwrap().unwrap().payload() == payload(n),
                "{what}: {n}"
            );
        }
        assert!(cursor.try_next().unwrap().is_none(), "{what}");
        fill(&log, kept.last.get() + 3);
        // Nothing is called lost that stays, and nothing that stays is called lost.
        let covered: u64 = planned
            .losses
            .iter()
            .map(|l| l.span.last.get() - l.span.first.get() + 1)
            .sum();
        assert!(
            covered + (kept.last.get() - kept.first.get() + 1) <= LAST + 1,
            "{what}: {}",
            planned.report()
        );
    }
    assert!(
        repaired > 80 && given_up < 20,
        "{repaired} repaired, {given_up} given up"
    );
}

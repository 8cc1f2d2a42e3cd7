//! Damaged logs: torn tails cut at every byte, every byte of a small log flipped, files missing, swapped, left over.
//!
//! The logs are built on `/dev/shm` where there is one, because these tests open them thousands of times and what they
//! check does not depend on the disk.

#[path = "../common/mod.rs"]
mod common;
mod files;
mod flips;
mod segments;
mod torn;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{options, temporary};
use tailwater_oplog::{Durability, Error, Oplog, OplogView, ReadConcern};
use tempfile::TempDir;

pub(crate) const KIND: u8 = 200;
pub(crate) const SEGMENT: u64 = 1 << 20;
pub(crate) const FRAMES_START: usize = 4096;
pub(crate) const HEADER: usize = 40;

/// Bytes that cannot be guessed and are never zero.
pub(crate) fn payload(op_id: u64, bytes: usize) -> Vec<u8> {
    let mut state = op_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 | 1
    };
    (0..bytes).map(step).collect()
}

pub(crate) fn append(log: &Oplog, bytes: usize, durability: Durability) -> u64 {
    let next = log.watermarks().appended.next().get();
    log.append(KIND, &payload(next, bytes), durability).unwrap().last.get()
}

pub(crate) fn copy(from: &Path) -> TempDir {
    let to = temporary();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn with_suffix(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    names(dir)
        .iter()
        .filter(|name| name.ends_with(suffix))
        .map(|name| dir.join(name))
        .collect()
}

pub(crate) fn flip(file: &Path, offset: usize, bit: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset as u64).unwrap();
}

/// Reads everything there is; `bytes` says how long entry n is. What is read is right, or the test fails.
pub(crate) fn read(view: &OplogView, bytes: impl Fn(u64) -> usize) -> Result<u64, Error> {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let mut last = cursor.position().previous().get();
    while let Some(entry) = cursor.try_next()? {
        last += 1;
        assert_eq!(entry.op_id().get(), last);
        assert!(
            entry.payload() == payload(last, bytes(last)),
            "entry {last} is not what was written"
        );
    }
    Ok(last)
}

/// Seven segments, of which six are sealed.
pub(crate) fn seven_segments() -> (TempDir, Vec<String>) {
    let origin = temporary();
    let log = options().open(origin.path()).unwrap();
    for _ in 0..13 {
        append(&log, 350_000, Durability::Memory);
    }
    log.close().unwrap();
    let names: Vec<String> = names(origin.path())
        .into_iter()
        .filter(|name| name.ends_with(".seg"))
        .collect();
    assert_eq!(names.len(), 7);
    (origin, names)
}

pub(crate) fn both(dir: &Path) -> [Error; 2] {
    [
        options().open(dir).map(|_| ()).unwrap_err(),
        OplogView::open(dir).map(|_| ()).unwrap_err(),
    ]
}

//! Tails that power loss has torn.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tailwater_oplog::{Durability, Error, OpId, OplogView, ReadConcern, Record, verify};
use tempfile::TempDir;

use super::common::{self, options, temporary};
use super::{FRAMES_START, HEADER, KIND, SEGMENT, append, copy, payload, read, with_suffix};

/// A log of eight entries, five of them durable, as power loss could leave it; and where each frame ends.
struct Torn {
    dir: TempDir,
    segment: PathBuf,
    sound: Vec<u8>,
    ends: Vec<usize>,
    entry_bytes: usize,
}

impl Torn {
    fn new(entry_bytes: usize) -> Torn {
        let origin = temporary();
        let log = options().open(origin.path()).unwrap();
        for _ in 0..5 {
            append(&log, entry_bytes, Durability::Disk);
        }
        for _ in 0..3 {
            append(&log, entry_bytes, Durability::Memory);
        }
        // Looking for the newest entries has them moved from the log buffer into the segment.
        assert_eq!(log.watermarks().appended.get(), 8);
        // A copy has no live tail page and no live buffer, as after a reboot.
        let dir = copy(origin.path());
        let segment = with_suffix(dir.path(), ".seg").remove(0);
        let sound = fs::read(&segment).unwrap();
        let frame = (HEADER + entry_bytes).next_multiple_of(8);
        let ends = (0..=8).map(|n| FRAMES_START + n * frame).collect();
        Torn {
            dir,
            segment,
            sound,
            ends,
            entry_bytes,
        }
    }

    /// Puts `bytes` in the segment's place, opens the log and expects the entries whose frames are whole in it.
    fn check(&self, bytes: &[u8], what: &str) {
        let mut extended = bytes.to_vec();
        extended.resize(self.sound.len(), 0);
        let whole = (1..=8).take_while(|&n| {
            let frame = self.ends[n - 1]..self.ends[n];
            extended[frame.clone()] == self.sound[frame]
        });
        let whole = whole.count();
        assert!(whole >= 5, "{what}: damages what is durable");
        for torn in with_suffix(self.dir.path(), ".bin") {
            fs::remove_file(torn).unwrap();
        }
        // The last round's tail page is alive; power loss would have ended that.
        let _ = fs::remove_file(self.dir.path().join("TAIL"));
        fs::write(&self.segment, bytes).unwrap();

        let view = OplogView::open(self.dir.path());
        if bytes.len() < self.sound.len() {
            // A reader may not make the file whole again, and maps nothing that is not there.
            assert!(matches!(view, Err(Error::DamagedMetadata { .. })), "{what}: {view:?}");
        } else {
            assert_eq!(
                read(&view.unwrap(), |_| self.entry_bytes).unwrap(),
                whole as u64,
                "{what}"
            );
            let report = verify(self.dir.path()).unwrap();
            assert!(
                report.is_sound() && report.newest.get() == whole as u64,
                "{what}: {report:?}"
            );
        }

        let log = options()
            .open(self.dir.path())
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(log.watermarks().durable.get(), whole as u64, "{what}");
        let rest = &bytes[self.ends[whole].min(bytes.len())..];
        let torn = with_suffix(self.dir.path(), ".bin");
        match rest.iter().rposition(|&byte| byte != 0) {
            None => assert!(torn.is_empty(), "{what}: {torn:?}"),
            Some(last) => assert_eq!(fs::read(&torn[0]).unwrap(), rest[..=last], "{what}"),
        }
        append(&log, self.entry_bytes, Durability::Disk);
        assert_eq!(
            read(&log.view(), |_| self.entry_bytes).unwrap(),
            whole as u64 + 1,
            "{what}"
        );
        log.close().unwrap();
        assert_eq!(fs::metadata(&self.segment).unwrap().len(), SEGMENT, "{what}");
        let view = OplogView::open(self.dir.path()).unwrap();
        assert_eq!(read(&view, |_| self.entry_bytes).unwrap(), whole as u64 + 1, "{what}");
    }

    /// Every byte of the three frames that are not durable, and the first behind them.
    fn cuts(&self) -> std::ops::RangeInclusive<usize> {
        self.ends[5]..=self.ends[8]
    }
}

#[test]
fn a_tail_of_zeros_from_any_byte_on_is_cut_and_kept() {
    for entry_bytes in [24, 27] {
        let torn = Torn::new(entry_bytes);
        for at in torn.cuts() {
            let mut bytes = torn.sound.clone();
            bytes[at..].fill(0);
            torn.check(&bytes, &format!("zeros from {at}"));
        }
    }
}

#[test]
fn a_tail_of_garbage_from_any_byte_on_is_cut_and_kept() {
    let torn = Torn::new(27);
    for at in torn.cuts() {
        let mut bytes = torn.sound.clone();
        let garbage = payload(at as u64, 700);
        bytes[at..at + 700].copy_from_slice(&garbage);
        torn.check(&bytes, &format!("garbage from {at}"));
    }
}

#[test]
fn a_segment_cut_short_at_any_byte_of_its_tail_is_made_whole_again() {
    let torn = Torn::new(27);
    for at in torn.cuts() {
        torn.check(&torn.sound[..at], &format!("cut short at {at}"));
    }
}

/// One sector keeps its old bytes, those before and behind it are new: what an unsynced page can look like.
#[test]
fn a_hole_in_what_was_never_durable_is_no_corruption() {
    let torn = Torn::new(27);
    for at in torn.ends[5]..torn.ends[7] {
        let mut bytes = torn.sound.clone();
        bytes[at..torn.ends[7]].fill(0);
        torn.check(&bytes, &format!("hole from {at}"));
    }
}

#[test]
fn a_hole_below_a_known_watermark_is_corruption_and_nothing_is_cut() {
    let torn = Torn::new(27);
    let mut bytes = torn.sound.clone();
    // Entry 5 is gone; entries 6 to 8 say that it was durable.
    bytes[torn.ends[4]..torn.ends[5]].fill(0);
    fs::write(&torn.segment, &bytes).unwrap();
    let error = options().open(torn.dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { path, offset, expected, durable }
            if *path == torn.segment && *offset == torn.ends[4] as u64 && expected.get() == 5 && durable.get() == 5),
        "{error:?}"
    );
    assert!(fs::read(&torn.segment).unwrap() == bytes, "the file is as it was");
    assert!(with_suffix(torn.dir.path(), ".bin").is_empty());
    // Readers get what stands before the hole.
    let view = OplogView::open(torn.dir.path()).unwrap();
    assert_eq!(
        view.get(OpId::new(4), ReadConcern::Durable).unwrap().payload(),
        payload(4, 27)
    );
    assert!(matches!(
        view.get(OpId::new(5), ReadConcern::Durable),
        Err(Error::Corrupt { .. })
    ));
    let report = verify(torn.dir.path()).unwrap();
    assert!(!report.is_sound() && report.newest.get() == 4, "{report:?}");
}

#[test]
fn half_a_batch_is_no_batch() {
    let origin = temporary();
    let log = options().open(origin.path()).unwrap();
    append(&log, 27, Durability::Disk);
    let payloads: Vec<_> = (2..=5).map(|n| payload(n, 27)).collect();
    let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_slice()]).collect();
    let records: Vec<_> = pieces.iter().map(|payload| Record { kind: KIND, payload }).collect();
    log.append_batch(&records, Durability::Memory).unwrap();
    let frame = (HEADER + 27).next_multiple_of(8);
    for at in FRAMES_START + frame..FRAMES_START + 5 * frame - 5 {
        let cut = copy(origin.path());
        let segment = with_suffix(cut.path(), ".seg").remove(0);
        let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
        file.write_all_at(&vec![0; 1024], at as u64).unwrap();
        let log = options().open(cut.path()).unwrap();
        assert_eq!(log.watermarks().durable.get(), 1, "cut at {at}");
    }
}

/// As reused space would hold: whole frames of the entries that come next, under the seed of another segment, or whole frames
/// of this segment that are not the next, as an earlier round of the log buffer leaves behind its end.
#[test]
fn old_frames_behind_the_end_are_never_read() {
    fn reseeded(segment: &Path, count: usize, seed: u32) {
        let mut bytes = fs::read(segment).unwrap();
        let frames = common::frames(&bytes);
        for frame in &frames[frames.len() - count..] {
            let mut hasher = crc32fast::Hasher::new_with_initial(seed);
            hasher.update(&bytes[frame.start + 4..frame.end]);
            let crc = hasher.finalize();
            bytes[frame.start..frame.start + 4].copy_from_slice(&crc.to_le_bytes());
        }
        fs::write(segment, bytes).unwrap();
    }
    type Old = fn(&Path, &Path);
    let cases: [(&str, u64, Old); 5] = [
        // What shows that the others are refused for what they say they are.
        ("its own seed", 2, |dir, segment| {
            common::append_frames(dir, 2, |_| {});
            reseeded(segment, 2, common::seed(segment));
        }),
        ("a neighbour's seed", 0, |dir, segment| {
            common::append_frames(dir, 2, |_| {});
            reseeded(segment, 2, common::seed(&common::segments(dir)[0]));
        }),
        ("no seed", 0, |dir, segment| {
            common::append_frames(dir, 2, |_| {});
            reseeded(segment, 2, 0);
        }),
        ("an earlier entry", 0, |dir, _| {
            common::append_frames(dir, 1, |header| {
                header[8..16].copy_from_slice(&(common::LAST - 3).to_le_bytes());
            });
        }),
        ("the last entry again", 0, |dir, _| {
            common::append_frames(dir, 1, |header| {
                header[8..16].copy_from_slice(&common::LAST.to_le_bytes());
            });
        }),
    ];
    for (what, found, put) in cases {
        let dir = common::closed(common::LAST);
        let newest = common::segments(dir.path()).pop().unwrap();
        put(dir.path(), &newest);
        let last = common::LAST + found;
        let view = OplogView::open(dir.path()).unwrap();
        assert_eq!(view.newest(ReadConcern::Durable).get(), last, "{what}");
        let log = options().open(dir.path()).unwrap();
        assert_eq!(log.watermarks().appended.get(), last, "{what}");
        for n in 1..=last {
            let entry = log.view().get(OpId::new(n), ReadConcern::Durable).unwrap();
            assert!(entry.payload() == common::payload(n), "{what}: entry {n}");
        }
        // What comes now stands in their place.
        common::append_to(&log, last + 3);
        log.close().unwrap();
        assert!(verify(dir.path()).unwrap().is_sound(), "{what}");
    }
}

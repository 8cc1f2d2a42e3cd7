//! Cutting a log back to one of its entries, when the others turn out not to have been agreed to by the other members.
//!
//! This is the one place where entries go that may have been durable. Nobody has the log open meanwhile. What is to be done is
//! written to the file `CUT` first, durably, so that whatever moment it is interrupted at, the next writable open does the rest
//! before it looks at anything else. What is cut is kept, as recovery keeps a torn tail.
//!
//! ```text
//!   CUT ──► later segments set aside ──► end kept in torn-*.bin, zeroed; slots say the new end ──► BUFFER removed ──► TAIL ──► CUT removed
//! ```

use std::io;
use std::path::Path;

use bincode::{Decode, Encode};

use crate::chain::Chain;
use crate::disk::{Disk, LockError, OsDisk};
use crate::error::{Error, Result};
use crate::format::{
    self, BUFFER, Checked, FRAMES_START, LOCK, Manifest, SLOT_OFFSETS, Slot, TAIL, VERSION, encode_checked,
};
use crate::ids::{LogId, OpId, Sequence, Term};
use crate::oplog::Oplog;
use crate::record_file::read_record;
use crate::recovery::{free_name, scan};
use crate::segment::read_header;
use crate::tail::{Found, Tail};
use crate::view::read_manifest;

pub(crate) const CUT: &str = "CUT";
/// Zeros are written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// What is being done.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct CutRecord {
    version: u32,
    log_id: [u8; 16],
    /// The last entry that stays.
    last: u64,
}

impl Checked for CutRecord {
    const MAGIC: [u8; 8] = *b"TAILWCUT";
}

impl Oplog {
    /// Closes the log and cuts off every entry behind `last`, which must end its batch; other handles find the log closed.
    /// Keep a copy of the entries in a readable form first, if anybody is to look at them.
    ///
    /// # Errors
    ///
    /// [`Error::Ahead`], [`Error::HistoryLost`], [`Error::InsideBatch`]: nothing was changed but that the log is closed. Those
    /// of [`Oplog::close`]; [`Error::Io`], after which the next open goes on.
    pub fn cut_back(self, last: OpId) -> Result<()> {
        let view = self.view();
        let path = view.path().to_path_buf();
        let marks = view.watermarks();
        if last > marks.appended {
            return Err(Error::Ahead {
                requested: last,
                newest: marks.appended,
            });
        }
        if last.next() < marks.oldest {
            return Err(Error::HistoryLost {
                requested: last,
                oldest: marks.oldest,
            });
        }
        self.close()?;
        cut(&path, last)
    }
}

fn cut(path: &Path, last: OpId) -> Result<()> {
    let disk = OsDisk::new(path);
    let _lock = disk.lock(LOCK).map_err(|e| match e {
        LockError::Held { holder } => Error::locked(path.to_path_buf(), holder),
        LockError::Io(e) => Error::io("lock", path.join(LOCK))(e),
    })?;
    let manifest = read_manifest(&disk)?;
    let plan = Plan::make(&disk, &manifest, last)?;
    if let Some((first, batch_end)) = plan.inside_batch_of {
        return Err(Error::InsideBatch {
            op_id: last,
            first,
            last: batch_end,
        });
    }
    let record = CutRecord {
        version: VERSION,
        log_id: manifest.log_id,
        last: last.get(),
    };
    disk.replace(CUT, &encode_checked(&record, 0))
        .map_err(Error::io("write", path.join(CUT)))?;
    carry_out(&disk, &manifest, &plan)
}

/// Does what is left of a cut that was interrupted. For a writable open, before it looks at the segments.
pub(crate) fn finish(disk: &dyn Disk, manifest: &Manifest) -> Result<()> {
    let damage = "it says where the log is to be cut, and cannot be read or is of another log";
    let Some(record) = read_record::<CutRecord>(disk, CUT, damage)? else {
        return Ok(());
    };
    if record.log_id != manifest.log_id {
        return Err(Error::DamagedMetadata {
            path: disk.path().join(CUT),
            what: damage,
        });
    }
    tracing::warn!(path = %disk.path().display(), last = record.last, "going on with a cut that was interrupted");
    let plan = Plan::make(disk, manifest, OpId::new(record.last))?;
    carry_out(disk, manifest, &plan)
}

/// What a cut will do.
struct Plan {
    last: OpId,
    /// Names of the segments that go as a whole, newest first.
    aside: Vec<(String, Sequence, OpId)>,
    /// The segment that becomes the newest.
    name: String,
    sequence: Sequence,
    first: OpId,
    seed: u32,
    length: usize,
    /// Where its frames will end.
    end: usize,
    /// First and last entry of the batch that would be cut in two.
    inside_batch_of: Option<(OpId, OpId)>,
}

impl Plan {
    fn make(disk: &dyn Disk, manifest: &Manifest, last: OpId) -> Result<Plan> {
        let log_id = LogId::from_bytes(manifest.log_id);
        let chain = Chain::read(disk, manifest)?;
        let mut aside = Vec::new();
        let mut links = chain.links().iter().rev().peekable();
        let kept = loop {
            let link = links.next().ok_or(Error::Closed)?;
            // The oldest stays even when all of its entries go.
            if link.first <= last || links.peek().is_none() {
                break link;
            }
            aside.push((
                format::segment_name(link.sequence, link.first),
                link.sequence,
                link.first,
            ));
        };
        let name = format::segment_name(kept.sequence, kept.first);
        let path = disk.path().join(&name);
        let length = disk.length(&name).map_err(Error::io("look at", &path))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let medium = disk.open(&name, length, true).map_err(Error::io("map", &path))?;
        let header = read_header(&medium.region, log_id, kept.sequence, &path)?;
        let length = length.min(header.length as usize);
        medium
            .file
            .probe(FRAMES_START..length)
            .map_err(Error::io("read", &path))?;
        medium.region.publish_foreign(length);
        let frames = medium.region.bytes(FRAMES_START..length);
        let (mut end, mut batch) = (FRAMES_START, kept.first);
        let mut inside: Option<(OpId, OpId)> = None;
        let scanned = scan(
            frames,
            FRAMES_START,
            header.seed,
            kept.first,
            Term::default(),
            |frame, offset| {
                if frame.op_id <= last {
                    end = offset + frame.frame_bytes();
                    inside = (!frame.ends_batch()).then_some((batch, frame.op_id));
                } else if let Some((_, batch_end)) = &mut inside
                    && *batch_end < frame.op_id
                    && batch <= last
                {
                    *batch_end = frame.op_id;
                }
                if frame.ends_batch() {
                    batch = frame.op_id.next();
                }
            },
        );
        let (next, offset) = scanned.invalid;
        if next <= last {
            return Err(Error::Corrupt {
                path,
                offset: offset as u64,
                expected: next,
                durable: last,
            });
        }
        Ok(Plan {
            last,
            aside,
            name,
            sequence: kept.sequence,
            first: kept.first,
            seed: header.seed,
            length,
            end,
            inside_batch_of: inside,
        })
    }
}

fn carry_out(disk: &dyn Disk, manifest: &Manifest, plan: &Plan) -> Result<()> {
    for (name, sequence, first) in &plan.aside {
        let to = free_name(disk, &format!("torn-{:010}-{:020}", sequence.0, first.get()), "seg")?;
        disk.rename(name, &to)
            .and_then(|()| disk.sync_directory())
            .map_err(Error::io("rename", disk.path().join(name)))?;
    }
    empty_behind(disk, plan)?;
    // A buffer that a close could not remove would give the next open back what is cut.
    match disk.remove(BUFFER) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", disk.path().join(BUFFER))(error));
        }
        _ => {}
    }
    // A live tail page would go on proving what is there no more.
    let log_id = LogId::from_bytes(manifest.log_id);
    let tail = Tail::open(disk, true).map_err(Error::io("open", disk.path().join(TAIL)))?;
    let found = Found {
        oldest: OpId::new(manifest.first_op_id),
        durable: plan.last,
        last: plan.last,
        // All that stays is released, whatever the primary was known to have on its disk before: where two members' logs part, the one
        // that has the other's cut has begun a term behind that, and with it made durable what it had.
        confirmed: None,
        counts: true,
    };
    tail.take_over(log_id, &found);
    tracing::warn!(path = %disk.path().display(), last = %plan.last, "cut the log back");
    disk.remove(CUT)
        .and_then(|()| disk.sync_directory())
        .map_err(Error::io("remove", disk.path().join(CUT)))
}

/// Keeps and zeroes what stands behind the end in the segment that becomes the newest, and proves the new end.
fn empty_behind(disk: &dyn Disk, plan: &Plan) -> Result<()> {
    let path = disk.path().join(&plan.name);
    let medium = disk
        .open(&plan.name, plan.length, true)
        .map_err(Error::io("map", &path))?;
    medium.region.publish_foreign(plan.length);
    let behind = medium.region.bytes(plan.end..plan.length);
    if let Some(last) = behind.iter().rposition(|&byte| byte != 0) {
        let name = free_name(disk, &format!("torn-{:010}-{}", plan.sequence.0, plan.end), "bin")?;
        disk.replace(&name, &behind[..=last])
            .map_err(Error::io("write", disk.path().join(&name)))?;
    }
    let write = |offset, bytes: &[u8]| medium.file.write_at(offset, bytes).map_err(Error::io("write", &path));
    // Footer and later frames first, then the slots: both prove entries, and neither must be the only one left that does.
    for at in (plan.end..plan.length).step_by(PIECE_BYTES) {
        write(at, &vec![0; PIECE_BYTES.min(plan.length - at)])?;
    }
    for offset in SLOT_OFFSETS {
        write(offset, &[0; format::RECORD_BYTES])?;
    }
    if plan.last >= plan.first {
        let slot = Slot {
            count: 1,
            durable: plan.last.get(),
            end: plan.end as u64,
        };
        write(SLOT_OFFSETS[1], &encode_checked(&slot, plan.seed))?;
    }
    medium.file.sync().map_err(Error::io("sync", &path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::disk::death::{Moment, die_at};
    use crate::options::{Durability, Options};
    use crate::view::ReadConcern;

    /// The test that children run, and what they are told: the directory, the moment, and the number of the call.
    const TEST: &str = "cut::tests::a_cut_that_is_killed_at_any_system_call_is_done_by_the_next_open";
    const DIRECTORY: &str = "TAILWATER_CUT_DIRECTORY";
    const MOMENT: &str = "TAILWATER_CUT_MOMENT";
    const CALL: &str = "TAILWATER_CUT_CALL";
    const MOMENTS: [Moment; 3] = [Moment::Before, Moment::HalfWay, Moment::After];
    const ENTRIES: u64 = 60;
    const LAST: OpId = OpId::new(17);

    fn options() -> Options {
        Options {
            segment_bytes: 16 << 10,
            sync_interval: Duration::from_secs(3600),
            ..Options::default()
        }
    }

    fn payload(op_id: u64) -> Vec<u8> {
        vec![op_id as u8; 300 + op_id as usize * 37 % 900]
    }

    fn filled(dir: &Path) {
        let log = options().open(dir).unwrap();
        for op_id in 1..=ENTRIES {
            log.append(200, &payload(op_id), Durability::Memory).unwrap();
        }
        log.close().unwrap();
    }

    /// Whether a child that cuts dies there.
    fn dies(dir: &Path, moment: Moment, call: u64) -> bool {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", TEST, "--test-threads=1"]);
        child.env(DIRECTORY, dir).env(MOMENT, format!("{moment:?}"));
        child.env(CALL, call.to_string()).stdout(Stdio::null());
        let status = child.status().unwrap();
        assert!(
            status.success() || status.signal().is_some(),
            "{moment:?} {call}: {status}"
        );
        !status.success()
    }

    fn check(dir: &Path, dead: bool, what: &str) {
        let begun = dir.join(CUT).exists();
        let log = options().open(dir).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let end = log.watermarks().appended;
        // Before it was written down that it is to be done, nothing was done; afterwards all of it is.
        let untouched = dead && !begun && end == OpId::new(ENTRIES);
        assert!(end == LAST || untouched, "{what}: ends with {end}");
        for op_id in (1..=end.get()).map(OpId::new) {
            let entry = log.view().get(op_id, ReadConcern::Local).unwrap();
            assert_eq!(entry.payload(), payload(op_id.get()), "{what}");
        }
        let next = log.append(200, b"new", Durability::Disk).unwrap();
        assert_eq!(next.first, end.next(), "{what}");
        log.close().unwrap();
        assert!(!dir.join(CUT).exists());
        let report = crate::verify::verify(dir).unwrap();
        assert!(report.findings.is_empty(), "{what}: {:?}", report.findings);
        assert_eq!(report.newest, next.last);
    }

    /// A log of ten entries, closed, whose buffer stayed.
    fn with_a_buffer(dir: &Path) {
        let log = options().open(dir).unwrap();
        for op_id in 1..=10 {
            log.append(200, &payload(op_id)[..100], Durability::Memory).unwrap();
        }
        let kept = dir.with_extension("kept");
        std::fs::hard_link(dir.join(BUFFER), &kept).unwrap();
        log.close().unwrap();
        std::fs::rename(&kept, dir.join(BUFFER)).unwrap();
    }

    #[test]
    fn what_is_cut_does_not_come_back_through_a_buffer_that_stayed() {
        let dir = tempfile::tempdir().unwrap();
        with_a_buffer(dir.path());
        cut(dir.path(), OpId::new(5)).unwrap();
        let log = options().open(dir.path()).unwrap();
        assert_eq!(log.watermarks().appended, OpId::new(5));
        assert_eq!(log.append(200, b"new", Durability::Disk).unwrap().first, OpId::new(6));
    }

    #[test]
    fn a_buffer_that_cannot_be_removed_keeps_the_cut_from_being_done() {
        let dir = tempfile::tempdir().unwrap();
        with_a_buffer(dir.path());
        let (buffer, aside) = (dir.path().join(BUFFER), dir.path().with_extension("aside"));
        std::fs::rename(&buffer, &aside).unwrap();
        std::fs::create_dir(&buffer).unwrap();
        for _ in 0..2 {
            let refused = cut(dir.path(), OpId::new(5));
            assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
            assert!(options().open(dir.path()).is_err());
        }
        std::fs::remove_dir(&buffer).unwrap();
        std::fs::rename(&aside, &buffer).unwrap();
        let log = options().open(dir.path()).unwrap();
        assert_eq!(log.watermarks().appended, OpId::new(5));
    }

    #[test]
    fn a_cut_that_is_killed_at_any_system_call_is_done_by_the_next_open() {
        if let Some(dir) = std::env::var_os(DIRECTORY) {
            let moment = std::env::var(MOMENT).unwrap();
            let moment = MOMENTS.into_iter().find(|m| format!("{m:?}") == moment).unwrap();
            let log = options().open(&dir).unwrap();
            die_at(moment, std::env::var(CALL).unwrap().parse().unwrap());
            log.cut_back(LAST).unwrap();
            return;
        }
        let mut deaths = 0;
        for moment in MOMENTS {
            for call in 1.. {
                let dir = tempfile::tempdir().unwrap();
                filled(dir.path());
                let dead = dies(dir.path(), moment, call);
                check(dir.path(), dead, &format!("{moment:?} call {call}"));
                deaths += u64::from(dead);
                if !dead {
                    break;
                }
            }
        }
        assert!(deaths > 20, "{deaths}");
    }
}

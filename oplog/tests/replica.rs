//! Logs that follow another: the same bytes, what recovery believes of them, promotion, and cutting back.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::temporary;
use tailwater_oplog::{
    Durability, Error, Member, OpId, Oplog, OplogView, Options, Rank, ReadConcern, Record, Share, Term,
    create_follower, create_partial_follower, entry::ELIDED, verify,
};

const SEGMENT: u64 = 1 << 20;

fn open(dir: &Path) -> Oplog {
    let options = Options {
        segment_bytes: SEGMENT,
        // Entries are durable when a test says so.
        sync_interval: std::time::Duration::from_secs(3600),
        ..Options::default()
    };
    options.open(dir).unwrap()
}

fn member(number: u8) -> Member {
    Member::new(number).unwrap()
}

/// Appends `count` entries of `bytes` bytes, every third time as a batch of three.
fn write(log: &Oplog, count: usize, bytes: usize) {
    let mut left = count;
    while left > 0 {
        let payload = vec![left as u8; bytes];
        let batch = if left.is_multiple_of(3) { 3 } else { 1 };
        let record = Record {
            kind: 200,
            payload: &[&payload],
        };
        log.append_batch(&vec![record; batch], Durability::Memory).unwrap();
        left -= batch;
    }
    log.sync(log.watermarks().appended).unwrap();
}

/// A follower that has nothing yet of what `primary` has.
fn follower_of(primary: &Oplog, dir: &Path) -> Oplog {
    let start = primary.view().segment_of(primary.watermarks().oldest).unwrap();
    let before = primary.view().before(start.first).unwrap();
    create_follower(dir, &start, primary.promised(), primary.known(), before).unwrap();
    open(dir)
}

/// Brings a follower up to the primary's last released entry, as a driver does.
fn catch_up(primary: &OplogView, follower: &Oplog, chunk: usize) {
    loop {
        let next = follower.watermarks().appended.next();
        let Some(run) = primary.frames(next, chunk, ReadConcern::Durable).unwrap() else {
            return;
        };
        if run.begins_segment() && follower.view().segment_of(next).unwrap().first != next {
            follower.begin_segment(&run.segment_start().unwrap()).unwrap();
        }
        let outcome = follower.append_frames(run.bytes()).unwrap();
        assert_eq!((outcome.first, outcome.last), (run.first, run.last));
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with("torn"))
        .collect();
    names.sort();
    names
}

/// The same files with the same bytes, but for the slots in which each member notes what its own disk has.
fn assert_same_segments(a: &Path, b: &Path) {
    let (of_a, of_b) = (segments(a), segments(b));
    assert_eq!(of_a.len(), of_b.len());
    for (a, b) in of_a.iter().zip(&of_b) {
        assert_eq!(a.file_name(), b.file_name());
        let (mut a_bytes, mut b_bytes) = (fs::read(a).unwrap(), fs::read(b).unwrap());
        for bytes in [&mut a_bytes, &mut b_bytes] {
            bytes[512..1536].fill(0);
        }
        assert!(a_bytes == b_bytes, "{} differs", a.display());
    }
}

#[test]
fn a_follower_has_the_same_segments_byte_for_byte() {
    let (a, b) = (temporary(), temporary());
    let primary = open(a.path());
    write(&primary, 40, 9000);
    let follower = follower_of(&primary, b.path());
    // From a frame at a time to more than the follower's buffer takes.
    for chunk in [1, 100, 5000, 300_000, 4 << 20] {
        write(&primary, 120, 3000);
        catch_up(&primary.view(), &follower, chunk);
    }
    assert_eq!(follower.watermarks().appended, primary.watermarks().appended);
    assert!(segments(a.path()).len() > 2);
    follower.sync(follower.watermarks().appended).unwrap();
    primary.close().unwrap();
    follower.close().unwrap();
    assert_same_segments(a.path(), b.path());
    let report = verify(b.path()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_partial_follower_has_every_place_and_the_same_bytes_of_what_it_has() {
    let (a, b) = (temporary(), temporary());
    let primary = open(a.path());
    write(&primary, 400, 9000);
    let view = primary.view();
    let start = view.segment_of(OpId::FIRST).unwrap();
    let before = view.before(start.first).unwrap();
    let none = create_partial_follower(b.path(), &start, primary.promised(), primary.known(), before, b"");
    assert!(matches!(none, Err(Error::InvalidOption { .. })));
    create_partial_follower(b.path(), &start, primary.promised(), primary.known(), before, b"thirds").unwrap();
    let mut follower = open(b.path());
    let is_taken = |op_id: OpId| op_id.get().is_multiple_of(3);
    let is_instead = |op_id: OpId| op_id.get().is_multiple_of(7);
    loop {
        let next = follower.watermarks().appended.next();
        let Some(run) = view.frames(next, 50_000, ReadConcern::Durable).unwrap() else {
            break;
        };
        if run.begins_segment() && follower.view().segment_of(next).unwrap().first != next {
            follower.begin_segment(&run.segment_start().unwrap()).unwrap();
        }
        let longer = run.part(|entry| Ok(Share::Instead(201, vec![0; entry.payload.len() + 1])));
        assert!(matches!(longer, Err(Error::TooLarge { .. })));
        let part = run.part(|entry| {
            Ok(match entry.op_id {
                id if is_taken(id) => Share::Whole,
                id if is_instead(id) => Share::Instead(201, b"instead".to_vec()),
                _ => Share::Place,
            })
        });
        let part = part.unwrap();
        let frames = part.pieces().collect::<Vec<_>>().concat();
        assert_eq!(part.length(), frames.len());
        assert_eq!(follower.append_frames(&frames).unwrap().last, run.last);
        if run.last.get().is_multiple_of(5) {
            // Closed and opened, it is still partial, and goes on.
            follower.close().unwrap();
            follower = open(b.path());
            assert_eq!(follower.part(), Some(&b"thirds"[..]));
        }
    }
    assert_eq!(follower.watermarks().appended, primary.watermarks().appended);
    // A log that has everything takes nothing of it.
    let c = temporary();
    let whole = follower_of(&primary, c.path());
    let run = follower.view().frames(OpId::FIRST, 1, ReadConcern::Local).unwrap();
    let refused = whole.append_frames(run.unwrap().bytes());
    assert!(matches!(refused, Err(Error::ForeignFrames { .. })), "{refused:?}");
    catch_up(&view, &whole, 50_000);
    let theirs = follower.view();
    for number in 1..=primary.watermarks().appended.get() {
        let op_id = OpId::new(number);
        let (own, other) = (
            view.get(op_id, ReadConcern::Local).unwrap(),
            theirs.get(op_id, ReadConcern::Local).unwrap(),
        );
        assert_eq!((own.term(), own.timestamp()), (other.term(), other.timestamp()));
        let expected = match op_id {
            id if is_taken(id) => (own.kind(), own.payload()),
            id if is_instead(id) => (201, &b"instead"[..]),
            _ => (ELIDED, &[][..]),
        };
        assert_eq!((other.kind(), other.payload()), expected, "{op_id}");
    }
    // It is never anybody's primary.
    let promoted = follower.promote(member(1));
    assert!(matches!(promoted, Err(Error::Partial { .. })));
    follower.close().unwrap();
    fs::remove_file(b.path().join("REPLICA")).unwrap();
    let alone = open(b.path());
    let refused = alone.append(200, b"x", Durability::Memory);
    assert!(matches!(refused, Err(Error::NotPrimary { .. })));
    alone.close().unwrap();
    let report = verify(b.path()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn a_follower_takes_nothing_of_its_own_and_nothing_that_does_not_follow() {
    let (a, b) = (temporary(), temporary());
    let primary = open(a.path());
    write(&primary, 9, 100);
    let follower = follower_of(&primary, b.path());
    let own = follower.append(200, b"x", Durability::Memory);
    assert!(matches!(own, Err(Error::NotPrimary { .. })));
    let run = primary
        .view()
        .frames(OpId::FIRST, 1 << 20, ReadConcern::Durable)
        .unwrap()
        .unwrap();
    assert!(matches!(
        primary.append_frames(run.bytes()),
        Err(Error::NotFollowing { .. })
    ));
    let refuse = |bytes: &[u8]| {
        let refused = follower.append_frames(bytes);
        assert!(matches!(refused, Err(Error::ForeignFrames { .. })), "{refused:?}");
        assert_eq!(follower.watermarks().appended, OpId::ZERO);
    };
    refuse(&[]);
    refuse(&run.bytes()[..run.bytes().len() - 8]);
    let second = primary.view().frames(run.first.next(), 1, ReadConcern::Durable);
    // A batch is sent whole, from its first entry on; the next one stands behind it.
    refuse(second.unwrap().unwrap().bytes());
    for bit in [0, 70, 130, 200, run.bytes().len() * 8 - 1] {
        let mut bytes = run.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        refuse(&bytes);
    }
    follower.append_frames(run.bytes()).unwrap();
}

#[test]
fn a_follower_stays_one_across_a_restart_and_keeps_its_promises() {
    let (a, b) = (temporary(), temporary());
    let primary = open(a.path());
    write(&primary, 9, 100);
    let follower = follower_of(&primary, b.path());
    catch_up(&primary.view(), &follower, 1 << 20);
    follower.promise(Term::new(77)).unwrap();
    follower.promise(Term::new(5)).unwrap();
    follower.close().unwrap();

    let follower = open(b.path());
    assert!(follower.is_following());
    assert_eq!(follower.promised(), Term::new(77));
    assert_eq!(follower.watermarks().durable, primary.watermarks().durable);
    write(&primary, 3, 100);
    catch_up(&primary.view(), &follower, 1 << 20);
    assert_eq!(follower.watermarks().appended, primary.watermarks().appended);
}

#[test]
fn a_term_that_nobody_can_have_come_to_is_not_promised() {
    let a = temporary();
    let log = open(a.path());
    log.promise(Term::new(131)).unwrap();
    for term in [u32::MAX, u32::MAX - 1, 1 << 25] {
        let refused = log.promise(Term::new(term));
        assert!(
            matches!(refused, Err(Error::InvalidOption { option: "term", .. })),
            "{refused:?}"
        );
    }
    assert_eq!(log.promised(), Term::new(131));
    assert!(
        log.promote(member(1)).unwrap() < Term::new(1000),
        "there are as many terms left as before"
    );
}

#[test]
fn what_a_member_knows_is_not_forgotten_with_the_entries_that_are_trimmed() {
    let (a, b) = (temporary(), temporary());
    let log = open(a.path());
    let term = log.promote(member(0)).unwrap();
    let elected = member(0).term_after(term, true).unwrap();
    log.begin_term(elected).unwrap();
    write(&log, 6, 3000);
    let known = Rank {
        term: elected,
        op_id: log.watermarks().durable,
    };
    assert_eq!(log.view().before(known.op_id.next()).unwrap().rank, known);
    // Much is written in a term that was not elected, and only that is left.
    let unelected = log.promote(member(0)).unwrap();
    write(&log, 900, 3000);
    let oldest = log.trim(log.watermarks().durable).unwrap();
    assert!(oldest > known.op_id);
    let newest = log.watermarks().durable;
    assert_eq!(log.view().before(newest.next()).unwrap().rank, known);
    log.close().unwrap();
    let log = open(a.path());
    assert_eq!(log.view().before(newest.next()).unwrap().rank, known);
    let base = log.view().before(oldest).unwrap();
    assert_eq!((base.rank, base.term), (known, Some(unelected)));
    assert_eq!(log.view().before(OpId::FIRST).unwrap().term, Some(Term::default()));
    assert_eq!(
        log.view().before(known.op_id).unwrap().term,
        None,
        "nobody knows that any more"
    );
    // Whoever begins with what is left knows it, too.
    let follower = follower_of(&log, b.path());
    catch_up(&log.view(), &follower, 1 << 20);
    assert_eq!(follower.view().before(newest.next()).unwrap().rank, known);
    assert_eq!(follower.view().before(oldest).unwrap(), base);
}

/// A copy of a log's directory, as power loss might leave it: what was appended is there, no tail page speaks for it.
fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = temporary();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// A follower with eight entries, of which only two are durable, though the watermarks of the others say more; of a part if that is
/// named.
fn ahead_of_its_disk(primary: &Oplog, dir: &Path, part: Option<&[u8]>) -> Oplog {
    let follower = match part {
        None => follower_of(primary, dir),
        Some(part) => {
            let start = primary.view().segment_of(OpId::FIRST).unwrap();
            let before = primary.view().before(start.first).unwrap();
            create_partial_follower(dir, &start, primary.promised(), primary.known(), before, part).unwrap();
            open(dir)
        }
    };
    let view = primary.view();
    for synced in [2, 8] {
        while primary.watermarks().appended < OpId::new(synced) {
            write(primary, 1, 100);
        }
        catch_up(&view, &follower, 1 << 20);
        if synced == 2 {
            follower.sync(OpId::new(2)).unwrap();
        }
    }
    follower
}

#[test]
fn what_was_durable_elsewhere_proves_nothing_here() {
    let frame = 40 + 104;
    for part in [None, Some(&b"some"[..])] {
        let (a, b) = (temporary(), temporary());
        let primary = open(a.path());
        let follower = ahead_of_its_disk(&primary, b.path(), part);
        let copy = copy_of(b.path());
        if part.is_some() {
            // A part is one whether the file is there or not, as in a copy.
            fs::remove_file(copy.path().join("REPLICA")).unwrap();
        }
        let path = segments(copy.path()).remove(0);
        // Power loss took entry 5 and left those behind it.
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096 + 4 * frame..4096 + 5 * frame].fill(0);
        fs::write(&path, &bytes).unwrap();
        let report = verify(copy.path()).unwrap();
        assert!(
            report
                .findings
                .iter()
                .all(|finding| format!("{finding:?}").contains("Torn")),
            "{:?}",
            report.findings
        );
        let read = OplogView::open(copy.path()).unwrap();
        assert_eq!(read.newest(ReadConcern::Local), OpId::new(4));
        drop(read);
        let found = open(copy.path());
        assert_eq!(found.watermarks().appended, OpId::new(4));
        drop(found);
        follower.close().unwrap();
    }

    let (a, b) = (temporary(), temporary());
    let primary = open(a.path());
    let follower = ahead_of_its_disk(&primary, b.path(), None);
    // The same in a log that was promoted is damage: it was all durable then.
    follower.promote(member(1)).unwrap();
    let copy = copy_of(b.path());
    let path = segments(copy.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 + 4 * frame..4096 + 5 * frame].fill(0);
    fs::write(&path, &bytes).unwrap();
    let opened = Options::default().open(copy.path());
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

/// A log that is opened to follow.
fn open_following(dir: &Path) -> Oplog {
    let options = Options {
        segment_bytes: SEGMENT,
        sync_interval: std::time::Duration::from_secs(3600),
        follow: true,
        ..Options::default()
    };
    options.open(dir).unwrap()
}

#[test]
fn what_its_primary_does_not_have_on_its_disk_is_kept_and_not_shown() {
    let (a, b) = (temporary(), temporary());
    let primary = open(a.path());
    write(&primary, 3, 100);
    follower_of(&primary, b.path()).close().unwrap();
    let follower = open_following(b.path());
    let shown = |follower: &Oplog| {
        let marks = follower.watermarks();
        assert_eq!(follower.view().newest(ReadConcern::Durable), marks.released);
        (marks.released.get(), marks.durable.get())
    };
    catch_up(&primary.view(), &follower, 1 << 20);
    follower.sync(OpId::new(3)).unwrap();
    assert_eq!(shown(&follower), (0, 3));
    follower.set_confirmed(OpId::new(2));
    assert_eq!((shown(&follower), follower.settled()), ((2, 3), Some(OpId::ZERO)));
    // It does not go back.
    follower.set_confirmed(OpId::FIRST);
    assert_eq!(shown(&follower), (2, 3));
    follower.set_confirmed(OpId::new(3));
    follower.set_majority(None);
    assert_eq!((shown(&follower), follower.settled()), ((3, 3), Some(OpId::new(3))));

    // The fourth is sent while the primary syncs it.
    primary.append(200, b"x", Durability::Memory).unwrap();
    assert_eq!(primary.watermarks().durable, OpId::new(3));
    let early = primary.view().frames(OpId::new(4), 1 << 20, ReadConcern::Local);
    follower.append_frames(early.unwrap().unwrap().bytes()).unwrap();
    follower.sync(OpId::new(4)).unwrap();
    assert_eq!(shown(&follower), (3, 4));
    let copy = copy_of(b.path());

    // Neither the next process nor, after power loss, its frames say more; a promotion does.
    follower.close().unwrap();
    let again = open_following(b.path());
    assert_eq!(shown(&again), (3, 4));
    let after_power_loss = open_following(copy.path());
    assert_eq!(shown(&after_power_loss), (3, 4));
    after_power_loss.promote(member(1)).unwrap();
    assert_eq!((shown(&after_power_loss), after_power_loss.confirmed()), ((4, 4), None));
    // What is said to one that was promoted comes too late.
    after_power_loss.set_confirmed(OpId::new(4));
    assert_eq!(after_power_loss.confirmed(), None);
}

#[test]
fn a_sync_that_begins_is_told_to_who_sends() {
    let dir = temporary();
    let log = open(dir.path());
    write(&log, 1, 100);
    let (view, none) = (log.view(), tailwater_oplog::Interrupt::new());
    assert_eq!(view.syncing(), OpId::FIRST);
    let soon = || std::time::Instant::now() + std::time::Duration::from_secs(60);
    let waiter = {
        let (view, none) = (view.clone(), none.clone());
        std::thread::spawn(move || view.wait_for_sync((OpId::FIRST, OpId::FIRST), soon(), &none))
    };
    log.append(200, b"x", Durability::Disk).unwrap();
    assert_eq!(waiter.join().unwrap(), tailwater_oplog::WaitOutcome::Ready);
    assert_eq!(view.syncing(), OpId::new(2));
    let waiter = {
        let (view, none) = (view.clone(), none.clone());
        std::thread::spawn(move || view.wait_for_sync((OpId::new(2), OpId::new(2)), soon(), &none))
    };
    view.interrupt(&none);
    assert_eq!(waiter.join().unwrap(), tailwater_oplog::WaitOutcome::Interrupted);
}

#[test]
fn who_goes_does_not_take_away_who_is_told_of_syncs_after_him() {
    let dir = temporary();
    let log = open(dir.path());
    let told = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let listen = |at: usize| {
        let told = Arc::clone(&told[at]);
        log.on_sync(Box::new(move || told.fetch_add(1, Ordering::SeqCst) < u64::MAX))
    };
    let syncs = || {
        log.append(200, b"x", Durability::Disk).unwrap();
        told.each_ref().map(|told| told.swap(0, Ordering::SeqCst) > 0)
    };
    let first = listen(0);
    assert_eq!(syncs(), [true, false]);
    let second = listen(1);
    assert_eq!(syncs(), [false, true]);
    log.end_on_sync(first);
    assert_eq!(syncs(), [false, true]);
    log.end_on_sync(second);
    assert_eq!(syncs(), [false, false]);
}

#[test]
fn a_closed_log_shows_nothing_that_may_be_cut_off() {
    let (a, b) = (temporary(), temporary());
    let primary = open(a.path());
    (0..3).for_each(|_| write(&primary, 1, 100));
    follower_of(&primary, b.path()).close().unwrap();
    let follower = open_following(b.path());
    catch_up(&primary.view(), &follower, 1 << 20);
    follower.set_confirmed(OpId::new(2));
    let view = follower.view();
    let mut cursor = view.cursor(OpId::FIRST, ReadConcern::Local).unwrap();
    let read = |cursor: &mut tailwater_oplog::Cursor| {
        let mut read = Vec::new();
        while let Some(entry) = cursor.try_next().unwrap() {
            read.push(entry.op_id().get());
        }
        read
    };
    assert_eq!(read(&mut cursor), [1, 2, 3]);
    follower.cut_back(OpId::new(2)).unwrap();
    // Who has come further is at the end, and who comes now finds what is left.
    assert!(read(&mut cursor).is_empty());
    assert_eq!(view.newest(ReadConcern::Local), OpId::new(2));
    let mut again = view.cursor(OpId::FIRST, ReadConcern::Local).unwrap();
    assert_eq!(read(&mut again), [1, 2]);
    // What stays is in the log of whoever had the rest cut, and on its disk.
    let again = open_following(b.path());
    assert_eq!(again.watermarks().released, OpId::new(2));
}

#[test]
fn a_promoted_log_writes_in_terms_of_its_own() {
    let (a, b) = (temporary(), temporary());
    let primary = open(a.path());
    primary.promote(member(0)).unwrap();
    write(&primary, 5, 100);
    let follower = follower_of(&primary, b.path());
    catch_up(&primary.view(), &follower, 1 << 20);

    let term = follower.promote(member(1)).unwrap();
    assert!(term > primary.term() && !term.is_elected());
    assert_eq!(follower.append(200, b"x", Durability::Disk).unwrap().term, term);
    let elected = member(1).term_after(term, true).unwrap();
    follower.begin_term(elected).unwrap();
    assert!(follower.begin_term(elected).is_err());
    assert_eq!(follower.append(200, b"y", Durability::Disk).unwrap().term, elected);

    let terms = follower.view().terms(10, ReadConcern::Durable).unwrap();
    let found: Vec<_> = terms.iter().map(|begin| (begin.term, begin.first.get())).collect();
    assert_eq!(found, [(primary.term(), 1), (term, 6), (elected, 7)]);
    assert_eq!(follower.view().terms(1, ReadConcern::Durable).unwrap().len(), 1);

    // The old one is opened again: whatever it takes for its next term is nobody else's.
    primary.close().unwrap();
    let again = open(a.path());
    assert_eq!(again.member(), Some(member(0)));
    assert!(!terms.iter().any(|begin| begin.term == again.term()));
    // And the promoted one is what it was made.
    follower.close().unwrap();
    let reopened = open(b.path());
    assert!(!reopened.is_following() && reopened.term() > elected);
}

#[test]
fn a_log_that_was_cut_back_goes_on_with_what_the_other_has() {
    for (kept, more) in [(0, 3), (4, 3), (250, 700), (5, 700)] {
        let (a, b) = (temporary(), temporary());
        let old = open(a.path());
        old.promote(member(0)).unwrap();
        write(&old, kept, 3000);
        let new = follower_of(&old, b.path());
        catch_up(&old.view(), &new, 1 << 20);
        let fork = old.watermarks().appended;

        write(&old, more, 3000);
        new.promote(member(1)).unwrap();
        write(&new, 300, 4000);

        old.follow().unwrap();
        assert!(old.append(200, b"x", Durability::Memory).is_err());
        old.cut_back(fork).unwrap();
        let old = open(a.path());
        assert_eq!(old.watermarks().appended, fork);
        catch_up(&new.view(), &old, 200_000);
        assert_eq!(old.watermarks().appended, new.watermarks().appended);
        old.sync(old.watermarks().appended).unwrap();
        old.close().unwrap();
        new.close().unwrap();
        assert_same_segments(a.path(), b.path());
        let kept_copies = fs::read_dir(a.path()).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("torn-")
        });
        assert!(kept_copies.count() > 0, "what was cut is kept");
    }
}

#[test]
fn a_cut_is_refused_inside_a_batch_and_beyond_the_end() {
    let a = temporary();
    let record = Record {
        kind: 200,
        payload: &[b"x"],
    };
    for (last, expected) in [(9, "does not exist yet"), (2, "inside the batch of entries 1 to 3")] {
        let log = open(a.path());
        log.append_batch(&[record; 3], Durability::Disk).unwrap();
        let error = log.cut_back(OpId::new(last)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        fs::remove_dir_all(a.path()).unwrap();
    }
}

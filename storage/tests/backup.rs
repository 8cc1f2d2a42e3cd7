//! Backups are stores: a prefix of what was written, at any point of it, whatever goes on meanwhile.

use crate::common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bson::rawdoc;
use common::{Content, catch_up, content, copy_dir, eventually, partial_follower_of, small};
use tailwater_oplog::{Error as LogError, Member, OpId, OplogView, ReadConcern, Retention, Timestamp, verify};
use tailwater_storage::{
    BackupError, BackupOptions, BackupOutcome, BackupProgress, Error, IndexModel, RestoreOptions, RestorePoint,
    Selection, Store, backup_log, log_directory, restore,
};
use tempfile::TempDir;

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn back_up(store: &Store, target: &Path) -> BackupOutcome {
    store.backup(target, &BackupOptions::default()).unwrap()
}

fn whole_log() -> BackupOptions {
    let mut options = BackupOptions::default();
    options.whole_log = true;
    options
}

fn to_entry(op_id: u64) -> RestoreOptions {
    let mut options = RestoreOptions::default();
    options.to = Some(RestorePoint::Entry(OpId::new(op_id)));
    options
}

fn to_time(time: Timestamp) -> RestoreOptions {
    let mut options = RestoreOptions::default();
    options.to = Some(RestorePoint::Time(time));
    options
}

/// The content of the store in `dir`, by an ordinary opening of a copy.
fn content_of(dir: &Path) -> Content {
    let copy = temporary();
    copy_dir(dir, &copy.path().join("store"));
    let store = small().open(copy.path().join("store")).unwrap();
    let found = content(&store);
    store.close().unwrap();
    found
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// A store with a life: collections, indexes, updates, a batch, a drop. Returns its content after each entry that ends a batch.
fn lived(dir: &Path) -> (Store, Vec<(u64, Content)>) {
    let store = small().open(dir).unwrap();
    let things = store.collection("shop", "things").unwrap();
    let mut points = vec![(0, Content::new())];
    let mut step = |act: &dyn Fn()| {
        act();
        store.sync().unwrap();
        points.push((store.log().newest(ReadConcern::Durable).get(), content(&store)));
    };
    for n in 0..12 {
        step(&|| drop(things.insert_one(&rawdoc! { "_id": n, "n": n % 3 }).unwrap()));
        if n == 5 {
            step(&|| drop(things.create_index(&IndexModel::new("n", 1)).unwrap()));
        }
    }
    step(&|| {
        let _ = things
            .update_one(&rawdoc! { "_id": 3 }, &rawdoc! { "$set": { "n": 7 } })
            .unwrap();
    });
    let batch: Vec<_> = (100..103).map(|n| rawdoc! { "_id": n }).collect();
    step(&|| {
        drop(
            store
                .collection("shop", "more")
                .unwrap()
                .insert_many(batch.iter().map(AsRef::as_ref))
                .unwrap(),
        );
    });
    step(&|| {
        let _ = things.delete_one(&rawdoc! { "_id": 4 }).unwrap();
    });
    step(&|| {
        let _ = store.drop_collection("shop", "more").unwrap();
    });
    (store, points)
}

#[test]
fn a_backup_is_the_store_with_everything_in_it() {
    let (dir, out) = (temporary(), temporary());
    let (store, points) = lived(dir.path());
    let target = out.path().join("backup");
    let outcome = back_up(&store, &target);
    let (last, expected) = points.last().unwrap();
    assert_eq!((outcome.op_id.get(), outcome.documents), (*last, Some(11)));
    assert!(outcome.bytes > 0 && outcome.bytes < 70 << 20, "{outcome:?}");
    assert_eq!(&content_of(&target), expected);
    assert!(verify(log_directory(&target)).unwrap().is_sound());
    let copy = small().open(&target).unwrap();
    let names = |store: &Store| {
        let things = store.collection("shop", "things").unwrap();
        things.list_indexes().unwrap()
    };
    assert_eq!(names(&copy), names(&store));
    copy.close().unwrap();
    // Not over anything, and never half.
    let error = store.backup(&target, &BackupOptions::default()).unwrap_err();
    assert!(matches!(error, BackupError::TargetTaken { .. }), "{error:?}");
    assert_eq!(self::names(out.path()), ["backup"]);
}

#[test]
fn an_empty_store_can_be_backed_up_and_restored() {
    let (dir, out) = (temporary(), temporary());
    let store = small().open(dir.path()).unwrap();
    let outcome = back_up(&store, &out.path().join("backup"));
    assert_eq!(
        (outcome.op_id, outcome.time, outcome.documents),
        (OpId::ZERO, None, Some(0))
    );
    let restored = restore(
        out.path().join("backup"),
        out.path().join("restored"),
        &RestoreOptions::default(),
    );
    assert_eq!(restored.unwrap().documents, 0);
    assert_eq!(content_of(&out.path().join("restored")), Content::new());
}

/// The backup equals the state that the original's log adds up to at the backup's last entry.
#[test]
fn a_backup_beside_writers_is_a_prefix_of_what_they_wrote() {
    let (dir, out) = (temporary(), temporary());
    let mut options = small();
    options.checkpoint_bytes = 256 << 10;
    let store = options.open(dir.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let things = store.collection("shop", "things").unwrap();
                for n in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let text = "x".repeat(200);
                    things
                        .insert_one(&rawdoc! { "_id": n * 3 + writer, "text": text, "n": n })
                        .unwrap();
                    if n % 5 == 4 {
                        things.delete_one(&rawdoc! { "_id": (n - 3) * 3 + writer }).unwrap();
                    }
                    if n % 100 == 0 {
                        store.trim_log(OpId::new(u64::MAX / 4)).unwrap();
                    }
                }
            });
        }
        eventually("nothing is written", || {
            store.log().newest(ReadConcern::Durable).get() > 2_000
        });
        for round in 0..4 {
            let newest = store.log().newest(ReadConcern::Durable);
            let outcome = back_up(&store, &out.path().join(round.to_string()));
            assert!(
                outcome.op_id >= newest && outcome.earliest <= outcome.op_id,
                "{outcome:?}"
            );
        }
        done.store(true, Ordering::Relaxed);
    });
    store.close().unwrap();
    for round in 0..4 {
        let target = out.path().join(round.to_string());
        let things = &content_of(&target)["shop.things"];
        for writer in 0..3 {
            // What one writer has inserted so far, in order, without what it has deleted.
            let mine: Vec<i32> = things.iter().map(|d| d.get_i32("_id").unwrap()).collect();
            let mine: Vec<i32> = mine
                .into_iter()
                .filter(|id| id % 3 == writer)
                .map(|id| id / 3)
                .collect();
            let last = *mine.last().unwrap();
            let kept = |n: &i32| (n % 5 != 1) || n + 3 > last;
            let mut expected: Vec<i32> = (0..=last).filter(kept).collect();
            // Between an insert and the delete that follows it.
            if last % 5 == 4 && !mine.contains(&(last - 3)) {
                expected.retain(|n| *n != last - 3);
            }
            let with = |n: &i32| *n != last - 3;
            assert_eq!(
                mine.iter().copied().filter(with).collect::<Vec<_>>(),
                expected.into_iter().filter(with).collect::<Vec<_>>(),
                "writer {writer} of backup {round}"
            );
        }
    }
}

#[test]
fn a_whole_log_goes_back_to_every_entry_and_never_into_a_batch() {
    let (dir, out) = (temporary(), temporary());
    let (store, points) = lived(dir.path());
    let backup = out.path().join("backup");
    assert_eq!(store.backup(&backup, &whole_log()).unwrap().earliest, OpId::FIRST);
    let last = points.last().unwrap().0;
    let view = OplogView::open(log_directory(&backup)).unwrap();
    for op_id in 0..=last {
        let target = out.path().join(op_id.to_string());
        let restored = restore(&backup, &target, &to_entry(op_id));
        match points.iter().find(|(point, _)| *point == op_id) {
            Some((_, expected)) => {
                let outcome = restored.unwrap();
                assert_eq!(outcome.op_id, OpId::new(op_id));
                assert_eq!(&content_of(&target), expected, "after entry {op_id}");
            }
            None => match restored {
                Err(BackupError::Log(LogError::InsideBatch { .. })) => continue,
                // A step of several entries that are no batch.
                other => drop(other.unwrap()),
            },
        }
        // By time, the same.
        if op_id > 0 {
            let time = view.get(OpId::new(op_id), ReadConcern::Durable).unwrap().timestamp();
            let target = out.path().join(format!("time-{op_id}"));
            assert_eq!(
                restore(&backup, &target, &to_time(time)).unwrap().op_id,
                OpId::new(op_id)
            );
            let between = Timestamp::from_nanos(time.as_nanos() - 1);
            let target = out.path().join(format!("before-{op_id}"));
            match restore(&backup, &target, &to_time(between)) {
                Ok(outcome) => assert!(outcome.op_id < OpId::new(op_id)),
                Err(error) => assert!(op_id <= 2 && matches!(error, BackupError::TooEarly { .. }), "{error:?}"),
            }
        }
    }
    let error = restore(&backup, out.path().join("x"), &to_entry(last + 1)).unwrap_err();
    assert!(matches!(error, BackupError::TooLate { .. }), "{error:?}");
    let error = restore(&backup, out.path().join("x"), &to_time(Timestamp::now())).unwrap_err();
    assert!(matches!(error, BackupError::TimeTooLate { .. }), "{error:?}");
    assert!(
        !names(out.path())
            .iter()
            .any(|name| name.contains("partial") || name == "x")
    );
}

#[test]
fn the_log_that_goes_on_restores_beyond_the_backup_also_when_it_was_trimmed() {
    let (dir, out) = (temporary(), temporary());
    let store = small().open(dir.path()).unwrap();
    let things = store.collection("shop", "things").unwrap();
    let insert = |ids: std::ops::Range<i32>| {
        for id in ids {
            things
                .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(20_000) })
                .unwrap();
        }
    };
    insert(0..150);
    store.trim_log(OpId::new(100)).unwrap();
    let backup = out.path().join("backup");
    let outcome = back_up(&store, &backup);
    let earliest = outcome.earliest.get();
    assert!(earliest > 1);
    let error = restore(&backup, out.path().join("x"), &to_entry(earliest - 1)).unwrap_err();
    assert!(
        matches!(&error, BackupError::TooEarly { earliest: e, .. } if e.get() == earliest),
        "{error:?}"
    );
    insert(150..400);
    store.sync().unwrap();
    // Trimmed up to the backup's end, at most.
    store.trim_log(outcome.op_id).unwrap();
    let log = log_directory(dir.path());
    for (to, documents) in [
        (None, 400),
        (Some(outcome.op_id.get() + 70), 220),
        (Some(outcome.op_id.get()), 150),
    ] {
        let mut options = RestoreOptions::default();
        options.to = to.map(|to| RestorePoint::Entry(OpId::new(to)));
        options.log = Some(log.clone());
        let target = out.path().join(documents.to_string());
        let restored = restore(&backup, &target, &options).unwrap();
        assert_eq!(restored.documents, documents);
        let found = small().open(&target).unwrap();
        assert_eq!(
            found.collection("shop", "things").unwrap().count(&rawdoc! {}).unwrap(),
            documents
        );
    }
    // A log that has forgotten the backup's end does not go on from it.
    store.trim_log(OpId::new(350)).unwrap();
    let mut options = RestoreOptions::default();
    options.log = Some(log);
    let error = restore(&backup, out.path().join("x"), &options).unwrap_err();
    assert!(
        matches!(error, BackupError::Log(LogError::HistoryLost { .. })),
        "{error:?}"
    );
    // Another store's log neither.
    let other = temporary();
    let (other_store, _) = lived(other.path());
    options.log = Some(log_directory(other.path()));
    let error = restore(&backup, out.path().join("x"), &options).unwrap_err();
    assert!(
        matches!(error, BackupError::Log(LogError::OtherLog { .. })),
        "{error:?}"
    );
    drop(other_store);
    let error = restore(dir.path(), out.path().join("x"), &RestoreOptions::default()).unwrap_err();
    assert!(matches!(error, BackupError::InUse { .. }), "{error:?}");
    let error = restore(out.path(), out.path().join("x"), &RestoreOptions::default()).unwrap_err();
    assert!(matches!(error, BackupError::NotABackup { .. }), "{error:?}");
}

/// A position in what was restored away is refused, whatever has been written in its place.
#[test]
fn positions_are_good_up_to_the_point_and_refused_behind_it() {
    let (dir, out) = (temporary(), temporary());
    let (store, points) = lived(dir.path());
    let backup = out.path().join("backup");
    store.backup(&backup, &whole_log()).unwrap();
    let point = points[8].0;
    let target = out.path().join("restored");
    restore(&backup, &target, &to_entry(point)).unwrap();
    let restored = small().open(&target).unwrap();
    let position = |op_id| {
        let entry = store.log().get(OpId::new(op_id), ReadConcern::Durable).unwrap();
        let (term, timestamp) = (entry.term(), entry.timestamp());
        restored.log().check_position(OpId::new(op_id), term, timestamp)
    };
    for op_id in 1..=point {
        position(op_id).unwrap();
    }
    assert!(matches!(position(point + 1), Err(LogError::Ahead { .. })));
    let things = restored.collection("shop", "things").unwrap();
    things.insert_one(&rawdoc! { "_id": "another turn" }).unwrap();
    assert!(matches!(position(point + 1), Err(LogError::Diverged { .. })));
    assert_eq!(restored.log().log_id(), store.log().log_id());
}

#[test]
fn a_store_that_another_process_has_open_gives_its_log_while_that_is_complete() {
    let (dir, out) = (temporary(), temporary());
    let (store, points) = lived(dir.path());
    let outcome = backup_log(dir.path(), out.path().join("log"), &BackupOptions::default()).unwrap();
    assert_eq!(outcome.documents, None);
    assert_eq!(content_of(&out.path().join("log")), points.last().unwrap().1);
    let restored = restore(out.path().join("log"), out.path().join("early"), &to_entry(points[4].0));
    assert_eq!(restored.unwrap().op_id.get(), points[4].0);
    assert_eq!(content_of(&out.path().join("early")), points[4].1);
    let things = store.collection("shop", "things").unwrap();
    for id in 1_000..1_100 {
        things
            .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(20_000) })
            .unwrap();
    }
    store.sync().unwrap();
    store.trim_log(store.log().newest(ReadConcern::Durable)).unwrap();
    let error = backup_log(dir.path(), out.path().join("x"), &BackupOptions::default()).unwrap_err();
    assert!(matches!(error, BackupError::LogTrimmed { .. }), "{error:?}");
}

#[test]
fn a_part_is_a_part_in_its_backups_and_is_joined_with_nothing_else() {
    let dir = temporary();
    let at = |name: &str| dir.path().join(name);
    let (store, _) = lived(&at("whole"));
    let selection = Selection::new(["shop.things"], &rawdoc! { "n": 1 }).unwrap();
    let part = partial_follower_of(&store, &at("part"), &small(), &selection);
    catch_up(&store, &part, 1 << 20);
    for (store, name) in [(&store, "whole.bak"), (&part, "part.bak")] {
        store.backup(at(name), &whole_log()).unwrap();
    }
    // Without the state, too.
    backup_log(at("part"), at("log.bak"), &BackupOptions::default()).unwrap();
    for backup in ["part.bak", "log.bak"] {
        let restored = at(&format!("{backup}.restored"));
        restore(at(backup), &restored, &RestoreOptions::default()).unwrap();
        for dir in [&at(backup), &restored] {
            let copy = small().open(dir).unwrap();
            assert_eq!(copy.selection().unwrap().as_ref(), Some(&selection), "{backup}");
            assert_eq!(content(&copy), content(&part), "{backup}");
            let written = copy.collection("shop", "things").unwrap().insert_one(&rawdoc! {});
            assert!(copy.is_following() && written.is_err(), "{backup} {written:?}");
            let promoted = copy.promote(Member::new(1).unwrap());
            assert!(
                matches!(promoted, Err(Error::Log(LogError::Partial { .. }))),
                "{promoted:?}"
            );
            copy.close().unwrap();
        }
    }
    // What has been written since is in both logs, with the same terms and times.
    let things = store.collection("shop", "things").unwrap();
    things.insert_one(&rawdoc! { "_id": 50, "n": 1 }).unwrap();
    catch_up(&store, &part, 1 << 20);
    part.sync().unwrap();
    for (backup, log, is_joined) in [
        ("part.bak", "part", true),
        ("whole.bak", "whole", true),
        ("part.bak", "whole", false),
        ("whole.bak", "part", false),
    ] {
        let mut options = RestoreOptions::default();
        options.log = Some(log_directory(&at(log)));
        let target = at(&format!("{backup} with {log}"));
        let restored = restore(at(backup), &target, &options);
        if is_joined {
            assert_eq!(restored.unwrap().op_id, store.applied(), "{backup} with {log}");
        } else {
            let refused = matches!(restored, Err(BackupError::Log(LogError::OtherPart { .. })));
            assert!(refused && !target.exists(), "{backup} with {log}: {restored:?}");
        }
    }
}

#[test]
fn a_copy_that_is_cancelled_leaves_nothing_behind() {
    let dir = temporary();
    let store = small().open(dir.path().join("store")).unwrap();
    let things = store.collection("shop", "things").unwrap();
    things.insert_one(&rawdoc! { "_id": 1 }).unwrap();
    let cancel = Arc::new(AtomicBool::new(false));
    let mut options = BackupOptions::default();
    options.cancel = Some(Arc::clone(&cancel));
    let seen = Arc::clone(&cancel);
    // In the middle: when the first part has been copied.
    options.progress = Some(Arc::new(move |progress| {
        if matches!(progress, BackupProgress::State(_)) {
            seen.store(true, Ordering::SeqCst);
        }
    }));
    let target = dir.path().join("copy");
    let backup = store.backup(&target, &options).map(drop);
    let copied = store.copy_state(&target, &options, |_| Ok(())).map(drop);
    for cancelled in [backup, copied] {
        assert!(matches!(cancelled, Err(BackupError::Cancelled)), "{cancelled:?}");
    }
    assert_eq!(names(dir.path()), ["store"]);
    cancel.store(false, Ordering::SeqCst);
    back_up(&store, &target);
    assert!(target.exists());
}

/// What is read counts, not what is taken over: a narrow filter may find nothing in a large collection for a long time.
#[test]
fn a_filtered_copy_that_finds_nothing_tells_how_far_it_is_and_can_be_cancelled() {
    let dir = temporary();
    let store = small().open(dir.path().join("store")).unwrap();
    let things = store.collection("shop", "things").unwrap();
    for id in 0..160 {
        things
            .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(60_000) })
            .unwrap();
    }
    let selection = Selection::new(["shop.*"], &rawdoc! { "none": 1 }).unwrap();
    let target = dir.path().join("copy");
    for is_cancelled in [false, true] {
        let (cancel, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut options = BackupOptions::default();
        options.cancel = Some(Arc::clone(&cancel));
        let telling = Arc::clone(&told);
        options.progress = Some(Arc::new(move |progress| {
            if let BackupProgress::State(bytes) = progress {
                telling.lock().unwrap().push(bytes);
                cancel.store(is_cancelled, Ordering::SeqCst);
            }
        }));
        let copied = store.copy_selected_state(&target, &selection, &options, |_| Ok(()));
        let told = std::mem::take(&mut *told.lock().unwrap());
        assert!(told[0] > 0 && told[0] < 160 * 60_000, "{told:?}");
        if is_cancelled {
            assert!(matches!(copied, Err(BackupError::Cancelled)), "{copied:?}");
            assert!(told.len() == 1 && !target.exists(), "{told:?}");
        } else {
            assert_eq!(copied.unwrap().documents, 0);
            assert!(told.len() > 1 && told.is_sorted(), "{told:?}");
            assert!(told.last() >= Some(&(160 * 60_000)), "{told:?}");
            std::fs::remove_dir_all(&target).unwrap();
        }
    }
}

/// While a backup runs, the log keeps what it needs, whatever its limits; afterwards it does not.
#[test]
fn a_backup_holds_the_log_and_lets_go_of_it() {
    let (dir, out) = (temporary(), temporary());
    let mut options = small();
    options.checkpoint_bytes = 1 << 20;
    options.oplog.retention = Retention {
        hard_max_bytes: Some(3 << 20),
        ..Retention::default()
    };
    let store = options.open(dir.path()).unwrap();
    let things = store.collection("shop", "things").unwrap();
    let insert = move |ids: std::ops::Range<i32>| {
        for id in ids {
            things
                .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(10_000) })
                .unwrap();
        }
    };
    insert(0..50);
    let mut backup = whole_log();
    let wrote = AtomicBool::new(false);
    let more = insert.clone();
    backup.progress = Some(Arc::new(move |_| {
        if !wrote.swap(true, Ordering::SeqCst) {
            // Many times the limit, while the state is being copied.
            more(50..2_000);
        }
    }));
    let outcome = store.backup(out.path().join("backup"), &backup).unwrap();
    assert!(
        outcome.op_id.get() > 2_000 && outcome.earliest == OpId::FIRST,
        "{outcome:?}"
    );
    let restored = restore(
        out.path().join("backup"),
        out.path().join("restored"),
        &RestoreOptions::default(),
    );
    assert_eq!(restored.unwrap().documents, 2_000);
    drop(backup);
    eventually("the log is not trimmed", || {
        insert(0..0);
        store.trim_log(OpId::new(1)).unwrap();
        store.log().watermarks().oldest.get() > 1_000
    });
}

const CHILD: &str = "TAILWATER_TEST_BACKUP";

/// Backs up again and again; says when each begins.
#[test]
#[expect(clippy::print_stdout, reason = "the child says what it does")]
fn child_that_backs_up() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    let store = small().open(dir.join("store")).unwrap();
    for round in 0..1_000 {
        println!("begin {round}");
        back_up(&store, &dir.join(format!("backup-{round}")));
    }
}

#[test]
fn a_backup_that_was_killed_is_never_taken_for_one() {
    let dir = temporary();
    let (store, points) = lived(&dir.path().join("store"));
    store.close().unwrap();
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "backup::child_that_backs_up", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines.map_while(Result::ok).find(|line| line.contains("begin 1"));
        assert!(begun.is_some());
        std::thread::sleep(std::time::Duration::from_millis(7 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        for name in names(dir.path()) {
            let path = dir.path().join(&name);
            if name.contains(".partial-") {
                std::fs::remove_dir_all(path).unwrap();
            } else if name.starts_with("backup-") {
                assert_eq!(content_of(&path), points.last().unwrap().1, "{name}");
                std::fs::remove_dir_all(path).unwrap();
            }
        }
    }
}

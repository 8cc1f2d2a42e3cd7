//! Tests of the engine's promises, through its public face.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::journal::newest_journal;
use super::{Engine, EngineBatch, EngineError, KEY_BYTES_MAX, Slice, StateKey, journal};

const CACHE_BYTES: u64 = 8 << 20;

fn open(dir: &Path) -> Engine {
    Engine::open(dir, CACHE_BYTES).unwrap()
}

fn temporary() -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    (dir, engine)
}

fn put(engine: &Engine, applied: u64, documents: &[(u32, &[u8], &[u8])]) {
    let mut batch = EngineBatch::new();
    for (collection, key, value) in documents {
        batch.put(StateKey::new(*collection, key), Slice::new(value));
    }
    engine.commit(batch, applied).unwrap();
}

fn keys(engine: &Engine, collection: u32, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<Vec<u8>> {
    let ascending: Vec<Vec<u8>> = engine
        .snapshot()
        .scan(collection, from, to)
        .map(|document| document.unwrap().0.key().to_vec())
        .collect();
    let mut descending: Vec<Vec<u8>> = engine
        .snapshot()
        .scan(collection, from, to)
        .rev()
        .map(|document| document.unwrap().0.key().to_vec())
        .collect();
    descending.reverse();
    assert_eq!(ascending, descending);
    ascending
}

fn all_keys(engine: &Engine, collection: u32) -> Vec<Vec<u8>> {
    keys(engine, collection, Bound::Unbounded, Bound::Unbounded)
}

#[test]
fn new_engine_is_empty() {
    let (_dir, engine) = temporary();
    let snapshot = engine.snapshot();
    assert_eq!((engine.applied(), engine.persisted(), snapshot.applied()), (0, 0, 0));
    assert_eq!(snapshot.get(&StateKey::new(1, b"a")).unwrap(), None);
    assert_eq!(snapshot.catalog().unwrap(), []);
    assert!(all_keys(&engine, 1).is_empty());
}

#[test]
fn committed_state_survives_reopening() {
    let (dir, engine) = temporary();
    put(&engine, 3, &[(1, b"a", b"one"), (1, b"b", b"two")]);
    let mut batch = EngineBatch::new();
    batch.delete(StateKey::new(1, b"b"));
    batch.put_catalog(b"shop.customers", b"options");
    batch.put_catalog(b"gone", b"");
    assert_eq!(batch.len(), 3);
    engine.commit(batch, 5).unwrap();
    let mut batch = EngineBatch::new();
    batch.delete_catalog(b"gone");
    engine.commit(batch, 9).unwrap();
    drop(engine);

    let engine = open(dir.path());
    assert_eq!((engine.applied(), engine.persisted()), (9, 9));
    let snapshot = engine.snapshot();
    assert_eq!(
        snapshot.get(&StateKey::new(1, b"a")).unwrap().as_deref(),
        Some(&b"one"[..])
    );
    assert_eq!(snapshot.get(&StateKey::new(1, b"b")).unwrap(), None);
    let expected = vec![(b"shop.customers".to_vec(), b"options".to_vec())];
    assert_eq!(snapshot.catalog().unwrap(), expected);
}

#[test]
fn empty_batch_moves_applied() {
    let (_dir, engine) = temporary();
    engine.commit(EngineBatch::new(), 7).unwrap();
    assert_eq!((engine.applied(), engine.snapshot().applied()), (7, 7));
}

#[test]
fn persist_covers_what_was_committed_before() {
    let (_dir, engine) = temporary();
    put(&engine, 4, &[(1, b"a", b"")]);
    assert_eq!(engine.persisted(), 0);
    assert_eq!(engine.persist().unwrap(), 4);
    put(&engine, 5, &[(1, b"b", b"")]);
    assert_eq!(engine.persisted(), 4);
}

#[test]
fn last_change_of_a_key_wins_within_a_batch() {
    let (dir, engine) = temporary();
    let mut batch = EngineBatch::new();
    batch.put(StateKey::new(1, b"put last"), Slice::new(b"old"));
    batch.delete(StateKey::new(1, b"put last"));
    batch.put(StateKey::new(1, b"put last"), Slice::new(b"new"));
    batch.put(StateKey::new(1, b"deleted last"), Slice::new(b"old"));
    batch.delete(StateKey::new(1, b"deleted last"));
    engine.commit(batch, 1).unwrap();

    let check = |engine: &Engine| {
        assert_eq!(all_keys(engine, 1), [b"put last"]);
        let value = engine.snapshot().get(&StateKey::new(1, b"put last")).unwrap();
        assert_eq!(value.as_deref(), Some(&b"new"[..]));
    };
    check(&engine);
    drop(engine);
    check(&open(dir.path()));
}

#[test]
fn snapshot_does_not_see_later_commits() {
    let (_dir, engine) = temporary();
    put(&engine, 1, &[(1, b"a", b"old"), (1, b"b", b"old")]);
    let before = engine.snapshot();
    let mut scan = before.scan(1, Bound::Unbounded, Bound::Unbounded);

    let mut batch = EngineBatch::new();
    batch.put(StateKey::new(1, b"a"), Slice::new(b"new"));
    batch.delete(StateKey::new(1, b"b"));
    batch.put(StateKey::new(1, b"c"), Slice::new(b"new"));
    batch.put_catalog(b"x", b"y");
    engine.commit(batch, 2).unwrap();
    engine.spaces.documents.rotate_memtable_and_wait().unwrap();
    engine.spaces.documents.major_compact().unwrap();

    let old = |entry: Option<Result<(StateKey, Slice), EngineError>>| {
        let (key, value) = entry.unwrap().unwrap();
        assert_eq!(&*value, b"old");
        key.key().to_vec()
    };
    assert_eq!(before.applied(), 1);
    assert_eq!(
        before.get(&StateKey::new(1, b"a")).unwrap().as_deref(),
        Some(&b"old"[..])
    );
    assert_eq!(before.get(&StateKey::new(1, b"c")).unwrap(), None);
    assert_eq!(before.catalog().unwrap(), []);
    drop(before);
    assert_eq!(old(scan.next()), b"a");
    assert_eq!(old(scan.next()), b"b");
    assert!(scan.next().is_none());
    assert_eq!(all_keys(&engine, 1), [b"a", b"c"]);
    assert_eq!(engine.snapshot().applied(), 2);
}

#[test]
fn scan_keeps_to_its_bounds() {
    let (_dir, engine) = temporary();
    put(
        &engine,
        1,
        &[(1, b"a", b""), (1, b"b", b""), (1, b"b\0", b""), (1, b"c", b"")],
    );
    let check = |from, to, expected: &[&[u8]]| {
        assert_eq!(keys(&engine, 1, from, to), expected, "{from:?} {to:?}");
    };
    use Bound::{Excluded, Included, Unbounded};
    check(Unbounded, Unbounded, &[b"a", b"b", b"b\0", b"c"]);
    check(Included(b"b"), Unbounded, &[b"b", b"b\0", b"c"]);
    check(Excluded(b"b"), Unbounded, &[b"b\0", b"c"]);
    check(Unbounded, Excluded(b"b\0"), &[b"a", b"b"]);
    check(Unbounded, Included(b"b\0"), &[b"a", b"b", b"b\0"]);
    check(Included(b"b"), Included(b"b"), &[b"b"]);
    check(Included(b"b"), Excluded(b"b"), &[]);
    check(Excluded(b"b"), Excluded(b"b"), &[]);
    check(Included(b"c"), Included(b"a"), &[]);
    check(Included(b"bb"), Excluded(b"bc"), &[]);
}

#[test]
fn scan_does_not_leave_its_collection() {
    let (_dir, engine) = temporary();
    put(
        &engine,
        1,
        &[
            (0, b"\xff", b""),
            (1, b"", b""),
            (1, b"\xff\xff\xff\xff\xff", b""),
            (2, b"", b""),
            (2, b"a", b""),
            (u32::MAX, b"", b""),
            (u32::MAX, b"\xff\xff", b""),
        ],
    );
    assert_eq!(all_keys(&engine, 1), [&b""[..], b"\xff\xff\xff\xff\xff"]);
    assert_eq!(all_keys(&engine, 2), [&b""[..], b"a"]);
    assert_eq!(all_keys(&engine, 3), [b""; 0]);
    assert_eq!(all_keys(&engine, u32::MAX), [&b""[..], b"\xff\xff"]);
    let after = keys(&engine, 1, Bound::Excluded(b"\xff\xff\xff\xff\xff"), Bound::Unbounded);
    assert_eq!(after, [b""; 0]);
    let before = keys(&engine, 2, Bound::Unbounded, Bound::Excluded(b""));
    assert_eq!(before, [b""; 0]);
}

#[test]
fn dropped_collection_goes_in_chunks() {
    let (dir, engine) = temporary();
    let names: Vec<[u8; 2]> = (0..25u16).map(u16::to_be_bytes).collect();
    let mut batch = EngineBatch::new();
    for name in &names {
        batch.put(StateKey::new(7, name), Slice::new(b"dropped"));
        batch.put(StateKey::new(8, name), Slice::new(b"kept"));
    }
    engine.commit(batch, 2).unwrap();
    let before = engine.snapshot();

    assert_eq!(engine.drop_collection_chunk(7, 10).unwrap(), 10);
    assert_eq!(all_keys(&engine, 7).len(), 15);
    assert_eq!(before.scan(7, Bound::Unbounded, Bound::Unbounded).count(), 25);
    drop(before);
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(engine.applied(), 2);
    assert_eq!(engine.drop_collection_chunk(7, 10).unwrap(), 10);
    assert_eq!(engine.drop_collection_chunk(7, 10).unwrap(), 5);
    assert_eq!(engine.drop_collection_chunk(7, 10).unwrap(), 0);
    assert_eq!(all_keys(&engine, 8).len(), 25);
    assert_eq!(engine.applied(), 2);
}

#[test]
fn unloading_moves_the_write_buffers_to_tables() {
    let (dir, engine) = temporary();
    put(&engine, 1, &[(1, b"small", b"")]);
    engine.unload().unwrap();
    assert_eq!(engine.spaces.documents.table_count(), 0);
    drop(engine);
    let engine = open(dir.path());
    put(&engine, 2, &[(1, b"large", &vec![7; super::UNLOAD_BYTES_MIN as usize])]);
    let before = engine.snapshot();
    engine.unload().unwrap();
    assert_eq!(engine.spaces.documents.table_count(), 1);
    for snapshot in [before, engine.snapshot()] {
        assert_eq!(snapshot.scan(1, Bound::Unbounded, Bound::Unbounded).count(), 2);
    }
    assert_eq!(journal::written_bytes(dir.path()).unwrap(), 0);
    let refused = engine.commit(EngineBatch::new(), 3);
    assert!(matches!(refused, Err(EngineError::Closing)), "{refused:?}");
    drop(engine);
    // What comes after an emptied journal is as safe as ever.
    for applied in 2..5 {
        let engine = open(dir.path());
        assert_eq!(engine.applied(), applied);
        assert_eq!(all_keys(&engine, 1)[..2], [&b"large"[..], b"small"]);
        put(
            &engine,
            applied + 1,
            &[(1, format!("then {applied}").as_bytes(), b"later")],
        );
    }
    let engine = open(dir.path());
    assert_eq!((engine.applied(), all_keys(&engine, 1).len()), (5, 5));
}

#[test]
fn open_snapshot_outlives_the_engine_and_keeps_its_lock() {
    let (dir, engine) = temporary();
    put(&engine, 1, &[(1, b"a", b"")]);
    let snapshot = engine.snapshot();
    drop(engine);
    assert!(snapshot.get(&StateKey::new(1, b"a")).unwrap().is_some());
    let error = Engine::open(dir.path(), CACHE_BYTES).unwrap_err();
    assert!(matches!(error, EngineError::Locked { .. }), "{error:?}");
    drop(snapshot);
    assert_eq!(open(dir.path()).applied(), 1);
}

#[test]
#[should_panic(expected = "commits must follow the log")]
fn commit_backwards_panics() {
    let (_dir, engine) = temporary();
    engine.commit(EngineBatch::new(), 2).unwrap();
    engine.commit(EngineBatch::new(), 2).unwrap();
    let _ = engine.commit(EngineBatch::new(), 1);
}

#[test]
fn too_long_key_is_refused_and_does_no_harm() {
    let (_dir, engine) = temporary();
    let mut batch = EngineBatch::new();
    batch.put(StateKey::new(1, b"short"), Slice::new(b""));
    batch.put(StateKey::new(1, &vec![b'k'; KEY_BYTES_MAX + 1]), Slice::new(b""));
    let error = engine.commit(batch, 1).unwrap_err();
    assert!(matches!(error, EngineError::KeyTooLong { bytes, .. } if bytes == KEY_BYTES_MAX + 1));
    assert_eq!(engine.applied(), 0);

    put(&engine, 1, &[(1, &vec![b'k'; KEY_BYTES_MAX], b"")]);
    assert_eq!(all_keys(&engine, 1)[0].len(), KEY_BYTES_MAX);
}

#[test]
fn poisoned_engine_reads_but_does_not_write() {
    let (_dir, engine) = temporary();
    put(&engine, 1, &[(1, b"a", b"")]);
    let disk_full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert!(matches!(engine.poison(disk_full.into()), EngineError::Write { .. }));

    let refused = engine.commit(EngineBatch::new(), 2).unwrap_err();
    assert!(matches!(refused, EngineError::Poisoned));
    assert!(matches!(engine.persist().unwrap_err(), EngineError::Poisoned));
    assert!(matches!(
        engine.drop_collection_chunk(1, 1).unwrap_err(),
        EngineError::Poisoned
    ));
    assert_eq!(all_keys(&engine, 1), [b"a"]);
    assert_eq!(engine.applied(), 1);
}

#[test]
fn second_open_is_refused() {
    let (dir, _engine) = temporary();
    let error = Engine::open(dir.path(), CACHE_BYTES).unwrap_err();
    assert!(matches!(error, EngineError::Locked { .. }), "{error:?}");
}

#[test]
fn foreign_format_is_refused() {
    let (dir, engine) = temporary();
    engine.spaces.catalogue.insert(super::FORMAT_KEY, [9, 9]).unwrap();
    drop(engine);
    let error = Engine::open(dir.path(), CACHE_BYTES).unwrap_err();
    assert!(
        matches!(&error, EngineError::FormatUnknown { found, expected: 1, .. } if found == &[9, 9]),
        "{error:?}"
    );
}

#[test]
fn scan_sees_memory_and_tables_alike() {
    let (dir, engine) = temporary();
    let mut model = BTreeMap::new();
    for round in 1..=20u64 {
        let mut batch = EngineBatch::new();
        for i in 0..200u64 {
            let key = (i * round * 7919 % 1000).to_be_bytes();
            if (i + round) % 5 == 0 {
                batch.delete(StateKey::new(3, &key));
                model.remove(&key);
            } else {
                batch.put(StateKey::new(3, &key), Slice::new(&[round as u8; 100]));
                model.insert(key, [round as u8; 100]);
            }
        }
        engine.commit(batch, round).unwrap();
        if round % 6 == 0 {
            engine.spaces.documents.rotate_memtable_and_wait().unwrap();
        }
    }
    let check = |engine: &Engine| {
        let found = engine
            .snapshot()
            .scan(3, Bound::Unbounded, Bound::Unbounded)
            .map(|document| {
                let (key, value) = document.unwrap();
                (
                    <[u8; 8]>::try_from(key.key()).unwrap(),
                    <[u8; 100]>::try_from(&value[..]).unwrap(),
                )
            });
        assert_eq!(found.collect::<BTreeMap<_, _>>(), model);
    };
    check(&engine);
    drop(engine);
    check(&open(dir.path()));
}

// Killing the process.
//
// Batch n puts document n and a new version of documents n/2 and n/3, each naming n, so that the
// whole state follows from `applied` alone.

const CHILD_DIR: &str = "TAILWATER_ENGINE_CHILD_DIR";
const COMMITTED_FILE: &str = "committed";

fn versions(applied: u64) -> BTreeMap<u64, u64> {
    let mut model = BTreeMap::new();
    for n in 1..=applied {
        model.extend([(n, n), (n / 2, n), (n / 3, n)]);
    }
    model
}

/// Bytes that depend on `n` and do not compress, so that they reach the journal as they are.
fn filler(n: u64) -> impl Iterator<Item = u8> {
    let step = |state: &u64| Some(state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1));
    std::iter::successors(Some(n), step)
        .skip(1)
        .map(|state| (state >> 56) as u8)
}

fn batch_number(n: u64, padding: usize) -> EngineBatch {
    let mut batch = EngineBatch::new();
    for id in [n, n / 2, n / 3] {
        let mut value = n.to_le_bytes().to_vec();
        value.extend(filler(n).take(padding));
        batch.put(StateKey::new(1, &id.to_be_bytes()), Slice::new(&value));
    }
    batch
}

fn assert_state_follows_from_applied(engine: &Engine) {
    let snapshot = engine.snapshot();
    let found: BTreeMap<u64, u64> = snapshot
        .scan(1, Bound::Unbounded, Bound::Unbounded)
        .map(|document| {
            let (key, value) = document.unwrap();
            let n = u64::from_le_bytes(value[..8].try_into().unwrap());
            assert!(value[8..].iter().copied().eq(filler(n).take(value.len() - 8)));
            (u64::from_be_bytes(key.key().try_into().unwrap()), n)
        })
        .collect();
    assert_eq!(found, versions(snapshot.applied()));
}

/// Not a test by itself: what [`killed_process_leaves_whole_commits`] starts and kills.
#[test]
fn child_commits_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let committed = fs::File::create(dir.join(COMMITTED_FILE)).unwrap();
    let engine = open(&dir.join("engine"));
    // Ends by itself, should the parent die first.
    let first = engine.applied() + 1;
    for n in first..first + 200_000 {
        engine.commit(batch_number(n, 300), n).unwrap();
        committed.write_all_at(&n.to_le_bytes(), 0).unwrap();
    }
}

#[test]
fn killed_process_leaves_whole_commits() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engine::tests::child_commits_until_killed"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(150 + round * 83));
        child.kill().unwrap();
        child.wait().unwrap();

        let committed = fs::read(dir.path().join(COMMITTED_FILE)).unwrap_or_default();
        let committed = committed.try_into().map_or(0, u64::from_le_bytes);
        let engine = open(&dir.path().join("engine"));
        assert!(engine.applied() >= committed, "{} < {committed}", engine.applied());
        assert_state_follows_from_applied(&engine);
    }
    assert!(
        open(&dir.path().join("engine")).applied() > 0,
        "no child got as far as a commit"
    );
}

// Losing power. The engine's files are copied while it is open, as a dead machine would leave them;
// then pages of the journal behind the last sync are zeroed, as if they had not reached the disk.

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The engine prepares its journal with zeros, so what a killed process had not written yet reads as zeros.
#[test]
fn a_commit_that_was_half_written_is_dropped_wherever_it_ends() {
    let (dir, engine) = temporary();
    let written = || {
        let journal = fs::read(newest_journal(dir.path()).unwrap().unwrap()).unwrap();
        journal.iter().rposition(|byte| *byte != 0).unwrap() + 1
    };
    engine.commit(batch_number(1, 20), 1).unwrap();
    engine.persist().unwrap();
    let whole = written();
    engine.commit(batch_number(2, 20), 2).unwrap();
    engine.persist().unwrap();
    let end = written();
    assert!(end > whole + 100, "{whole} {end}");
    // Each length in an item has four bytes, so none is stepped over.
    for cut in (whole..end).step_by(3) {
        let torn = tempfile::tempdir().unwrap();
        copy_files(dir.path(), torn.path());
        let journal = newest_journal(torn.path()).unwrap().unwrap();
        let file = fs::OpenOptions::new().write(true).open(journal).unwrap();
        file.write_all_at(&vec![0; end - cut], cut as u64).unwrap();
        let engine = open(torn.path());
        assert_eq!(engine.applied(), 1, "cut at {cut} of {whole}..{end}");
        assert_state_follows_from_applied(&engine);
    }
}

/// Returns how many of the losses needed a cut by us.
fn check_lost_pages(padding: usize) -> usize {
    const PAGE: usize = 4096;
    const PERSISTED: u64 = 4;
    const LAST: u64 = 12;
    let (dir, engine) = temporary();
    let written = |dir: &Path| {
        let journal = fs::read(newest_journal(dir).unwrap().unwrap()).unwrap();
        journal.iter().rposition(|byte| *byte != 0).unwrap() + 1
    };
    (1..=PERSISTED).for_each(|n| engine.commit(batch_number(n, padding), n).unwrap());
    engine.persist().unwrap();
    let synced = written(dir.path());
    (PERSISTED + 1..=LAST).for_each(|n| engine.commit(batch_number(n, padding), n).unwrap());
    let end = written(dir.path());

    let mut cuts = 0;
    let pages: Vec<usize> = (synced.div_ceil(PAGE)..end.div_ceil(PAGE)).collect();
    for page in pages.iter().step_by(pages.len().div_ceil(12)) {
        let lost = tempfile::tempdir().unwrap();
        copy_files(dir.path(), lost.path());
        let journal = newest_journal(lost.path()).unwrap().unwrap();
        let kept = journal.with_extension("damaged");
        let file = fs::OpenOptions::new().write(true).open(journal).unwrap();
        file.write_all_at(&[0; PAGE], (page * PAGE) as u64).unwrap();

        let engine = open(lost.path());
        cuts += usize::from(kept.exists());
        let applied = engine.applied();
        assert!((PERSISTED..LAST).contains(&applied), "page={page} applied={applied}");
        assert_state_follows_from_applied(&engine);
        engine.commit(batch_number(applied + 1, padding), applied + 1).unwrap();
        drop(engine);
        let engine = open(lost.path());
        assert_eq!(engine.applied(), applied + 1);
        assert_state_follows_from_applied(&engine);
    }
    cuts
}

#[test]
fn lost_page_among_small_documents_is_a_shorter_prefix() {
    check_lost_pages(1_500);
}

#[test]
fn lost_page_inside_a_large_document_is_a_shorter_prefix() {
    assert!(check_lost_pages(20_000) > 0, "the engine copes by itself: drop the cut");
}

#[test]
fn damage_before_the_newest_journal_is_an_error() {
    let (dir, engine) = temporary();
    put(&engine, 1, &[(1, b"a", &[7; 9000])]);
    engine.persist().unwrap();
    drop(engine);
    // An older journal with the same broken content, which no sync order can explain.
    let journal = newest_journal(dir.path()).unwrap().unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let newer = dir.path().join("99.jnl");
    fs::write(&newer, vec![0; 4096]).unwrap();

    let error = Engine::open(dir.path(), CACHE_BYTES).unwrap_err();
    assert!(matches!(error, EngineError::Open { .. }), "{error:?}");
    assert_eq!(fs::read(&journal).unwrap(), bytes);
}

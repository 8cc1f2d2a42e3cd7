//! A follower takes entries while an index is built, and what it answers is right before and after. The thread is kept from its work
//! by what says that it is at it.

use std::time::Instant;

use bson::{RawDocumentBuf, rawdoc};
use tailwater_oplog::{Before, Durability, Member, OpId, ReadConcern, create_follower};

use super::*;
use crate::index::IndexModel;
use crate::query::ExplainOptions;
use crate::store::{StoreOptions, log_directory};
use crate::{Collection, Error};

const DOCUMENTS: i32 = 1500;

fn options() -> StoreOptions {
    let mut options = StoreOptions {
        durability: Durability::Memory,
        ..StoreOptions::default()
    };
    options.oplog.segment_bytes = 1 << 20;
    options
}

/// A store with as many documents as are indexed in chunks, and a follower that has none of them yet.
fn pair(dirs: &[tempfile::TempDir; 2]) -> [Store; 2] {
    let store = options().open(dirs[0].path()).unwrap();
    let documents: Vec<RawDocumentBuf> = (0..DOCUMENTS)
        .map(|i| rawdoc! { "_id": i, "b": i, "c": i % 7 })
        .collect();
    people(&store).insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    let start = store.log().segment_of(OpId::FIRST).unwrap();
    let (promised, known) = (store.promised(), store.known());
    create_follower(
        log_directory(dirs[1].path()),
        &start,
        promised,
        known,
        Before::default(),
    )
    .unwrap();
    let follower = options().open(dirs[1].path()).unwrap();
    [store, follower]
}

fn people(store: &Store) -> Collection {
    store.collection("town", "people").unwrap()
}

fn catch_up(store: &Store, follower: &Store) {
    store.sync().unwrap();
    while let Some(run) = {
        let next = follower.log().watermarks().appended.next();
        store.log().frames(next, 1 << 20, ReadConcern::Durable).unwrap()
    } {
        follower.promise(run.term).unwrap();
        follower.append_frames(run.bytes()).unwrap();
    }
    assert_eq!(follower.applied(), store.applied());
}

/// Keeps the thread from its work, and lets it.
fn hold(store: &Store, held: bool) {
    store.core().lock_filling().running = held;
    store.ensure_filling().unwrap();
}

fn states(store: &Store) -> Vec<IndexState> {
    let catalog = store.core().catalog();
    catalog
        .collections()
        .flat_map(|info| &info.indexes)
        .map(|index| index.state)
        .collect()
}

fn await_ready(store: &Store) {
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    while states(store).iter().any(|state| *state != IndexState::Ready) {
        assert!(Instant::now() < deadline, "{:?}", states(store));
        std::thread::yield_now();
    }
}

fn is_by_index(store: &Store) -> bool {
    let explained = people(store)
        .explain(&rawdoc! { "b": 3 }, &ExplainOptions::default())
        .unwrap();
    bson::Document::try_from(&*explained)
        .unwrap()
        .to_string()
        .contains("IXSCAN")
}

#[test]
fn entries_are_taken_while_an_index_is_built() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [store, follower] = pair(&dirs);
    catch_up(&store, &follower);
    hold(&follower, true);
    people(&store).create_index(&IndexModel::new("b", 1)).unwrap();
    people(&store).delete_one(&rawdoc! { "_id": 3 }).unwrap();
    people(&store).insert_one(&rawdoc! { "_id": -1, "b": [3, 4] }).unwrap();
    catch_up(&store, &follower);
    assert_eq!(states(&follower), [IndexState::Filling]);
    assert!(!is_by_index(&follower));
    assert_eq!(people(&follower).count(&rawdoc! { "b": 3 }).unwrap(), 1);

    hold(&follower, false);
    await_ready(&follower);
    assert!(is_by_index(&follower));
    assert_eq!(people(&follower).count(&rawdoc! { "b": 3 }).unwrap(), 1);
    assert_eq!(
        people(&follower).validate().unwrap(),
        people(&store).validate().unwrap()
    );
    assert_eq!(follower.digest().unwrap(), store.digest().unwrap());
}

#[test]
fn a_digest_completes_what_the_log_says_to_be_complete() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [store, follower] = pair(&dirs);
    hold(&follower, true);
    people(&store).create_index(&IndexModel::new("b", 1)).unwrap();
    catch_up(&store, &follower);
    assert_eq!(states(&follower), [IndexState::Filling]);
    assert_eq!(follower.digest().unwrap(), store.digest().unwrap());
    assert_eq!(states(&follower), [IndexState::Ready]);
}

#[test]
fn what_is_indexed_before_the_entry_that_completes_it_is_in_use_with_that() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [store, follower] = pair(&dirs);
    let begun = {
        let definition = IndexModel::new("b", 1).to_document();
        let core = store.core();
        let mut commit = core.lock_commit().unwrap();
        let info = Arc::clone(commit.catalog().collections().next().unwrap());
        let detail = bson::rawdoc! { "indexes": [definition] };
        let draft = super::super::definition(tailwater_oplog::entry::EntryKind::StartIndexBuild, &info, &detail);
        core.commit(&mut commit, &[draft]).unwrap();
        Build::new(commit.catalog().by_id(&info.id).unwrap(), |_| true).unwrap()
    };
    catch_up(&store, &follower);
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    while follower.core().completed.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(states(&follower), [IndexState::Building]);
    people(&store)
        .update_one(&rawdoc! { "_id": 5 }, &rawdoc! { "$set": { "b": -5 } })
        .unwrap();
    hold(&follower, true);
    store.core().complete(&begun).unwrap();
    catch_up(&store, &follower);
    assert_eq!(states(&follower), [IndexState::Ready]);
    assert_eq!(follower.digest().unwrap(), store.digest().unwrap());
}

#[test]
fn who_is_promoted_has_the_unique_indexes_first() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [store, follower] = pair(&dirs);
    hold(&follower, true);
    people(&store).create_index(&IndexModel::new("b", 1).unique()).unwrap();
    people(&store).create_index(&IndexModel::new("c", 1)).unwrap();
    catch_up(&store, &follower);
    assert_eq!(states(&follower), [IndexState::Filling; 2]);
    drop(store);
    follower.promote(Member::new(1).unwrap()).unwrap();
    assert_eq!(states(&follower), [IndexState::Ready, IndexState::Filling]);
    let refused = people(&follower).insert_one(&rawdoc! { "_id": -1, "b": 1400 });
    assert!(matches!(refused, Err(Error::DuplicateKey { .. })), "{refused:?}");
    hold(&follower, false);
    await_ready(&follower);
    assert!(people(&follower).validate().unwrap().is_valid());
}

#[test]
fn a_store_that_is_opened_anew_goes_on() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [store, follower] = pair(&dirs);
    hold(&follower, true);
    people(&store).create_index(&IndexModel::new("b", 1)).unwrap();
    catch_up(&store, &follower);
    follower.close().unwrap();
    for with_state in [true, false] {
        if !with_state {
            std::fs::remove_dir_all(dirs[1].path().join("state")).unwrap();
        }
        let follower = options().open(dirs[1].path()).unwrap();
        await_ready(&follower);
        assert_eq!(
            people(&follower).validate().unwrap(),
            people(&store).validate().unwrap()
        );
        assert_eq!(follower.digest().unwrap(), store.digest().unwrap());
        follower.close().unwrap();
    }
}

/// A document that does not fit, which the primary changes before its builder comes by.
#[test]
fn a_document_that_does_not_fit_is_the_primarys_affair() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [store, follower] = pair(&dirs);
    people(&store)
        .insert_one(&rawdoc! { "_id": -1, "b": [1, 2], "c": [3, 4] })
        .unwrap();
    let refused = people(&store).create_index(&IndexModel::new("b", 1).and("c", 1));
    assert!(matches!(refused, Err(Error::ParallelArrays { .. })), "{refused:?}");
    catch_up(&store, &follower);
    people(&store).delete_one(&rawdoc! { "_id": -1 }).unwrap();
    people(&store)
        .create_index(&IndexModel::new("b", 1).and("c", 1))
        .unwrap();
    catch_up(&store, &follower);
    await_ready(&follower);
    assert_eq!(follower.digest().unwrap(), store.digest().unwrap());
}

//! A store that follows has, at each of the primary's entries that it has come to, the state that the primary had: whatever comes
//! together in a run, and however many entries are applied together.

use crate::common;

use bson::{Document, RawDocumentBuf, rawdoc};
use common::{catch_up, content, copy_open_store, eventually, follower_of, partial_follower_of, small, take};
use proptest::prelude::*;
use tailwater_oplog::{Member, OpId};
use tailwater_storage::{
    BackupError, BackupOptions, Collection, CollectionOptions, CutBack, ExplainOptions, IndexModel, Selection, Store,
};

const DATABASE: &str = "db";
/// With nothing beside the documents, with an index, with an order of its own.
const NAMES: [&str; 3] = ["plain", "indexed", "capped"];

#[derive(Clone, Debug)]
enum Step {
    /// Inserts documents from this `_id` on, so many, a step apart: enough to be applied as one, or a few.
    Insert(usize, i32, i32, i32),
    /// One by one.
    InsertSingly(usize, i32, i32),
    Update(usize, i32),
    Delete(usize, i32),
    Both(i32),
    CreateIndex,
    DropIndex,
    Drop(usize),
    CatchUp(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let of = 0..NAMES.len();
    let id = 0..120_i32;
    prop_oneof![
        4 => (of.clone(), id.clone(), 1..60_i32, prop_oneof![Just(1), Just(-1), Just(3)])
            .prop_map(|(of, id, count, apart)| Step::Insert(of, id, count, apart)),
        2 => (of.clone(), id.clone(), 1..30_i32).prop_map(|(of, id, count)| Step::InsertSingly(of, id, count)),
        2 => (of.clone(), id.clone()).prop_map(|(of, id)| Step::Update(of, id)),
        3 => (of.clone(), id.clone()).prop_map(|(of, id)| Step::Delete(of, id)),
        1 => id.prop_map(Step::Both),
        1 => Just(Step::CreateIndex),
        1 => Just(Step::DropIndex),
        1 => of.prop_map(Step::Drop),
        2 => prop_oneof![Just(1), Just(4 << 10), Just(1 << 20)].prop_map(Step::CatchUp),
    ]
}

fn collection(store: &Store, of: usize) -> Collection {
    let name = NAMES[of];
    if !store.collection_names(DATABASE).iter().any(|there| there == name) {
        let options = match name {
            "capped" => rawdoc! { "capped": true, "size": 1 << 20, "max": 50 },
            _ => rawdoc! {},
        };
        let options = CollectionOptions::parse(&options).unwrap();
        store.create_collection_with(DATABASE, name, &options).unwrap();
        if name == "indexed" {
            let indexed = store.collection(DATABASE, name).unwrap();
            indexed.create_index(&IndexModel::new("k", 1)).unwrap();
        }
    }
    store.collection(DATABASE, name).unwrap()
}

fn document(id: i32) -> RawDocumentBuf {
    rawdoc! { "_id": id, "k": id % 7 }
}

fn apply(store: &Store, step: &Step) {
    match *step {
        Step::Insert(of, first, count, apart) => {
            let documents: Vec<_> = (0..count).map(|n| document(first + n * apart)).collect();
            // Some are there already; those before the first of them are inserted.
            let _ = collection(store, of).insert_many(documents.iter().map(AsRef::as_ref));
        }
        Step::InsertSingly(of, first, count) => {
            let collection = collection(store, of);
            (0..count).for_each(|n| drop(collection.insert_one(&document(first + n))));
        }
        Step::Update(of, id) => {
            let change = rawdoc! { "$set": { "k": id % 5 } };
            let changed = collection(store, of).update_many(&rawdoc! { "k": id % 7 }, &change);
            changed.unwrap();
        }
        Step::Delete(of, id) => {
            let few = rawdoc! { "_id": { "$gte": id, "$lt": id + 20 } };
            collection(store, of).delete_many(&few).unwrap();
        }
        Step::Both(first) => {
            for of in 0..2 {
                collection(store, of);
            }
            let done = store.with_transaction(|transaction| -> Result<(), tailwater_storage::Error> {
                for name in &NAMES[..2] {
                    let documents: Vec<_> = (first..first + 30).map(document).collect();
                    let collection = transaction.collection(DATABASE, name)?;
                    collection.delete_many(&rawdoc! { "_id": { "$gte": first } })?;
                    collection.insert_many(documents.iter().map(AsRef::as_ref))?;
                }
                Ok(())
            });
            done.unwrap();
        }
        Step::CreateIndex => drop(collection(store, 0).create_index(&IndexModel::new("k", -1)).unwrap()),
        // It may not be there.
        Step::DropIndex => drop(collection(store, 0).drop_index("k_-1")),
        Step::Drop(of) => drop(store.drop_collection(DATABASE, NAMES[of])),
        Step::CatchUp(_) => {}
    }
}

fn assert_same(follower: &Store, store: &Store) {
    assert_eq!(follower.applied(), store.applied());
    assert_eq!(follower.digest().unwrap(), store.digest().unwrap());
    assert_eq!(content(follower), content(store));
    for name in store.collection_names(DATABASE) {
        let counts = [follower, store].map(|store| {
            let collection = store.collection(DATABASE, &name).unwrap();
            let along_the_index = collection.count(&rawdoc! { "k": 3 }).unwrap();
            (collection.estimated_count().unwrap(), along_the_index)
        });
        assert_eq!(counts[0], counts[1], "{name}");
    }
}

/// The follower has of the store what is selected.
fn assert_part(follower: &Store, store: &Store, selection: &Selection) {
    assert_eq!(follower.applied(), store.applied());
    assert_eq!(
        follower.digest_of(selection).unwrap(),
        store.digest_of(selection).unwrap()
    );
    let (mut found, mut expected) = (content(follower), content(store));
    for (name, documents) in &mut expected {
        documents.retain(|document| selection.has_document(document));
        let collection = follower.collection(DATABASE, name.split_once('.').unwrap().1).unwrap();
        let along_the_index = collection.count(&rawdoc! { "k": 3 }).unwrap();
        let of_three = documents
            .iter()
            .filter(|document| matches!(document.get_i32("k"), Ok(3)));
        let counts = (collection.estimated_count().unwrap(), along_the_index);
        assert_eq!(counts, (documents.len() as u64, of_three.count() as u64), "{name}");
    }
    // In a capped collection a document stands where it came in, which may have been by an update.
    for documents in found.values_mut().chain(expected.values_mut()) {
        documents.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    }
    assert_eq!(found, expected);
}

/// What a crash leaves of a follower, at whatever moment of an index build, comes to the same state.
#[test]
fn an_index_build_that_a_crash_interrupts_comes_to_the_same() {
    let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut options = small();
    let store = options.open(here.path()).unwrap();
    options.overlay_bytes_max = 64 << 10;
    let follower = follower_of(&store, there.path(), &options);
    let plain = collection(&store, 0);
    let documents: Vec<_> = (0..6000).map(document).collect();
    plain.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
    catch_up(&store, &follower, 1 << 20);

    plain.create_index(&IndexModel::new("k", -1)).unwrap();
    let mut copies = Vec::new();
    for id in 0..12 {
        plain
            .update_one(&rawdoc! { "_id": id * 500 }, &rawdoc! { "$set": { "k": [id, 70] } })
            .unwrap();
        plain.delete_one(&rawdoc! { "_id": id * 400 + 1 }).unwrap();
        catch_up(&store, &follower, 1 << 20);
        // Reads answer whether there is an index by now or not.
        let found = collection(&follower, 0).count(&rawdoc! { "k": 70 }).unwrap();
        assert_eq!(i32::try_from(found), Ok(id + 1));
        let copy = tempfile::tempdir().unwrap();
        copy_open_store(&follower, there.path(), copy.path());
        copies.push(copy);
    }
    assert_same(&follower, &store);
    for copy in copies {
        let follower = options.open(copy.path()).unwrap();
        catch_up(&store, &follower, 1 << 20);
        assert_same(&follower, &store);
        eventually("the index is in use", || {
            let plain = follower.collection(DATABASE, NAMES[0]).unwrap();
            let explained = plain.explain(&rawdoc! { "k": 3 }, &ExplainOptions::default()).unwrap();
            Document::try_from(explained.as_ref())
                .unwrap()
                .to_string()
                .contains("IXSCAN")
        });
        follower.close().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_follower_has_the_state_of_its_primary(steps in proptest::collection::vec(step(), 1..25)) {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let mut options = small();
        let store = options.open(here.path()).unwrap();
        // Recent writes go into the engine after a few of them, by themselves.
        options.overlay_bytes_max = 8 << 10;
        let follower = follower_of(&store, there.path(), &options);
        for step in &steps {
            apply(&store, step);
            if let Step::CatchUp(run_bytes) = step {
                catch_up(&store, &follower, *run_bytes);
                assert_same(&follower, &store);
            }
        }
        catch_up(&store, &follower, 1 << 20);
        assert_same(&follower, &store);
    }

    /// Between what it has are places, and documents that leave and come again.
    #[test]
    fn a_partial_follower_has_its_part_of_the_state(
        steps in proptest::collection::vec(step(), 1..25),
        by_key in any::<bool>(),
    ) {
        let filter = match by_key {
            true => rawdoc! { "_id": { "$gt": 40, "$lte": 90 } },
            false => rawdoc! { "k": { "$in": [0, 2, 3, 4] } },
        };
        let selection = Selection::new(["db.*"], &filter).unwrap();
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let mut options = small();
        let store = options.open(here.path()).unwrap();
        options.overlay_bytes_max = 8 << 10;
        let follower = partial_follower_of(&store, there.path(), &options, &selection);
        for step in steps.iter().chain([&Step::CatchUp(1 << 20)]) {
            apply(&store, step);
            if let Step::CatchUp(run_bytes) = step {
                catch_up(&store, &follower, *run_bytes);
                assert_part(&follower, &store, &selection);
            }
        }
    }
}

/// A log that does not go back to the beginning, so that the state could not be made anew from it.
#[test]
fn what_is_cut_before_it_is_settled_leaves_the_state_as_it_is() {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let store = small().open(a.path()).unwrap();
    let follower = follower_of(&store, b.path(), &small());
    let things = store.collection(DATABASE, "plain").unwrap();
    let text = "x".repeat(1000);
    for id in 0..3000 {
        things
            .insert_one(&rawdoc! { "_id": id, "text": text.as_str() })
            .unwrap();
    }
    catch_up(&store, &follower, 1 << 20);
    let settled = store.log().watermarks().durable;
    follower.set_majority(Some(settled));
    follower.sync().unwrap();
    assert!(follower.trim_log(settled).unwrap() > OpId::FIRST);
    let (before, there) = (content(&store), store.digest().unwrap());

    things.delete_many(&rawdoc! { "_id": { "$gte": 10 } }).unwrap();
    things.insert_one(&rawdoc! { "_id": -1 }).unwrap();
    catch_up(&store, &follower, 1 << 20);
    follower.sync().unwrap();
    // Seen in the meantime, but not by the engine.
    assert_same(&follower, &store);
    assert_eq!(follower.cut_back(settled).unwrap(), CutBack::Done);
    let again = small().open(b.path()).unwrap();
    assert_eq!(again.digest().unwrap(), there);
    assert_eq!(content(&again), before);
    // And goes on from there.
    catch_up(&store, &again, 1 << 20);
    assert_same(&again, &store);
}

/// What the overlay has no room for is given to the engine, whether the primary's disk has it or not.
#[test]
fn a_state_ahead_of_what_may_be_passed_on_is_not_copied() {
    let [a, b, target] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut options = small();
    options.overlay_bytes_max = 64 << 10;
    let store = options.open(a.path()).unwrap();
    let follower = follower_of(&store, b.path(), &options);
    let things = store.collection(DATABASE, "plain").unwrap();
    things.insert_one(&rawdoc! { "_id": 0 }).unwrap();
    catch_up(&store, &follower, 1 << 20);
    let confirmed = follower.log().watermarks().appended;
    follower.set_confirmed(confirmed);
    let text = "x".repeat(1000);
    for id in 1..500 {
        things
            .insert_one(&rawdoc! { "_id": id, "text": text.as_str() })
            .unwrap();
    }
    catch_up(&store, &follower, 1 << 20);
    follower.sync().unwrap();

    let copy = target.path().join("copy");
    let backed_up = follower.backup(&copy, &BackupOptions::default()).map(drop);
    let copied = follower
        .copy_state(&copy, &BackupOptions::default(), |_| Ok(()))
        .map(drop);
    for refused in [backed_up, copied] {
        let by_name = matches!(refused, Err(BackupError::Unconfirmed { released, .. }) if released == confirmed);
        assert!(by_name, "{refused:?}");
    }
    assert!(!copy.exists());
    follower.set_confirmed(store.log().watermarks().durable);
    follower.backup(&copy, &BackupOptions::default()).unwrap();
    assert_same(&options.open(&copy).unwrap(), &store);
}

/// A primary whose followers are all away goes on, and so does one that nobody has ever heard.
#[test]
fn what_nobody_settles_holds_no_writer_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    options.overlay_bytes_max = 1 << 20;
    let store = options.open(dir.path()).unwrap();
    store.set_majority(Some(OpId::ZERO));
    let things = store.collection(DATABASE, "plain").unwrap();
    let text = "x".repeat(1000);
    for id in 0..4000 {
        things
            .insert_one(&rawdoc! { "_id": id, "text": text.as_str() })
            .unwrap();
    }
    let there = store.digest().unwrap();
    drop(things);
    store.close().unwrap();
    assert_eq!(options.open(dir.path()).unwrap().digest().unwrap(), there);
}

/// As a follower that comes back finds them: more at once than who appends them applies.
#[test]
fn what_comes_all_at_once_is_in_the_log_before_it_is_in_the_state() {
    let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let store = small().open(a.path()).unwrap();
    let follower = follower_of(&store, b.path(), &small());
    let behind = |follower: &Store, first: i32| {
        // A collection that is there, so that nothing but documents comes.
        let things = collection(&store, 1);
        catch_up(&store, follower, 1 << 20);
        for first in (first..first + 4000).step_by(1000) {
            let documents: Vec<_> = (first..first + 1000).map(document).collect();
            things.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
        }
        things
            .update_many(&rawdoc! { "k": 2 }, &rawdoc! { "$set": { "k": 9 } })
            .unwrap();
        take(&store, follower, 1 << 20);
        follower.sync().unwrap();
        let marks = follower.log().watermarks();
        assert_eq!(marks.durable, store.log().watermarks().durable);
        // In this order: the state only grows.
        let released = follower.log().watermarks().released;
        assert!(
            released <= follower.applied(),
            "who is told of an entry finds what it did"
        );
        marks.appended
    };

    // Who wants to see it waits for it.
    let last = behind(&follower, 0);
    assert!(follower.await_applied(last, None).unwrap());
    assert_same(&follower, &store);
    eventually("it is released", || follower.log().watermarks().released == last);
    assert!(
        !follower.await_applied(last.next(), None).unwrap(),
        "it is in no log, so nobody waits for it"
    );
    behind(&follower, 4000);
    follower.finish_applying();
    assert_same(&follower, &store);

    // What a definition finds, and what an opening replays.
    behind(&follower, 8000);
    collection(&store, 1).create_index(&IndexModel::new("k", -1)).unwrap();
    catch_up(&store, &follower, 1 << 20);
    assert_same(&follower, &store);
    behind(&follower, 12_000);
    follower.close().unwrap();
    let follower = small().open(b.path()).unwrap();
    assert_same(&follower, &store);

    // And what is written behind it.
    behind(&follower, 16_000);
    let member = Member::new(1).unwrap();
    follower.promote(member).unwrap();
    assert_same(&follower, &store);
    collection(&follower, 1).insert_one(&document(-1)).unwrap();
    follower.sync().unwrap();
    let marks = follower.log().watermarks();
    assert_eq!(marks.released, marks.durable);
}

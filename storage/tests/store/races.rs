//! Inserts beside each other: of equal `_id`s at the same time one gets in, however they come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::{RawDocumentBuf, rawdoc};
use tailwater_storage::{Collection, Error, InsertManyOptions, StoreOptions};

use crate::common::small;
use crate::temporary;

const WRITERS: i32 = 4;
const DOCUMENTS: i32 = 3000;

/// How a writer divides its documents.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Documents of one call.
    batch: usize,
    /// Between one `_id` and the next; coprime to their number, so that all are reached.
    step: i32,
}

/// The writer's documents that are in afterwards, as it was told.
fn insert_all(collection: &Collection, writer: i32, shape: Shape) -> usize {
    let ids = (0..DOCUMENTS).map(|n| n * shape.step % DOCUMENTS);
    let documents: Vec<RawDocumentBuf> = ids.map(|id| rawdoc! { "_id": id, "writer": writer }).collect();
    let options = InsertManyOptions {
        ordered: false,
        ..InsertManyOptions::default()
    };
    let batches = documents.chunks(shape.batch).map(|batch| {
        match collection.insert_many_with(batch.iter().map(AsRef::as_ref), &options) {
            Ok(outcome) => outcome.inserted_ids.len(),
            Err(Error::BulkWrite { errors, outcome }) => {
                let duplicates = errors
                    .iter()
                    .filter(|refused| matches!(refused.error, Error::DuplicateKey { .. }));
                assert_eq!(duplicates.count(), errors.len());
                let inserted = usize::try_from(outcome.inserted).unwrap();
                assert_eq!(errors.len() + inserted, batch.len());
                inserted
            }
            Err(error) => panic!("{error}"),
        }
    });
    batches.sum()
}

#[test]
fn of_equal_ids_at_the_same_time_one_is_inserted() {
    let shapes = [(1, 1), (3, 1), (100, 1), (100, 7), (1000, 2999)].map(|(batch, step)| Shape { batch, step });
    for shape in shapes {
        let dir = temporary();
        // Generations are applied while the writers go on.
        let options = StoreOptions {
            overlay_bytes_max: 256 << 10,
            ..small()
        };
        let store = options.open(dir.path()).unwrap();
        let collection = store.collection("town", "people").unwrap();
        let told = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (collection, told) = (&collection, &told);
                scope.spawn(move || told.fetch_add(insert_all(collection, writer, shape), Ordering::Relaxed));
            }
        });
        let found: Vec<_> = collection.find(&rawdoc! {}).unwrap().map(Result::unwrap).collect();
        let ids: Vec<_> = found.iter().map(|document| document.get_i32("_id").unwrap()).collect();
        assert_eq!(ids, (0..DOCUMENTS).collect::<Vec<_>>(), "{shape:?}");
        assert_eq!(told.into_inner(), DOCUMENTS as usize, "{shape:?}");
        let count = collection.count(&rawdoc! {}).unwrap();
        assert_eq!(count, DOCUMENTS as u64, "{shape:?}");

        // The log tells the same.
        let digest = store.digest().unwrap().sha256;
        store.close().unwrap();
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        let replayed = small().open(dir.path()).unwrap();
        assert_eq!(replayed.digest().unwrap().sha256, digest, "{shape:?}");
    }
}

#[test]
fn inserts_meet_deletions_and_updates_of_the_same_ids() {
    let dir = temporary();
    let store = small().open(dir.path()).unwrap();
    let collection = store.collection("town", "people").unwrap();
    let mut model = BTreeMap::new();
    for round in 0..6 {
        let ids: Vec<i32> = (0..100).filter(|id| !model.contains_key(id)).collect();
        let documents: Vec<_> = ids.iter().map(|id| rawdoc! { "_id": *id, "round": round }).collect();
        collection.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
        model.extend(ids.into_iter().map(|id| (id, round)));
        // A third goes, and comes again with the next round; a third is of this round.
        collection
            .delete_many(&rawdoc! { "_id": { "$mod": [3, round % 3] } })
            .unwrap();
        model.retain(|id, _| id % 3 != round % 3);
        let filter = rawdoc! { "_id": { "$mod": [3, (round + 1) % 3] } };
        collection
            .update_many(&filter, &rawdoc! { "$set": { "round": round } })
            .unwrap();
        model
            .iter_mut()
            .filter(|(id, _)| *id % 3 == (round + 1) % 3)
            .for_each(|(_, of)| *of = round);

        let found = collection.find(&rawdoc! {}).unwrap().map(Result::unwrap);
        let found = found.map(|found| (found.get_i32("_id").unwrap(), found.get_i32("round").unwrap()));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), model);
    }
}

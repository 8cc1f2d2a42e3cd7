use std::collections::BTreeSet;

use bson::rawdoc;
use tailwater_storage::{
    Error, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions, ReturnDocument,
};

use crate::Town;

#[test]
fn the_document_is_returned_as_it_was_or_is() {
    let town = Town::numbered(0..3);
    let (filter, update) = (rawdoc! { "n": { "$gte": 1 } }, rawdoc! { "$inc": { "n": 10 } });
    let before = town.people.find_one_and_update(&filter, &update).unwrap();
    assert_eq!(before, Some(rawdoc! { "_id": 1, "n": 1 }));
    let options = FindOneAndUpdateOptions {
        return_document: ReturnDocument::After,
        sort: Some(rawdoc! { "_id": -1 }),
        ..FindOneAndUpdateOptions::default()
    };
    let after = town
        .people
        .find_one_and_update_with(&filter, &update, &options)
        .unwrap();
    assert_eq!(after, Some(rawdoc! { "_id": 2, "n": 12 }));

    let replacement = rawdoc! { "name": "Ada" };
    let before = town
        .people
        .find_one_and_replace(&rawdoc! { "_id": 0 }, &replacement)
        .unwrap();
    assert_eq!(before, Some(rawdoc! { "_id": 0, "n": 0 }));
    let options = FindOneAndReplaceOptions {
        return_document: ReturnDocument::After,
        ..FindOneAndReplaceOptions::default()
    };
    let after = town
        .people
        .find_one_and_replace_with(&rawdoc! { "_id": 0 }, &replacement, &options)
        .unwrap();
    assert_eq!(
        after,
        Some(rawdoc! { "_id": 0, "name": "Ada" }),
        "also when nothing changes"
    );

    let options = FindOneAndDeleteOptions {
        sort: Some(rawdoc! { "n": -1 }),
        ..FindOneAndDeleteOptions::default()
    };
    let deleted = town.people.find_one_and_delete_with(&rawdoc! {}, &options).unwrap();
    assert_eq!(deleted, Some(rawdoc! { "_id": 2, "n": 12 }));
    let deleted = town.people.find_one_and_delete(&rawdoc! { "n": 11 }).unwrap();
    assert_eq!(deleted, Some(rawdoc! { "_id": 1, "n": 11 }));
    assert_eq!(town.all(), [rawdoc! { "_id": 0, "name": "Ada" }]);
}

#[test]
fn nothing_is_returned_where_nothing_matches() {
    let town = Town::numbered(0..1);
    let filter = rawdoc! { "_id": 7 };
    assert_eq!(town.people.find_one_and_delete(&filter).unwrap(), None);
    assert_eq!(town.people.find_one_and_replace(&filter, &rawdoc! {}).unwrap(), None);
    let update = rawdoc! { "$set": { "a": 1 } };
    let options = |return_document| FindOneAndUpdateOptions {
        return_document,
        upsert: true,
        ..FindOneAndUpdateOptions::default()
    };
    let before = town
        .people
        .find_one_and_update_with(&filter, &update, &options(ReturnDocument::Before));
    assert_eq!(before.unwrap(), None, "an upsert had nothing before");
    let other = rawdoc! { "_id": 8 };
    let after = town
        .people
        .find_one_and_update_with(&other, &update, &options(ReturnDocument::After));
    assert_eq!(after.unwrap(), Some(rawdoc! { "_id": 8, "a": 1 }));
    assert_eq!(town.people.count(&rawdoc! { "a": 1 }).unwrap(), 2);
    let refused = town.people.find_one_and_replace(&filter, &update).unwrap_err();
    assert!(matches!(refused, Error::InvalidReplacement { .. }), "{refused:?}");
}

#[test]
fn a_queue_gives_each_job_to_one_worker_in_order() {
    let town = Town::numbered(0..200);
    let options = FindOneAndUpdateOptions {
        sort: Some(rawdoc! { "n": 1 }),
        ..FindOneAndUpdateOptions::default()
    };
    let work = || {
        let mut taken = Vec::new();
        let (free, take) = (
            rawdoc! { "taken": { "$exists": false } },
            rawdoc! { "$set": { "taken": true } },
        );
        while let Some(job) = town.people.find_one_and_update_with(&free, &take, &options).unwrap() {
            taken.push(job.get_i32("n").unwrap());
        }
        taken
    };
    let taken = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        let taken = workers.into_iter().map(|worker| worker.join().unwrap());
        taken.collect::<Vec<_>>()
    });
    for jobs in &taken {
        assert!(jobs.is_sorted(), "the first that is free, each time: {jobs:?}");
    }
    assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 200);
    assert_eq!(taken.concat().into_iter().collect::<BTreeSet<_>>().len(), 200);
}

#[test]
fn what_is_returned_is_projected_and_a_projection_that_fails_changes_nothing() {
    let town = Town::numbered(0..1);
    let inc = rawdoc! { "$inc": { "n": 1 } };
    let with = |projection| FindOneAndUpdateOptions {
        projection: Some(projection),
        return_document: ReturnDocument::After,
        ..FindOneAndUpdateOptions::default()
    };
    let only = with(rawdoc! { "_id": 0, "n": 1 });
    let after = town.people.find_one_and_update_with(&rawdoc! {}, &inc, &only).unwrap();
    assert_eq!(after, Some(rawdoc! { "n": 1 }));
    let failing = with(rawdoc! { "n": { "$divide": ["$n", 0] } });
    let refused = town.people.find_one_and_update_with(&rawdoc! {}, &inc, &failing);
    assert!(matches!(refused, Err(Error::Project(_))), "{refused:?}");
    assert_eq!(town.all(), [rawdoc! { "_id": 0, "n": 1 }]);
}

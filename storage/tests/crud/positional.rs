//! The positional `$`, with the manual's examples.

use bson::{RawDocumentBuf, rawdoc};
use tailwater_storage::update::UpdateError;
use tailwater_storage::{Error, UpdateOptions};

use crate::Town;

#[test]
fn the_element_that_matched_is_updated() {
    let town = Town::with(&[
        rawdoc! { "_id": 1, "grades": [85, 80, 80] },
        rawdoc! { "_id": 4, "grades": [
            { "grade": 80, "mean": 75, "std": 8 },
            { "grade": 85, "mean": 90, "std": 5 },
            { "grade": 85, "mean": 85, "std": 8 },
        ] },
    ]);
    let update = |filter: RawDocumentBuf, update: RawDocumentBuf| {
        let outcome = town.people.update_one(&filter, &update).unwrap();
        assert_eq!(outcome.modified, 1, "{filter:?}");
    };
    update(
        rawdoc! { "_id": 1, "grades": 80 },
        rawdoc! { "$set": { "grades.$": 82 } },
    );
    update(
        rawdoc! { "_id": 4, "grades.grade": 85 },
        rawdoc! { "$set": { "grades.$.std": 6 } },
    );
    assert_eq!(town.all()[0], rawdoc! { "_id": 1, "grades": [85, 82, 80] });
    let expected = rawdoc! { "_id": 4, "grades": [
        { "grade": 80, "mean": 75, "std": 8 },
        { "grade": 85, "mean": 90, "std": 6 },
        { "grade": 85, "mean": 85, "std": 8 },
    ] };
    assert_eq!(town.all()[1], expected);
}

#[test]
fn many_documents_have_each_their_element_updated() {
    let town = Town::with(&[
        rawdoc! { "_id": 1, "tags": ["a", "b", "c"] },
        rawdoc! { "_id": 2, "tags": ["b", "a"] },
        rawdoc! { "_id": 3, "tags": ["c"] },
    ]);
    let outcome = town
        .people
        .update_many(
            &rawdoc! { "tags": { "$in": ["b"] } },
            &rawdoc! { "$set": { "tags.$": "x" } },
        )
        .unwrap();
    assert_eq!(outcome.modified, 2);
    let expected = [
        rawdoc! { "_id": 1, "tags": ["a", "x", "c"] },
        rawdoc! { "_id": 2, "tags": ["x", "a"] },
        rawdoc! { "_id": 3, "tags": ["c"] },
    ];
    assert_eq!(town.all(), expected);
}

#[test]
fn without_a_matched_element_it_is_refused_and_nothing_changes() {
    let town = Town::with(&[rawdoc! { "_id": 1, "grades": [85, 80], "n": 1 }]);
    let set = rawdoc! { "$set": { "grades.$": 1 } };
    let upsert = UpdateOptions {
        upsert: true,
        ..UpdateOptions::default()
    };
    for refused in [
        town.people.update_one(&rawdoc! { "_id": 1 }, &set),
        town.people.update_one(&rawdoc! { "grades": { "$ne": 7 } }, &set),
        town.people.update_one_with(&rawdoc! { "_id": 2 }, &set, &upsert),
    ] {
        let Err(Error::Update(source)) = refused else {
            panic!("{refused:?}")
        };
        assert!(matches!(*source, UpdateError::PositionUnknown { .. }), "{source}");
    }
    assert_eq!(town.all(), [rawdoc! { "_id": 1, "grades": [85, 80], "n": 1 }]);
}

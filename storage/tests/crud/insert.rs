use bson::{Bson, rawdoc};
use tailwater_storage::{Error, ErrorCode, InsertManyOptions};

use crate::Town;

const UNORDERED: InsertManyOptions = InsertManyOptions {
    ordered: false,
    bypass_document_validation: false,
};

#[test]
fn an_unordered_insert_goes_on_after_errors_and_tells_all_of_them() {
    let town = Town::numbered(2..3);
    let documents = [
        rawdoc! { "_id": 1 },
        rawdoc! { "_id": 2 },
        rawdoc! { "_id": 3 },
        rawdoc! { "_id": 1 },
        rawdoc! { "_id": [] },
        rawdoc! { "_id": 4 },
    ];
    let refused = town
        .people
        .insert_many_with(documents.iter().map(AsRef::as_ref), &UNORDERED)
        .unwrap_err();
    let Error::BulkWrite { errors, outcome } = &refused else {
        panic!("{refused:?}");
    };
    let told: Vec<_> = errors.iter().map(|error| (error.index, error.code())).collect();
    let duplicate = Some(ErrorCode::DuplicateKey);
    assert_eq!(
        told,
        [(1, duplicate), (3, duplicate), (4, Some(ErrorCode::InvalidIdField))]
    );
    assert!(
        errors[0]
            .error
            .to_string()
            .starts_with("E11000 duplicate key error collection: town.people index: _id_")
    );
    assert!(refused.to_string().contains("3 of the writes failed"), "{refused}");
    assert_eq!(outcome.inserted, 3);
    let ids = |pairs: &[(usize, i32)]| pairs.iter().map(|(index, id)| (*index, Bson::Int32(*id))).collect();
    assert_eq!(outcome.inserted_ids, ids(&[(0, 1), (2, 3), (5, 4)]));
    assert!(outcome.op_id.is_some());
    assert_eq!(town.people.count(&rawdoc! {}).unwrap(), 4);
}

#[test]
fn an_unordered_insert_goes_on_beyond_one_batch() {
    let town = Town::new();
    let documents: Vec<_> = (0..2500).map(|n| rawdoc! { "_id": n / 2 }).collect();
    let refused = town
        .people
        .insert_many_with(documents.iter().map(AsRef::as_ref), &UNORDERED)
        .unwrap_err();
    let Error::BulkWrite { errors, outcome } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((errors.len(), outcome.inserted), (1250, 1250));
    assert!(errors.iter().all(|error| error.index % 2 == 1));
    assert_eq!(town.people.count(&rawdoc! {}).unwrap(), 1250);
}

#[test]
fn an_unordered_insert_of_nothing_good_does_not_create_the_collection() {
    let town = Town::new();
    let refused = town
        .people
        .insert_many_with([&*rawdoc! { "_id": [] }], &UNORDERED)
        .unwrap_err();
    assert!(matches!(refused, Error::BulkWrite { .. }), "{refused:?}");
    assert_eq!(town.store.collection_names("town"), [""; 0]);
    let nothing = town.people.insert_many_with([], &UNORDERED).unwrap_err();
    assert!(matches!(nothing, Error::NoDocuments));
}

/// Three batches, of which the later ones are refused by the log.
#[test]
fn an_insert_tells_what_is_in_when_a_later_batch_cannot_be_written() {
    let documents: Vec<_> = (0..2500).map(|id| rawdoc! { "_id": id }).collect();
    // A duplicate makes the second batch be looked at document by document.
    for taken in [None, Some(1700)] {
        for options in [InsertManyOptions::default(), UNORDERED] {
            let town = Town::new();
            if let Some(id) = taken {
                town.people.insert_one(&rawdoc! { "_id": id }).unwrap();
            }
            let until_the_log_refuses = documents.iter().enumerate().map(|(index, document)| {
                if index == 1500 {
                    town.store.follow().unwrap();
                }
                &**document
            });
            let refused = town
                .people
                .insert_many_with(until_the_log_refuses, &options)
                .unwrap_err();
            match &refused {
                Error::InsertMany { index: 1000, source } if options.ordered => {
                    assert_eq!(source.code(), Some(ErrorCode::NotWritablePrimary));
                }
                Error::BulkWrite { errors, outcome } if !options.ordered => {
                    assert_eq!(outcome.inserted, 1000);
                    assert!(errors.iter().map(|error| error.index).eq(1000..2500));
                }
                _ => panic!("{refused:?}"),
            }
            assert_eq!(town.people.count(&rawdoc! { "_id": { "$lt": 1500 } }).unwrap(), 1000);
        }
    }
}

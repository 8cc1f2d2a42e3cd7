use bson::{Bson, rawdoc};
use tailwater_storage::{
    BulkWriteOptions, BulkWriteOutcome, Error, ErrorCode, NamespacedWrite, UpdateOptions, WriteModel,
};

use crate::{Town, matching};

fn failed(refused: Result<BulkWriteOutcome, Error>) -> (Vec<(usize, Option<ErrorCode>)>, BulkWriteOutcome) {
    let Err(Error::BulkWrite { errors, outcome }) = refused else {
        panic!("{refused:?}");
    };
    (
        errors.iter().map(|error| (error.index, error.code())).collect(),
        *outcome,
    )
}

#[test]
fn writes_are_carried_out_in_order_and_counted() {
    let town = Town::numbered(0..3);
    let outcome = town.people.bulk_write([
        WriteModel::insert_one(rawdoc! { "_id": 3, "n": 3 }),
        WriteModel::insert_one(rawdoc! { "_id": 4, "n": 4 }),
        WriteModel::update_one(rawdoc! { "_id": 4 }, rawdoc! { "$inc": { "n": 1 } }),
        WriteModel::update_many(rawdoc! { "n": { "$gte": 3 } }, rawdoc! { "$max": { "n": 4 } }),
        WriteModel::replace_one(rawdoc! { "_id": 0 }, rawdoc! { "name": "Ada" }),
        WriteModel::delete_one(rawdoc! { "_id": 1 }),
        WriteModel::delete_many(rawdoc! { "n": 2 }),
        WriteModel::UpdateOne {
            filter: rawdoc! { "_id": 9 },
            update: rawdoc! { "$set": { "n": 9 } }.into(),
            options: UpdateOptions {
                upsert: true,
                ..UpdateOptions::default()
            },
        },
    ]);
    let outcome = outcome.unwrap();
    let counts = (
        outcome.inserted,
        outcome.matched,
        outcome.modified,
        outcome.deleted,
        outcome.upserted,
    );
    assert_eq!(counts, (2, 4, 3, 2, 1));
    assert_eq!(outcome.inserted_ids, [(0, Bson::Int32(3)), (1, Bson::Int32(4))].into());
    assert_eq!(outcome.upserted_ids, [(7, Bson::Int32(9))].into());
    let expected = [
        rawdoc! { "_id": 0, "name": "Ada" },
        rawdoc! { "_id": 3, "n": 4 },
        rawdoc! { "_id": 4, "n": 5 },
        rawdoc! { "_id": 9, "n": 9 },
    ];
    assert_eq!(town.all(), expected);
}

#[test]
fn an_ordered_bulk_ends_with_the_first_error_and_an_unordered_one_goes_on() {
    let models = || {
        [
            WriteModel::insert_one(rawdoc! { "_id": 0 }),
            WriteModel::insert_one(rawdoc! { "_id": 7 }),
            WriteModel::update_one(rawdoc! { "_id": 1 }, rawdoc! { "n": 1 }),
            WriteModel::delete_one(rawdoc! { "$near": 1 }),
            WriteModel::delete_one(rawdoc! { "_id": 2 }),
        ]
    };
    let town = Town::numbered(0..3);
    let (errors, outcome) = failed(town.people.bulk_write(models()));
    assert_eq!(errors, [(0, Some(ErrorCode::DuplicateKey))]);
    assert_eq!(outcome, BulkWriteOutcome::default());

    let (errors, outcome) = failed(town.people.bulk_write_with(
        models(),
        &BulkWriteOptions {
            ordered: false,
            ..BulkWriteOptions::default()
        },
    ));
    let expected = [
        (0, Some(ErrorCode::DuplicateKey)),
        (2, Some(ErrorCode::FailedToParse)),
        (3, Some(ErrorCode::BadValue)),
    ];
    assert_eq!(errors, expected);
    assert_eq!((outcome.inserted, outcome.deleted), (1, 1));
    assert_eq!(outcome.inserted_ids, [(1, Bson::Int32(7))].into());
    assert_eq!(town.people.count(&rawdoc! {}).unwrap(), 3);

    let nothing = town.people.bulk_write([]).unwrap_err();
    assert!(matches!(nothing, Error::NoWrites), "{nothing:?}");
}

#[test]
fn what_update_many_has_changed_before_it_failed_is_counted() {
    let town = Town::with(&[rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 2, "n": "two" }]);
    let model = WriteModel::update_many(rawdoc! {}, rawdoc! { "$inc": { "n": 1 } });
    let (errors, outcome) = failed(town.people.bulk_write([model]));
    assert_eq!(errors, [(0, Some(ErrorCode::TypeMismatch))]);
    assert_eq!((outcome.modified, outcome.op_id.is_some()), (1, true));
}

#[test]
fn one_bulk_may_write_to_several_collections() {
    let town = Town::numbered(0..1);
    let write = |collection: &str, model| NamespacedWrite {
        database: "town".into(),
        collection: collection.into(),
        model,
    };
    let outcome = town.store.bulk_write([
        write("people", WriteModel::insert_one(rawdoc! { "_id": 1 })),
        write("houses", WriteModel::insert_one(rawdoc! { "_id": 1 })),
        write("houses", WriteModel::insert_one(rawdoc! { "_id": 2 })),
        write("people", WriteModel::delete_one(rawdoc! { "_id": 0 })),
    ]);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.inserted, outcome.deleted), (3, 1));
    assert_eq!(town.all(), [rawdoc! { "_id": 1 }]);
    let houses = town.store.collection("town", "houses").unwrap();
    assert_eq!(
        matching(&houses, &rawdoc! {}),
        [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }]
    );

    let refused = town.store.bulk_write([
        write("people", WriteModel::delete_many(rawdoc! {})),
        write("$cmd", WriteModel::delete_many(rawdoc! {})),
    ]);
    assert!(matches!(refused, Err(Error::InvalidName { .. })), "{refused:?}");
    assert_eq!(town.people.count(&rawdoc! {}).unwrap(), 1, "names are checked first");
}

use bson::{Bson, RawDocumentBuf, rawdoc};
use tailwater_storage::{CountOptions, Documents, Error, FindOptions, Hint, IndexModel};

use crate::Town;

fn ids(documents: Documents) -> Vec<i32> {
    documents
        .map(|document| document.unwrap().get_i32("_id").unwrap())
        .collect()
}

#[test]
fn find_sorts_skips_and_limits() {
    let town = Town::with(&[
        rawdoc! { "_id": 1, "name": "Bo", "age": 7 },
        rawdoc! { "_id": 2, "name": "Ada", "age": 36 },
        rawdoc! { "_id": 3, "name": "Cy", "age": 36 },
        rawdoc! { "_id": 4, "name": "Di" },
    ]);
    let sort = |sort| FindOptions {
        sort: Some(sort),
        ..FindOptions::default()
    };
    for (options, expected) in [
        (FindOptions::default(), vec![1, 2, 3, 4]),
        (sort(rawdoc! {}), vec![1, 2, 3, 4]),
        (sort(rawdoc! { "name": 1 }), vec![2, 1, 3, 4]),
        (sort(rawdoc! { "age": -1, "name": -1 }), vec![3, 2, 1, 4]),
        (
            FindOptions {
                skip: 1,
                limit: Some(2),
                ..sort(rawdoc! { "name": 1 })
            },
            vec![1, 3],
        ),
        (
            FindOptions {
                skip: 3,
                limit: Some(0),
                ..FindOptions::default()
            },
            vec![4],
        ),
        (
            FindOptions {
                skip: 9,
                ..FindOptions::default()
            },
            vec![],
        ),
    ] {
        let found = town.people.find_with(&rawdoc! {}, &options).unwrap();
        assert_eq!(ids(found), expected, "{options:?}");
        let first = town.people.find_one_with(&rawdoc! {}, &options).unwrap();
        let first = first.map(|document| document.get_i32("_id").unwrap());
        assert_eq!(first, expected.first().copied(), "{options:?}");
    }
    let refused = town
        .people
        .find_with(&rawdoc! {}, &sort(rawdoc! { "age": "up" }))
        .unwrap_err();
    assert!(matches!(refused, Error::InvalidSort { .. }), "{refused:?}");
}

#[test]
fn a_find_can_be_kept_and_continued_elsewhere() {
    let town = Town::numbered(0..10);
    let options = FindOptions {
        sort: Some(rawdoc! { "n": -1 }),
        ..FindOptions::default()
    };
    let mut found = town.people.find_with(&rawdoc! {}, &options).unwrap();
    assert_eq!(found.next().unwrap().unwrap(), rawdoc! { "_id": 9, "n": 9 });
    town.people.delete_many(&rawdoc! {}).unwrap();
    let rest = std::thread::spawn(move || ids(found)).join().unwrap();
    assert_eq!(rest, (0..9).rev().collect::<Vec<_>>());
}

#[test]
fn count_skips_and_limits() {
    let town = Town::numbered(0..10);
    for (skip, limit, expected) in [
        (0, None, 5),
        (2, None, 3),
        (0, Some(3), 3),
        (4, Some(3), 1),
        (9, None, 0),
        (0, Some(0), 5),
    ] {
        let options = CountOptions {
            skip,
            limit,
            ..CountOptions::default()
        };
        let count = town
            .people
            .count_with(&rawdoc! { "n": { "$gte": 5 } }, &options)
            .unwrap();
        assert_eq!(count, expected, "{options:?}");
    }
}

#[test]
fn a_hint_names_the_index_to_use_or_is_refused() {
    let town = Town::numbered(0..10);
    town.people.create_index(&IndexModel::new("n", -1)).unwrap();
    let with = |hint| FindOptions {
        hint: Some(hint),
        ..FindOptions::default()
    };
    let by_name = town
        .people
        .find_with(&rawdoc! {}, &with(Hint::Name("n_-1".into())))
        .unwrap();
    assert_eq!(ids(by_name), (0..10).rev().collect::<Vec<_>>());
    let by_key = town
        .people
        .find_with(&rawdoc! {}, &with(Hint::Key(rawdoc! { "n": -1 })))
        .unwrap();
    assert_eq!(ids(by_key), (0..10).rev().collect::<Vec<_>>());
    let unknown = with(Hint::Name("other".into()));
    let refused = town.people.find_with(&rawdoc! {}, &unknown).unwrap_err();
    assert!(matches!(refused, Error::BadHint { .. }), "{refused:?}");
    let count = CountOptions {
        hint: unknown.hint,
        ..CountOptions::default()
    };
    let refused = town.people.count_with(&rawdoc! {}, &count).unwrap_err();
    assert!(matches!(refused, Error::BadHint { .. }), "{refused:?}");
}

#[test]
fn a_projection_says_what_is_returned() {
    let town = Town::with(&[
        rawdoc! { "_id": 1, "name": "Ada", "age": 36, "marks": [70, 87, 90] },
        rawdoc! { "_id": 2, "name": "Bo", "age": 7, "marks": [90, 88] },
    ]);
    for (filter, projection, expected) in [
        (
            rawdoc! {},
            rawdoc! { "name": 1 },
            vec![rawdoc! { "_id": 1, "name": "Ada" }, rawdoc! { "_id": 2, "name": "Bo" }],
        ),
        (
            rawdoc! { "_id": 2 },
            rawdoc! { "_id": 0, "marks": 0 },
            vec![rawdoc! { "name": "Bo", "age": 7 }],
        ),
        (
            rawdoc! { "_id": 1 },
            rawdoc! { "_id": 0, "marks": { "$slice": -1 }, "name": 1 },
            vec![rawdoc! { "name": "Ada", "marks": [90] }],
        ),
        // The element that the filter has matched.
        (
            rawdoc! { "marks": { "$gte": 85 } },
            rawdoc! { "_id": 0, "marks.$": 1 },
            vec![rawdoc! { "marks": [87] }, rawdoc! { "marks": [90] }],
        ),
    ] {
        let options = FindOptions {
            projection: Some(projection),
            sort: Some(rawdoc! { "_id": 1 }),
            ..FindOptions::default()
        };
        let found = town.people.find_with(&filter, &options).unwrap();
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), expected, "{options:?}");
    }
    let mixed = FindOptions {
        projection: Some(rawdoc! { "name": 1, "age": 0 }),
        ..FindOptions::default()
    };
    let refused = town.people.find_with(&rawdoc! {}, &mixed).unwrap_err();
    assert!(matches!(refused, Error::Projection(_)), "{refused:?}");
    let failing = FindOptions {
        projection: Some(rawdoc! { "half": { "$divide": ["$age", "$name"] } }),
        ..FindOptions::default()
    };
    let mut found = town.people.find_with(&rawdoc! {}, &failing).unwrap();
    assert!(matches!(found.next(), Some(Err(Error::Project(_)))));
    assert!(found.next().is_none(), "after an error there are no more");
}

/// A filter that is an `_id` takes a shorter way; it must lead where the longer one does.
#[test]
fn finding_one_by_id_is_finding_by_any_other_filter() {
    let ids = bson::bson!([
        1, 2.5, 0, -0.0, f64::NAN, "1", "", "a", true, { "a": 1 }, { "$binary": 1 },
        bson::oid::ObjectId::from_bytes([7; 12]), bson::DateTime::from_millis(1), bson::Timestamp { time: 1, increment: 2 },
        bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1] },
        bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] },
        "3.5".parse::<bson::Decimal128>().unwrap(), Bson::Null, Bson::MinKey, Bson::MaxKey,
    ]);
    let ids = ids.as_array().unwrap();
    let town = Town::new();
    for id in ids {
        // Equal ones, and those that no document may have.
        let _ = town
            .people
            .insert_one(&RawDocumentBuf::try_from(&bson::doc! { "_id": id.clone() }).unwrap());
    }
    let others = bson::bson!([
        1_i64, 1.0, 2, "b", false, 3.5, [1], { "$gt": 1 }, { "$in": [1, "a"] }, { "$exists": false }, { "a": 1.0 },
        bson::Regex { pattern: bson::raw::cstr!("^a").into(), options: bson::raw::cstr!("").into() }, Bson::Undefined,
        "1".parse::<bson::Decimal128>().unwrap(),
    ]);
    for id in ids.iter().chain(others.as_array().unwrap()) {
        let Ok(filter) = RawDocumentBuf::try_from(&bson::doc! { "_id": id.clone() }) else {
            continue;
        };
        let all = bson::doc! { "$and": [{ "_id": id.clone() }, {}] };
        let longer = town.people.find_one(&RawDocumentBuf::try_from(&all).unwrap());
        let shorter = town.people.find_one(&filter);
        assert_eq!(shorter.is_ok(), longer.is_ok(), "{id:?}");
        assert_eq!(shorter.ok(), longer.ok(), "{id:?}");
        town.store
            .with_transaction(|transaction| {
                let people = transaction.collection("town", "people")?;
                let found = people.find_one(&filter).ok();
                assert_eq!(found, town.people.find_one(&filter).ok(), "{id:?}");
                Ok::<_, Error>(())
            })
            .ok();
    }
    assert_eq!(Town::new().people.find_one(&rawdoc! { "_id": 1 }).unwrap(), None);
    let both = rawdoc! { "_id": 1, "n": 1 };
    assert_eq!(town.people.find_one(&both).unwrap(), None);
}

use bson::rawdoc;
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

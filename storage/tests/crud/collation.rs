use bson::{Bson, RawDocumentBuf, rawdoc};
use tailwater_storage::{
    CountOptions, DeleteOptions, DistinctOptions, Error, ErrorCode, ExplainOptions, FindOneAndDeleteOptions,
    FindOneAndUpdateOptions, FindOptions, Hint, IndexModel, ReplaceOptions, UpdateOptions,
};

use crate::Town;

/// Base letters only: neither case nor accents count.
fn letters() -> Option<RawDocumentBuf> {
    Some(rawdoc! { "locale": "en", "strength": 1 })
}

fn town() -> Town {
    let town = Town::with(&[
        rawdoc! { "_id": 1, "name": "Zoé", "tags": ["A", "b"] },
        rawdoc! { "_id": 2, "name": "zoe", "tags": ["a"] },
        rawdoc! { "_id": 3, "name": "Ada", "tags": ["B"] },
        rawdoc! { "_id": 4, "name": 7 },
    ]);
    town.people.create_index(&IndexModel::new("name", 1)).unwrap();
    town.people.create_index(&IndexModel::new("tags", 1)).unwrap();
    town
}

fn found(town: &Town, filter: &RawDocumentBuf, options: &FindOptions) -> Vec<i32> {
    let found = town.people.find_with(filter, options).unwrap();
    found
        .map(|document| document.unwrap().get_i32("_id").unwrap())
        .collect()
}

#[test]
fn finding_compares_strings_by_the_collation_and_not_by_the_index() {
    let town = town();
    let collated = FindOptions {
        collation: letters(),
        ..FindOptions::default()
    };
    for (filter, by_bytes, by_letters) in [
        (rawdoc! { "name": "zoe" }, vec![2], vec![1, 2]),
        (rawdoc! { "name": { "$in": ["ZOE", "ada"] } }, vec![], vec![1, 2, 3]),
        (rawdoc! { "name": { "$lt": "b" } }, vec![3, 1], vec![3]),
        (rawdoc! { "name": { "$ne": "ZOÉ" } }, vec![1, 2, 3, 4], vec![3, 4]),
        (rawdoc! { "tags": "a" }, vec![2], vec![1, 2]),
        (
            rawdoc! { "$or": [{ "name": "ADA" }, { "name": 7 }] },
            vec![4],
            vec![3, 4],
        ),
        (rawdoc! { "name": 7 }, vec![4], vec![4]),
        // Regular expressions know no collation.
        (rawdoc! { "name": { "$regex": "^z" } }, vec![2], vec![2]),
    ] {
        assert_eq!(found(&town, &filter, &FindOptions::default()), by_bytes, "{filter:?}");
        assert_eq!(found(&town, &filter, &collated), by_letters, "{filter:?}");
    }
    let simple = FindOptions {
        collation: Some(rawdoc! { "locale": "simple" }),
        ..FindOptions::default()
    };
    assert_eq!(found(&town, &rawdoc! { "name": "zoe" }, &simple), [2]);
}

#[test]
fn sorting_goes_by_the_collation_also_where_an_index_has_another_order() {
    let town = town();
    let sorted = |direction: i32, collation| FindOptions {
        sort: Some(rawdoc! { "name": direction, "_id": 1 }),
        collation,
        hint: Some(Hint::Name("name_1".into())),
        ..FindOptions::default()
    };
    let second = || Some(rawdoc! { "locale": "en", "strength": 2 });
    assert_eq!(found(&town, &rawdoc! {}, &sorted(1, None)), [4, 3, 1, 2]);
    assert_eq!(found(&town, &rawdoc! {}, &sorted(1, letters())), [4, 3, 1, 2]);
    assert_eq!(found(&town, &rawdoc! {}, &sorted(1, second())), [4, 3, 2, 1]);
    assert_eq!(found(&town, &rawdoc! {}, &sorted(-1, second())), [1, 2, 3, 4]);
}

#[test]
fn explain_shows_the_collation_and_an_index_only_for_what_is_no_string() {
    let town = town();
    let options = ExplainOptions {
        collation: letters(),
        ..ExplainOptions::default()
    };
    let stage = |filter: &RawDocumentBuf, options: &ExplainOptions| {
        let explained = town.people.explain(filter, options).unwrap();
        let planner = explained.get_document("queryPlanner").unwrap();
        let collation = planner.get_document("collation").ok().map(ToOwned::to_owned);
        let plan = planner.get_document("winningPlan").unwrap();
        (plan.get_str("stage").unwrap().to_owned(), collation)
    };
    let text = rawdoc! { "name": "zoe" };
    assert_eq!(stage(&text, &ExplainOptions::default()), ("FETCH".into(), None));
    assert_eq!(stage(&text, &options), ("COLLSCAN".into(), letters()));
    assert_eq!(stage(&rawdoc! { "_id": 1 }, &options).0, "IDHACK");
    assert_eq!(stage(&rawdoc! { "name": 7 }, &options).0, "FETCH");
}

#[test]
fn counting_and_distinct_values_go_by_the_collation() {
    let town = town();
    let count = CountOptions {
        collation: letters(),
        ..CountOptions::default()
    };
    assert_eq!(town.people.count_with(&rawdoc! { "name": "ZOE" }, &count).unwrap(), 2);
    let distinct = DistinctOptions {
        collation: letters(),
        ..DistinctOptions::default()
    };
    let tags = |options: &DistinctOptions| town.people.distinct_with("tags", &rawdoc! {}, options).unwrap();
    let text = |texts: &[&str]| texts.iter().map(|text| Bson::from(*text)).collect::<Vec<_>>();
    assert_eq!(tags(&DistinctOptions::default()), text(&["A", "b", "a", "B"]));
    assert_eq!(tags(&distinct), text(&["A", "b"]));
    let names = town
        .people
        .distinct_with("name", &rawdoc! { "tags": "A" }, &distinct)
        .unwrap();
    assert_eq!(names, text(&["Zoé"]));
}

#[test]
fn writes_find_by_the_collation() {
    let town = town();
    let update = UpdateOptions {
        collation: letters(),
        ..UpdateOptions::default()
    };
    let set = || rawdoc! { "$set": { "seen": true } };
    let outcome = town
        .people
        .update_many_with(&rawdoc! { "name": "ZOE" }, set(), &update)
        .unwrap();
    assert_eq!((outcome.matched, outcome.modified), (2, 2));
    // The element that has matched by the collation is the one of `$`.
    let first = rawdoc! { "$set": { "tags.$": "found" } };
    town.people
        .update_one_with(&rawdoc! { "_id": 1, "tags": "B" }, first, &update)
        .unwrap();
    let one = town.people.find_one(&rawdoc! { "_id": 1 }).unwrap().unwrap();
    assert_eq!(
        one.get_array("tags").unwrap(),
        bson::rawbson!(["A", "found"]).as_array().unwrap()
    );

    let replace = ReplaceOptions {
        collation: letters(),
        upsert: true,
        ..ReplaceOptions::default()
    };
    let replacement = rawdoc! { "name": "Ada L." };
    let outcome = town
        .people
        .replace_one_with(&rawdoc! { "name": "ADA" }, &replacement, &replace)
        .unwrap();
    assert_eq!((outcome.matched, outcome.upserted_id), (1, None));

    let youngest = FindOneAndUpdateOptions {
        collation: Some(rawdoc! { "locale": "en", "strength": 2 }),
        sort: Some(rawdoc! { "name": -1 }),
        projection: Some(rawdoc! { "name": 1 }),
        ..FindOneAndUpdateOptions::default()
    };
    let before = town
        .people
        .find_one_and_update_with(&rawdoc! {}, set(), &youngest)
        .unwrap();
    assert_eq!(before, Some(rawdoc! { "_id": 1, "name": "Zoé" }));
    let deleted = FindOneAndDeleteOptions {
        collation: letters(),
        ..FindOneAndDeleteOptions::default()
    };
    let deleted = town
        .people
        .find_one_and_delete_with(&rawdoc! { "name": "ZOÉ" }, &deleted)
        .unwrap();
    assert_eq!(deleted.unwrap().get_i32("_id").unwrap(), 1);
    let delete = DeleteOptions {
        collation: letters(),
        ..DeleteOptions::default()
    };
    assert_eq!(
        town.people
            .delete_many_with(&rawdoc! { "name": "ZoE" }, &delete)
            .unwrap()
            .matched,
        1
    );

    let transaction = town.store.transaction().unwrap();
    let people = transaction.collection("town", "people").unwrap();
    let count = CountOptions {
        collation: letters(),
        ..CountOptions::default()
    };
    assert_eq!(people.count_with(&rawdoc! { "name": "ada l." }, &count).unwrap(), 1);
}

#[test]
fn what_is_no_collation_is_refused() {
    let town = Town::new();
    for collation in [
        rawdoc! { "strength": 1 },
        rawdoc! { "locale": "en", "strength": 9 },
        rawdoc! { "locale": 1 },
    ] {
        let options = FindOptions {
            collation: Some(collation.clone()),
            ..FindOptions::default()
        };
        let refused = town.people.find_with(&rawdoc! {}, &options).unwrap_err();
        assert!(matches!(refused, Error::Collation(_)), "{collation:?}: {refused:?}");
        assert_eq!(refused.code(), Some(ErrorCode::BadValue));
    }
}

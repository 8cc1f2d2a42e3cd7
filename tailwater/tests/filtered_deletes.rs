//! Deletes that are matched by what they deleted.

use crate::common;

use common::{Home, PATIENCE};
use tailwater::bson::{doc, rawdoc};
use tailwater::{ChangeStream, Collection, CollectionOptions, FullDocumentBeforeChange, Watch};

/// A collection with two adults and two children in it; with pre-images or without.
fn people(home: &Home, pre_images: bool) -> Collection {
    let mut options = CollectionOptions::default();
    options.pre_and_post_images = pre_images;
    home.store.create_collection_with("town", "people", &options).unwrap();
    let people: Collection = home.store.collection("town", "people").unwrap();
    for (id, age) in [(1, 36), (2, 7), (3, 19), (4, 3)] {
        people.insert_one(&rawdoc! { "_id": id, "age": age }).unwrap();
    }
    home.store.sync().unwrap();
    people
}

fn delete_all(home: &Home, people: &Collection) {
    for id in 1..=4 {
        people.delete_one(&rawdoc! { "_id": id }).unwrap();
    }
    home.store.sync().unwrap();
}

/// A stream over all of them being deleted.
fn deleted(home: &Home, pre_images: bool, watch: impl Fn(Watch) -> Watch) -> ChangeStream {
    let people = people(home, pre_images);
    let stream = watch(people.watch()).start().unwrap();
    delete_all(home, &people);
    stream
}

fn ids(mut stream: ChangeStream) -> Vec<i32> {
    std::iter::from_fn(|| stream.next_if_any().unwrap())
        .map(|event| event.document_key().unwrap().get_i32("_id").unwrap())
        .collect()
}

#[test]
fn filters_and_matches_on_the_document_match_what_was_deleted() {
    let adult = || [doc! { "$match": { "operationType": "delete", "fullDocument.age": { "$gt": 18 } } }];
    let before = || [doc! { "$match": { "fullDocumentBeforeChange.age": { "$gt": 18 } } }];
    type Case = (&'static str, bool, Box<dyn Fn(Watch) -> Watch>, Vec<i32>);
    let cases: Vec<Case> = vec![
        ("off, a filter", true, Box::new(|w| w.filter("age > 18")), vec![]),
        (
            "a filter",
            true,
            Box::new(|w| w.filter("age > 18").match_deletes_by_pre_image(true)),
            vec![1, 3],
        ),
        ("off, a match", true, Box::new(move |w| w.pipeline(adult())), vec![]),
        (
            "a match",
            true,
            Box::new(move |w| w.pipeline(adult()).match_deletes_by_pre_image(true)),
            vec![1, 3],
        ),
        (
            "a match on the document before",
            true,
            Box::new(move |w| w.pipeline(before()).match_deletes_by_pre_image(true)),
            vec![1, 3],
        ),
        (
            "both",
            true,
            Box::new(move |w| w.filter("age < 30").pipeline(adult()).match_deletes_by_pre_image(true)),
            vec![3],
        ),
        (
            "without pre-images a filter cannot judge, and nothing is lost",
            false,
            Box::new(|w| w.filter("age > 18").match_deletes_by_pre_image(true)),
            vec![1, 2, 3, 4],
        ),
    ];
    for (name, pre_images, watch, expected) in cases {
        let home = Home::new();
        assert_eq!(ids(deleted(&home, pre_images, watch)), expected, "{name}");
    }
}

#[test]
fn what_is_delivered_stays_as_it_is() {
    for mode in [FullDocumentBeforeChange::Off, FullDocumentBeforeChange::WhenAvailable] {
        let home = Home::new();
        let watch = |w: Watch| {
            w.filter("age > 30")
                .full_document_before_change(mode)
                .match_deletes_by_pre_image(true)
        };
        let event = deleted(&home, true, watch).next_if_any().unwrap().unwrap();
        let document = event.to_document();
        assert!(document.get("fullDocument").unwrap().is_none());
        let shown = document.get("fullDocumentBeforeChange").unwrap().is_some();
        assert_eq!(shown, mode != FullDocumentBeforeChange::Off);
    }
}

#[test]
fn subscriptions_match_them_as_streams_do() {
    let home = Home::new();
    let people = people(&home, true);
    let watch = || people.watch().filter("age > 18");
    let (_plain, nothing) = watch().subscribe().unwrap();
    let (_handle, deletes) = watch().match_deletes_by_pre_image(true).subscribe().unwrap();
    delete_all(&home, &people);
    let ids: Vec<_> = (0..2)
        .map(|_| deletes.recv_timeout(PATIENCE).unwrap())
        .map(|event| event.document_key().unwrap().get_i32("_id").unwrap())
        .collect();
    assert_eq!(ids, [1, 3]);
    assert!(nothing.try_recv().unwrap().is_none());
}

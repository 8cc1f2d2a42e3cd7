//! Which documents are found, and in which state.

use bson::oid::ObjectId;
use bson::rawdoc;
use tailwater_oplog::OpId;
use tailwater_storage::StoreOptions;

use crate::common::small;
use crate::{all, fill, people, temporary};

#[test]
fn documents_are_found_by_filter_and_by_id() {
    let dir = temporary();
    let (_store, people) = people(dir.path());
    fill(&people, 0..100);
    assert_eq!(
        people.find_one(&rawdoc! { "_id": 42 }).unwrap(),
        Some(rawdoc! { "_id": 42, "n": 42 })
    );
    assert_eq!(
        people.find_one(&rawdoc! { "_id": 42.0 }).unwrap(),
        Some(rawdoc! { "_id": 42, "n": 42 })
    );
    assert_eq!(people.find_one(&rawdoc! { "_id": "42" }).unwrap(), None);
    assert_eq!(people.find_one(&rawdoc! { "_id": 42, "n": 7 }).unwrap(), None);
    assert_eq!(people.count(&rawdoc! { "_id": { "$gte": 90 } }).unwrap(), 10);
    assert_eq!(people.count(&rawdoc! { "_id": { "$in": [1, 2, 200] } }).unwrap(), 2);
    assert_eq!(people.count(&rawdoc! { "$or": [{ "_id": 3 }, { "n": 4 }] }).unwrap(), 2);
    let found = people
        .find(&rawdoc! { "n": { "$lt": 3 } })
        .unwrap()
        .into_documents()
        .unwrap();
    assert_eq!(
        found.iter().map(|d| d.get_i32("n").unwrap()).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

#[test]
fn documents_come_in_the_order_of_their_ids() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    let id = ObjectId::new();
    let ordered = [
        rawdoc! { "_id": null },
        rawdoc! { "_id": -5 },
        rawdoc! { "_id": 2.5 },
        rawdoc! { "_id": 3i64 },
        rawdoc! { "_id": "a" },
        rawdoc! { "_id": "b" },
        rawdoc! { "_id": { "a": 1 } },
        rawdoc! { "_id": id },
        rawdoc! { "_id": true },
    ];
    for (i, document) in ordered.iter().enumerate().rev() {
        people.insert_one(document).unwrap();
        if i == 5 {
            // Half of them lie in the engine, half in the overlay.
            store.trim_log(OpId::ZERO).unwrap();
        }
    }
    assert_eq!(all(&people), ordered);
}

#[test]
fn a_find_is_not_disturbed_by_what_happens_after_it_began() {
    let dir = temporary();
    let (store, people) = people(dir.path());
    fill(&people, 0..200);
    store.trim_log(OpId::ZERO).unwrap();
    fill(&people, 200..400);
    let expected = all(&people);

    let mut found = people.find(&rawdoc! {}).unwrap();
    let mut seen = vec![found.next().unwrap().unwrap()];
    people
        .update_many(&rawdoc! {}, &rawdoc! { "$set": { "changed": true } })
        .unwrap();
    people.delete_many(&rawdoc! { "n": { "$lt": 100 } }).unwrap();
    fill(&people, 400..500);
    store.trim_log(OpId::ZERO).unwrap();
    seen.extend(found.by_ref().take(150).map(Result::unwrap));
    store.drop_collection("town", "people").unwrap();
    store.trim_log(OpId::ZERO).unwrap();
    seen.extend(found.map(Result::unwrap));
    assert_eq!(seen, expected);
    assert_eq!(all(&people), []);
}

#[test]
fn readers_beside_a_writer_see_a_prefix_of_its_writes() {
    const DOCUMENTS: i32 = 3000;
    let dir = temporary();
    let options = StoreOptions {
        overlay_bytes_max: 256 << 10,
        ..small()
    };
    let store = options.open(dir.path()).unwrap();
    let numbers = store.collection("town", "numbers").unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..DOCUMENTS).for_each(|n| fill(&numbers, n..n + 1)));
        let mut last = 0;
        while !writer.is_finished() {
            let found = all(&numbers);
            let expected: Vec<_> = (0..found.len() as i32).map(|n| rawdoc! { "_id": n, "n": n }).collect();
            assert_eq!(found, expected);
            assert!(found.len() >= last, "a later read sees no less");
            last = found.len();
        }
    });
    assert_eq!(all(&numbers).len(), DOCUMENTS as usize);
}

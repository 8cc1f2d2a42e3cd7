//! The Rust code of the documentation, compiled and run: each block of it stands in one of these tests or in
//! `readme.rs`, letter by letter but for how its lines are broken, between what makes it ready and what is asserted of it.

#[path = "../common/mod.rs"]
mod common;
mod streams;

use std::error::Error as StdError;

use common::{Home, documents, small};
use serde::{Deserialize, Serialize};
use tailwater::bson::rawdoc;
use tailwater::{BackupOptions, Collection, Error, FindOptions, Store, Watch};

type Outcome = Result<(), Box<dyn StdError>>;

/// The documentation with Rust in it.
const PAGES: [(&str, &str); 4] = [
    ("README.md", include_str!("../../../README.md")),
    ("docs/backup.md", include_str!("../../../docs/backup.md")),
    (
        "docs/change-streams.md",
        include_str!("../../../docs/change-streams.md"),
    ),
    ("docs/storage.md", include_str!("../../../docs/storage.md")),
];

/// Without what a formatter may change.
fn squeezed(code: &str) -> String {
    let mut squeezed: String = code.split_whitespace().collect();
    for closing in [")", "]", "}"] {
        squeezed = squeezed.replace(&format!(",{closing}"), closing);
    }
    squeezed
}

/// The blocks of a page that are marked as Rust.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    let behind_marks = page.split("\n```rust\n").skip(1);
    behind_marks.filter_map(|rest| rest.split("\n```").next())
}

#[test]
fn every_block_of_the_documentation_is_run_here() {
    let here = squeezed(concat!(
        include_str!("main.rs"),
        include_str!("streams.rs"),
        include_str!("../readme.rs")
    ));
    for (name, page) in PAGES {
        assert!(blocks(page).count() > 0, "{name} has no Rust in it any more");
        for block in blocks(page) {
            assert!(here.contains(&squeezed(block)), "{name}: nobody runs\n{block}");
        }
    }
}

fn collection(home: &Home, name: &str) -> Collection {
    home.store.collection("shop", name).unwrap()
}

/// How many events a watch gets from the beginning of the log on.
fn count(watch: Watch) -> usize {
    let mut stream = watch.start_at_oldest().start().unwrap();
    std::iter::from_fn(|| stream.next_if_any().unwrap()).count()
}

// docs/storage.md

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Person {
    name: String,
    age: i32,
    city: String,
}

#[test]
fn reading_and_writing() -> Outcome {
    let home = Home::new();
    let store = &home.store;
    let ada = Person {
        name: "Ada".into(),
        age: 36,
        city: "Ulm".into(),
    };
    let mut greeted = Vec::new();
    let mut greet = |person: Person| greeted.push(person);

    let people = store.collection("town", "people")?.typed::<Person>();
    people.insert_one(&ada)?;
    let options = FindOptions {
        sort: Some(rawdoc! { "age": -1 }),
        limit: Some(10),
        ..FindOptions::default()
    };
    for person in people.find_with(&rawdoc! { "city": "Ulm" }, &options)? {
        greet(person?);
    }

    assert_eq!(greeted, [ada]);
    Ok(())
}

#[test]
fn transactions() -> Outcome {
    let home = Home::new();
    let store = &home.store;
    let accounts = store.collection("bank", "accounts")?;
    for (name, balance) in [("ada", 5), ("bo", 0)] {
        accounts.insert_one(&rawdoc! { "_id": name, "balance": balance })?;
    }

    let moved = store.with_transaction(|transaction| {
        let accounts = transaction.collection("bank", "accounts")?;
        let covered = rawdoc! { "_id": "ada", "balance": { "$gte": 3 } };
        if accounts
            .update_one(&covered, &rawdoc! { "$inc": { "balance": -3 } })?
            .matched
            == 0
        {
            return Ok(false);
        }
        accounts.update_one(&rawdoc! { "_id": "bo" }, &rawdoc! { "$inc": { "balance": 3 } })?;
        Ok::<_, Error>(true)
    })?;

    assert!(moved);
    let balances = documents(store, "bank", "accounts");
    let balances: Vec<_> = balances
        .iter()
        .map(|account| account.get_i32("balance").unwrap())
        .collect();
    assert_eq!(balances, [2, 3]);
    Ok(())
}

// docs/backup.md

#[test]
fn backup() -> Outcome {
    let home = Home::new();
    let (store, target) = (&home.store, home.directory.path().join("store-21"));
    collection(&home, "orders").insert_one(&rawdoc! { "_id": 1 })?;

    let made = store.backup(&target, &BackupOptions::default())?; // holds everything up to the entry `made.op_id`

    assert!(made.op_id > tailwater::OpId::ZERO);
    let copy = Store::open_with(&target, &small())?;
    assert_eq!(documents(&copy, "shop", "orders").len(), 1);
    Ok(())
}

//! Whoever applies what a stream with a snapshot delivers has the store's content, however often the stream is resumed and the
//! store crashes on the way; and is never told anything that does not fit what it was told before.
//!
//! A schedule is made from a seed, which a failure names. `TAILWATER_SEEDS=17..18` runs one, `0..10000` many.

use crate::common;

use std::collections::BTreeMap;

use common::{Dice, Home, Named, documents, id, seeds};
use tailwater::bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{FullDocument, OperationType, SnapshotEvent, SnapshotStream, SnapshotToken, Store};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const STEPS: usize = 160;

/// What a reader knows: documents by collection and `_id`.
#[derive(Default, Debug)]
struct Replica(BTreeMap<String, BTreeMap<i32, RawDocumentBuf>>);

impl Replica {
    /// Applies an event, strictly: what is inserted was not there, what is changed or deleted was.
    fn apply(&mut self, event: &SnapshotEvent) {
        let full = || event.full_document().map(RawDocument::to_owned);
        let Some(change) = event.change() else {
            let SnapshotEvent::Document(document) = event else {
                unreachable!()
            };
            let known = self.0.entry(document.collection().to_owned()).or_default();
            let before = known.insert(id(document.document()), full().unwrap());
            assert!(before.is_none(), "delivered twice: {document:?}");
            return;
        };
        let key = || id(&event.document_key().unwrap());
        let known = self.0.entry(change.collection().to_owned()).or_default();
        match change.operation_type() {
            OperationType::Insert => assert!(known.insert(key(), full().unwrap()).is_none(), "{change:?}"),
            OperationType::Update | OperationType::Replace => {
                assert!(known.insert(key(), full().unwrap()).is_some(), "{change:?}");
            }
            OperationType::Delete => assert!(known.remove(&key()).is_some(), "{change:?}"),
            OperationType::Drop => known.clear(),
            OperationType::Rename => {
                let moved = std::mem::take(known);
                let to = change.to_document();
                let to = to.get_document("to").unwrap().get_str("coll").unwrap();
                self.0.insert(to.to_owned(), moved);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn check(&self, store: &Store) {
        for name in NAMES {
            let known: Vec<_> = self
                .0
                .get(name)
                .into_iter()
                .flat_map(BTreeMap::values)
                .cloned()
                .collect();
            assert_eq!(known, documents(store, "shop", name), "collection {name}");
        }
    }
}

fn write(dice: &mut Dice, store: &Store) {
    let name = NAMES[dice.roll(NAMES.len())];
    let collection = store.collection("shop", name).unwrap();
    let (id, n) = (dice.number(12), dice.number(100));
    match dice.roll(24) {
        0 => {
            // Refused where there is nothing to drop.
            let _ = store.drop_collection("shop", name);
        }
        1 => {
            let to = NAMES[dice.roll(NAMES.len())];
            // Refused where there is nothing to rename, or the names are the same.
            let _ = store.rename_collection(("shop", name), ("shop", to), true);
        }
        2..=6 => drop(collection.delete_one(&rawdoc! { "_id": id }).unwrap()),
        7..=12 => {
            let update = rawdoc! { "$set": { "n": n } };
            collection.update_one(&rawdoc! { "_id": id }, &update).unwrap();
        }
        13 => {
            let outcome = store.with_transaction(|transaction| {
                let collection = transaction.collection("shop", name)?;
                for id in 0..4 {
                    collection.delete_one(&rawdoc! { "_id": id })?;
                    collection.insert_one(&rawdoc! { "_id": id, "n": n })?;
                }
                Ok::<_, tailwater::Error>(())
            });
            outcome.unwrap();
        }
        // Refused where it is there.
        _ => drop(collection.insert_one(&rawdoc! { "_id": id, "n": n })),
    }
}

fn start(store: &Store, token: Option<SnapshotToken>) -> SnapshotStream {
    let watch = store
        .watch_database("shop")
        .full_document(FullDocument::UpdateLookup)
        .with_snapshot();
    match token {
        Some(token) => watch.resume_after(token).start().unwrap(),
        None => watch.start().unwrap(),
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut home = Home::new();
    for _ in 0..60 {
        write(&mut dice, &home.store);
    }
    let mut replica = Replica::default();
    let mut stream = start(&home.store, None);
    for _ in 0..STEPS {
        match dice.roll(40) {
            0 => {
                // With what the reader knows, which is what it was told last.
                let token = stream.resume_token().to_string();
                drop(stream);
                home = if dice.once_in(2) { home.crash() } else { home.reopen() };
                stream = start(&home.store, Some(token.parse().unwrap()));
            }
            1..=4 => {
                let token = stream.resume_token().clone();
                drop(stream);
                for _ in 0..dice.roll(6) {
                    write(&mut dice, &home.store);
                }
                stream = start(&home.store, Some(token));
            }
            5..=18 => write(&mut dice, &home.store),
            19 => home.store.sync().unwrap(),
            _ => {
                if let Some(event) = stream.next_if_any().unwrap() {
                    replica.apply(&event);
                }
            }
        }
    }
    home.store.sync().unwrap();
    while let Some(event) = stream.next_if_any().unwrap() {
        replica.apply(&event);
    }
    assert!(stream.is_snapshot_delivered());
    replica.check(&home.store);
}

#[test]
fn applying_what_is_delivered_gives_the_stores_content() {
    for seed in seeds(20) {
        let _named = Named(seed);
        run(seed);
    }
}

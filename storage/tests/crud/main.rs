//! Reading and writing through a store's public face, by MongoDB's names and semantics.

#[path = "../common/mod.rs"]
mod common;

mod bulk;
mod collated;
mod collated_indexes;
mod collation;
mod distinct;
mod durability;
mod find;
mod find_and_modify;
mod insert;
mod names;
mod positional;
mod transaction;
mod typed;
mod update;

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_storage::{Collection, Store, StoreOptions};

/// A store in a new directory, and its collection `town.people`. The directory goes with it.
struct Town {
    store: Store,
    people: Collection,
    _dir: tempfile::TempDir,
}

impl Town {
    fn new() -> Town {
        Town::open(&common::small())
    }

    fn open(options: &StoreOptions) -> Town {
        let dir = tempfile::tempdir().unwrap();
        let store = options.open(dir.path()).unwrap();
        let people = store.collection("town", "people").unwrap();
        Town {
            store,
            people,
            _dir: dir,
        }
    }

    /// With these documents.
    fn with(documents: &[RawDocumentBuf]) -> Town {
        let town = Town::new();
        town.people.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
        town
    }

    /// With the documents `{_id: n, n: n}`.
    fn numbered(ids: std::ops::Range<i32>) -> Town {
        let documents: Vec<_> = ids.map(|n| rawdoc! { "_id": n, "n": n }).collect();
        Town::with(&documents)
    }

    fn all(&self) -> Vec<RawDocumentBuf> {
        matching(&self.people, &rawdoc! {})
    }
}

fn matching(collection: &Collection, filter: &RawDocument) -> Vec<RawDocumentBuf> {
    collection.find(filter).unwrap().map(Result::unwrap).collect()
}

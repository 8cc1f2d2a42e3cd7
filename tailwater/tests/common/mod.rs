//! What the tests of the façade share: small stores, crashes, seeds.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use tailwater::bson::{RawDocument, RawDocumentBuf};
use tailwater::{Consumer, Delivery, Durability, ReadConcern, Store, StoreOptions, Watch};

/// Long enough that only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Options with small segments, because each is prepared by writing it, and with writes that need no sync.
pub(crate) fn small() -> StoreOptions {
    let mut options = StoreOptions {
        durability: Durability::Memory,
        cache_bytes: 8 << 20,
        ..StoreOptions::default()
    };
    options.oplog.segment_bytes = 1 << 20;
    options
}

/// A store in a directory of its own.
pub(crate) struct Home {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home::with(&small())
    }

    pub(crate) fn with(options: &StoreOptions) -> Home {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open_with(directory.path(), options).unwrap();
        Home { directory, store }
    }

    /// Closes and opens again.
    pub(crate) fn reopen(self) -> Home {
        self.store.close().unwrap();
        let store = Store::open_with(self.directory.path(), &small()).unwrap();
        Home { store, ..self }
    }

    /// Goes on with what a killed process would have left. Handles of before still write, but nobody will see it.
    pub(crate) fn crash(&self) -> Home {
        let directory = tempfile::tempdir().unwrap();
        // A dead process leaves its log buffer to the next, a copy of it counts for nothing: what it holds goes into the segments.
        self.store.sync().unwrap();
        // The state goes first: in the copy it cannot cover more than the log has.
        for part in ["state", "oplog"] {
            copy_dir(&self.directory.path().join(part), &directory.path().join(part));
        }
        let store = Store::open_with(directory.path(), &small()).unwrap();
        Home { directory, store }
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_dir(&path, &copy);
        } else if let Err(error) = std::fs::copy(&path, &copy) {
            // A spare segment may have been renamed, a temporary file removed, since the directory was read.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    pub(crate) fn number(&mut self, below: i32) -> i32 {
        self.roll(below as usize) as i32
    }

    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }
}

/// Names the seed when a schedule fails.
pub(crate) struct Named(pub(crate) u64);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "a failing test says how to run it again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: TAILWATER_SEEDS={0}..{1}", self.0, self.0 + 1);
        }
    }
}

/// The seeds to run: of `TAILWATER_SEEDS=FROM..TO`, otherwise so many.
pub(crate) fn seeds(count: u64) -> Range<u64> {
    let Ok(text) = std::env::var("TAILWATER_SEEDS") else {
        return 0..count;
    };
    let (from, to) = text.split_once("..").expect("TAILWATER_SEEDS is FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

/// The document's `_id`.
pub(crate) fn id(document: &RawDocument) -> i32 {
    document.get_i32("_id").unwrap()
}

/// All documents of a collection, in the order of their `_id`s.
pub(crate) fn documents(store: &Store, database: &str, collection: &str) -> Vec<RawDocumentBuf> {
    let found = store.collection(database, collection).unwrap();
    found
        .find(&tailwater::bson::rawdoc! {})
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// A watch of the orders, also of what is not durable yet.
pub(crate) fn orders(store: &Store) -> Watch {
    let orders = store.collection("shop", "orders").unwrap();
    orders.watch().read_concern(ReadConcern::Local)
}

/// The next delivery, which has to come.
pub(crate) fn next(member: &mut Consumer) -> Delivery {
    member.wait_next(Some(PATIENCE)).unwrap().expect("an event in time")
}

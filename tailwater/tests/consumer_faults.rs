//! Durable consumers when what they are written into lets them down: the power fails, or a write is refused.

use crate::common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Dice, Home, Named, PATIENCE, copy_dir, id, next, orders, seeds, small};
use tailwater::bson::{RawDocumentBuf, rawdoc};
use tailwater::{Consumer, ConsumerOptions, INTERNAL_DATABASE, IndexModel, OpId, ReadConcern, Store, StoreOptions};

const EVENTS: i32 = 30;

/// Nothing is synced but by hand.
fn unsynced() -> StoreOptions {
    let mut options = small();
    options.oplog.sync_interval = Duration::from_secs(3600);
    options
}

fn join(store: &Store) -> Consumer {
    let options = ConsumerOptions {
        retry_delay: Duration::ZERO,
        ..ConsumerOptions::default()
    };
    orders(store).consumer("billing").options(options).join().unwrap()
}

fn insert(store: &Store, collection: &str, document: &RawDocumentBuf) {
    let collection = store.collection("shop", collection).unwrap();
    collection.insert_one(document).unwrap();
}

fn durable(store: &Store) -> OpId {
    store.log().newest(ReadConcern::Durable)
}

/// Takes and acknowledges events from `from` on, so many.
fn acknowledge(member: &mut Consumer, from: i32, count: i32) {
    for expected in from..from + count {
        let delivery = next(member);
        assert_eq!(id(&delivery.event().document_key().unwrap()), expected);
        delivery.ack().unwrap();
    }
}

/// What is in the files of the log.
fn contents(log: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let files = fs::read_dir(log).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.path().is_file());
    // A spare segment may have been renamed meanwhile, a temporary file removed.
    files
        .filter_map(|file| Some((file.file_name(), fs::read(file.path()).ok()?)))
        .collect()
}

/// What is left when the power fails: all that was removed is gone, and of what segments have, that which was `synced`, the log
/// being durable up to `as_of`. Nothing when more has been synced since.
fn power_loss(home: &Home, as_of: OpId, synced: &BTreeMap<OsString, Vec<u8>>) -> Option<Home> {
    let directory = tempfile::tempdir().unwrap();
    for part in ["state", "oplog"] {
        copy_dir(&home.directory.path().join(part), &directory.path().join(part));
    }
    if durable(&home.store) != as_of {
        return None;
    }
    for (name, bytes) in synced {
        let path = directory.path().join("oplog").join(name);
        if path.exists() && name.to_string_lossy().ends_with(".seg") {
            fs::write(path, bytes).unwrap();
        }
    }
    let store = Store::open_with(directory.path(), &unsynced()).unwrap();
    Some(Home { directory, store })
}

#[test]
fn power_loss_takes_back_what_was_acknowledged_since_the_last_sync_and_nothing_else() {
    for seed in seeds(12) {
        let _named = Named(seed);
        let mut dice = Dice(seed);
        let home = Home::with(&unsynced());
        let mut member = join(&home.store);
        for n in 1..=EVENTS {
            insert(&home.store, "orders", &rawdoc! { "_id": n });
            // Now and then the log goes on to its next segment.
            insert(
                &home.store,
                "filler",
                &rawdoc! { "_id": n, "text": "x".repeat(200_000) },
            );
        }
        let mut done = 1 + dice.number(EVENTS - 2);
        acknowledge(&mut member, 1, done);
        let after = loop {
            home.store.sync().unwrap();
            let (as_of, synced) = (durable(&home.store), contents(&home.directory.path().join("oplog")));
            let unsynced = dice.number(EVENTS - done + 1);
            acknowledge(&mut member, done + 1, unsynced);
            if let Some(after) = power_loss(&home, as_of, &synced) {
                break after;
            }
            // The store has synced for itself in between: once more from there.
            done += unsynced;
        };
        // What the log keeps for it is what it asks for now, and is there when all else is trimmed.
        let position = after.store.consumers().unwrap()[0].position.op_id();
        let slot = after
            .store
            .slots()
            .into_iter()
            .find(|slot| slot.name == "consumer.billing");
        assert!(
            slot.is_some_and(|slot| slot.position <= position.next()),
            "at {position}"
        );
        after.store.trim_log(durable(&after.store)).unwrap();
        let mut member = join(&after.store);
        acknowledge(&mut member, done + 1, EVENTS - done);
        insert(&after.store, "orders", &rawdoc! { "_id": EVENTS + 1 });
        acknowledge(&mut member, EVENTS + 1, 1);
    }
}

#[test]
fn a_position_that_cannot_be_written_down_is_tried_again_and_ends_nobody() {
    // More than go by before a position that moves without events is written down.
    const MANY: i32 = 5_000;
    let home = Home::new();
    let mut member = join(&home.store);
    let consumers = home.store.collection(INTERNAL_DATABASE, "consumers").unwrap();
    let written = || {
        let record = consumers.find_one(&rawdoc! { "_id": "billing" }).unwrap().unwrap();
        (
            record.get_i64("opId").unwrap(),
            record.get_str("scope").unwrap().to_owned(),
        )
    };
    // Whatever comes next to stand there is a duplicate.
    let (position, scope) = written();
    let beyond = rawdoc! { "opId": { "$gt": position } };
    let unique = IndexModel::new("scope", 1).unique().partial(&beyond);
    consumers.create_index(&unique).unwrap();
    let obstacle = rawdoc! { "_id": "obstacle", "scope": scope, "opId": i64::MAX };
    consumers.insert_one(&obstacle).unwrap();
    let pass_over = |ids: std::ops::Range<i32>| {
        let filler: Vec<_> = ids.map(|id| rawdoc! { "_id": id }).collect();
        let collection = home.store.collection("shop", "filler").unwrap();
        collection
            .insert_many(filler.iter().map(|document| &**document))
            .unwrap();
    };
    pass_over(0..MANY);
    insert(&home.store, "orders", &rawdoc! { "_id": 1 });
    // It has passed over them, and goes on.
    let delivery = next(&mut member);
    assert_eq!(written().0, position);
    assert!(delivery.ack().is_err(), "a member's own step says what is wrong");
    consumers.delete_one(&rawdoc! { "_id": "obstacle" }).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let newest = home.store.log().newest(ReadConcern::Local).get();
    pass_over(MANY..MANY + 1);
    while written().0 < newest as i64 {
        assert!(Instant::now() < deadline, "it is not tried again");
        std::thread::sleep(Duration::from_millis(1));
    }
}

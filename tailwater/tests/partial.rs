//! Change streams on a partial copy: the events of what it has, with the primary's tokens, which are good on both.

use crate::common;

use std::time::Duration;

use common::{PATIENCE, small};
use tailwater::bson::{RawDocumentBuf, rawdoc};
use tailwater::replication::Selection;
use tailwater::{ChangeEvent, OpId, OperationType, ReadConcern, ResumeToken, Store, Watch};

/// The documents of both that are of group 1; and whatever happens to others, so that places are passed over.
fn write(store: &Store) -> OpId {
    let (things, others) = (
        store.collection("shop", "things").unwrap(),
        store.collection("shop", "others").unwrap(),
    );
    for number in 0..60 {
        things
            .insert_one(&rawdoc! { "_id": number, "group": number % 3 })
            .unwrap();
        others.insert_one(&rawdoc! { "_id": number, "group": 1 }).unwrap();
        let id = rawdoc! { "_id": number };
        match number % 5 {
            0 => drop(things.update_one(&id, &rawdoc! { "$inc": { "group": 1 } }).unwrap()),
            1 => drop(things.update_one(&id, &rawdoc! { "$set": { "seen": true } }).unwrap()),
            2 => drop(things.delete_one(&id).unwrap()),
            _ => {}
        }
    }
    store.sync().unwrap();
    store.log().watermarks().durable
}

fn watch(store: &Store, after: Option<&ResumeToken>) -> Watch {
    let watch = store.watch().read_concern(ReadConcern::Durable);
    match after {
        Some(token) => watch.resume_after(*token),
        None => watch.start_at_oldest(),
    }
}

/// All events there are.
fn events(store: &Store, after: Option<&ResumeToken>) -> Vec<ChangeEvent> {
    let mut stream = watch(store, after).start().unwrap();
    let mut events = Vec::new();
    while let Some(event) = stream.next_if_any().unwrap() {
        events.push(event);
    }
    events
}

type Seen = (ResumeToken, OperationType, Option<RawDocumentBuf>);

fn seen(event: &ChangeEvent) -> Seen {
    (
        event.resume_token(),
        event.operation_type(),
        event.full_document().map(ToOwned::to_owned),
    )
}

#[test]
fn a_stream_on_a_partial_copy_shows_what_it_has_with_tokens_that_are_good_everywhere() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open_with(here.path(), &small()).unwrap();
    // Its log begins with the first entry, so that the follower's does.
    let primary = store
        .primary("a")
        .heartbeat(Duration::from_millis(100))
        .start()
        .unwrap();
    let selection = Selection::new(["shop.things"], &rawdoc! { "group": 1 }).unwrap();
    let follower = Store::follower(there.path(), "part", primary.address().to_string())
        .filter(selection)
        .store_options(small())
        .start()
        .unwrap();
    follower.wait_for(OpId::ZERO, PATIENCE).unwrap();
    let last = write(&store);
    follower.wait_for(last, PATIENCE).unwrap();
    let copy = Store::of_follower(&follower).unwrap();

    let (all, part) = (events(&store, None), events(&copy, None));
    let all: Vec<Seen> = all.iter().map(seen).collect();
    let part: Vec<Seen> = part.iter().map(seen).collect();
    let is_of_part = |(_, operation, document): &Seen| match document {
        Some(document) => {
            document.get_i32("group").is_ok_and(|group| group == 1) && *operation != OperationType::Delete
        }
        None => true,
    };
    // In their order, and among the primary's; every one of a document that is of the part.
    let mut rest = all.iter();
    for event in &part {
        assert!(is_of_part(event), "{event:?}");
        assert!(rest.any(|other| other == event), "{event:?} is not the primary's");
    }
    let things = |event: &&Seen| part.iter().any(|own| own.0 == event.0);
    let inserted = part.iter().filter(|event| event.1 == OperationType::Insert).count();
    assert_eq!(inserted, 20);
    assert!(all.iter().filter(things).count() == part.len() && part.len() < all.len());
    // A token of any event, also of one that the part does not have, is good on both.
    for (at, event) in all.iter().enumerate() {
        let behind: Vec<Seen> = part.iter().filter(|own| all[at + 1..].contains(own)).cloned().collect();
        let resumed: Vec<Seen> = events(&copy, Some(&event.0)).iter().map(seen).collect();
        assert_eq!(resumed, behind, "behind {event:?}");
    }
    for (at, event) in part.iter().enumerate() {
        let resumed = events(&store, Some(&event.0));
        let behind = part.iter().skip(at + 1).map(|event| &event.0);
        let resumed: Vec<ResumeToken> = resumed.iter().map(ChangeEvent::resume_token).collect();
        assert!(behind.into_iter().all(|token| resumed.contains(token)));
    }
}

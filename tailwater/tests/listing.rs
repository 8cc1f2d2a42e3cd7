//! Watches that are listed by those who serve them.

use tailwater::bson::rawdoc;
use tailwater::{Scope, Store, WatchDescription};

fn description(scope: Scope) -> WatchDescription {
    WatchDescription {
        scope,
        transport: "test",
        client: "here".to_owned(),
        filter: Some("n > 1".to_owned()),
        pipeline: None,
    }
}

#[test]
fn a_listed_watch_tells_what_it_was_given_and_where_it_is_until_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let list = store.listed_watches();
    let (handle, receiver) = store.watch().filter("n > 1").subscribe().unwrap();
    let listed = list.enter_receiver(description(Scope::Everything), &receiver);
    let mut stream = store.watch().start().unwrap();
    let pulled = list.enter(description(Scope::Everything), stream.resume_token());
    assert!(listed.id() < pulled.id());

    let numbers = store.collection("test", "numbers").unwrap();
    for n in 0..4 {
        numbers.insert_one(&rawdoc! { "n": n }).unwrap();
    }
    let first = receiver.recv().unwrap();
    listed.delivered(1, first.resume_token());
    // The second may still be on its way.
    while receiver.is_empty() {
        std::thread::yield_now();
    }
    let event = stream.next_if_any().unwrap().unwrap();
    pulled.delivered(1, event.resume_token());

    let [channel, stream] = &list.statuses()[..] else {
        panic!("two are listed")
    };
    assert_eq!((channel.delivered, channel.waiting, channel.matched()), (1, 1, 2));
    assert_eq!(channel.token, first.resume_token());
    assert_eq!(channel.description.filter.as_deref(), Some("n > 1"));
    assert_eq!((stream.delivered, stream.waiting), (1, 0));
    assert_eq!(stream.token, event.resume_token());

    let last = receiver.recv().unwrap();
    listed.delivered(1, last.resume_token());
    // A quiet watch moves on by itself.
    let newest = numbers.insert_one(&rawdoc! { "n": 0 }).unwrap().op_id;
    while list.statuses()[0].token.op_id() < newest {
        std::thread::yield_now();
    }
    drop(listed);
    assert_eq!(list.len(), 1);
    drop((pulled, handle));
    assert!(list.is_empty());
}

//! How streams end.

use crate::common;

use bson::{doc, rawdoc};
use common::{ORDERS, PATIENCE, collection, database, drain, insert_orders, orders, short, shorts};
use futures::stream::FusedStream;
use tailwater_changestream::{Dispatcher, Error, Scope, Watch};
use tailwater_oplog::{self as oplog};

#[test]
fn a_collections_stream_ends_with_its_drop() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    writer.drop_collection("shop.items");
    writer.drop_collection(ORDERS);
    insert_orders(&writer, 2..=3);
    assert_eq!(
        shorts(&drain(&mut stream)),
        ["insert shop.orders 1", "drop shop.orders", "invalidate shop.orders"]
    );
    assert!(stream.is_ended() && stream.is_terminated());
    assert!(stream.wait_next(None).unwrap().is_none());
}

#[test]
fn a_collections_stream_ends_when_it_is_renamed() {
    let (_dir, writer) = orders(0);
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    writer.rename(ORDERS, "shop.old");
    assert_eq!(
        shorts(&drain(&mut stream)),
        ["rename shop.orders", "invalidate shop.orders"]
    );
    assert!(stream.is_ended());
}

#[test]
fn a_collections_stream_ends_when_another_takes_its_name() {
    let (_dir, writer) = orders(0);
    let dispatcher = Dispatcher::new(writer.log.view());
    let mut stream = writer.watch(collection("shop.old")).start().unwrap();
    let (_handle, receiver) = dispatcher.watch(collection("shop.old")).subscribe().unwrap();
    writer.rename("shop.items", "shop.other");
    writer.rename(ORDERS, "shop.old");
    let expected = ["rename shop.orders", "invalidate shop.orders"];
    let events = drain(&mut stream);
    assert_eq!(shorts(&events), expected);
    assert!(stream.is_ended());
    let received: Vec<_> = receiver.iter().map(Result::unwrap).collect();
    assert_eq!(shorts(&received), expected);
    // Between the two it goes on as any other.
    let behind_rename = writer
        .watch(collection("shop.old"))
        .resume_after(events[0].resume_token());
    assert_eq!(shorts(&drain(&mut behind_rename.start().unwrap())), expected[1..]);
}

#[test]
fn a_databases_stream_ends_with_the_database_only() {
    let (_dir, writer) = orders(0);
    let mut shop = writer.watch(database("shop")).start().unwrap();
    let mut all = writer.watch(Scope::Everything).start().unwrap();
    writer.drop_collection(ORDERS);
    writer.drop_database("town");
    assert_eq!(shorts(&drain(&mut shop)), ["drop shop.orders"]);
    writer.drop_database("shop");
    assert_eq!(shorts(&drain(&mut shop)), ["dropDatabase shop", "invalidate shop"]);
    assert!(shop.is_ended());
    assert_eq!(
        shorts(&drain(&mut all)),
        ["drop shop.orders", "dropDatabase town", "dropDatabase shop"]
    );
    assert!(!all.is_ended());
}

#[test]
fn a_stream_ends_also_when_its_filter_hides_the_drop() {
    let (_dir, writer) = orders(1);
    let start = |watch: Watch| watch.start_at_oldest().start().unwrap();
    let inserts = [doc! { "$match": { "operationType": "insert" } }];
    let mut filtered = start(writer.watch(collection(ORDERS)).filter("n > 0"));
    let mut matched = start(writer.watch(collection(ORDERS)).pipeline(inserts));
    writer.drop_collection(ORDERS);
    insert_orders(&writer, 2..=2);
    // The invalidation is no document and passes the filter; a pipeline is taken at its word.
    assert_eq!(
        shorts(&drain(&mut filtered)),
        ["insert shop.orders 1", "invalidate shop.orders"]
    );
    assert_eq!(shorts(&drain(&mut matched)), ["insert shop.orders 1"]);
    assert!(filtered.is_ended() && matched.is_ended());
}

#[test]
fn a_log_that_closes_ends_the_stream_after_what_was_released() {
    let (_dir, writer) = orders(3);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    writer.log.close().unwrap();
    let results: Vec<_> = stream.blocking_iter().map(|event| event.map(|e| short(&e))).collect();
    assert_eq!(results.len(), 4, "{results:?}");
    assert_eq!(results[2].as_ref().unwrap(), "insert shop.orders 3");
    assert!(
        matches!(results[3], Err(Error::Log(oplog::Error::Closed))),
        "{results:?}"
    );
    assert!(stream.is_ended());
}

#[test]
fn a_collection_that_is_renamed_into_a_database_is_told_to_its_watches() {
    let (_dir, writer) = orders(1);
    let dispatcher = Dispatcher::new(writer.log.view());
    let mut stream = writer.watch(database("town")).start().unwrap();
    let (_handle, receiver) = dispatcher.watch(database("town")).subscribe().unwrap();
    writer.rename(ORDERS, "town.orders");
    writer.insert("town.orders", &rawdoc! { "_id": 2 });
    let expected = ["rename shop.orders", "insert town.orders 2"];
    assert_eq!(shorts(&drain(&mut stream)), expected);
    let received = expected.map(|_| short(&receiver.recv_timeout(PATIENCE).unwrap()));
    assert_eq!(received, expected);
    assert!(!stream.is_ended(), "it goes on");
}

#[test]
fn a_collection_that_is_renamed_out_of_the_deployments_own_databases_is_told_to_who_watches_the_others() {
    let (_dir, writer) = orders(0);
    let watch = || writer.watch(Scope::Deployment);
    let (_handle, receiver) = watch().subscribe().unwrap();
    let mut stream = watch().start().unwrap();
    writer.rename("config.jobs", "shop.jobs");
    writer.rename("config.jobs", "local.jobs");
    insert_orders(&writer, 1..=1);
    let expected = ["rename config.jobs", "insert shop.orders 1"];
    assert_eq!(shorts(&drain(&mut stream)), expected);
    let received = [(); 2].map(|()| receiver.recv_timeout(PATIENCE).unwrap());
    assert_eq!(shorts(&received), expected);
}

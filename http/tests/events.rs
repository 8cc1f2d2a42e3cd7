//! Server-Sent Events and lines over real sockets: what comes, where it goes on, and how it ends.

use crate::common;

use bson::rawdoc;
use common::{Running, encoded};
use serde_json::json;

const ORDERS: &str = "/v1/watch/shop/orders";

#[test]
fn events_carry_their_tokens_as_ids_and_a_reconnect_goes_on_behind_the_last() {
    let served = Running::new();
    let mut events = served.get(ORDERS, &["Accept: text/event-stream"]);
    assert_eq!(events.status, 200);
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    let begin = events.block().unwrap();
    assert!(begin.has_retry && begin.id.is_some(), "{begin:?}");
    served.insert(0..3);
    let first = events.event().unwrap();
    let data = first.data.unwrap();
    assert_eq!(data["operationType"], "insert");
    assert_eq!(data["fullDocument"], json!({ "_id": 0, "n": 0 }));
    assert_eq!(data["_id"]["_data"].as_str(), first.id.as_deref());
    drop(events);
    // The browser sends the URL that it has begun with; what it has seen decides.
    let id = format!("Last-Event-ID: {}", first.id.unwrap());
    for target in [ORDERS.to_owned(), format!("{ORDERS}?from=oldest")] {
        let mut events = served.get(&target, &[&id]);
        assert_eq!([events.number(), events.number()], [1, 2]);
    }
}

#[test]
fn a_watch_goes_on_across_a_restart_of_the_server() {
    let mut served = Running::new();
    let mut events = served.get(ORDERS, &[]);
    let mut id = events.block().unwrap().id.unwrap();
    for round in 0..3 {
        served.insert(round * 10..round * 10 + 10);
        for n in round * 10..round * 10 + 10 {
            let event = events.event().unwrap();
            assert_eq!(event.data.unwrap()["fullDocument"]["n"], n);
            id = event.id.unwrap();
        }
        served = served.restart();
        // The end says where to go on, and when.
        let end = events.block().unwrap();
        assert!(end.has_retry && end.id.as_ref() == Some(&id), "{end:?}");
        assert!(events.block().is_none());
        events = served.get(ORDERS, &[&format!("Last-Event-ID: {id}")]);
    }
}

#[test]
fn what_is_watched_is_what_the_query_says() {
    let served = Running::new();
    let begins = served.get(ORDERS, &[]).block().unwrap().id.unwrap();
    let options = rawdoc! { "changeStreamPreAndPostImages": { "enabled": true } };
    let options = tailwater::CollectionOptions::parse(&options).unwrap();
    served.store.create_collection_with("shop", "orders", &options).unwrap();
    served.insert(0..4);
    let orders = served.store.collection("shop", "orders").unwrap();
    orders
        .update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "n": 10 } })
        .unwrap();
    orders.delete_one(&rawdoc! { "_id": 2 }).unwrap();
    let other = served.store.collection("shop", "people & places").unwrap();
    other.insert_one(&rawdoc! { "_id": 7, "n": 7 }).unwrap();
    served
        .store
        .collection("town", "hall")
        .unwrap()
        .insert_one(&rawdoc! { "_id": 8, "n": 8 })
        .unwrap();

    let pipeline = encoded(r#"[{"$match": {"operationType": "insert", "fullDocument.n": {"$gte": 2}}}]"#);
    let operation = |line: &serde_json::Value| line["operationType"].as_str().unwrap().to_owned();
    let check = |path: &str, query: &str, expected: &[&str]| {
        let target = format!("{path}?startAfter={begins}&{query}");
        let mut lines = served.get(&target, &["Accept: application/x-ndjson"]);
        assert_eq!(lines.status, 200, "{target}");
        assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
        for expected in expected {
            let line: serde_json::Value = serde_json::from_str(&lines.line().unwrap()).unwrap();
            let found = format!("{} {}", operation(&line), line["documentKey"]["_id"]);
            assert_eq!(found, *expected, "{target}");
        }
    };
    let all = ["insert 0", "insert 1", "insert 2", "insert 3", "update 1", "delete 2"];
    check(ORDERS, "", &all);
    check(ORDERS, "operations=update,delete", &all[4..]);
    check(
        ORDERS,
        &format!("filter={}", encoded("n >= 3")),
        &["insert 3", "update 1"],
    );
    check(ORDERS, &format!("pipeline={pipeline}"), &["insert 2", "insert 3"]);
    check("/v1/watch/shop/people%20%26%20places", "", &["insert 7"]);
    check("/v1/watch/shop", "", &[&all[..], &["insert 7"]].concat());
    check("/v1/watch", "", &[&all[..], &["insert 7", "insert 8"]].concat());

    let target = format!(
        "{ORDERS}?startAfter={begins}&operations=update&fullDocument=updateLookup&fullDocumentBeforeChange=required&json=canonical"
    );
    let update = served.get(&target, &[]).event().unwrap().data.unwrap();
    assert_eq!(update["fullDocument"]["n"], json!({ "$numberInt": "10" }));
    assert_eq!(update["fullDocumentBeforeChange"]["n"], json!({ "$numberInt": "1" }));
}

#[test]
fn a_place_can_be_a_token_document_or_a_time() {
    let served = Running::new();
    served.insert(0..1);
    let first = served
        .get(&format!("{ORDERS}?from=oldest"), &[])
        .event()
        .unwrap()
        .data
        .unwrap();
    served.insert(1..2);
    let token = encoded(&first["_id"].to_string());
    let time = encoded(&first["clusterTime"].to_string());
    for (place, number) in [
        (format!("resumeAfter={token}"), 1),
        (format!("startAfter={token}"), 1),
        (format!("startAtOperationTime={time}"), 0),
        ("startAtOperationTime=2020-01-01T00:00:00Z".to_owned(), 0),
        ("from=oldest".to_owned(), 0),
    ] {
        assert_eq!(
            served.get(&format!("{ORDERS}?{place}"), &[]).number(),
            number,
            "{place}"
        );
    }
}

#[test]
fn the_token_of_a_quiet_watch_moves() {
    let served = Running::with(|options| options.heartbeat = std::time::Duration::from_millis(20));
    let mut events = served.get(&format!("{ORDERS}?filter={}", encoded("n > 100")), &[]);
    let begins = events.block().unwrap().id;
    served.insert(0..5);
    let moved = loop {
        let block = events.block().unwrap();
        assert!(block.is_comment && block.data.is_none(), "{block:?}");
        if block.id != begins {
            break block.id.unwrap();
        }
    };
    // It stands behind what did not match by then.
    served.insert(200..201);
    let mut events = served.get(ORDERS, &[&format!("Last-Event-ID: {moved}")]);
    assert!(events.number() > 0);

    let mut lines = served.get(&format!("{ORDERS}?heartbeat=1"), &["Accept: application/x-ndjson"]);
    for _ in 0..2 {
        let line: serde_json::Value = serde_json::from_str(&lines.line().unwrap()).unwrap();
        assert!(line["heartbeat"]["_data"].is_string(), "{line}");
    }
}

#[test]
fn an_invalidated_watch_ends_and_a_browser_is_told_to_reconnect_no_more() {
    let served = Running::new();
    served.insert(0..1);
    let mut events = served.get(ORDERS, &[]);
    served.store.drop_collection("shop", "orders").unwrap();
    assert_eq!(events.event().unwrap().data.unwrap()["operationType"], "drop");
    let invalidate = events.event().unwrap();
    assert_eq!(invalidate.data.unwrap()["operationType"], "invalidate");
    assert!(events.event().is_none());
    let token = invalidate.id.unwrap();
    assert_eq!(served.get(ORDERS, &[&format!("Last-Event-ID: {token}")]).status, 204);
    served.insert(1..2);
    assert_eq!(served.get(&format!("{ORDERS}?startAfter={token}"), &[]).number(), 1);
}

#[test]
fn events_come_in_other_envelopes() {
    let served = Running::new();
    let begins = served.get(ORDERS, &[]).block().unwrap().id.unwrap();
    served.insert(5..6);
    let orders = served.store.collection("shop", "orders").unwrap();
    orders
        .update_one(
            &rawdoc! { "_id": 5 },
            &rawdoc! { "$set": { "m": 1 }, "$unset": { "n": "" } },
        )
        .unwrap();
    orders.delete_one(&rawdoc! { "_id": 5 }).unwrap();
    served.store.drop_collection("shop", "orders").unwrap();

    let target = format!("{ORDERS}?startAfter={begins}&envelope=cloudevents");
    let mut events = served.get(&target, &[]);
    let event = events.event().unwrap();
    let data = event.data.unwrap();
    assert_eq!(data["specversion"], "1.0");
    assert_eq!(data["id"].as_str(), event.id.as_deref());
    assert_eq!(data["type"], "tailwater.change.insert");
    assert_eq!(data["subject"], "shop.orders");
    assert_eq!(data["data"]["fullDocument"], json!({ "_id": 5, "n": 5 }));
    assert!(data["source"].as_str().unwrap().starts_with("urn:uuid:"));
    assert!(data["time"].as_str().unwrap().ends_with('Z'));

    let target = format!("{ORDERS}?startAfter={begins}&envelope=debezium");
    let mut events = served.get(&target, &[]);
    let change = events.event().unwrap().data.unwrap();
    assert_eq!(change["op"], "c");
    assert_eq!(change["before"], json!(null));
    assert_eq!(change["after"], r#"{"_id":{"$numberInt":"5"},"n":{"$numberInt":"5"}}"#);
    assert_eq!(change["source"]["db"], "shop");
    assert_eq!(change["source"]["collection"], "orders");
    let change = events.event().unwrap().data.unwrap();
    assert_eq!(change["op"], "u");
    assert_eq!(
        change["updateDescription"]["updatedFields"],
        r#"{"m":{"$numberInt":"1"}}"#
    );
    assert_eq!(change["updateDescription"]["removedFields"], json!(["n"]));
    let change = events.event().unwrap().data.unwrap();
    assert_eq!(change["op"], "d");
    assert_eq!(change["key"]["id"], r#"{"$numberInt":"5"}"#);
    // The drop and the end have no form there; the id moves past them.
    let past = events.block().unwrap();
    assert!(past.id.is_some() && past.data.is_none(), "{past:?}");
}

#[test]
fn a_watch_shows_what_a_majority_of_the_members_holds() {
    let members = ["a", "b"];
    let dir = tempfile::tempdir().unwrap();
    let store = tailwater::Store::open(dir.path()).unwrap();
    let options = tailwater_http::HttpOptions {
        bind: "127.0.0.1:0".parse().unwrap(),
        counts_majority: true,
        ..tailwater_http::HttpOptions::default()
    };
    let served = Running::over(store.clone(), options);
    served.insert(0..1);
    let primary = store.primary("a").members(members).start().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let follow = || {
        let follower = tailwater::Store::follower(copy.path(), "b", primary.address().to_string());
        follower.members(members).start().unwrap()
    };
    // Nothing is known of a majority yet, so that a watch waits for the first.
    let watching = std::thread::scope(|scope| {
        let watching = scope.spawn(|| served.get(&format!("{ORDERS}?heartbeat=1"), &[]));
        // Who needs none does not wait with it, and neither does who asks for what there is not.
        for (query, status) in [("readConcern=local", 200), ("colour=red", 400)] {
            assert_eq!(served.get(&format!("{ORDERS}?{query}"), &[]).status, status);
        }
        assert!(!watching.is_finished());
        let follower = follow();
        (watching.join().unwrap(), follower)
    });
    let (mut events, follower) = watching;
    assert_eq!(events.status, 200);
    events.block().unwrap();
    let mut local = served.get(&format!("{ORDERS}?readConcern=local"), &[]);
    local.block().unwrap();
    follower.stop();
    follower.join().unwrap();
    // Another one takes its copy over.
    drop(follower);
    served.insert(1..2);
    assert_eq!(local.number(), 1);
    // Nobody else has it: what comes is the word that nothing has.
    for _ in 0..2 {
        assert!(events.block().unwrap().data.is_none());
    }
    let follower = follow();
    assert_eq!(events.number(), 1);
    follower.stop();
    primary.stop();
}

#[test]
fn an_event_that_a_pipeline_makes_much_larger_ends_its_watch() {
    let served = Running::new();
    let range = |n: u32| encoded(&json!([{ "$addFields": { "all": { "$range": [0, n] } } }]).to_string());
    let mut small = served.get(&format!("{ORDERS}?pipeline={}", range(1000)), &[]);
    let mut large = served.get(&format!("{ORDERS}?pipeline={}", range(500_000)), &[]);
    for events in [&mut small, &mut large] {
        events.block().unwrap();
    }
    served.insert(0..1);
    assert_eq!(small.number(), 0);
    let problem = large.event().unwrap();
    assert_eq!(problem.event.as_deref(), Some("problem"), "{problem:?}");
}

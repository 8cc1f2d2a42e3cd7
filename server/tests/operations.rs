//! `currentOp` and `killOp`.

mod common;

use bson::doc;
use common::{Running, batch, cursor_id, under_way};
use tailwater_wire::MsgFlags;

#[test]
fn a_wait_is_shown_and_can_be_ended() {
    let server = Running::new();
    let mut client = server.client();
    let mut watcher = server.client();
    watcher.ok(doc! { "hello": 1, "client": { "application": { "name": "watcher" } } });
    let opened = watcher.ok(doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} });
    let more = doc! { "getMore": cursor_id(&opened), "collection": "c", "maxTimeMS": 10_000, "$db": "test" };
    watcher.send(&more, MsgFlags::default(), Vec::new());
    let shown = under_way(&mut client, "getmore");
    assert_eq!(
        (shown.get_str("ns").ok(), shown.get_str("appName").ok()),
        (Some("test.c"), Some("watcher"))
    );
    client.run_on("admin", doc! { "killOp": 1, "op": shown.get_i32("opid").unwrap() });
    let (answer, ..) = watcher.receive();
    assert_eq!(answer.get_i32("code").ok(), Some(237), "{answer}");
}

#[test]
fn who_asks_is_shown_too_also_by_a_pipeline() {
    let server = Running::new();
    let mut client = server.client();
    let own = client.run_on("admin", doc! { "currentOp": 1, "$ownOps": true });
    let own = own.get_array("inprog").unwrap();
    assert_eq!(own.len(), 1);
    let stages = [doc! { "$currentOp": {} }, doc! { "$match": { "op": "command" } }];
    let found = client.run_on(
        "admin",
        doc! { "aggregate": 1, "pipeline": stages.to_vec(), "cursor": {} },
    );
    assert_eq!(batch(&found)[0].get_str("ns").ok(), Some("admin.$cmd"));
    client.refused(doc! { "currentOp": 1 });
    client.refused(doc! { "killOp": 1, "op": 1 });
    assert_eq!(
        client.run_on("admin", doc! { "killOp": 1 }).get_f64("ok").ok(),
        Some(0.0)
    );
}

//! `configureFailPoint`, as tests of drivers use it.

use crate::common;

use bson::{Document, doc};
use common::{Client, Running, cursor_id, session};
use tailwater_wire::{Msg, MsgFlags};

fn for_tests() -> Running {
    Running::with(|options| options.test_commands = true)
}

#[track_caller]
fn configure(client: &mut Client, point: &str, mode: impl Into<bson::Bson>, data: Document) -> Document {
    let mode: bson::Bson = mode.into();
    let command = doc! { "configureFailPoint": point, "mode": mode, "data": data };
    let answer = client.run_on("admin", command);
    assert_eq!(answer.get_f64("ok").ok(), Some(1.0), "{answer}");
    answer
}

fn labels(answer: &Document) -> Vec<&str> {
    let labels = answer.get_array("errorLabels").map(Vec::as_slice).unwrap_or_default();
    labels.iter().filter_map(|label| label.as_str()).collect()
}

fn watch(client: &mut Client) -> Document {
    let opened = client.ok(doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} });
    doc! { "getMore": cursor_id(&opened), "collection": "c", "maxTimeMS": 1 }
}

#[test]
fn only_a_server_for_tests_has_them() {
    let running = Running::new();
    let mut client = running.client();
    let command = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    assert_eq!(client.run_on("admin", command).get_i32("code").ok(), Some(59));
    let asked = doc! { "getParameter": 1, "enableTestCommands": 1 };
    assert_eq!(
        client.ok(asked.clone()).get_bool("enableTestCommands").ok(),
        Some(false)
    );
    let running = for_tests();
    assert_eq!(
        running.client().ok(asked).get_bool("enableTestCommands").ok(),
        Some(true)
    );
}

#[test]
fn commands_fail_as_often_as_asked_for_the_application_that_is_named() {
    let running = for_tests();
    let mut client = running.client();
    client.ok(doc! { "hello": 1, "client": { "application": { "name": "mine" } } });
    let data = doc! { "failCommands": ["find", "insert"], "errorCode": 91, "appName": "mine" };
    configure(&mut client, "failCommand", doc! { "times": 2 }, data);
    running.client().ok(doc! { "find": "c" });
    assert_eq!(
        client.refused(doc! { "find": "c" }),
        (91, "ShutdownInProgress".to_owned())
    );
    // A write that may be sent again says so; a number that nobody knows is its own name.
    let retryable = doc! { "insert": "c", "documents": [{}], "lsid": session(), "txnNumber": 1_i64 };
    let answer = client.run(retryable.clone());
    assert_eq!(labels(&answer), ["RetryableWriteError"]);
    client.ok(retryable);
    assert_eq!(
        configure(&mut client, "failCommand", "off", doc! {})
            .get_i64("count")
            .ok(),
        Some(2)
    );

    let own = doc! { "failCommands": ["insert"], "errorCode": 4242, "errorLabels": ["Mine"] };
    configure(&mut client, "failCommand", doc! { "skip": 1 }, own);
    let insert = doc! { "insert": "c", "documents": [{}] };
    client.ok(insert.clone());
    let answer = client.run(insert.clone());
    assert_eq!(
        (answer.get_str("codeName").ok(), labels(&answer)),
        (Some("Location4242"), vec!["Mine"])
    );

    let transaction = doc! { "errorCode": 112, "failCommands": ["insert"] };
    configure(&mut client, "failCommand", "alwaysOn", transaction);
    let mut first = insert.clone();
    first.extend(doc! { "lsid": session(), "txnNumber": 1_i64, "autocommit": false, "startTransaction": true });
    assert_eq!(labels(&client.run(first)), ["TransientTransactionError"]);
    configure(&mut client, "failCommand", "off", doc! {});
    assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").ok(), Some(2));
}

#[test]
fn connections_close_writes_are_late_and_answers_have_write_concern_errors() {
    let running = for_tests();
    let mut client = running.client();
    let insert = doc! { "insert": "c", "documents": [{}] };
    let data = doc! { "failCommands": ["insert"], "writeConcernError": { "code": 91, "errmsg": "no" }, "errorLabels": ["Mine"] };
    configure(&mut client, "failCommand", doc! { "times": 1 }, data);
    let answer = client.ok(insert.clone());
    assert_eq!(
        answer.get_document("writeConcernError").unwrap().get_i32("code").ok(),
        Some(91)
    );
    assert_eq!(labels(&answer), ["Mine"]);

    let data = doc! { "failCommands": ["insert"], "closeConnection": true };
    configure(&mut client, "failCommand", doc! { "times": 1 }, data);
    let mut doomed = running.client();
    let mut command = insert;
    command.insert("$db", "test");
    doomed.send(&command, MsgFlags::default(), Vec::new());
    assert!(doomed.is_closed());
    assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").ok(), Some(1));

    // A write whose answer is lost, and that comes again.
    configure(&mut client, "onPrimaryTransactionalWrite", doc! { "times": 1 }, doc! {});
    let mut doomed = running.client();
    command.extend(doc! { "lsid": session(), "txnNumber": 1_i64 });
    doomed.send(&command, MsgFlags::default(), Vec::new());
    assert!(doomed.is_closed());
    let again = client.ok(command);
    assert_eq!(again.get_array("retriedStmtIds").unwrap().len(), 1);
    assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").ok(), Some(2));
}

#[test]
fn a_command_that_is_to_be_late_is_not_carried_out_before() {
    let mut running = for_tests();
    let (mut client, mut late) = (running.client(), running.client());
    let data = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 3_600_000 };
    configure(&mut client, "failCommand", "alwaysOn", data.clone());
    let insert = doc! { "insert": "c", "documents": [{}], "$db": "test" };
    late.send(&insert, MsgFlags::default(), Vec::new());
    // What is set anew says how often it has fired.
    while configure(&mut client, "failCommand", "alwaysOn", data.clone())
        .get_i64("count")
        .unwrap()
        == 0
    {
        std::thread::yield_now();
    }
    assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").ok(), Some(0));
    // A server that stops waits for nobody.
    running.stop();
    assert_eq!(late.receive().0.get_i32("n").ok(), Some(1));
}

#[test]
fn a_stream_is_resumable_after_what_fails_with_its_cursor_and_not_after_a_command_that_fails() {
    let running = for_tests();
    let mut client = running.client();
    client.ok(doc! { "create": "c" });
    for (code, label) in [
        (6, true),
        (91, true),
        (10107, true),
        (13436, true),
        (11601, false),
        (237, false),
    ] {
        let more = watch(&mut client);
        let data = doc! { "errorCode": code };
        configure(&mut client, "failGetMoreAfterCursorCheckout", doc! { "times": 1 }, data);
        let answer = client.run(more.clone());
        assert_eq!(answer.get_i32("code").ok(), Some(code));
        assert_eq!(
            labels(&answer).contains(&"ResumableChangeStreamError"),
            label,
            "{answer}"
        );
        // The cursor is gone with it.
        assert_eq!(client.refused(more).0, 43);

        let more = watch(&mut client);
        let data = doc! { "failCommands": ["getMore"], "errorCode": code };
        configure(&mut client, "failCommand", doc! { "times": 1 }, data);
        let answer = client.run(more.clone());
        assert!(labels(&answer).is_empty(), "{answer}");
        client.ok(more);
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let running = for_tests();
    let mut client = running.client();
    for command in [
        doc! { "configureFailPoint": "unheardOf", "mode": "off" },
        doc! { "configureFailPoint": "failCommand" },
        doc! { "configureFailPoint": "failCommand", "mode": "sometimes" },
        doc! { "configureFailPoint": "failCommand", "mode": { "often": 1 } },
        doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": { "failCommands": "find" } },
        doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": { "blockConnection": true } },
        doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": { "explode": true } },
    ] {
        let answer = client.run_on("admin", command.clone());
        assert_eq!(answer.get_f64("ok").ok(), Some(0.0), "{command}: {answer}");
    }
}

#[test]
fn an_answer_has_one_error_of_its_write_concern() {
    let running = for_tests();
    let mut client = running.client();
    let data = doc! {
        "failCommands": ["insert"],
        "writeConcernError": { "code": 91, "errmsg": "asked for" },
        "errorLabels": ["RetryableWriteError"],
    };
    configure(&mut client, "failCommand", doc! { "times": 1 }, data);
    // It has one by itself as well: there are no two members.
    let insert = doc! { "insert": "c", "documents": [{ "_id": 1 }], "writeConcern": { "w": 2 }, "$db": "test" };
    client.send(&insert, MsgFlags::default(), Vec::new());
    let (header, rest) = client.receive_bytes().unwrap();
    let answer = Msg::parse(&header, &rest).unwrap().body;
    let mut names: Vec<_> = answer
        .iter()
        .map(|field| field.unwrap().0.as_str().to_owned())
        .collect();
    names.sort_unstable();
    let fields = names.len();
    names.dedup();
    assert_eq!(names.len(), fields, "{answer:?}");
    let error = answer.get_document("writeConcernError").unwrap();
    assert_eq!(error.get_i32("code").ok(), Some(91));
    assert_eq!(answer.get_i32("n").ok(), Some(1));
    // The next says what is so.
    let mut insert = insert;
    insert.insert("documents", vec![doc! { "_id": 2 }]);
    let answer = client.run(insert);
    assert_eq!(
        answer.get_document("writeConcernError").unwrap().get_i32("code").ok(),
        Some(100)
    );
}

//! What is refused, how that is said, and what is bounded.

use crate::common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bson::rawdoc;
use common::{Response, Running, encoded, request, until};
use serde_json::json;
use tailwater::{ResumeToken, Store};
use tailwater_auth::{Authentication, Authority};
use tailwater_http::{HttpOptions, HttpServer};

#[test]
fn problems_have_mongodb_s_names_and_say_where() {
    let served = Running::new();
    let pipeline = |text: &str| format!("/v1/watch?pipeline={}", encoded(text));
    let mut elsewhere = Running::new().get("/v1/watch", &[]).block().unwrap().id.unwrap();
    for (target, status, code_name, detail) in [
        (
            format!("/v1/watch?filter={}", encoded("n > 1 and or")),
            400,
            "FailedToParse",
            "^",
        ),
        (
            pipeline("[{\"$match\": {\"n\": {\"$gte\": 1}}}, {\"$nothing\": {}}]"),
            400,
            "Location40324",
            "stage 1",
        ),
        (pipeline("[{\"$group\": {}}]"), 400, "IllegalOperation", "$group"),
        (
            pipeline("[{\"$match\": {\"$where\": \"1\"}}]"),
            400,
            "BadValue",
            "stage 0",
        ),
        (pipeline("{"), 400, "FailedToParse", "parameter pipeline"),
        (
            "/v1/watch?operations=insert,upsert".into(),
            400,
            "FailedToParse",
            "upsert",
        ),
        (
            "/v1/watch?json=yaml".into(),
            400,
            "FailedToParse",
            "canonical or relaxed",
        ),
        (
            "/v1/watch?filtre=n".into(),
            400,
            "FailedToParse",
            "there is no such parameter",
        ),
        ("/v1/watch?from=now&from=oldest".into(), 400, "FailedToParse", "twice"),
        ("/v1/watch?heartbeat=0".into(), 400, "FailedToParse", "seconds"),
        (
            "/v1/watch?resumeAfter=0200".into(),
            400,
            "FailedToParse",
            "malformed resume token",
        ),
        (
            format!("/v1/watch?resumeAfter={elsewhere}"),
            409,
            "ChangeStreamFatalError",
            "log",
        ),
        (
            format!("/v1/watch?startAfter={elsewhere}&from=oldest"),
            400,
            "Location40674",
            "give one",
        ),
        ("/v1/watch/shop/bad$name".into(), 400, "InvalidNamespace", "bad$name"),
    ] {
        let response = served.get(&target, &[]);
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        let problem = response.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["codeName"], code_name, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    }
    let filter = served
        .get(&format!("/v1/watch?filter={}", encoded("n > 1\nand >")), &[])
        .json();
    assert_eq!(filter["position"], json!({ "line": 2, "column": 5 }));
    elsewhere.truncate(10);
    let problem = served
        .get("/v1/watch", &[&format!("Last-Event-ID: {elsewhere}")])
        .json();
    assert_eq!(problem["codeName"], "InvalidResumeToken");
}

#[test]
fn lost_history_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = tailwater::StoreOptions::default();
    options.oplog.segment_bytes = 1 << 20;
    let store = Store::open_with(dir.path(), &options).unwrap();
    let bind = "127.0.0.1:0".parse().unwrap();
    let served = Running::over(
        store,
        HttpOptions {
            bind,
            ..HttpOptions::default()
        },
    );
    served.insert(0..1);
    let token: ResumeToken = served
        .get("/v1/watch?from=oldest", &[])
        .event()
        .unwrap()
        .id
        .unwrap()
        .parse()
        .unwrap();
    let orders = served.store.collection("shop", "orders").unwrap();
    for n in 1..40 {
        orders
            .insert_one(&rawdoc! { "_id": n, "text": "x".repeat(64 << 10) })
            .unwrap();
    }
    let newest = served.store.log().newest(tailwater::ReadConcern::Durable);
    served.store.trim_log(newest).unwrap();
    assert!(served.store.log().watermarks().oldest > token.op_id());
    let response = served.get("/v1/watch", &[&format!("Last-Event-ID: {token}")]);
    assert_eq!(response.status, 410);
    let problem = response.json();
    assert_eq!(problem["codeName"], "ChangeStreamHistoryLost");
    assert_eq!(problem["errorLabels"], json!(["NonResumableChangeStreamError"]));
}

#[test]
fn a_watch_that_fails_on_its_way_says_why() {
    let served = Running::new();
    let pipeline = encoded(r#"[{"$match": {"$expr": {"$eq": [{"$divide": [1, "$fullDocument.n"]}, 1]}}}]"#);
    let target = format!("/v1/watch/shop/orders?pipeline={pipeline}");
    let mut events = served.get(&target, &[]);
    let mut lines = served.get(&target, &["Accept: application/x-ndjson"]);
    served.insert(0..1);
    let failed = events.event().unwrap();
    assert_eq!(failed.event.as_deref(), Some("problem"));
    assert_eq!(failed.data.unwrap()["status"], 422);
    assert!(events.event().is_none());
    let last: serde_json::Value = serde_json::from_str(&lines.line().unwrap()).unwrap();
    assert_eq!(last["problem"]["status"], 422);
    assert!(lines.line().is_none());
}

#[test]
fn what_is_not_there_or_not_meant_is_told_so() {
    let served = Running::new();
    assert_eq!(served.get("/v2/watch", &[]).status, 404);
    assert_eq!(served.get("/v1/watch/a/b/c", &[]).status, 404);
    assert_eq!(served.get("/v1/watch", &["Accept: image/png"]).status, 406);
    let post = request(served.address, "POST /v1/watch HTTP/1.1", &["Content-Length: 0"]);
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(served.get("/v1/watch", &["Host: rebound.example"]).status, 421);
    assert_eq!(served.get("/v1/stats", &["Origin: https://evil.example"]).status, 403);
    assert_eq!(request(served.address, "HEAD / HTTP/1.1", &[]).status, 200);
}

#[test]
fn allowed_origins_may_read() {
    let served = Running::with(|options| options.allowed_origins = vec!["https://shop.example".into()]);
    let origin = "Origin: https://shop.example";
    let events = served.get("/v1/watch", &[origin]);
    assert_eq!(
        events.header("access-control-allow-origin"),
        Some("https://shop.example")
    );
    let asked = request(served.address, "OPTIONS /v1/watch HTTP/1.1", &[origin]);
    assert_eq!(
        (asked.status, asked.header("access-control-allow-origin")),
        (204, Some("https://shop.example"))
    );
    assert_eq!(served.get("/v1/stats", &[]).header("access-control-allow-origin"), None);
}

#[test]
fn connections_are_limited_and_their_places_come_back() {
    let served = Running::with(|options| options.connections_max = 2);
    let one = served.get("/v1/watch", &[]);
    let two = served.get("/v1/watch", &["Accept: application/x-ndjson"]);
    let third = Response::read(TcpStream::connect(served.address).unwrap());
    assert_eq!((third.status, third.header("retry-after")), (503, Some("10")));
    drop((one, two));
    // The server learns of each end when it looks at that socket.
    until("their places are free", || {
        Response::read_if_any(served.address) == Some(200) && served.store.listed_watches().is_empty()
    });
}

#[test]
fn whoever_sends_no_request_in_time_is_left() {
    let served = Running::with(|options| options.header_deadline = Duration::from_millis(50));
    let mut silent = TcpStream::connect(served.address).unwrap();
    let mut slow = TcpStream::connect(served.address).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    let mut idle = TcpStream::connect(served.address).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    for stream in [&mut silent, &mut slow, &mut idle] {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // Until the server closes.
        let _ = stream.read_to_end(&mut Vec::new()).unwrap();
    }
    // A watch is not idle.
    let mut events = served.get("/v1/watch/shop/orders", &[]);
    std::thread::sleep(Duration::from_millis(150));
    served.insert(0..1);
    assert_eq!(events.number(), 0);
}

#[test]
fn heads_are_limited() {
    let served = Running::new();
    let long = format!("X-Long: {}", "x".repeat(100 << 10));
    assert_eq!(served.get("/healthz", &[&long]).status, 431);
    let many: Vec<String> = (0..100).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(served.get("/healthz", &many).status, 431);
}

#[test]
fn other_addresses_than_loopback_ones_need_logins_and_a_word_on_encryption() {
    let dir = tempfile::tempdir().unwrap();
    let options = HttpOptions {
        bind: "0.0.0.0:0".parse().unwrap(),
        ..HttpOptions::default()
    };
    let store = Store::open(dir.path()).unwrap();
    for (authentication, allow_plaintext, bound) in [
        (Authentication::Off, true, false),
        (Authentication::OnceThereAreUsers, true, false),
        (Authentication::Required, false, false),
        (Authentication::Required, true, true),
    ] {
        let authority = Arc::new(Authority::open(store.clone(), authentication).unwrap());
        let options = HttpOptions {
            allow_plaintext,
            ..options.clone()
        };
        let server = HttpServer::bind(store.clone(), authority, options);
        assert_eq!(server.is_ok(), bound, "{authentication:?} {allow_plaintext}");
    }
}

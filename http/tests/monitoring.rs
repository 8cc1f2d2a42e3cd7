//! What operators and their tools see: numbers, metrics, health, and the dashboard's files.

use crate::common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bson::rawdoc;
use common::{Running, encoded};
use tailwater::Store;
use tailwater::replication::WriteConcern;
use tailwater_http::HttpOptions;

/// So long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_numbers_tell_of_the_log_and_of_each_watch() {
    let served = Running::new();
    let filter = "n > 1";
    let mut events = served.get(&format!("/v1/watch/shop/orders?filter={}", encoded(filter)), &[]);
    served.insert(0..4);
    assert_eq!([events.number(), events.number()], [2, 3]);
    let consumer = served.store.watch().consumer("mailer").join().unwrap();
    let stats = served.get("/v1/stats", &[]).json();
    assert_eq!(
        stats["log"]["appended"].as_u64(),
        Some(served.store.log().watermarks().appended.get())
    );
    assert_eq!(stats["log"]["segments"][0]["state"], "open");
    assert_eq!(stats["log"]["retention"]["maxBytes"], serde_json::Value::Null);
    assert_eq!(stats["watches"]["total"], 1);
    let watch = &stats["watches"]["told"][0];
    assert_eq!(watch["scope"], "collection shop.orders");
    assert_eq!(watch["transport"], "sse");
    assert_eq!(watch["filter"], filter);
    assert_eq!(watch["delivered"], 2);
    assert_eq!(watch["matched"], 2);
    assert_eq!(watch["expiresInSeconds"], serde_json::Value::Null);
    assert_eq!(stats["consumers"][0]["name"], "mailer");
    assert_eq!(stats["consumers"][0]["members"], 1);
    assert_eq!(stats["http"]["connections"], 2);
    drop(consumer);
}

#[test]
fn metrics_are_families_of_samples() {
    let served = Running::new();
    served.insert(0..3);
    let _watch = served.get("/v1/watch", &["Accept: application/x-ndjson"]);
    let response = served.get("/metrics", &[]);
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = response.body();
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut values: BTreeMap<&str, f64> = BTreeMap::new();
    let mut helped = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split_once(' ').map(|(name, _)| name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(helped, Some(name));
            assert!(types.insert(name, kind).is_none(), "{name} comes twice");
            // Prometheus' conventions.
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let family = helped.unwrap();
            assert!(
                name == family || (types[family] == "histogram" && name.starts_with(family)),
                "{line}"
            );
            assert!(
                values.insert(sample, value.parse().unwrap()).is_none(),
                "{sample} comes twice"
            );
        }
    }
    let appended = served.store.log().watermarks().appended.get() as f64;
    assert_eq!(
        values["tailwater_log_watermark_op_id{watermark=\"appended\"}"],
        appended
    );
    assert_eq!(values["tailwater_watches{transport=\"ndjson\"}"], 1.0);
    let syncs = values["tailwater_log_sync_duration_seconds_count"];
    assert!(syncs >= 1.0);
    assert_eq!(values["tailwater_log_sync_duration_seconds_bucket{le=\"+Inf\"}"], syncs);
}

#[test]
fn metrics_tell_of_those_that_follow() {
    let served = Running::new();
    assert!(!served.get("/metrics", &[]).body().contains("tailwater_replication"));
    let primary = served.store.primary("ada").start().unwrap();
    let there = tempfile::tempdir().unwrap();
    let follower = Store::follower(there.path(), "bo", primary.address().to_string())
        .start()
        .unwrap();
    served.insert(0..3);
    served.store.sync().unwrap();
    let last = served.store.log().watermarks().durable;
    let both = WriteConcern::members(2).unwrap();
    primary.wait(last, both, PATIENCE).unwrap();
    // It comes anew once its log has everything that its copy of the state covers.
    follower.wait_for(last, PATIENCE).unwrap();
    let begun = Instant::now();
    let text = loop {
        let text = served.get("/metrics", &[]).body();
        if text.contains("tailwater_replication_member_connected{member=\"bo\"} 1") || begun.elapsed() > PATIENCE {
            break text;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    for line in [
        "tailwater_replication_role{role=\"primary\"} 1".to_owned(),
        "tailwater_replication_member_connected{member=\"bo\"} 1".to_owned(),
        "tailwater_replication_member_partial{member=\"bo\"} 0".to_owned(),
        format!("tailwater_replication_member_held_op_id{{member=\"bo\"}} {last}"),
        "tailwater_replication_member_behind_entries{member=\"bo\"} 0".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    drop(follower);
    drop(primary);
    assert!(!served.get("/metrics", &[]).body().contains("tailwater_replication"));
}

/// The sample of that family which has no labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn metrics_of_a_follower_tell_how_far_it_has_come() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(here.path()).unwrap();
    let things = store.collection("shop", "things").unwrap();
    things.insert_one(&rawdoc! { "_id": 0 }).unwrap();
    let primary = store.primary("ada").members(["ada", "bo"]).start().unwrap();
    let builder = Store::follower(there.path(), "bo", primary.address().to_string());
    let follower = builder.members(["ada", "bo"]).start().unwrap();
    let insert = |id: i32| {
        let last = things.insert_one(&rawdoc! { "_id": id }).unwrap().op_id;
        primary.wait(last, WriteConcern::Majority, PATIENCE).unwrap();
        follower.wait_for(last, PATIENCE).unwrap();
        last.get() as f64
    };
    let last = insert(1);
    let options = HttpOptions {
        bind: "127.0.0.1:0".parse().unwrap(),
        ..HttpOptions::default()
    };
    let served = Running::over(Store::of_follower(&follower).unwrap(), options);
    let text_once = |holds: &dyn Fn(&str) -> bool| {
        let begun = Instant::now();
        loop {
            let text = served.get("/metrics", &[]).body();
            if holds(&text) || begun.elapsed() > PATIENCE {
                break text;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let of = |text: &str, family: &str| sample(text, &format!("tailwater_replication_{family}"));
    // What a majority holds is said behind the entries.
    let first = text_once(&|text| of(text, "majority_op_id") >= Some(last));
    assert!(
        first
            .lines()
            .any(|line| line == "tailwater_replication_role{role=\"follower\"} 1"),
        "{first}"
    );
    for family in ["majority_op_id", "durable_op_id", "newest_op_id"] {
        assert!(of(&first, family) >= Some(last), "{family} in {first}");
    }
    for family in ["behind_entries", "behind_seconds", "copied_bytes", "copy_bytes"] {
        assert_eq!(of(&first, family), Some(0.0), "{family} in {first}");
    }
    let bytes = of(&first, "received_bytes_total");
    assert!(bytes > Some(0.0), "{first}");
    // They go on with it.
    let last = insert(2);
    let second = text_once(&|text| of(text, "durable_op_id") >= Some(last));
    assert!(of(&second, "received_bytes_total") > bytes, "{second}");
    assert!(of(&second, "newest_op_id") >= Some(last), "{second}");
    // With the primary gone, nothing that it spoke of is missing.
    drop(primary);
    let third = served.get("/metrics", &[]).body();
    assert_eq!(of(&third, "behind_entries"), Some(0.0), "{third}");
    drop(follower);
    assert!(!served.get("/metrics", &[]).body().contains("tailwater_replication"));
}

#[test]
fn readiness_follows_the_store() {
    let served = Running::new();
    assert_eq!(served.get("/healthz", &[]).body(), "ok\n");
    assert_eq!(served.get("/readyz", &[]).body(), "ready\n");
    served.store.clone().close().unwrap();
    assert_eq!(served.get("/healthz", &[]).status, 200);
    assert_eq!(served.get("/readyz", &[]).status, 503);
    assert_eq!(served.get("/v1/watch", &[]).status, 503);
}

#[test]
fn the_dashboard_comes_from_the_program_alone() {
    let served = Running::new();
    let page = served.get("/", &[]);
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let html = page.body();
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "the page asks elsewhere"
    );
    assert!(
        !html.contains("style=") && !html.contains("onclick="),
        "the policy forbids what stands in the page"
    );
    for reference in html.split(['"', '\'']).filter(|text| text.starts_with("/dashboard/")) {
        let asset = served.get(reference, &[]);
        assert_eq!(asset.status, 200, "{reference}");
        let tag = asset.header("etag").unwrap().to_owned();
        assert_eq!(served.get(reference, &[&format!("If-None-Match: {tag}")]).status, 304);
    }
}

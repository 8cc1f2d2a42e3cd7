//! What operators and their tools see: numbers, metrics, health, and the dashboard's files.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Running, encoded};
use tailwater::Store;
use tailwater::replication::WriteConcern;

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
    primary.wait(last, both, Duration::from_secs(60)).unwrap();
    let text = served.get("/metrics", &[]).body();
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

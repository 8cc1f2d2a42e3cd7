//! `/metrics`: the numbers in Prometheus' text format (Prometheus documentation: *Exposition formats*, *Metric and label
//! naming*).

mod replication;
mod text;

use tailwater::oplog::Histogram;

use crate::server::Shared;
use crate::stats::{Dispatcher, Snapshot};
use text::{Kind, Text};

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as they are now.
pub(crate) fn render(shared: &Shared) -> String {
    let mut text = Text::default();
    text.family("tailwater_build_info", Kind::Gauge, "The release that runs.");
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    text.family("tailwater_uptime_seconds", Kind::Gauge, "How long the server has run.");
    text.sample(&[], shared.monitor.uptime().as_secs_f64());
    let snapshot = shared.monitor.snapshot(shared);
    text.family("tailwater_up", Kind::Gauge, "Whether the log can be looked at.");
    text.sample(&[], if snapshot.is_ok() { 1.0 } else { 0.0 });
    if let Ok(snapshot) = snapshot {
        log(&mut text, &snapshot);
        watches(&mut text, &snapshot);
        http(&mut text, &snapshot);
    }
    replication::render(&mut text, &shared.store);
    wire(&mut text, shared);
    text.finish()
}

fn log(text: &mut Text, snapshot: &Snapshot) {
    let stats = &snapshot.stats;
    let marks = [
        ("oldest", stats.watermarks.oldest),
        ("released", stats.watermarks.released),
        ("durable", stats.watermarks.durable),
        ("appended", stats.watermarks.appended),
    ];
    text.family(
        "tailwater_log_watermark_op_id",
        Kind::Gauge,
        "The entry that each watermark of the log stands at.",
    );
    for (watermark, op_id) in marks {
        text.sample(&[("watermark", watermark)], op_id.get() as f64);
    }
    for (name, kind, help, value) in [
        (
            "tailwater_log_term",
            Kind::Gauge,
            "The term that is written in.",
            f64::from(stats.term.get()),
        ),
        (
            "tailwater_log_segments",
            Kind::Gauge,
            "Segments in the log.",
            stats.segments as f64,
        ),
        (
            "tailwater_log_size_bytes",
            Kind::Gauge,
            "Bytes of all files of the log.",
            snapshot.log.bytes as f64,
        ),
        (
            "tailwater_log_poisoned",
            Kind::Gauge,
            "Whether a sync has failed, and the log takes no more writes.",
            f64::from(u8::from(stats.poisoned)),
        ),
        (
            "tailwater_log_entries_appended_total",
            Kind::Counter,
            "Entries that were appended.",
            stats.batch_entries.sum() as f64,
        ),
        (
            "tailwater_log_appended_bytes_total",
            Kind::Counter,
            "Bytes of frames that were appended.",
            stats.append_bytes.sum() as f64,
        ),
        (
            "tailwater_log_rolls_total",
            Kind::Counter,
            "Segments that were begun.",
            stats.rolls as f64,
        ),
    ] {
        text.family(name, kind, help);
        text.sample(&[], value);
    }
    text.family(
        "tailwater_log_sync_duration_seconds",
        Kind::Histogram,
        "How long syncs took.",
    );
    histogram(text, &stats.sync_micros, 1e-6);
    text.family(
        "tailwater_log_sync_entries",
        Kind::Histogram,
        "Entries that each sync made durable.",
    );
    histogram(text, &stats.sync_entries, 1.0);
    let slots = &snapshot.log.slots;
    text.family(
        "tailwater_log_slot_lag_bytes",
        Kind::Gauge,
        "Bytes of segments that a retention slot can keep.",
    );
    slots
        .iter()
        .for_each(|slot| text.sample(&[("slot", &slot.name)], slot.lag_bytes as f64));
    text.family(
        "tailwater_log_slot_lag_entries",
        Kind::Gauge,
        "Entries from a retention slot's position on.",
    );
    slots
        .iter()
        .for_each(|slot| text.sample(&[("slot", &slot.name)], slot.lag_entries as f64));
    text.family(
        "tailwater_log_slot_lost",
        Kind::Gauge,
        "Whether a retention slot has lost what it held.",
    );
    slots
        .iter()
        .for_each(|slot| text.sample(&[("slot", &slot.name)], f64::from(u8::from(slot.lost))));
}

/// Buckets as Prometheus has them: how many are at or below each bound.
fn histogram(text: &mut Text, histogram: &Histogram, unit: f64) {
    let mut seen = 0;
    for (bound, count) in histogram.buckets() {
        seen += count;
        // The bound itself is not in the bucket, the whole number before it is.
        text.bucket(Some((bound - 1) as f64 * unit), seen);
    }
    text.bucket(None, seen);
    text.totals(histogram.sum() as f64 * unit, histogram.count());
}

fn watches(text: &mut Text, snapshot: &Snapshot) {
    text.family("tailwater_watches", Kind::Gauge, "Watches that are served.");
    for (transport, count) in &snapshot.watches.by_transport {
        text.sample(&[("transport", transport)], *count as f64);
    }
    text.family(
        "tailwater_watch_lag_entries_max",
        Kind::Gauge,
        "Entries that the watch which is furthest behind has before it.",
    );
    text.sample(&[], snapshot.watches.max_lag_entries as f64);
    type Number = fn(&Dispatcher) -> f64;
    let families: [(&str, Kind, &str, Number); 8] = [
        (
            "tailwater_dispatcher_watches",
            Kind::Gauge,
            "Watches on the shared tail.",
            |line| line.live as f64,
        ),
        (
            "tailwater_dispatcher_distinct_watches",
            Kind::Gauge,
            "Distinct watches on the shared tail.",
            |line| line.distinct as f64,
        ),
        (
            "tailwater_dispatcher_catching_up_watches",
            Kind::Gauge,
            "Watches that catch up behind the shared tail.",
            |line| line.catching_up as f64,
        ),
        (
            "tailwater_dispatcher_entries_total",
            Kind::Counter,
            "Entries that were read for watches.",
            |line| line.entries as f64,
        ),
        (
            "tailwater_dispatcher_evaluations_total",
            Kind::Counter,
            "Filters that were evaluated.",
            |line| line.evaluations as f64,
        ),
        (
            "tailwater_dispatcher_matches_total",
            Kind::Counter,
            "Filters that held.",
            |line| line.matches as f64,
        ),
        (
            "tailwater_dispatcher_events_delivered_total",
            Kind::Counter,
            "Events that were put into watches' channels.",
            |line| line.delivered as f64,
        ),
        (
            "tailwater_dispatcher_parks_total",
            Kind::Counter,
            "Channels that were found full, so that their watches were parked.",
            |line| line.parks as f64,
        ),
    ];
    for (name, kind, help, number) in families {
        text.family(name, kind, help);
        for line in &snapshot.dispatcher {
            text.sample(&[("read_concern", line.read_concern)], number(line));
        }
    }
    text.family(
        "tailwater_consumer_lag_entries",
        Kind::Gauge,
        "Entries behind a durable consumer's position.",
    );
    for consumer in &snapshot.consumers {
        text.sample(&[("consumer", &consumer.name)], consumer.lag_entries as f64);
    }
    text.family(
        "tailwater_consumer_members",
        Kind::Gauge,
        "Members that a durable consumer has.",
    );
    for consumer in &snapshot.consumers {
        text.sample(&[("consumer", &consumer.name)], consumer.members as f64);
    }
    text.family(
        "tailwater_consumer_acknowledged_total",
        Kind::Counter,
        "Events that a durable consumer has acknowledged.",
    );
    for consumer in &snapshot.consumers {
        text.sample(&[("consumer", &consumer.name)], consumer.acknowledged as f64);
    }
    text.family(
        "tailwater_consumer_dead_letters_total",
        Kind::Counter,
        "Events of a durable consumer that have become dead letters.",
    );
    for consumer in &snapshot.consumers {
        text.sample(&[("consumer", &consumer.name)], consumer.dead_lettered as f64);
    }
}

fn http(text: &mut Text, snapshot: &Snapshot) {
    let http = &snapshot.http;
    for (name, kind, help, value) in [
        (
            "tailwater_http_connections",
            Kind::Gauge,
            "HTTP connections that are open.",
            http.connections as u64,
        ),
        (
            "tailwater_http_connections_total",
            Kind::Counter,
            "HTTP connections since the server began.",
            http.connections_total,
        ),
        (
            "tailwater_http_connections_refused_total",
            Kind::Counter,
            "HTTP connections for which there was no place.",
            http.refused_total,
        ),
        (
            "tailwater_http_requests_total",
            Kind::Counter,
            "HTTP requests.",
            http.requests_total,
        ),
        (
            "tailwater_http_problems_total",
            Kind::Counter,
            "HTTP requests that were refused or have failed.",
            http.problems_total,
        ),
    ] {
        text.family(name, kind, help);
        text.sample(&[], value as f64);
    }
}

fn wire(text: &mut Text, shared: &Shared) {
    let Some(wire) = shared.monitor.wire() else { return };
    for (name, kind, help, value) in [
        (
            "tailwater_server_connections",
            Kind::Gauge,
            "Connections of MongoDB's protocol that are open.",
            wire.connections,
        ),
        (
            "tailwater_server_connections_total",
            Kind::Counter,
            "Connections of MongoDB's protocol since the server began.",
            wire.connections_total,
        ),
        (
            "tailwater_server_commands_total",
            Kind::Counter,
            "Commands of MongoDB's protocol.",
            wire.commands_total,
        ),
        (
            "tailwater_server_cursors",
            Kind::Gauge,
            "Cursors that are open.",
            wire.cursors,
        ),
        (
            "tailwater_server_sessions",
            Kind::Gauge,
            "Logical sessions that are open.",
            wire.sessions,
        ),
    ] {
        text.family(name, kind, help);
        text.sample(&[], value as f64);
    }
}

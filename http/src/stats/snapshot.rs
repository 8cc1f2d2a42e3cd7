//! How things are at one moment, in the shape of `/v1/stats` (`docs/http.md`).

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use serde::Serialize;
use std::sync::atomic::Ordering;
use tailwater::oplog::{LogStat, RetentionSlot, SegmentStat, SlotState, Stats, Timestamp, stat};
use tailwater::{ConsumerStatus, DispatcherStats, OpId, ReadConcern, WatchStatus};

use super::expiry::{Expiry, Extent};
use super::history::Point;
use crate::problem::{Answer, Problem};
use crate::server::Shared;

/// Watches that are told of one by one: those that are furthest behind.
const WATCHES_TOLD: usize = 200;
/// Segments that are told of one by one: the newest.
const SEGMENTS_TOLD: usize = 200;
/// Characters of a filter or pipeline that are told.
const TEXT_CHARS: usize = 500;

/// How things are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot {
    version: &'static str,
    /// Milliseconds since 1970.
    now: i64,
    uptime_seconds: f64,
    pub(crate) log: Log,
    pub(crate) dispatcher: Vec<Dispatcher>,
    pub(crate) watches: Watches,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) http: Http,
    wire: Option<Wire>,
    /// Points of plots, the oldest first.
    history: Vec<Point>,
    #[serde(skip)]
    pub(crate) stats: Stats,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Log {
    id: String,
    term: u32,
    path: String,
    following: bool,
    poisoned: bool,
    oldest: u64,
    released: u64,
    durable: u64,
    appended: u64,
    pub(crate) bytes: u64,
    entries_per_second: f64,
    bytes_per_second: f64,
    /// Since the store was opened.
    entries_written: u64,
    bytes_written: u64,
    syncs: u64,
    sync_micros_p50: u64,
    sync_micros_p99: u64,
    retention: RetentionLimits,
    segment_count: usize,
    segments: Vec<Segment>,
    pub(crate) slots: Vec<Slot>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RetentionLimits {
    max_bytes: Option<u64>,
    max_age_seconds: Option<f64>,
    hard_max_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Segment {
    file: String,
    state: String,
    first: u64,
    last: u64,
    frame_bytes: Option<u64>,
    file_bytes: u64,
    /// Milliseconds since 1970.
    from: Option<i64>,
    to: Option<i64>,
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slot {
    pub(crate) name: String,
    position: u64,
    pub(crate) lag_entries: u64,
    pub(crate) lag_bytes: u64,
    max_lag_bytes: u64,
    pub(crate) lost: bool,
}

/// Of the reader that watches with one read concern share.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dispatcher {
    pub(crate) read_concern: &'static str,
    pub(crate) live: usize,
    pub(crate) distinct: usize,
    pub(crate) catching_up: usize,
    pub(crate) entries: u64,
    pub(crate) evaluations: u64,
    pub(crate) matches: u64,
    pub(crate) delivered: u64,
    pub(crate) parks: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Watches {
    pub(crate) total: usize,
    pub(crate) max_lag_entries: u64,
    /// Those that are furthest behind.
    told: Vec<WatchLine>,
    #[serde(skip)]
    pub(crate) by_transport: std::collections::BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WatchLine {
    id: u64,
    scope: String,
    transport: &'static str,
    client: String,
    filter: Option<String>,
    pipeline: Option<String>,
    /// Milliseconds since 1970.
    since: i64,
    matched: u64,
    delivered: u64,
    lag_entries: u64,
    lag_seconds: f64,
    token: String,
    expires_in_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Consumer {
    pub(crate) name: String,
    scope: String,
    position: u64,
    token: String,
    pub(crate) lag_entries: u64,
    lag_bytes: Option<u64>,
    lost: bool,
    pub(crate) members: u64,
    in_flight: u64,
    waiting: u64,
    pub(crate) acknowledged: u64,
    pub(crate) dead_lettered: u64,
    last_activity: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Http {
    pub(crate) connections: usize,
    connections_max: usize,
    pub(crate) connections_total: u64,
    pub(crate) refused_total: u64,
    pub(crate) requests_total: u64,
    pub(crate) problems_total: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    connections: u64,
    connections_max: u64,
    connections_total: u64,
    commands_total: u64,
    cursors: u64,
    sessions: u64,
}

impl Snapshot {
    pub(super) fn take(shared: &Shared, history: Vec<Point>) -> Answer<Snapshot> {
        let store = &shared.store;
        let view = store.log();
        let internal = |what: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, what);
        let found = stat(view.path()).map_err(|error| internal(error.to_string()))?;
        let stats = store.log_stats();
        let slots = store.slots();
        let rates = history.last().map_or((0.0, 0.0), |point| (point.entries, point.bytes));
        let expiry = Expiry {
            retention: store.retention(),
            extents: found.segments.iter().map(extent).collect(),
            // The store's own holds what its next checkpoint lets go of.
            held_from: slots
                .iter()
                .filter(|slot| slot.state == SlotState::Active && !slot.name.starts_with("tailwater."))
                .map(|slot| slot.position)
                .min(),
            bytes_per_second: mean(history.iter().map(|point| point.bytes)),
            now: Timestamp::now(),
        };
        let newest = view.newest(ReadConcern::Local);
        let newest_at = view.get(newest, ReadConcern::Local).ok().map(|entry| entry.timestamp());
        let counters = &shared.counters;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            now: bson::DateTime::now().timestamp_millis(),
            uptime_seconds: shared.monitor.uptime().as_secs_f64(),
            log: Log::of(shared, &found, &stats, &slots, rates),
            dispatcher: [(shared.options.majority(), "majority"), (ReadConcern::Local, "local")]
                .map(|(concern, name)| Dispatcher::of(name, store.watch_stats(concern)))
                .into(),
            watches: Watches::of(store.listed_watches().statuses(), (newest, newest_at), &expiry),
            consumers: store.consumers()?.into_iter().map(Consumer::of).collect(),
            http: Http {
                connections: shared.connections(),
                connections_max: shared.options.connections_max,
                connections_total: count(&counters.connections),
                refused_total: count(&counters.refused),
                requests_total: count(&counters.requests),
                problems_total: count(&counters.problems),
            },
            wire: shared.monitor.wire().map(|wire| Wire {
                connections: wire.connections,
                connections_max: wire.connections_max,
                connections_total: wire.connections_total,
                commands_total: wire.commands_total,
                cursors: wire.cursors,
                sessions: wire.sessions,
            }),
            history,
            stats,
        })
    }
}

impl Log {
    fn of(shared: &Shared, found: &LogStat, stats: &Stats, slots: &[RetentionSlot], rates: (f64, f64)) -> Log {
        let retention = shared.store.retention();
        let first_told = found.segments.len().saturating_sub(SEGMENTS_TOLD);
        Log {
            id: stats.log_id.to_string(),
            term: stats.term.get(),
            path: found.path.display().to_string(),
            following: shared.store.is_following(),
            poisoned: stats.poisoned,
            oldest: stats.watermarks.oldest.get(),
            released: stats.watermarks.released.get(),
            durable: stats.watermarks.durable.get(),
            appended: stats.watermarks.appended.get(),
            bytes: found.bytes,
            entries_per_second: rates.0,
            bytes_per_second: rates.1,
            entries_written: stats.batch_entries.sum(),
            bytes_written: stats.append_bytes.sum(),
            syncs: stats.sync_micros.count(),
            sync_micros_p50: stats.sync_micros.quantile(0.5),
            sync_micros_p99: stats.sync_micros.quantile(0.99),
            retention: RetentionLimits {
                max_bytes: retention.max_bytes,
                max_age_seconds: retention.max_age.map(|age| age.as_secs_f64()),
                hard_max_bytes: retention.hard_max_bytes,
            },
            segment_count: found.segments.len(),
            segments: found.segments[first_told..].iter().map(Segment::of).collect(),
            slots: slots.iter().map(Slot::of).collect(),
        }
    }
}

impl Segment {
    fn of(segment: &SegmentStat) -> Segment {
        let file = segment.path.file_name().unwrap_or_default();
        Segment {
            file: file.to_string_lossy().into_owned(),
            state: format!("{:?}", segment.state).to_lowercase(),
            first: segment.first.get(),
            last: segment.last.get(),
            frame_bytes: segment.frame_bytes,
            file_bytes: segment.file_bytes,
            from: segment.timestamps.map(|(from, _)| millis(from)),
            to: segment.timestamps.map(|(_, to)| millis(to)),
            refused: segment.refused.as_ref().map(ToString::to_string),
        }
    }
}

impl Slot {
    fn of(slot: &RetentionSlot) -> Slot {
        Slot {
            name: slot.name.clone(),
            position: slot.position.get(),
            lag_entries: slot.lag_entries,
            lag_bytes: slot.lag_bytes,
            max_lag_bytes: slot.max_lag_bytes,
            lost: slot.state == SlotState::Lost,
        }
    }
}

impl Dispatcher {
    fn of(read_concern: &'static str, stats: DispatcherStats) -> Dispatcher {
        let (tail, behind) = (stats.tail, stats.behind);
        Dispatcher {
            read_concern,
            live: stats.live,
            distinct: stats.distinct,
            catching_up: stats.catching_up,
            entries: tail.entries + behind.entries,
            evaluations: tail.evaluations + behind.evaluations,
            matches: tail.matches + behind.matches,
            delivered: tail.delivered + behind.delivered,
            parks: tail.parks + behind.parks,
        }
    }
}

impl Watches {
    fn of(mut statuses: Vec<WatchStatus>, newest: (OpId, Option<Timestamp>), expiry: &Expiry) -> Watches {
        let total = statuses.len();
        let mut by_transport = std::collections::BTreeMap::new();
        for status in &statuses {
            *by_transport.entry(status.description.transport).or_default() += 1;
        }
        statuses.sort_by_key(|status| (status.token.op_id(), status.id));
        let lag = |status: &WatchStatus| newest.0.get().saturating_sub(status.token.op_id().get());
        let max_lag_entries = statuses.first().map_or(0, lag);
        statuses.truncate(WATCHES_TOLD);
        let line = |status: WatchStatus| {
            let lag_entries = lag(&status);
            let lag_nanos = match newest.1 {
                Some(newest_at) if lag_entries > 0 => {
                    newest_at.as_nanos().saturating_sub(status.token.timestamp().as_nanos())
                }
                _ => 0,
            };
            let description = &status.description;
            WatchLine {
                id: status.id,
                scope: description.scope.to_string(),
                transport: description.transport,
                client: description.client.clone(),
                filter: description.filter.as_deref().map(shortened),
                pipeline: description.pipeline.as_deref().map(shortened),
                since: since_1970(status.since),
                matched: status.matched(),
                delivered: status.delivered,
                lag_entries,
                lag_seconds: lag_nanos as f64 / 1e9,
                token: status.token.to_string(),
                expires_in_seconds: expiry.of(status.token.op_id()).map(|left| left.as_secs_f64()),
            }
        };
        Watches {
            total,
            max_lag_entries,
            told: statuses.into_iter().map(line).collect(),
            by_transport,
        }
    }
}

impl Consumer {
    fn of(status: ConsumerStatus) -> Consumer {
        Consumer {
            scope: status.scope,
            position: status.position.op_id().get(),
            token: status.position.to_string(),
            lag_entries: status.lag_entries,
            lag_bytes: status.slot.as_ref().map(|slot| slot.lag_bytes),
            lost: status.slot.as_ref().is_none_or(|slot| slot.state == SlotState::Lost),
            members: status.members,
            in_flight: status.in_flight,
            waiting: status.waiting,
            acknowledged: status.acknowledged,
            dead_lettered: status.dead_lettered,
            last_activity: status.last_activity.timestamp_millis(),
            name: status.name,
        }
    }
}

fn extent(segment: &SegmentStat) -> Extent {
    let is_open = segment.state == tailwater::oplog::SegmentState::Open;
    Extent {
        first: segment.first,
        file_bytes: segment.file_bytes,
        sealed_at: segment.timestamps.map(|(_, last)| last).filter(|_| !is_open),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1);
    values.sum::<f64>() / count as f64
}

fn millis(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.as_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn since_1970(time: SystemTime) -> i64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

//! The last ten minutes, as points of plots.

use std::collections::VecDeque;
use std::time::Instant;

use serde::Serialize;
use tailwater::{ReadConcern, Store};

/// Points that are kept: ten minutes of them.
const POINTS: usize = 300;

/// What has been done since the store was opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    at: Instant,
    entries: u64,
    bytes: u64,
    syncs: u64,
    delivered: u64,
}

impl Totals {
    pub(super) fn of(store: &Store) -> Totals {
        let log = store.log_stats();
        let delivered = [ReadConcern::Local, ReadConcern::Durable, ReadConcern::Majority].map(|concern| {
            let stats = store.watch_stats(concern);
            stats.tail.delivered + stats.behind.delivered
        });
        Totals {
            at: Instant::now(),
            entries: log.batch_entries.sum(),
            bytes: log.append_bytes.sum(),
            syncs: log.sync_micros.count(),
            delivered: delivered.iter().sum(),
        }
    }
}

/// A point: rates since the one before.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Point {
    /// Milliseconds since 1970.
    at: i64,
    /// Entries appended to the log, each second.
    pub(crate) entries: f64,
    /// Bytes appended to the log, each second.
    pub(crate) bytes: f64,
    /// Syncs, each second.
    syncs: f64,
    /// Events given to subscriptions, each second.
    delivered: f64,
    /// Listed watches.
    watches: usize,
}

/// The points, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<Totals>,
    points: VecDeque<Point>,
}

impl History {
    pub(super) fn add(&mut self, totals: Totals, watches: usize) {
        let Some(last) = self.last.replace(totals) else { return };
        let seconds = totals.at.duration_since(last.at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            at: bson::DateTime::now().timestamp_millis(),
            entries: rate(totals.entries, last.entries),
            bytes: rate(totals.bytes, last.bytes),
            syncs: rate(totals.syncs, last.syncs),
            delivered: rate(totals.delivered, last.delivered),
            watches,
        });
    }

    pub(super) fn points(&self) -> Vec<Point> {
        self.points.iter().copied().collect()
    }
}

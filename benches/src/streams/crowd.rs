//! Many watches with filters of their own, or all with the same.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{Receiver, WatchHandle};
use tailwater_matcher::Expression;
use tailwater_oplog::ReadConcern;

use super::events::{AMOUNTS, Bench, Draw, TENANT_USERS, document, insert};
use super::idle;
use crate::harness::{Dice, Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, Unit, notice};

/// Of the naive baseline so much time is measured, because it would take hours for every event.
const NAIVE_TIME: Duration = Duration::from_millis(300);

/// The filter of the n-th watch, over the document.
type Filter = fn(n: u64) -> RawDocumentBuf;

/// One user each: one match for each event.
fn by_user(n: u64) -> RawDocumentBuf {
    rawdoc! { "userId": n as i64 }
}

/// Of every other one the tenant's own user, of the others a tenant's orders with one status and amounts in a range: of the
/// twenty watches of a tenant ten have no rarer part than the tenant.
pub(super) fn conjunction(n: u64) -> RawDocumentBuf {
    let tenant = (n / TENANT_USERS) as i32;
    if n.is_multiple_of(2) {
        return rawdoc! { "tenant": tenant, "userId": n as i64 };
    }
    let low = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % AMOUNTS;
    let high = low + AMOUNTS / 10;
    let status = ["open", "paid", "closed"][(n / 2 % 3) as usize];
    rawdoc! { "tenant": tenant, "status": status, "amount": { "$gte": low as i32, "$lt": high as i32 } }
}

/// All the same; one event in five thousand matches.
fn same(_: u64) -> RawDocumentBuf {
    rawdoc! { "tenant": 7 }
}

/// The filter over events.
fn prefixed(filter: &RawDocument) -> bson::Document {
    let fields = filter.iter().flatten();
    let fields = fields.map(|(name, value)| {
        (
            format!("fullDocument.{name}"),
            value.try_into().unwrap_or(bson::Bson::Null),
        )
    });
    fields.collect()
}

/// A watch for each filter.
pub(super) fn subscribe(
    bench: &Bench,
    filters: impl Iterator<Item = RawDocumentBuf>,
    operation: Option<&str>,
) -> Result<Vec<(WatchHandle, Receiver)>> {
    let watches = filters.map(|filter| {
        let mut condition = prefixed(&filter);
        if let Some(operation) = operation {
            condition.insert("operationType", operation);
        }
        let stage = bson::doc! { "$match": condition };
        // Nobody receives here, and who parks would make it cheaper for the others.
        Ok(bench
            .watch()
            .pipeline([stage])
            .channel_capacity(1 << 20, 1 << 30)
            .subscribe()?)
    });
    watches.collect()
}

struct Crowd {
    watches: u64,
    events: u64,
    filter: Filter,
    draw: Draw,
    /// The filters also ask for this type of event.
    operation: Option<&'static str>,
}

impl Crowd {
    fn documents(&self) -> Vec<RawDocumentBuf> {
        let mut dice = Dice::new();
        (0..self.events)
            .map(|_| {
                let user = self.draw.below(&mut dice, self.watches);
                document(&mut dice, user)
            })
            .collect()
    }

    fn filters(&self) -> impl Iterator<Item = RawDocumentBuf> {
        (0..self.watches).map(self.filter)
    }

    /// Millions of events a second when every filter is evaluated on every event.
    fn naive(&self) -> Result<f64> {
        let filters: Vec<_> = self
            .filters()
            .map(|filter| Expression::parse(&filter))
            .collect::<std::result::Result<_, _>>()?;
        let documents = self.documents();
        let (begun, mut evaluated) = (Instant::now(), 0_u64);
        'time: for document in documents.iter().cycle() {
            for filters in filters.chunks(1000) {
                for filter in filters {
                    black_box(filter.matches(black_box(document))?);
                }
                evaluated += filters.len() as u64;
                if begun.elapsed() > NAIVE_TIME {
                    break 'time;
                }
            }
        }
        Ok(millions_per_second(evaluated, begun.elapsed()) / self.watches as f64)
    }

    /// Millions of events a second through the dispatcher into channels.
    fn dispatched(&self, plan: &Plan) -> Result<f64> {
        let bench = Bench::new(plan)?;
        let payloads: Vec<_> = self.documents().iter().map(insert).collect();
        let watches = subscribe(&bench, self.filters(), self.operation)?;
        // What the index learns from the first events belongs to no measurement, and neither do the joins.
        let (warm, measured) = payloads.split_at(payloads.len() / 10);
        bench.append_all(warm)?;
        bench.wait_dispatched();
        let before = bench.dispatcher.stats(ReadConcern::Local).tail;
        let (time, appended) = timed(|| -> Result<()> {
            bench.append_all(measured)?;
            bench.wait_dispatched();
            Ok(())
        });
        appended?;
        let after = bench.dispatcher.stats(ReadConcern::Local).tail;
        let share = |now: u64, then: u64| (now - then) as f64 / measured.len() as f64;
        notice(&format!(
            "{} watches: {:.2} evaluations and {:.2} deliveries an event",
            watches.len(),
            share(after.evaluations, before.evaluations),
            share(after.delivered, before.delivered)
        ));
        Ok(millions_per_second(measured.len() as u64, time))
    }

    fn compare(&self, plan: &Plan, name: &'static str) -> Result<Comparison> {
        let (naive, dispatched) = plan.alternate(|| self.naive(), || self.dispatched(plan))?;
        Ok(Comparison::new(name, Unit::MillionsPerSecond, naive, dispatched))
    }
}

pub(super) fn watchers_10k(plan: &Plan) -> Result<Vec<Comparison>> {
    let crowd = |draw, operation| Crowd {
        watches: 10_000,
        events: plan.pick(500_000, 100_000),
        filter: by_user,
        draw,
        operation,
    };
    Ok(vec![
        crowd(Draw::Uniform, None).compare(plan, "watchers-10k")?,
        crowd(Draw::Zipf, None).compare(plan, "watchers-10k-zipf")?,
        // What most pipelines ask for; the naive ones are not charged for it.
        crowd(Draw::Uniform, Some("insert")).compare(plan, "watchers-10k-operation")?,
    ])
}

pub(super) fn watchers_100k(plan: &Plan) -> Result<Vec<Comparison>> {
    let crowd = |draw| Crowd {
        watches: 100_000,
        events: plan.pick(500_000, 100_000),
        filter: conjunction,
        draw,
        operation: None,
    };
    Ok(vec![
        crowd(Draw::Uniform).compare(plan, "watchers-100k")?,
        crowd(Draw::Zipf).compare(plan, "watchers-100k-zipf")?,
    ])
}

pub(super) fn watchers_1m(plan: &Plan) -> Result<Vec<Comparison>> {
    let crowd = Crowd {
        watches: 1_000_000,
        events: plan.pick(300_000, 100_000),
        filter: conjunction,
        draw: Draw::Uniform,
        operation: None,
    };
    let idle = idle::compare(plan, "watchers-1m-idle", crowd.watches)?;
    Ok(vec![crowd.compare(plan, "watchers-1m")?, idle])
}

pub(super) fn same_filter(plan: &Plan) -> Result<Vec<Comparison>> {
    let crowd = Crowd {
        watches: 100_000,
        events: plan.pick(50_000, 20_000),
        filter: same,
        draw: Draw::Uniform,
        operation: None,
    };
    Ok(vec![crowd.compare(plan, "same-filter-100k")?])
}

/// The same number of matches with a thousand watches and with a million.
pub(super) fn growth(plan: &Plan) -> Result<Vec<Comparison>> {
    let crowd = |watches| Crowd {
        watches,
        events: plan.pick(300_000, 100_000),
        filter: by_user,
        draw: Draw::Uniform,
        operation: None,
    };
    let (few, many) = plan.alternate(|| crowd(1000).dispatched(plan), || crowd(1_000_000).dispatched(plan))?;
    Ok(vec![Comparison::new("growth", Unit::MillionsPerSecond, few, many)])
}

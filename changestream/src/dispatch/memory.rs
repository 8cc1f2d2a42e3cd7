//! Tests of what watches cost in memory, in bytes counted by the allocator. It counts what one thread does, so these drive a
//! [`Matching`] by hand.

use std::sync::Arc;

use allocation_counter::measure;
use bson::{doc, rawdoc};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Cursor, Durability, OpId, Oplog, Options, ReadConcern};
use tempfile::TempDir;

use super::channel::Channel;
use super::matching::Matching;
use super::plans::Plans;
use super::tail::Tail;
use crate::options::Watch;
use crate::scope::Scope;
use crate::token::ResumeToken;

const WATCHES: usize = 10_000;
/// For one that has nothing in its channel: plan, place in the index, channel. The allocator adds its own to what is counted
/// here; the benchmark `watchers-1m-idle` measures that.
const IDLE_BYTES_MAX: i64 = 1024;
const CAPACITY: usize = 8;
/// For each event in a channel: a place in its queue, with the room a queue grows by.
const PLACE_BYTES_MAX: i64 = 16;

struct Setup {
    _dir: TempDir,
    log: Oplog,
    tail: Tail,
    plans: Plans,
}

impl Setup {
    fn new() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes: 1 << 20,
            ..Options::default()
        };
        let log = options.open(dir.path()).unwrap();
        let tail = Tail::start(log.view(), ReadConcern::Local).unwrap();
        let _dir = dir;
        let plans = Plans::default();
        Setup { _dir, log, tail, plans }
    }

    fn append(&self, entries: usize) {
        for n in 0..entries as i32 {
            let entry = StoreEntry {
                database: "shop",
                collection: "orders",
                document: Some(&rawdoc! { "_id": n, "n": n }),
                ..StoreEntry::default()
            };
            let mut payload = Vec::new();
            entry.encode(&mut payload);
            let kind = EntryKind::Insert.number();
            self.log.append(kind, &payload, Durability::Memory).unwrap();
        }
    }

    /// The n-th of watches with a filter of their own each.
    fn join(&self, matching: &mut Matching, n: usize, filter: bson::Document) -> Arc<Channel> {
        let scope = Scope::Collection {
            database: "shop".to_owned(),
            collection: "orders".to_owned(),
        };
        let watch = Watch::new(self.log.view(), scope).pipeline([doc! { "$match": filter }]);
        let shared = &self.tail.shared;
        let plan = self.plans.intern(&n, || watch.compile()).unwrap();
        let token = ResumeToken::without_entry(self.log.log_id(), OpId::ZERO);
        let channel = Arc::new(Channel::new(Arc::clone(shared), plan, token, (CAPACITY, usize::MAX)));
        matching.join(Arc::clone(&channel), OpId::FIRST);
        channel
    }
}

fn dispatch(matching: &mut Matching, cursor: &mut Cursor, entries: usize) {
    for _ in 0..entries {
        let entry = cursor.try_next().unwrap().expect("it was appended");
        matching.dispatch(&entry);
    }
}

#[test]
fn an_idle_watch_costs_less_than_a_kibibyte() {
    let setup = Setup::new();
    let mut matching = Matching::default();
    let mut channels = Vec::with_capacity(WATCHES);
    let bytes = measure(|| {
        for n in 0..WATCHES {
            let tenant = (n % 100) as i32;
            let filter = match n % 2 {
                0 => doc! { "fullDocument.tenant": tenant, "fullDocument.userId": n as i64 },
                _ => doc! {
                    "fullDocument.tenant": tenant,
                    "fullDocument.status": "open",
                    "fullDocument.amount": { "$gte": n as i32, "$lt": n as i32 + 100 },
                },
            };
            channels.push(setup.join(&mut matching, n, filter));
        }
    })
    .bytes_current;
    let each = bytes / WATCHES as i64;
    assert!((1..=IDLE_BYTES_MAX).contains(&each), "{each} bytes");
}

#[test]
fn stalled_watches_keep_what_fits_and_nothing_more() {
    let setup = Setup::new();
    setup.append(CAPACITY + 1001);
    let mut cursor = setup.log.view().cursor(OpId::FIRST, ReadConcern::Local).unwrap();
    let mut matching = Matching::default();
    let channels: Vec<_> = (0..WATCHES)
        .map(|n| setup.join(&mut matching, n, doc! { "fullDocument.n": { "$gte": -(n as i32) } }))
        .collect();
    let filled = measure(|| dispatch(&mut matching, &mut cursor, CAPACITY)).bytes_current;
    let each = filled / WATCHES as i64;
    let most = PLACE_BYTES_MAX * CAPACITY as i64;
    assert!((1..=most).contains(&each), "{each} bytes");
    // With the next event all are parked, and what comes then costs nothing.
    dispatch(&mut matching, &mut cursor, 1);
    assert!(matching.is_empty());
    let more = measure(|| dispatch(&mut matching, &mut cursor, 1000)).bytes_current;
    assert!(more <= 0, "{more} bytes");
    assert!(channels.iter().all(|channel| channel.len() == CAPACITY));
}

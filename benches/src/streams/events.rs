//! A log with a store's entries, and where their values come from.

use bson::{RawDocumentBuf, rawdoc};
use tailwater::{Dispatcher, Scope, Watch};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Durability, OpId, Oplog, ReadConcern, Record};
use tempfile::TempDir;

use crate::harness::{Dice, Plan, Result};

const DATABASE: &str = "shop";
const COLLECTION: &str = "orders";

/// Users of one tenant.
pub(super) const TENANT_USERS: u64 = 20;
/// Amounts are below this.
pub(super) const AMOUNTS: u64 = 100_000;

/// How the users of events are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draw {
    Uniform,
    /// The n-th user about 1/n times as often as the first.
    Zipf,
}

impl Draw {
    /// A number below `bound`.
    pub(super) fn below(self, dice: &mut Dice, bound: u64) -> u64 {
        match self {
            Draw::Uniform => dice.below(bound),
            // The inverse of the continuous law with exponent 1: the logarithm is uniform.
            Draw::Zipf => {
                let share = dice.below(1 << 32) as f64 / f64::from(u32::MAX);
                ((bound as f64).powf(share) as u64).saturating_sub(1).min(bound - 1)
            }
        }
    }
}

/// The document of an event about that user.
pub(super) fn document(dice: &mut Dice, user: u64) -> RawDocumentBuf {
    let mut id = [7; 12];
    id[..8].copy_from_slice(&dice.below(u64::MAX).to_le_bytes());
    let status = ["open", "paid", "closed"][dice.below(3) as usize];
    rawdoc! {
        "_id": bson::oid::ObjectId::from_bytes(id),
        "tenant": (user / TENANT_USERS) as i32,
        "userId": user as i64,
        "status": status,
        "amount": dice.below(AMOUNTS) as i32,
        "currency": "EUR",
        "name": "Ada Lovelace",
        "email": "ada.lovelace@example.org",
        "address": "12 St James's Square, London SW1Y 4LE, United Kingdom",
        "note": "leave the parcel with the neighbour if nobody opens the door",
        "created": bson::DateTime::from_millis(1_700_000_000_000),
        "active": true,
    }
}

/// The payload of an insert.
pub(super) fn insert(document: &RawDocumentBuf) -> Vec<u8> {
    let entry = StoreEntry {
        database: DATABASE,
        collection: COLLECTION,
        collection_id: [7; 16],
        document: Some(document),
        ..StoreEntry::default()
    };
    let mut payload = Vec::new();
    entry.encode(&mut payload);
    payload
}

/// A log and its dispatcher.
pub(super) struct Bench {
    pub(super) log: Oplog,
    pub(super) dispatcher: Dispatcher,
    _dir: TempDir,
}

impl Bench {
    pub(super) fn new(plan: &Plan) -> Result<Bench> {
        let dir = plan.scratch()?;
        let log = Oplog::open(dir.path())?;
        let dispatcher = Dispatcher::new(log.view());
        let _dir = dir;
        Ok(Bench { log, dispatcher, _dir })
    }

    pub(super) fn watch(&self) -> Watch {
        self.dispatcher.watch(scope()).read_concern(ReadConcern::Local)
    }

    pub(super) fn append(&self, payload: &[u8]) -> Result<()> {
        self.append_with(payload, Durability::Memory)
    }

    pub(super) fn append_with(&self, payload: &[u8], durability: Durability) -> Result<()> {
        let kind = EntryKind::Insert.number();
        Ok(self.log.append(kind, payload, durability).map(drop)?)
    }

    /// Appends in batches.
    pub(super) fn append_all(&self, payloads: &[Vec<u8>]) -> Result<()> {
        for batch in payloads.chunks(64) {
            let pieces: Vec<[&[u8]; 1]> = batch.iter().map(|payload| [payload.as_slice()]).collect();
            let kind = EntryKind::Insert.number();
            let records: Vec<_> = pieces.iter().map(|payload| Record { kind, payload }).collect();
            self.log.append_batch(&records, Durability::Memory)?;
        }
        Ok(())
    }

    pub(super) fn newest(&self) -> OpId {
        self.log.view().newest(ReadConcern::Local)
    }

    /// Waits until every entry has been dispatched.
    pub(super) fn wait_dispatched(&self) {
        let newest = self.newest();
        while self.dispatcher.stats(ReadConcern::Local).position < newest {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
    }
}

pub(super) fn scope() -> Scope {
    Scope::Collection {
        database: DATABASE.to_owned(),
        collection: COLLECTION.to_owned(),
    }
}

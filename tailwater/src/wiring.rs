//! The store, as change streams know it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tailwater_changestream::{
    ConsumerGroups, Dispatcher, DocumentOrder, DocumentStore, Error, INTERNAL_DATABASE, Put, Result, StateCollection,
    StateQuery, StoreDocuments, StoreError, StoreState, WatchList, drop_stale_holds,
};
use tailwater_oplog::{
    Durability, Error as LogError, Interrupt, OpId, ReadConcern, RetentionSlot, SlotOptions, WaitOutcome,
};
use tailwater_storage as storage;

use storage::{FindOptions, ReplaceOptions, Snapshot, SortOrder, Transaction, TransactionOptions};

/// How long a state that is to be held by a majority waits for that.
const MAJORITY_WAIT: Duration = Duration::from_secs(10);

/// A store, and what all that is wired to it shares.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) store: storage::Store,
    pub(crate) shared: Arc<Shared>,
}

/// What there is once for a store, however often it is wired.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Reads the log once for all subscriptions.
    pub(crate) dispatcher: Dispatcher,
    /// Those that are served to others.
    pub(crate) watches: WatchList,
    groups: ConsumerGroups,
}

impl Wiring {
    pub(crate) fn new(store: storage::Store) -> Wiring {
        let shared = store.attached(|| {
            // Before anybody can read a snapshot of it.
            drop_stale_holds(store.slots(), |name| store.slot_drop(name).map_err(failed));
            Shared {
                dispatcher: Dispatcher::new(store.log()),
                watches: WatchList::default(),
                groups: ConsumerGroups::default(),
            }
        });
        Wiring { store, shared }
    }
}

impl Wiring {
    /// Waits until a majority is known to hold everything up to `op_id`.
    fn await_majority(&self, op_id: OpId) -> Result<()> {
        let deadline = Some(Instant::now() + MAJORITY_WAIT);
        let waited = self
            .store
            .log()
            .wait(op_id, ReadConcern::Majority, deadline, &Interrupt::new());
        match waited {
            WaitOutcome::Ready => Ok(()),
            WaitOutcome::Closed => Err(LogError::Closed.into()),
            WaitOutcome::TimedOut | WaitOutcome::Interrupted => Err(LogError::MajorityUnknown { op_id }.into()),
        }
    }
}

fn failed(error: storage::Error) -> Error {
    match error {
        storage::Error::Log(error) => Error::Log(error),
        error => Error::Store(StoreError::new(error)),
    }
}

impl DocumentStore for Wiring {
    fn state(&self, concern: ReadConcern) -> Result<Box<dyn StoreState>> {
        let snapshot = self.store.snapshot().map_err(failed)?;
        if concern != ReadConcern::Local {
            self.store.sync_to(snapshot.as_of()).map_err(failed)?;
        }
        if concern == ReadConcern::Majority {
            self.await_majority(snapshot.as_of())?;
        }
        Ok(Box::new(State(snapshot)))
    }

    fn finish_applying(&self) {
        self.store.finish_applying();
    }

    fn order(&self, sort: &bson::RawDocument) -> Result<Box<dyn DocumentOrder>> {
        Ok(Box::new(Order(SortOrder::parse(sort).map_err(failed)?)))
    }

    fn put(&self, writes: &[Put<'_>]) -> Result<OpId> {
        let options = TransactionOptions {
            durability: Some(Durability::Memory),
            ..TransactionOptions::default()
        };
        // Two may make the collection at the same time, and one of them meets a conflict.
        let written = self.store.with_transaction_options(&options, |transaction| {
            writes.iter().try_for_each(|put| replace(transaction, put))
        });
        written.map_err(failed)?;
        // Not before what was written.
        Ok(self.store.applied())
    }

    fn delete(&self, collection: &str, id: &str) -> Result<bool> {
        let collection = self.store.collection(INTERNAL_DATABASE, collection).map_err(failed)?;
        let deleted = collection.delete_one(&bson::rawdoc! { "_id": id });
        deleted.map(|outcome| outcome.modified > 0).map_err(failed)
    }

    fn slot_create(&self, name: &str, from: OpId, max_lag_bytes: u64) -> Result<()> {
        let options = SlotOptions { max_lag_bytes };
        self.store.slot_create(name, from, options).map_err(failed)
    }

    fn slot_advance(&self, name: &str, to: OpId) -> Result<()> {
        self.store.slot_advance(name, to).map(drop).map_err(failed)
    }

    fn slot_limit(&self, name: &str, max_lag_bytes: u64) -> Result<()> {
        let options = SlotOptions { max_lag_bytes };
        self.store.slot_limit(name, options).map_err(failed)
    }

    fn slot_drop(&self, name: &str) -> Result<()> {
        self.store.slot_drop(name).map_err(failed)
    }

    fn slots(&self) -> Vec<RetentionSlot> {
        self.store.slots()
    }

    fn groups(&self) -> &ConsumerGroups {
        &self.shared.groups
    }
}

/// `{_id: …}` of a document.
/// Puts a document in the place of the one with its `_id`, or inserts it, within a transaction.
pub(crate) fn replace(transaction: &Transaction, put: &Put<'_>) -> storage::Result<()> {
    let upsert = ReplaceOptions {
        upsert: true,
        ..ReplaceOptions::default()
    };
    let collection = transaction.collection(put.database, put.collection)?;
    collection.replace_one_with(&id_of(put.document), put.document, &upsert)?;
    Ok(())
}

fn id_of(document: &bson::RawDocument) -> bson::RawDocumentBuf {
    let mut filter = bson::RawDocumentBuf::new();
    if let Ok(Some(id)) = document.get("_id") {
        filter.append(bson::raw::cstr!("_id"), id);
    }
    filter
}

#[derive(Debug)]
struct State(Snapshot);

impl StoreState for State {
    fn as_of(&self) -> OpId {
        self.0.as_of()
    }

    fn collections(&self) -> Vec<StateCollection> {
        let collections = self.0.collections().into_iter();
        collections
            .map(|collection| StateCollection {
                database: collection.database,
                name: collection.name,
                uuid: collection.uuid,
            })
            .collect()
    }

    fn scan(&self, uuid: &[u8; 16], after: Option<&[u8]>) -> StoreDocuments {
        let documents = self.0.scan(uuid, after);
        Box::new(documents.map(|document| document.map_err(failed)))
    }

    fn find(&self, query: &StateQuery<'_>) -> Result<StoreDocuments> {
        let options = FindOptions {
            sort: Some(query.sort.to_owned()),
            limit: query.limit,
            ..FindOptions::default()
        };
        let found = self
            .0
            .find_with(query.database, query.collection, query.filter, &options);
        let documents = found.map_err(failed)?;
        Ok(Box::new(documents.map(|document| document.map_err(failed))))
    }
}

#[derive(Debug)]
struct Order(SortOrder);

impl DocumentOrder for Order {
    fn key(&self, document: &bson::RawDocument) -> Result<Vec<u8>> {
        self.0.key(document).map_err(failed)
    }
}

//! The store with its change streams: storage and change streams meet here and nowhere else.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bson::RawDocument;
use tailwater_changestream::{
    ConsumerGroups, ConsumerStatus, DispatcherStats, DocumentStore, Scope, Watch, WatchList, consumer_drop, consumers,
};
use tailwater_oplog::ReadConcern;
use tailwater_replication::{Primary, WriteConcern};
use tailwater_storage as storage;
use tailwater_storage::FindOptions;

use crate::find::Find;
use crate::wiring::Wiring;

pub use tailwater_oplog::{Error as LogError, OplogView as LogView};

/// A document store that can be watched. It is a [`tailwater_storage::Store`] with [`Store::watch`].
///
/// Clones are the same store. All their subscriptions share one reader of the log.
#[derive(Clone, Debug)]
pub struct Store(Arc<Wiring>);

impl Store {
    /// Opens the store in `dir` with default [`StoreOptions`](storage::StoreOptions), making it if need be.
    ///
    /// # Errors
    ///
    /// As [`StoreOptions::open`](storage::StoreOptions::open).
    pub fn open(dir: impl AsRef<Path>) -> storage::Result<Store> {
        Store::open_with(dir, &storage::StoreOptions::default())
    }

    /// Opens the store in `dir` with these options.
    ///
    /// # Errors
    ///
    /// As [`StoreOptions::open`](storage::StoreOptions::open).
    pub fn open_with(dir: impl AsRef<Path>, options: &storage::StoreOptions) -> storage::Result<Store> {
        Ok(Store::from(options.open(dir)?))
    }

    /// Watches every collection of every database.
    pub fn watch(&self) -> Watch {
        watch(&self.0, Scope::Everything)
    }

    /// Watches every collection of every database but `admin`, `config` and `local`, as clients of a server do who watch all of it.
    pub fn watch_deployment(&self) -> Watch {
        watch(&self.0, Scope::Deployment)
    }

    /// Watches every collection of one database.
    pub fn watch_database(&self, database: &str) -> Watch {
        watch(&self.0, Scope::Database(database.to_owned()))
    }

    /// What the reader that subscriptions with that read concern share has done.
    #[must_use]
    pub fn watch_stats(&self, concern: ReadConcern) -> DispatcherStats {
        self.0.shared.dispatcher.stats(concern)
    }

    /// The watches of this store that are served to others, and listed by those who serve them.
    #[must_use]
    pub fn listed_watches(&self) -> &WatchList {
        &self.0.shared.watches
    }

    /// The durable consumers, by name, whether or not they have members now. See [`Watch::consumer`].
    ///
    /// # Errors
    ///
    /// [`Error::MalformedConsumer`](tailwater_changestream::Error::MalformedConsumer), and the store's.
    pub fn consumers(&self) -> tailwater_changestream::Result<Vec<ConsumerStatus>> {
        consumers(&*self.0, &self.0.store.log())
    }

    /// Those that have members now.
    pub(crate) fn groups(&self) -> &ConsumerGroups {
        self.0.groups()
    }

    /// Drops a durable consumer that has no members: its position, and what the log keeps for it. Its dead letters stay.
    ///
    /// # Errors
    ///
    /// [`Error::ConsumerActive`](tailwater_changestream::Error::ConsumerActive),
    /// [`Error::NoSuchConsumer`](tailwater_changestream::Error::NoSuchConsumer), and the store's.
    pub fn consumer_drop(&self, name: &str) -> tailwater_changestream::Result<()> {
        consumer_drop(&*self.0, name)
    }

    /// A collection by name.
    ///
    /// # Errors
    ///
    /// As [`tailwater_storage::Store::collection`].
    pub fn collection(&self, database: &str, collection: &str) -> storage::Result<Collection> {
        let inner = self.0.store.collection(database, collection)?;
        let wiring = Arc::clone(&self.0);
        Ok(Collection { inner, wiring })
    }

    /// Closes the store. See [`tailwater_storage::Store::close`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close(self) -> storage::Result<()> {
        self.0.store.clone().close()
    }
}

/// A store that was opened by other means, such as a follower's. However often that is done, all are handles of the same store, with
/// the same reader of the log and the same consumers.
impl From<storage::Store> for Store {
    fn from(store: storage::Store) -> Store {
        Store(Arc::new(Wiring::new(store)))
    }
}

impl Deref for Store {
    type Target = storage::Store;

    fn deref(&self) -> &storage::Store {
        &self.0.store
    }
}

/// A collection that can be watched. It is a [`tailwater_storage::Collection`] with [`Collection::watch`].
#[derive(Clone, Debug)]
pub struct Collection {
    inner: storage::Collection,
    wiring: Arc<Wiring>,
}

impl Collection {
    /// Watches the collection, from now on unless the watch says otherwise.
    pub fn watch(&self) -> Watch {
        let (database, collection) = (self.database_name().to_owned(), self.name().to_owned());
        watch(&self.wiring, Scope::Collection { database, collection })
    }

    /// The documents that match `filter`, as [`tailwater_storage::Collection::find`] has them, with [`Find::live`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn find(&self, filter: &RawDocument) -> storage::Result<Find> {
        self.find_with(filter, &FindOptions::default())
    }

    /// As [`Collection::find`], with the options of [`tailwater_storage::Collection::find_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn find_with(&self, filter: &RawDocument, options: &FindOptions) -> storage::Result<Find> {
        let documents = self.inner.find_with(filter, options)?;
        Ok(Find::new(documents, self, &self.wiring, filter, options))
    }

    /// The same collection, whose writes return when they are as durable as this.
    #[must_use]
    pub fn with_durability(self, durability: tailwater_oplog::Durability) -> Collection {
        Collection {
            inner: self.inner.with_durability(durability),
            wiring: self.wiring,
        }
    }

    /// The same collection, whose writes return when as many members as `concern` asks for have them on their disks, with this
    /// one durable as the collection's writes are.
    ///
    /// After `wtimeout` they fail with [`Error::WriteConcernFailed`](storage::Error::WriteConcernFailed) (MongoDB's code 64), and
    /// so they do when `primary` is one no longer: the write is done here, and may yet come to be held, or be rolled back.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tailwater::replication::WriteConcern;
    /// use tailwater::{ErrorCode, Store, bson::rawdoc};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path())?;
    /// let primary = store.primary("ada").members(["ada", "bo"]).start()?;
    /// let people = store.collection("town", "people")?;
    /// let people = people.with_write_concern(&primary, WriteConcern::Majority, Duration::from_millis(10));
    /// // Bo is not there.
    /// let alone = people.insert_one(&rawdoc! { "_id": 1 }).unwrap_err();
    /// assert_eq!(alone.code(), Some(ErrorCode::WriteConcernFailed));
    /// assert_eq!(people.count(&rawdoc! {})?, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_write_concern(self, primary: &Primary, concern: WriteConcern, wtimeout: Duration) -> Collection {
        let acknowledgement = primary.acknowledgement(concern, wtimeout);
        Collection {
            inner: self.inner.with_acknowledgement(acknowledgement),
            wiring: self.wiring,
        }
    }

    /// The same collection, whose next call that writes leaves records of what it has done. As
    /// [`tailwater_storage::Collection::retryable`].
    #[must_use]
    pub fn retryable(self, write: storage::RetryableWrite) -> Collection {
        Collection {
            inner: self.inner.retryable(write),
            wiring: self.wiring,
        }
    }
}

impl Deref for Collection {
    type Target = storage::Collection;

    fn deref(&self) -> &storage::Collection {
        &self.inner
    }
}

fn watch(wiring: &Arc<Wiring>, scope: Scope) -> Watch {
    let store: Arc<dyn DocumentStore> = Arc::clone(wiring) as Arc<dyn DocumentStore>;
    wiring.shared.dispatcher.watch(scope).with_store(store)
}

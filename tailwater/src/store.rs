//! The store with its change streams: storage and change streams meet here and nowhere else.

use std::ops::Deref;
use std::path::Path;

use tailwater_changestream::{Dispatcher, DispatcherStats, Scope, Watch};
use tailwater_oplog::ReadConcern;
use tailwater_storage as storage;

pub use tailwater_oplog::{Error as LogError, OplogView as LogView};

/// A document store that can be watched. It is a [`tailwater_storage::Store`] with [`Store::watch`].
///
/// Clones are the same store. All their subscriptions share one reader of the log.
#[derive(Clone, Debug)]
pub struct Store {
    store: storage::Store,
    dispatcher: Dispatcher,
}

impl Store {
    /// Opens the store in `dir` with default [`StoreOptions`](storage::StoreOptions), making it if need be.
    ///
    /// # Errors
    ///
    /// As [`StoreOptions::open`](storage::StoreOptions::open).
    pub fn open(dir: impl AsRef<Path>) -> storage::Result<Store> {
        storage::Store::open(dir).map(Store::over)
    }

    /// Opens the store in `dir` with these options.
    ///
    /// # Errors
    ///
    /// As [`StoreOptions::open`](storage::StoreOptions::open).
    pub fn open_with(dir: impl AsRef<Path>, options: &storage::StoreOptions) -> storage::Result<Store> {
        options.open(dir).map(Store::over)
    }

    fn over(store: storage::Store) -> Store {
        let dispatcher = Dispatcher::new(store.log());
        Store { store, dispatcher }
    }

    /// Watches every collection of every database.
    pub fn watch(&self) -> Watch {
        self.dispatcher.watch(Scope::Everything)
    }

    /// Watches every collection of one database.
    pub fn watch_database(&self, database: &str) -> Watch {
        self.dispatcher.watch(Scope::Database(database.to_owned()))
    }

    /// What the reader that subscriptions with that read concern share has done.
    #[must_use]
    pub fn watch_stats(&self, concern: ReadConcern) -> DispatcherStats {
        self.dispatcher.stats(concern)
    }

    /// A collection by name.
    ///
    /// # Errors
    ///
    /// As [`tailwater_storage::Store::collection`].
    pub fn collection(&self, database: &str, collection: &str) -> storage::Result<Collection> {
        let collection = self.store.collection(database, collection)?;
        let dispatcher = self.dispatcher.clone();
        Ok(Collection { collection, dispatcher })
    }

    /// Closes the store. See [`tailwater_storage::Store::close`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close(self) -> storage::Result<()> {
        self.store.close()
    }
}

impl Deref for Store {
    type Target = storage::Store;

    fn deref(&self) -> &storage::Store {
        &self.store
    }
}

/// A collection that can be watched. It is a [`tailwater_storage::Collection`] with [`Collection::watch`].
#[derive(Clone, Debug)]
pub struct Collection {
    collection: storage::Collection,
    dispatcher: Dispatcher,
}

impl Collection {
    /// Watches the collection, from now on unless the watch says otherwise.
    pub fn watch(&self) -> Watch {
        let (database, collection) = (self.database_name().to_owned(), self.name().to_owned());
        self.dispatcher.watch(Scope::Collection { database, collection })
    }

    /// The same collection, whose writes return when they are as durable as this.
    #[must_use]
    pub fn with_durability(self, durability: tailwater_oplog::Durability) -> Collection {
        let collection = self.collection.with_durability(durability);
        Collection { collection, ..self }
    }
}

impl Deref for Collection {
    type Target = storage::Collection;

    fn deref(&self) -> &storage::Collection {
        &self.collection
    }
}

//! The store with its change streams: storage and change streams meet here and nowhere else.

use std::ops::Deref;
use std::path::Path;

use tailwater_changestream::{Scope, Watch};
use tailwater_storage as storage;

pub use tailwater_oplog::{Error as LogError, OplogView as LogView};

/// A document store that can be watched. It is a [`tailwater_storage::Store`] with [`Store::watch`].
#[derive(Clone, Debug)]
pub struct Store(storage::Store);

impl Store {
    /// Opens the store in `dir` with default [`StoreOptions`](storage::StoreOptions), making it if need be.
    ///
    /// # Errors
    ///
    /// As [`StoreOptions::open`](storage::StoreOptions::open).
    pub fn open(dir: impl AsRef<Path>) -> storage::Result<Store> {
        storage::Store::open(dir).map(Store)
    }

    /// Opens the store in `dir` with these options.
    ///
    /// # Errors
    ///
    /// As [`StoreOptions::open`](storage::StoreOptions::open).
    pub fn open_with(dir: impl AsRef<Path>, options: &storage::StoreOptions) -> storage::Result<Store> {
        options.open(dir).map(Store)
    }

    /// Watches every collection of every database.
    pub fn watch(&self) -> Watch {
        Watch::new(self.0.log(), Scope::Everything)
    }

    /// Watches every collection of one database.
    pub fn watch_database(&self, database: &str) -> Watch {
        Watch::new(self.0.log(), Scope::Database(database.to_owned()))
    }

    /// A collection by name.
    ///
    /// # Errors
    ///
    /// As [`tailwater_storage::Store::collection`].
    pub fn collection(&self, database: &str, collection: &str) -> storage::Result<Collection> {
        self.0.collection(database, collection).map(Collection)
    }

    /// Closes the store. See [`tailwater_storage::Store::close`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close(self) -> storage::Result<()> {
        self.0.close()
    }
}

impl Deref for Store {
    type Target = storage::Store;

    fn deref(&self) -> &storage::Store {
        &self.0
    }
}

/// A collection that can be watched. It is a [`tailwater_storage::Collection`] with [`Collection::watch`].
#[derive(Clone, Debug)]
pub struct Collection(storage::Collection);

impl Collection {
    /// Watches the collection, from now on unless the watch says otherwise.
    pub fn watch(&self) -> Watch {
        let (database, collection) = (self.0.database_name().to_owned(), self.0.name().to_owned());
        Watch::new(self.0.store().log(), Scope::Collection { database, collection })
    }

    /// The same collection, whose writes return when they are as durable as this.
    #[must_use]
    pub fn with_durability(self, durability: tailwater_oplog::Durability) -> Collection {
        Collection(self.0.with_durability(durability))
    }
}

impl Deref for Collection {
    type Target = storage::Collection;

    fn deref(&self) -> &storage::Collection {
        &self.0
    }
}

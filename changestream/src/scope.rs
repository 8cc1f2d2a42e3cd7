//! What a stream watches: one collection, one database, everything; and which entries that takes in.

use std::fmt;

use tailwater_oplog::entry::{EntryKind, StoreEntry};

use crate::document_store::INTERNAL_DATABASE;

/// What a stream watches.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// Every collection of every database, but [`INTERNAL_DATABASE`].
    Everything,
    /// Every collection of one database.
    Database(String),
    /// One collection.
    Collection {
        /// Its database.
        database: String,
        /// Its name.
        collection: String,
    },
}

impl Scope {
    /// Whether an entry with that namespace belongs to the scope.
    pub(crate) fn includes(&self, entry: &StoreEntry<'_>) -> bool {
        self.includes_name(entry.database, entry.collection)
    }

    /// Whether a collection of that name belongs to the scope.
    pub(crate) fn includes_name(&self, of_database: &str, name: &str) -> bool {
        match self {
            Scope::Everything => of_database != INTERNAL_DATABASE,
            Scope::Database(database) => of_database == database,
            // The end of the database is the end of each of its collections, and has no collection's name.
            Scope::Collection { database, collection } => of_database == database && name == collection,
        }
    }

    /// Whether an included entry ends the stream: what it watches is gone, or goes by another name.
    pub(crate) fn ends_with(&self, kind: EntryKind) -> bool {
        match self {
            Scope::Everything => false,
            Scope::Database(_) => kind == EntryKind::DropDatabase,
            Scope::Collection { .. } => matches!(kind, EntryKind::Drop | EntryKind::Rename),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Everything => f.write_str("everything"),
            Scope::Database(database) => write!(f, "database {database}"),
            Scope::Collection { database, collection } => write!(f, "collection {database}.{collection}"),
        }
    }
}

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
    /// Whether an entry belongs to the scope. A rename belongs to both collections, to the one that goes by another name from
    /// here on, and to the one whose name it takes, be there one or not; and to the databases of both. So it does with MongoDB.
    pub(crate) fn includes(&self, kind: EntryKind, entry: &StoreEntry<'_>) -> bool {
        self.includes_name(entry.database, entry.collection)
            || !matches!(self, Scope::Everything)
                && rename_target(kind, entry).is_some_and(|(database, name)| self.includes_name(database, name))
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

/// Database and collection that a rename's collection goes by from there on.
pub(crate) fn rename_target<'a>(kind: EntryKind, entry: &StoreEntry<'a>) -> Option<(&'a str, &'a str)> {
    let detail = entry.detail.filter(|_| kind == EntryKind::Rename)?;
    let to = detail.get_document("to").ok()?;
    Some((to.get_str("db").ok()?, to.get_str("coll").ok()?))
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

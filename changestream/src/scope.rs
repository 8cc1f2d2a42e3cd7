//! What a stream watches: one collection, one database, everything; and which entries that takes in.

use std::fmt;

use tailwater_oplog::entry::{EntryKind, StoreEntry};

use crate::document_store::INTERNAL_DATABASE;
use crate::event::OperationType;

/// Databases that belong to a deployment itself.
const OF_THE_DEPLOYMENT: [&str; 3] = ["admin", "config", "local"];

/// What a stream watches.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// Every collection of every database, but [`INTERNAL_DATABASE`].
    Everything,
    /// As [`Scope::Everything`], without the databases `admin`, `config` and `local`: what MongoDB shows of a deployment to who
    /// watches all of it (manual: *Change Streams*, *Watch a Collection, Database, or Deployment*).
    Deployment,
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
            Scope::Deployment => of_database != INTERNAL_DATABASE && !OF_THE_DEPLOYMENT.contains(&of_database),
            Scope::Database(database) => of_database == database,
            // The end of the database is the end of each of its collections, and has no collection's name.
            Scope::Collection { database, collection } => of_database == database && name == collection,
        }
    }

    /// Whether an included entry ends the stream: what it watches is gone, or goes by another name.
    pub(crate) fn ends_with(&self, kind: EntryKind) -> bool {
        OperationType::of(kind).is_some_and(|operation| self.extent().ends_with(operation))
    }

    /// How much it takes in.
    pub(crate) fn extent(&self) -> Extent {
        match self {
            Scope::Everything | Scope::Deployment => Extent::Everything,
            Scope::Database(_) => Extent::Database,
            Scope::Collection { .. } => Extent::Collection,
        }
    }
}

/// A [`Scope`] without its names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Extent {
    #[default]
    Everything,
    Database,
    Collection,
}

impl Extent {
    /// As [`Scope::ends_with`], of what an entry reports.
    pub(crate) fn ends_with(self, operation: OperationType) -> bool {
        match self {
            Extent::Everything => false,
            Extent::Database => operation == OperationType::DropDatabase,
            Extent::Collection => matches!(operation, OperationType::Drop | OperationType::Rename),
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
            Scope::Deployment => f.write_str("every database but those of the deployment"),
            Scope::Database(database) => write!(f, "database {database}"),
            Scope::Collection { database, collection } => write!(f, "collection {database}.{collection}"),
        }
    }
}

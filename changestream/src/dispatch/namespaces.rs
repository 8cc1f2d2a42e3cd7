//! Which spaces an entry concerns: the first partition, by namespace.

use std::collections::HashMap;

use crate::document_store::INTERNAL_DATABASE;
use crate::scope::Scope;

/// Spaces by what they watch. Finding those of an entry takes two look-ups, however many there are.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    everything: Vec<u32>,
    databases: HashMap<Box<str>, Database>,
}

#[derive(Debug, Default)]
struct Database {
    whole: Vec<u32>,
    collections: HashMap<Box<str>, Vec<u32>>,
}

impl Namespaces {
    pub(crate) fn insert(&mut self, scope: &Scope, space: u32) {
        self.list(scope).push(space);
    }

    pub(crate) fn remove(&mut self, scope: &Scope, space: u32) {
        let list = self.list(scope);
        list.retain(|other| *other != space);
        let emptied = list.is_empty();
        let name = match scope {
            Scope::Everything => return,
            Scope::Database(database) | Scope::Collection { database, .. } => database.as_str(),
        };
        if let Some(database) = self.databases.get_mut(name).filter(|_| emptied) {
            database.collections.retain(|_, list| !list.is_empty());
            if database.whole.is_empty() && database.collections.is_empty() {
                self.databases.remove(name);
            }
        }
    }

    /// The spaces of a scope, for the few that differ in more than that.
    pub(crate) fn of(&self, scope: &Scope) -> &[u32] {
        let database = |name: &str| self.databases.get(name);
        let list = match scope {
            Scope::Everything => Some(&self.everything),
            Scope::Database(name) => database(name).map(|database| &database.whole),
            Scope::Collection {
                database: name,
                collection,
            } => database(name).and_then(|database| database.collections.get(collection.as_str())),
        };
        list.map_or(&[], Vec::as_slice)
    }

    /// Appends the spaces that an entry with this namespace concerns.
    pub(crate) fn find(&self, database: &str, collection: &str, found: &mut Vec<u32>) {
        if database != INTERNAL_DATABASE {
            found.extend_from_slice(&self.everything);
        }
        if self.databases.is_empty() {
            return;
        }
        let Some(database) = self.databases.get(database) else {
            return;
        };
        found.extend_from_slice(&database.whole);
        if let Some(list) = database.collections.get(collection) {
            found.extend_from_slice(list);
        }
    }

    fn list(&mut self, scope: &Scope) -> &mut Vec<u32> {
        match scope {
            Scope::Everything => &mut self.everything,
            Scope::Database(name) => &mut self.database(name).whole,
            Scope::Collection { database, collection } => {
                let collections = &mut self.database(database).collections;
                collections.entry(collection.as_str().into()).or_default()
            }
        }
    }

    fn database(&mut self, name: &str) -> &mut Database {
        self.databases.entry(name.into()).or_default()
    }
}

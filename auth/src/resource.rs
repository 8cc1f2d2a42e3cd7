//! What things are done to, and which of it a privilege takes in (MongoDB manual: *Resource Document*).

use std::fmt;

use tailwater::INTERNAL_DATABASE;

/// The databases that "any database" does not mean: they have roles of their own (MongoDB manual: *All-Database Roles*).
const SET_APART: [&str; 2] = ["config", "local"];

/// What somebody wants to do something to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource<'a> {
    /// The server as a whole.
    Cluster,
    /// Every collection of every database: what a change stream over everything watches.
    AllCollections,
    /// A database with all of its collections.
    Database(&'a str),
    /// One collection.
    Collection {
        /// Its database.
        database: &'a str,
        /// Its name.
        collection: &'a str,
    },
}

/// What a privilege is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pattern {
    /// `{anyResource: true}`.
    Anything,
    /// `{cluster: true}`.
    Cluster,
    /// `{db, collection}`.
    Namespace {
        /// The database; any but `config` and `local` when it is empty.
        database: String,
        /// The collection; any but those of the system (`system.…`) when it is empty.
        collection: String,
    },
}

impl Pattern {
    /// All collections of a database; of any, when it is empty.
    pub(crate) fn database(database: &str) -> Pattern {
        Pattern::Namespace {
            database: database.to_owned(),
            collection: String::new(),
        }
    }

    /// The database that it is about; `admin` for what is not about one alone.
    #[must_use]
    pub fn home(&self) -> &str {
        match self {
            Pattern::Namespace { database, .. } if !database.is_empty() => database,
            _ => "admin",
        }
    }

    /// Whether it takes in the resource. None takes in the database in which Tailwater keeps what belongs to itself.
    #[must_use]
    pub fn matches(&self, resource: Resource<'_>) -> bool {
        let asked_database = match resource {
            Resource::Database(database) | Resource::Collection { database, .. } => Some(database),
            Resource::Cluster | Resource::AllCollections => None,
        };
        if asked_database == Some(INTERNAL_DATABASE) {
            return false;
        }
        let (database, collection) = match self {
            Pattern::Anything => return true,
            Pattern::Cluster => return resource == Resource::Cluster,
            Pattern::Namespace { database, collection } => (database.as_str(), collection.as_str()),
        };
        let in_database = |asked: &str| match database {
            "" => !SET_APART.contains(&asked),
            database => database == asked,
        };
        match resource {
            Resource::Cluster => false,
            Resource::AllCollections => database.is_empty() && collection.is_empty(),
            Resource::Database(asked) => in_database(asked) && collection.is_empty(),
            Resource::Collection {
                database: asked,
                collection: name,
            } => {
                in_database(asked)
                    && match collection {
                        "" => !name.starts_with("system."),
                        collection => collection == name,
                    }
            }
        }
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Cluster => f.write_str("the server"),
            Resource::AllCollections => f.write_str("every database"),
            Resource::Database(database) => f.write_str(database),
            Resource::Collection { database, collection } => write!(f, "{database}.{collection}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(database: &'a str, collection: &'a str) -> Resource<'a> {
        Resource::Collection { database, collection }
    }

    #[test]
    fn a_pattern_takes_in_what_the_manual_says() {
        let asked = [
            Resource::Cluster,
            Resource::AllCollections,
            Resource::Database("shop"),
            of("shop", "orders"),
            of("shop", "system.views"),
            of("blog", "orders"),
            of("local", "oplog.rs"),
            of(INTERNAL_DATABASE, "users"),
        ];
        let cases = [
            (Pattern::Anything, "yyyyyyy-"),
            (Pattern::Cluster, "y-------"),
            (Pattern::database(""), "-yyy-y--"),
            (Pattern::database("shop"), "--yy----"),
            (Pattern::database(INTERNAL_DATABASE), "--------"),
            (namespace("shop", "orders"), "---y----"),
            (namespace("", "orders"), "---y-y--"),
            (namespace("shop", "system.views"), "----y---"),
            (namespace("local", "oplog.rs"), "------y-"),
        ];
        for (pattern, expected) in cases {
            let found: String = asked
                .iter()
                .map(|&resource| if pattern.matches(resource) { 'y' } else { '-' })
                .collect();
            assert_eq!(found, expected, "{pattern:?}");
        }
    }

    fn namespace(database: &str, collection: &str) -> Pattern {
        Pattern::Namespace {
            database: database.to_owned(),
            collection: collection.to_owned(),
        }
    }
}

//! Which names databases and collections may have (MongoDB manual: *Naming Restrictions*).

use tailwater_matcher::is_reference_field;
use tailwater_oplog::entry::{DATABASE_NAME_BYTES_MAX, NAMESPACE_BYTES_MAX};

use crate::catalog::Namespace;
use crate::error::{Error, Result};

/// Whether text can be a dotted path to a field: without empty components, and without dollar signs in front of one, other
/// than those of a reference.
pub(crate) fn is_field_path(path: &str) -> bool {
    let mut components = path.split('.').enumerate();
    components.all(|(at, name)| !name.is_empty() && (!name.starts_with('$') || is_reference_field(at, name)))
}

/// Checks a database name.
pub(crate) fn check_database(name: &str) -> Result<()> {
    let invalid = |what| {
        Err(Error::InvalidName {
            name: name.to_owned(),
            what,
        })
    };
    if name.is_empty() {
        return invalid("a database name cannot be empty");
    }
    if name.len() > DATABASE_NAME_BYTES_MAX {
        return invalid("a database name has at most 63 bytes");
    }
    if name.contains(['/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0']) {
        return invalid("a database name cannot contain any of /\\. \"$*<>:|? or a NUL");
    }
    Ok(())
}

/// The namespace of two names, checked.
///
/// # Errors
///
/// [`Error::InvalidName`].
pub(crate) fn namespace(database: &str, collection: &str) -> Result<Namespace> {
    check_database(database)?;
    check_collection(collection)?;
    let namespace = Namespace::new(database, collection);
    check_length(&namespace)?;
    Ok(namespace)
}

/// Checks that two names, which are good by themselves, are so together.
///
/// # Errors
///
/// [`Error::InvalidName`].
pub(crate) fn check_length(namespace: &Namespace) -> Result<()> {
    if namespace.database.len() + 1 + namespace.collection.len() <= NAMESPACE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::InvalidName {
        name: namespace.to_string(),
        what: "a database name, a dot and a collection name have at most 255 bytes together",
    })
}

/// Checks a collection name, in whatever database.
pub(crate) fn check_collection(name: &str) -> Result<()> {
    let invalid = |what| {
        Err(Error::InvalidName {
            name: name.to_owned(),
            what,
        })
    };
    if name.is_empty() {
        return invalid("a collection name cannot be empty");
    }
    if name.contains(['$', '\0']) {
        return invalid("a collection name cannot contain $ or a NUL");
    }
    if name.starts_with("system.") {
        return invalid("collection names beginning with system. are reserved");
    }
    if name.starts_with('.') || name.ends_with('.') {
        return invalid("a collection name cannot begin or end with a dot");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_manual() {
        for name in ["shop", "a", "données", &"x".repeat(63)] {
            check_database(name).unwrap();
        }
        for name in ["", "a.b", "a b", "a/b", "a$b", "a\0b", &"x".repeat(64)] {
            assert!(check_database(name).is_err(), "{name:?}");
        }
        for name in ["orders", "orders.2026", "a b"] {
            check_collection(name).unwrap();
        }
        for name in ["", "a$b", "a\0b", "system.users", ".a", "a."] {
            assert!(check_collection(name).is_err(), "{name:?}");
        }
        // Together they have 255 bytes, whichever is the long one.
        for database in [1, 6, 63] {
            let (database, rest) = ("d".repeat(database), 254 - database);
            namespace(&database, &"x".repeat(rest)).unwrap();
            let refused = namespace(&database, &"x".repeat(rest + 1)).unwrap_err();
            assert!(matches!(refused, Error::InvalidName { .. }), "{refused}");
        }
    }
}

//! Names of users and roles. Both belong to a database, which is a part of the name and says nothing of what they may do.

use std::fmt;

/// The most bytes of a name, or of its database: both are keys of documents.
pub const NAME_BYTES_MAX: usize = 255;

/// A user or a role, within the database that it was made in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Name {
    /// The database.
    pub database: String,
    /// The name within it.
    pub name: String,
}

/// The name of a user.
pub type UserName = Name;

/// The name of a role.
pub type RoleName = Name;

impl Name {
    /// A name in a database.
    #[must_use]
    pub fn new(database: &str, name: &str) -> Name {
        Name {
            database: database.to_owned(),
            name: name.to_owned(),
        }
    }

    /// `database.name`, the key it is kept under. Names of databases have no dots, so it stands for one name alone.
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    /// Whether it can be one: neither part is empty or too long, and the database's has no dot and neither a NUL.
    pub(crate) fn is_valid(&self) -> bool {
        let part = |part: &str| !part.is_empty() && part.len() <= NAME_BYTES_MAX && !part.contains('\0');
        part(&self.database) && part(&self.name) && !self.database.contains('.')
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.database)
    }
}

//! What can go wrong with users, roles and logins.

use crate::name::{NAME_BYTES_MAX, Name, RoleName, UserName};

/// The result of a change of users or roles.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why users or roles were not read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is a user of that name.
    #[error("User \"{0}\" already exists")]
    UserExists(UserName),
    /// There is none.
    #[error("User '{0}' not found")]
    NoSuchUser(UserName),
    /// There is a role of that name.
    #[error("Role \"{0}\" already exists")]
    RoleExists(RoleName),
    /// There is none.
    #[error("Role '{0}' not found")]
    NoSuchRole(RoleName),
    /// A role of every store would be changed.
    #[error("role '{0}' is a built-in role, which cannot be changed: make one of another name")]
    BuiltInRole(RoleName),
    /// A role would include itself.
    #[error("granting '{included}' to '{role}' would make it include itself")]
    Cycle {
        /// The role.
        role: RoleName,
        /// What it was to include.
        included: RoleName,
    },
    /// A role of one database would be about another.
    #[error("role '{role}' is about the database '{}' alone: make a role of 'admin' for '{other}'", .role.database)]
    OtherDatabase {
        /// The role.
        role: RoleName,
        /// What it was to be about.
        other: String,
    },
    /// A name that cannot be one.
    #[error("'{0}' is no name: it needs a name and a database, of {NAME_BYTES_MAX} bytes at most and without NUL")]
    Name(Name),
    /// An empty password.
    #[error("password cannot be empty")]
    EmptyPassword,
    /// A password that cannot be prepared for SCRAM-SHA-256.
    #[error("the password has characters that SASLprep (RFC 4013) does not allow: choose others, or SCRAM-SHA-1 alone")]
    PasswordCharacters,
    /// A password and mechanisms that do not go together.
    #[error("mechanisms can only be taken away without a new password: {added} needs one")]
    MechanismNeedsPassword {
        /// The mechanism that the user does not have.
        added: &'static str,
    },
    /// A list without members.
    #[error("mechanisms field must not be empty")]
    NoMechanisms,
    /// As many users, or roles, as there may be.
    #[error("there are {max} {what}: drop some")]
    TooMany {
        /// Users or roles.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// What is kept is not what was written.
    #[error("the record {key:?} of the internal collection {collection} cannot be read: restore a backup")]
    Record {
        /// The collection.
        collection: &'static str,
        /// The record.
        key: String,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// The store's.
    #[error(transparent)]
    Store(#[from] tailwater::Error),
}

/// Why somebody is not logged in. The client is told nothing but that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Authentication failed.")]
pub struct LoginError;

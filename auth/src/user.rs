//! Users.

use bson::{RawDocumentBuf, Uuid};

use crate::credentials::{Credential, Mechanism};
use crate::name::{RoleName, UserName};
use crate::password::Password;

/// What tells a user from another of the same name that was dropped before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UserId(pub(crate) Uuid);

impl UserId {
    /// As it is kept and shown.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

/// A user.
#[derive(Clone, PartialEq, Debug)]
pub struct User {
    /// Its name.
    pub name: UserName,
    /// Its identity.
    pub id: UserId,
    /// The roles it was granted.
    pub roles: Vec<RoleName>,
    /// What whoever made it has written beside it.
    pub custom_data: Option<RawDocumentBuf>,
    pub(crate) credentials: Vec<Credential>,
}

impl User {
    /// How it can log in, in the order of [`Mechanism::ALL`].
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let has = |mechanism: &Mechanism| self.credential(*mechanism).is_some();
        Mechanism::ALL.into_iter().filter(has)
    }

    pub(crate) fn credential(&self, mechanism: Mechanism) -> Option<&Credential> {
        self.credentials
            .iter()
            .find(|credential| credential.mechanism == mechanism)
    }
}

/// A user to be made, or what is to become of one: what is missing stays as it is.
#[derive(Clone, Default, Debug)]
pub struct UserChange {
    /// The password.
    pub password: Option<Password>,
    /// The mechanisms it is good for; with a new password both, if they are not named.
    pub mechanisms: Option<Vec<Mechanism>>,
    /// The roles.
    pub roles: Option<Vec<RoleName>>,
    /// What is written beside the user.
    pub custom_data: Option<RawDocumentBuf>,
}

impl UserChange {
    /// Whether everything stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let UserChange {
            password,
            mechanisms,
            roles,
            custom_data,
        } = self;
        password.is_none() && mechanisms.is_none() && roles.is_none() && custom_data.is_none()
    }
}

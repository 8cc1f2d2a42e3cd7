//! Who is at the other end of a connection.

use std::net::IpAddr;
use std::sync::Arc;

use crate::name::UserName;
use crate::user::UserId;

/// Who is at the other end of a connection, or has sent a request. What it may do is asked each time of the
/// [`Authority`](crate::Authority), so that a change of its roles is in force at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity(pub(crate) Who);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// Nobody has logged in.
    Nobody {
        /// Whether it comes from this machine.
        is_local: bool,
    },
    /// A user.
    User { name: Arc<UserName>, id: UserId },
}

impl Identity {
    /// Somebody who comes from that address and has not logged in.
    #[must_use]
    pub fn nobody(address: IpAddr) -> Identity {
        Identity(Who::Nobody {
            is_local: address.to_canonical().is_loopback(),
        })
    }

    pub(crate) fn user(name: UserName, id: UserId) -> Identity {
        Identity(Who::User {
            name: Arc::new(name),
            id,
        })
    }

    /// The name of the user, if one has logged in.
    #[must_use]
    pub fn name(&self) -> Option<&UserName> {
        match &self.0 {
            Who::Nobody { .. } => None,
            Who::User { name, .. } => Some(name),
        }
    }

    /// The user, if one has logged in: what cursors and sessions belong to.
    #[must_use]
    pub fn id(&self) -> Option<UserId> {
        match &self.0 {
            Who::Nobody { .. } => None,
            Who::User { id, .. } => Some(*id),
        }
    }
}

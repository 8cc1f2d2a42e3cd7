//! Who may do what in a Tailwater store that is served: users, roles, logins.
//!
//! It knows no sockets and no protocol: whoever serves the store asks an [`Authority`] to check a password, or to hold a SCRAM
//! conversation, gets an [`Identity`], and asks whether that [`may`](Authority::may) do something.
//!
//! ```
//! use std::net::{IpAddr, Ipv4Addr};
//! use tailwater_auth::{Action, Authentication, Authority, Identity, Resource, RoleName, UserChange, UserName};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let store = tailwater::Store::open(dir.path())?;
//! let authority = Authority::open(store, Authentication::Required)?;
//! let here = IpAddr::from(Ipv4Addr::LOCALHOST);
//!
//! let ada = UserName::new("admin", "ada");
//! let first = UserChange {
//!     password: Some("correct horse".into()),
//!     roles: Some(vec![RoleName::new("shop", "read")]),
//!     ..UserChange::default()
//! };
//! authority.create_user(&Identity::nobody(here), &ada, &first)?;
//!
//! // Behind failures it is to wait, in a thread or as a task.
//! let attempt = authority.admit_login(&ada, here)?;
//! std::thread::sleep(attempt.wait());
//! let identity = authority.verify_password(attempt, "correct horse")?;
//! let orders = Resource::Collection { database: "shop", collection: "orders" };
//! assert!(authority.may(&identity, Action::Find, orders));
//! assert!(!authority.may(&identity, Action::Insert, orders));
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! * **Denied by default.** What no privilege allows is not allowed. The database in which Tailwater keeps what belongs to itself,
//!   users among it, is nobody's, whatever their roles.
//! * **In force at once.** A change of a user or a role counts for the next question, for whoever is logged in as well; a user that
//!   was dropped is logged out, also if one of the same name is made.
//! * **Durable.** A change is written through the log and survives power loss when the call returns.
//! * **Nothing to learn.** A login fails in the same steps and with the same words whether there is such a user or not; failures
//!   make the next attempts wait.
//!
//! # Blocking
//!
//! Checking a password costs some milliseconds of processor time, and after failures a wait of some seconds at most. A caller on
//! an async runtime does it where blocking is allowed.

mod action;
mod authority;
mod credentials;
mod directory;
mod error;
mod identity;
mod login;
mod name;
mod password;
mod privilege;
mod records;
mod resource;
mod role;
mod scram;
mod throttle;
mod tls;
mod user;

pub use action::{Action, Actions};
pub use authority::{Authentication, Authority, ROLES_MAX, USERS_MAX, network};
pub use credentials::Mechanism;
pub use error::{Error, LoginError, Result};
pub use identity::Identity;
pub use login::{Attempt, Conversation};
pub use name::{NAME_BYTES_MAX, Name, RoleName, UserName};
pub use password::Password;
pub use privilege::{Privilege, Privileges};
pub use records::{pattern_from_document, privileges_to_array, role_names};
pub use resource::{Pattern, Resource};
pub use role::Role;
pub use tls::{ClientCertificates, Tls, TlsError, TlsOptions};
pub use user::{User, UserChange, UserId};

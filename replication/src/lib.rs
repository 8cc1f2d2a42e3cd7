//! Replication: a primary whose log any number of followers tail, byte for byte.
//!
//! [`Primary`] serves a store's log to followers, [`Follower`] keeps a store that is the primary's, entry for entry. Who is
//! primary is decided by an operator, or by the program; a wrong decision costs availability and unacknowledged writes, never
//! what was acknowledged at majority. `docs/replication.md` says what is promised, and specifies the protocol.
//!
//! What the two decide is in [`decision`], as pure steps; around it are threads, sockets and files. This crate does not know the
//! MongoDB protocol nor change streams, which read a follower's log as they read any other.
//!
//! ```
//! use std::time::Duration;
//!
//! use bson::rawdoc;
//! use tailwater_replication::{Follower, Primary, WriteConcern};
//! use tailwater_storage::Store;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! let store = Store::open(here.path())?;
//! let primary = Primary::builder(store.clone(), "ada").start()?;
//! let follower = Follower::builder(there.path(), "bo", primary.address().to_string()).start()?;
//!
//! store.collection("town", "people")?.insert_one(&rawdoc! { "_id": 1, "name": "Ada" })?;
//! let written = store.log().watermarks().durable;
//! primary.wait(written, WriteConcern::members(2).expect("not zero"), Duration::from_secs(10))?;
//!
//! let copy = follower.wait_for(written, Duration::from_secs(10))?;
//! assert_eq!(copy.digest()?, store.digest()?);
//! assert!(copy.collection("town", "people")?.insert_one(&rawdoc! { "_id": 2 }).is_err());
//! # Ok(())
//! # }
//! ```

mod deadline;
pub mod decision;
mod dial;
mod error;
mod follower;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod heartbeat;
mod identity;
mod link;
mod primary;
mod standby;
mod standing;
mod summary;
mod tls;
mod token;
mod wire;

use tailwater_oplog::Term;
use tailwater_storage::Store;

use crate::identity::Identity;

pub use decision::{Apart, LISTED_MAX, Refusal, WriteConcern};
pub use error::{Error, Result};
pub use follower::{Follower, FollowerBuilder, FollowerEvent, FollowerProgress, FollowerStatus};
pub use primary::{MemberStatus, Primary, PrimaryBuilder, PrimaryStatus};
pub use standing::{Standing, acknowledgement, standing};
#[doc(no_inline)]
pub use tailwater_storage::{Selection, SelectionError};
pub use tls::TlsOptions;
pub use token::CausalToken;

/// Makes the store of a follower that is not running take writes, as the member `name` of `members`; returns the term.
///
/// # Errors
///
/// [`Error::NotFollower`], [`Error::InvalidOption`]; the store's.
pub fn promote(store: &Store, name: &str, members: &[String]) -> Result<Term> {
    let identity = Identity::new(name, members)?;
    match store.is_following() {
        true => identity.promote(store),
        false => Err(Error::NotFollower),
    }
}

//! The store among others: replication meets change streams here.

use tailwater_oplog::Term;
use tailwater_replication as replication;
use tailwater_replication::{Error, Follower, FollowerBuilder, Primary, PrimaryBuilder};
use tailwater_storage as storage;

use crate::store::Store;

impl Store {
    /// Options for serving this store to followers, among which it is called `name`. See [`Primary`].
    pub fn primary(&self, name: impl Into<String>) -> PrimaryBuilder {
        Primary::builder(storage::Store::clone(self), name)
    }

    /// Options for a store in `dir` that follows the primary at `from` (`HOST:PORT`), and is called `name` there. See
    /// [`Follower`], and [`Store::of_follower`] for what it holds.
    pub fn follower(
        dir: impl Into<std::path::PathBuf>,
        name: impl Into<String>,
        from: impl Into<String>,
    ) -> FollowerBuilder {
        Follower::builder(dir, name, from)
    }

    /// The store that a follower keeps, to be read and watched; nothing while there is none, as during the first copy. What
    /// each call returns is a handle of the same store.
    #[must_use]
    pub fn of_follower(follower: &Follower) -> Option<Store> {
        follower.store().map(Store::from)
    }

    /// Makes the store of a follower that is not running take writes, as the member `name` of `members`; returns the term.
    ///
    /// # Errors
    ///
    /// [`Error::NotFollower`](replication::Error::NotFollower), [`Error::InvalidOption`](replication::Error::InvalidOption); the
    /// store's.
    pub fn promote_as(&self, name: &str, members: &[String]) -> replication::Result<Term, Error> {
        replication::promote(self, name, members)
    }
}

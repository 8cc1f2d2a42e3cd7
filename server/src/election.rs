//! By which drivers tell a primary of the past from the one of now (driver specification: *Server Discovery and Monitoring*,
//! stale primaries): they believe the one with the larger `electionId`.
//!
//! Every start of a primary begins a term that nobody has agreed to, so the newest term alone says nothing: an old primary that is
//! started again would have it. What a majority has agreed to comes first, therefore, and the term only between those that know the
//! same of that:
//!
//! ```text
//!   7F FF FF FF | the newest elected term of the log | the term that is written in
//! ```
//!
//! Neither of them ever falls at one member, whether it is one of several or alone.

use std::sync::{Mutex, PoisonError};

use bson::oid::ObjectId;
use tailwater::oplog::Term;
use tailwater::{LogError, ReadConcern, Store};

/// The id of the newest term that was asked for. To make one is a search through the log's terms.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    newest: Mutex<Option<(Term, ObjectId)>>,
}

impl Elections {
    /// The id of a store that takes writes.
    ///
    /// # Errors
    ///
    /// Those of reading the log.
    pub(crate) fn id(&self, store: &Store) -> Result<ObjectId, LogError> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let term = store.term();
        if let Some((_, id)) = newest.filter(|(of, _)| *of == term) {
            return Ok(id);
        }
        // An elected one may have begun without having its first entry yet.
        let elected = match term.is_elected() && store.member().is_some() {
            true => term,
            false => elected_before(store)?,
        };
        let id = id_of(elected, term);
        *newest = Some((term, id));
        Ok(id)
    }
}

/// The term of the newest entry of an elected one.
fn elected_before(store: &Store) -> Result<Term, LogError> {
    let log = store.log();
    loop {
        match log.before(log.newest(ReadConcern::Local).next()) {
            // The log was trimmed meanwhile.
            Err(LogError::HistoryLost { .. }) => {}
            before => return Ok(before?.rank.term),
        }
    }
}

fn id_of(elected: Term, term: Term) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&i32::MAX.to_be_bytes());
    bytes[4..8].copy_from_slice(&elected.get().to_be_bytes());
    bytes[8..].copy_from_slice(&term.get().to_be_bytes());
    ObjectId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_majority_has_agreed_to_comes_before_the_term() {
        let order = [
            (0, 5),
            (0, 129),
            (129, 129),
            (129, 130),
            (129, 256),
            (131, 131),
            (131, 258),
        ];
        let ids = order.map(|(elected, term)| id_of(Term::new(elected), Term::new(term)));
        assert!(ids.is_sorted(), "{ids:?}");
    }
}

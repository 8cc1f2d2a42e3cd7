//! The documents that a modification finds, ahead of their changes.
//!
//! All are found in the state before the first change: what that moves within an index is not met again. As long as somebody
//! reads that state, staging a change means to copy all that the transaction has staged before. So the search is done to its
//! end before the first change, as long as what it finds fits: of the first documents their bytes are kept, of those behind them
//! the keys, by which they are read again when it is their turn. Nothing changes them meanwhile, as each is changed once.

use std::collections::VecDeque;

use crate::catalog::CollectionInfo;
use crate::error::{Error, Result};
use crate::query::Candidates;
use crate::reading::Reading;
use crate::workspace::Found;
use crate::write::Reach;

/// Documents that are kept with their bytes.
const DOCUMENTS_MAX: usize = 100;
/// Bytes of the keys that are kept.
const KEY_BYTES_MAX: usize = if cfg!(test) { 256 } else { 4 << 20 };

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Ahead {
    found: VecDeque<Found>,
    keys: VecDeque<Vec<u8>>,
    /// What is still to be searched, in the state before the first change; nothing at the end.
    rest: Option<Candidates>,
}

impl Ahead {
    /// Those that a modification of this reach concerns.
    ///
    /// # Errors
    ///
    /// The candidates'.
    pub(super) fn of(mut candidates: Candidates, reach: Reach) -> Result<Ahead> {
        let documents_max = reach.documents_max().min(DOCUMENTS_MAX);
        let found = candidates
            .by_ref()
            .take(documents_max)
            .collect::<Result<VecDeque<_>>>()?;
        let is_all = reach == Reach::First || found.len() < documents_max;
        let mut ahead = Ahead {
            found,
            keys: VecDeque::new(),
            rest: (!is_all).then_some(candidates),
        };
        ahead.search()?;
        Ok(ahead)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The next one, as it is in the transaction.
    ///
    /// # Errors
    ///
    /// The state's.
    pub(super) fn next(&mut self, reading: &Reading, info: &CollectionInfo) -> Result<Option<Found>> {
        if let Some(found) = self.found.pop_front() {
            return Ok(Some(found));
        }
        if self.keys.is_empty() {
            self.search()?;
        }
        let Some(key) = self.keys.pop_front() else {
            return Ok(None);
        };
        let stored = reading.get(info.number, &key)?.ok_or(Error::Inconsistent {
            op_id: reading.view.at,
            what: "a document that a transaction has found is not there any more",
        })?;
        Ok(Some(Found { key, stored }))
    }

    /// Goes on until so many keys are there as are kept.
    fn search(&mut self) -> Result<()> {
        let mut bytes = 0;
        while let Some(rest) = &mut self.rest {
            if bytes >= KEY_BYTES_MAX {
                break;
            }
            match rest.next().transpose()? {
                Some(found) => {
                    bytes += size_of::<Vec<u8>>() + found.key.len();
                    self.keys.push_back(found.key);
                }
                None => self.rest = None,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use crate::Store;

    #[test]
    fn each_document_is_changed_once_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let people = store.collection("town", "people").unwrap();
        people.create_index(&crate::IndexModel::new("n", 1)).unwrap();
        let documents: Vec<_> = (0..300).map(|n| rawdoc! { "_id": n, "n": n }).collect();
        people.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
        let transaction = store.transaction().unwrap();
        let own = transaction.collection("town", "people").unwrap();
        own.delete_one(&rawdoc! { "_id": 150 }).unwrap();
        own.insert_one(&rawdoc! { "_id": 900, "n": 150 }).unwrap();
        // Each moves behind all others in the index that they are found by.
        let moved = own.update_many(&rawdoc! { "n": { "$gte": 0 } }, rawdoc! { "$inc": { "n": 1000 } });
        let moved = moved.unwrap();
        assert_eq!((moved.matched, moved.modified), (300, 300));
        transaction.commit().unwrap();
        assert_eq!(
            people.count(&rawdoc! { "n": { "$gte": 1000, "$lt": 1300 } }).unwrap(),
            300
        );
        assert_eq!(people.validate().unwrap().findings, Vec::<String>::new());
    }

    #[test]
    fn what_has_been_staged_is_not_read_while_more_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let people = store.collection("town", "people").unwrap();
        let documents: Vec<_> = (0..104).map(|n| rawdoc! { "_id": n }).collect();
        people.insert_many(documents.iter().map(AsRef::as_ref)).unwrap();
        let candidates = || {
            let reading = crate::reading::Reading::new(store.core().view().unwrap());
            let query = crate::query::Language::default().query(&rawdoc! {}, None).unwrap();
            let namespace = crate::catalog::Namespace::new("town", "people");
            query.candidates(&reading, &namespace).unwrap()
        };
        let all = super::Ahead::of(candidates(), super::Reach::All).unwrap();
        assert_eq!((all.found.len(), all.keys.len()), (100, 4));
        assert!(all.rest.is_none());
        let first = super::Ahead::of(candidates(), super::Reach::First).unwrap();
        assert_eq!((first.found.len(), first.keys.len()), (1, 0));
        assert!(first.rest.is_none());
    }
}

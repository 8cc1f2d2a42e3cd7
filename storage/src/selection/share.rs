//! What a part has of one entry. The table is in the module above.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Result, Share};

use super::Selection;

/// What the entries of a log are to a part: a selection, and what is asked of it for each entry, worked out once.
#[derive(Clone, Debug)]
pub struct Sharing {
    selection: Selection,
    /// First names of the paths that the filter reads; nothing when it may read others.
    reads: Option<Vec<String>>,
}

impl Sharing {
    /// Of what a selection names.
    #[must_use]
    pub fn new(selection: Selection) -> Sharing {
        Sharing {
            reads: reads(&selection),
            selection,
        }
    }

    /// What the part has of an entry of that kind.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedEntry`](tailwater_oplog::Error::MalformedEntry).
    pub fn of(&self, kind: u8, payload: &[u8]) -> Result<Share> {
        // What is not the store's is nobody's to leave out; and a place is as short as it can be.
        let Some(kind) = EntryKind::from_number(kind) else {
            return Ok(Share::Whole);
        };
        let entry = StoreEntry::decode(payload)?;
        Ok(match kind {
            EntryKind::Noop => Share::Whole,
            // Only who takes writes may be asked to do one again.
            EntryKind::SessionWrite => Share::Place,
            EntryKind::DropDatabase => whole_if(self.selection.has_database(entry.database)),
            EntryKind::Rename => self.of_rename(&entry),
            _ if !self.selection.has_collection(entry.database, entry.collection) => Share::Place,
            EntryKind::Insert | EntryKind::Update | EntryKind::Replace => self.of_document(kind, &entry),
            EntryKind::Delete => self.of_deletion(&entry),
            _ => Share::Whole,
        })
    }

    fn of_document(&self, kind: EntryKind, entry: &StoreEntry<'_>) -> Share {
        let Some(document) = entry.document else {
            return Share::Whole;
        };
        if self.selection.has_document(document) {
            return Share::Whole;
        }
        let was_in = match (kind, entry.pre_image) {
            (EntryKind::Insert, _) => false,
            (_, Some(before)) => self.selection.has_document(before),
            (_, None) => entry.diff.is_none_or(|diff| self.may_change(diff)) && !self.reads_the_key_alone(),
        };
        let key = entry.key.map(ToOwned::to_owned).or_else(|| key_of(document));
        match key.filter(|_| was_in) {
            Some(key) => left(entry, Some(&key), None),
            None => Share::Place,
        }
    }

    fn of_deletion(&self, entry: &StoreEntry<'_>) -> Share {
        let was_in = match (entry.pre_image, entry.key) {
            (Some(before), _) => self.selection.has_document(before),
            (None, Some(key)) if self.reads_the_key_alone() => self.selection.has_document(key),
            _ => true,
        };
        whole_if(was_in)
    }

    fn of_rename(&self, entry: &StoreEntry<'_>) -> Share {
        let to = entry.detail.and_then(|detail| detail.get_document("to").ok());
        let names = to.and_then(|to| Some((to.get_str("db").ok()?, to.get_str("coll").ok()?)));
        let from_here = self.selection.has_collection(entry.database, entry.collection);
        match names {
            Some((database, collection)) => match (from_here, self.selection.has_collection(database, collection)) {
                (true, true) => Share::Whole,
                (true, false) => left(entry, None, None),
                (false, false) => Share::Place,
                (false, true) => {
                    let entered = StoreEntry {
                        database,
                        collection,
                        ..*entry
                    };
                    left(&entered, None, Some(&rawdoc! {}))
                }
            },
            // The follower says what is wrong with it.
            None => whole_if(from_here),
        }
    }

    /// Whether a change of a document may make the filter hold that did not, or the other way round.
    fn may_change(&self, diff: &RawDocument) -> bool {
        let Some(reads) = &self.reads else {
            return true;
        };
        let is_read = |path: &str| {
            let first = path.split('.').next().unwrap_or(path);
            reads.iter().any(|read| read == first)
        };
        let updated = diff.get_document("updatedFields").ok();
        let mut updated = updated.into_iter().flat_map(|fields| fields.iter().flatten());
        let mut others = ["removedFields", "truncatedArrays"]
            .into_iter()
            .filter_map(|name| diff.get_array(name).ok())
            .flat_map(|list| list.into_iter().flatten());
        updated.any(|(path, _)| is_read(path.as_str()))
            || others.any(|value| match value {
                RawBsonRef::String(path) => is_read(path),
                RawBsonRef::Document(truncated) => truncated.get_str("field").is_ok_and(is_read),
                _ => true,
            })
    }

    fn reads_the_key_alone(&self) -> bool {
        let reads = self.reads.as_ref();
        reads.is_some_and(|reads| reads.iter().all(|read| read == "_id"))
    }
}

fn whole_if(of_the_part: bool) -> Share {
    match of_the_part {
        true => Share::Whole,
        false => Share::Place,
    }
}

/// The entry in whose place stands that what it was about is of the part no more; or, with a detail, not yet.
fn left(entry: &StoreEntry<'_>, key: Option<&RawDocument>, detail: Option<&RawDocument>) -> Share {
    let left = StoreEntry {
        database: entry.database,
        collection: entry.collection,
        collection_id: entry.collection_id,
        key,
        detail,
        ..StoreEntry::default()
    };
    let mut payload = Vec::new();
    left.encode(&mut payload);
    Share::Instead(EntryKind::Leave.number(), payload)
}

fn key_of(document: &RawDocument) -> Option<RawDocumentBuf> {
    let id = document.get("_id").ok().flatten()?;
    let mut key = RawDocumentBuf::new();
    key.append(bson::raw::cstr!("_id"), id.to_owned());
    Some(key)
}

/// The first names of the paths that a filter reads, unless it has a `$jsonSchema`, which may read any.
fn reads(selection: &Selection) -> Option<Vec<String>> {
    const READS_ALL: &[u8] = b"$jsonSchema";
    let filter = selection.filter.to_document();
    if filter
        .as_bytes()
        .windows(READS_ALL.len())
        .any(|bytes| bytes == READS_ALL)
    {
        return None;
    }
    let first = |path: String| path.split('.').next().unwrap_or_default().to_owned();
    Some(
        selection
            .filter
            .paths()
            .iter()
            .map(|path| first(path.to_string()))
            .collect(),
    )
}

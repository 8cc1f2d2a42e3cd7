//! Checking a collection against itself (MongoDB manual: *validate*).

use std::sync::Arc;

use bson::RawDocument;
use tailwater_matcher::encode_key;

use super::Collection;
use crate::catalog::{CollectionInfo, IndexInfo, IndexState};
use crate::error::{Error, Result};
use crate::index::keys::{self, IndexKeys};
use crate::overlay::KeyRange;
use crate::reading::Reading;

/// Most findings that are told one by one.
const FINDINGS_MAX: usize = 100;

/// What a check has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Validation {
    /// How many documents there are.
    pub documents: u64,
    /// How many keys each index has, the one on `_id` left out.
    pub keys: Vec<(String, u64)>,
    /// What is wrong; the first hundred findings. None when all is well.
    pub findings: Vec<String>,
}

impl Validation {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding());
        }
    }
}

impl Collection {
    /// Compares every index with the documents, in both directions, as they are now; writes go on meanwhile.
    ///
    /// It reads all documents and all index entries, and looks up one for each of the other: it takes as long as a few scans.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchCollection`], [`Error::Engine`].
    pub fn validate(&self) -> Result<Validation> {
        let reading = Reading::new(self.core().view()?);
        let info = reading.info(&self.namespace).ok_or_else(|| Error::NoSuchCollection {
            namespace: self.namespace.to_string(),
        })?;
        let mut validation = Validation::default();
        check_documents(&reading, &info, &mut validation)?;
        for index in &info.indexes {
            check_entries(&reading, &info, index, &mut validation)?;
        }
        Ok(validation)
    }
}

fn check_documents(reading: &Reading, info: &Arc<CollectionInfo>, validation: &mut Validation) -> Result<()> {
    for found in reading.scan(info.number, KeyRange::all()) {
        let (key, stored) = found?;
        let document = stored.document()?;
        validation.documents += 1;
        if id_key(document) != key {
            validation.find(|| format!("a document lies under a key that is not its _id: {document:?}"));
        }
        for index in info.indexes.iter().filter(|index| index.state == IndexState::Ready) {
            let name = &index.definition.name;
            let IndexKeys { values, multikey } = keys::of(&index.definition, document)?;
            if multikey && !index.multikey {
                validation.find(|| format!("the index {name} has an array's keys and does not say so: {document:?}"));
            }
            for values in values {
                let entry = reading.get(index.number, &keys::entry_key(&values, &key))?;
                let length = entry.map(|entry| entry.indexed()).transpose()?;
                if length != Some(values.len()) {
                    validation.find(|| format!("the index {name} lacks a key of a document: {document:?}"));
                }
            }
        }
    }
    Ok(())
}

fn check_entries(
    reading: &Reading,
    info: &Arc<CollectionInfo>,
    index: &IndexInfo,
    validation: &mut Validation,
) -> Result<()> {
    let name = &index.definition.name;
    let mut entries = 0;
    let mut last: Option<Vec<u8>> = None;
    for found in reading.scan(index.number, KeyRange::all()) {
        let (entry, stored) = found?;
        entries += 1;
        let (values, key) = entry.split_at(stored.indexed()?.min(entry.len()));
        let document = reading.get(info.number, key)?;
        let document = document.as_ref().map(|stored| stored.document()).transpose()?;
        let keys = document
            .map(|document| keys::of(&index.definition, document))
            .transpose()?;
        if keys.is_none_or(|keys| keys.values.binary_search_by(|own| own.as_slice().cmp(values)).is_err()) {
            validation.find(|| format!("the index {name} has a key of no document: {document:?}"));
        }
        if index.definition.unique && last.as_deref() == Some(values) {
            validation.find(|| format!("the unique index {name} has a key of two documents: {document:?}"));
        }
        last = Some(values.to_vec());
    }
    validation.keys.push((name.clone(), entries));
    Ok(())
}

fn id_key(document: &RawDocument) -> Vec<u8> {
    let mut key = Vec::new();
    if let Ok(Some(id)) = document.get("_id") {
        encode_key(id, &mut key);
    }
    key
}

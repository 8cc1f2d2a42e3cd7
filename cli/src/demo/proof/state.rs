//! Opening the store once more, and holding its documents against the model's.

use std::collections::BTreeSet;
use std::path::Path;

use bson::rawdoc;
use tailwater::Store;

use super::summary;
use crate::demo::model::Model;
use crate::demo::plan::{COLLECTION, DATABASE};
use crate::demo::writer::store_options;
use crate::demo::written::bytes;
use crate::failure::Outcome;

/// How many documents the store has, and what is wrong with them.
pub(super) fn compare(dir: &Path, model: &Model) -> Outcome<(u64, Vec<String>)> {
    let store = Store::open_with(dir, &store_options())?;
    let collection = store.collection(DATABASE, COLLECTION)?;
    let mut met = BTreeSet::new();
    let (mut strange, mut different, mut count) = (Vec::new(), Vec::new(), 0);
    for document in collection.find(&rawdoc! {})? {
        let document = document?;
        count += 1;
        let day = document.get_str("_id").unwrap_or_default().to_owned();
        match model.documents.get(&day) {
            None => strange.push(day.clone()),
            Some(planned) if bytes(planned)? != document.as_bytes() => different.push(day.clone()),
            Some(_) => {}
        }
        met.insert(day);
    }
    let missing: Vec<String> = model
        .documents
        .keys()
        .filter(|day| !met.contains(*day))
        .cloned()
        .collect();
    drop(collection);
    store.close()?;
    let faults = [
        summary("documents that are missing from the store", &missing),
        summary("documents of the store that should be gone", &strange),
        summary(
            "documents of the store that are not as the plan leaves them",
            &different,
        ),
    ];
    Ok((count, faults.into_iter().flatten().collect()))
}

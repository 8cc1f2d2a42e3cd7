//! Whether what a transaction has staged may be committed over the state as it is by then.
//!
//! It may when nothing that its writes were computed from is another now: each document that it writes, the collections it
//! writes to, and the unique keys that it takes. Versions are compared, so nobody keeps a list of what others have written; a
//! document that was changed and changed back is the same. What was only read is not looked at: this is snapshot isolation,
//! which lets two transactions each read what the other writes (*write skew*).

use tailwater_oplog::OpId;

use crate::catalog::{CollectionInfo, CollectionNumber, Namespace};
use crate::error::{Error, Result};
use crate::overlay::{KeyRange, Version};
use crate::reading::Reading;
use crate::state::Stored;
use crate::store::View;
use crate::workspace::Workspace;

/// Checks everything that is staged. `now` is the state under the commit lock.
///
/// # Errors
///
/// [`Error::WriteConflict`], and the state's.
pub(super) fn check(workspace: &Workspace, now: &View) -> Result<()> {
    let reading = workspace.reading();
    if now.at == reading.view.at {
        return Ok(());
    }
    for namespace in reading.staged.created.keys() {
        check_name(namespace, now)?;
    }
    for info in workspace.touched().filter(|info| !is_created(reading, info)) {
        check_collection(info, now)?;
        for (key, _) in reading.staged.of(info.number) {
            check_version(reading, info, key, now)?;
        }
        for index in info.indexes.iter().filter(|index| index.definition.unique) {
            for (key, stored) in reading.staged.of(index.number) {
                if let Some(stored) = stored {
                    check_unique(reading, info, index.number, key, stored.indexed()?, now)?;
                }
            }
        }
    }
    Ok(())
}

/// Checks one document that is about to be written, so that a transaction which cannot succeed stops soon. `now` is the state
/// as of any moment since the transaction began.
///
/// # Errors
///
/// As [`check`].
pub(super) fn check_document(reading: &Reading, info: &CollectionInfo, key: &[u8], now: &View) -> Result<()> {
    if now.at == reading.view.at || is_created(reading, info) {
        return Ok(());
    }
    check_collection(info, now)?;
    check_version(reading, info, key, now)
}

/// Checks that nobody else has created a collection of this name.
///
/// # Errors
///
/// [`Error::WriteConflict`].
pub(super) fn check_name(namespace: &Namespace, now: &View) -> Result<()> {
    match now.catalog.get(namespace) {
        None => Ok(()),
        Some(_) => Err(conflict(namespace, "the collection has been created by another")),
    }
}

/// Whether the collection is one that comes into being with the transaction.
fn is_created(reading: &Reading, info: &CollectionInfo) -> bool {
    let created = reading.staged.created.get(&info.namespace);
    created.is_some_and(|created| created.id == info.id)
}

fn check_collection(info: &CollectionInfo, now: &View) -> Result<()> {
    match now.catalog.by_id(&info.id) {
        Some(current) if current.is_compatible(info) => Ok(()),
        Some(_) => Err(conflict(
            &info.namespace,
            "the collection's name, options or indexes have changed",
        )),
        None => Err(conflict(&info.namespace, "the collection has been dropped")),
    }
}

fn check_version(reading: &Reading, info: &CollectionInfo, key: &[u8], now: &View) -> Result<()> {
    let before = reading.view.layers.get(info.number, key, reading.view.at)?;
    let current = now.layers.get(info.number, key, now.at)?;
    if is_same(before.as_ref(), current.as_ref())? {
        return Ok(());
    }
    Err(conflict(&info.namespace, "a document has been changed by another"))
}

/// Checks that a staged entry of a unique index is not there for a document that this transaction leaves where it is.
fn check_unique(
    reading: &Reading,
    info: &CollectionInfo,
    index: CollectionNumber,
    key: &[u8],
    values_bytes: usize,
    now: &View,
) -> Result<()> {
    let values = key.get(..values_bytes).ok_or(Error::Inconsistent {
        op_id: OpId::ZERO,
        what: "an index entry is shorter than its values",
    })?;
    for found in now.layers.scan(index, KeyRange::prefix(values), now.at) {
        let (other, _) = found?;
        let moved_away = matches!(reading.staged.get(index, &other), Some(None));
        if other != key && !moved_away {
            return Err(conflict(&info.namespace, "a unique key has been taken by another"));
        }
    }
    Ok(())
}

fn is_same(before: Option<&Stored>, current: Option<&Stored>) -> Result<bool> {
    Ok(match (before, current) {
        (None, None) => true,
        (Some(Stored::Overlay(Version::Put(before))), Some(Stored::Overlay(Version::Put(current))))
            if before.is_same(current) =>
        {
            true
        }
        (Some(before), Some(current)) => before.document()?.as_bytes() == current.document()?.as_bytes(),
        _ => false,
    })
}

fn conflict(namespace: &Namespace, what: &'static str) -> Error {
    Error::WriteConflict {
        namespace: namespace.to_string(),
        what,
    }
}

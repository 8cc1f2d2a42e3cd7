//! What writes do to the documents that they find, staged in a [`Workspace`]; for writes of their own and for transactions.

use std::sync::Arc;

use bson::RawDocument;
use tailwater_matcher::validate;

use crate::catalog::CollectionInfo;
use crate::error::{Error, Result};
use crate::update::{ApplyContext, Update};
use crate::workspace::{Found, Workspace, document_key, with_id_first};

/// How many of the matching documents a write concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    First,
    All,
}

impl Reach {
    pub(crate) fn documents_max(self) -> usize {
        match self {
            Reach::First => 1,
            Reach::All => usize::MAX,
        }
    }
}

/// What becomes of a document that a write has found.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Update(&'a Update),
    Replace(&'a RawDocument),
    Delete,
}

impl Change<'_> {
    /// Stages the change of one document; says whether it changes anything.
    ///
    /// # Errors
    ///
    /// [`Error::Update`], [`Error::InvalidReplacement`], and those of [`Workspace::put`].
    pub(crate) fn stage(&self, workspace: &mut Workspace, info: &Arc<CollectionInfo>, found: Found) -> Result<bool> {
        match self {
            Change::Update(update) => {
                let before = found.document()?;
                let Some(applied) = update.apply(before, &ApplyContext::default())? else {
                    return Ok(false);
                };
                if let Some(diff) = &applied.diff {
                    debug_assert_eq!(diff.apply(before).ok().as_ref(), Some(&applied.document));
                }
                workspace.put(info, found, applied.document, applied.diff.as_ref())?;
            }
            Change::Replace(replacement) => {
                let id = found.id()?;
                let document = match replacement.get("_id").ok().flatten() {
                    Some(other) if document_key(other)? == document_key(id)? => with_id_first(replacement, other),
                    Some(_) => {
                        return Err(Error::InvalidReplacement {
                            what: "its _id is another; an _id never changes",
                        });
                    }
                    None => with_id_first(replacement, id),
                };
                if document.as_bytes() == found.document()?.as_bytes() {
                    return Ok(false);
                }
                workspace.put(info, found, document, None)?;
            }
            Change::Delete => workspace.delete(info, found)?,
        }
        Ok(true)
    }
}

/// Checks that a document can replace another.
///
/// # Errors
///
/// [`Error::InvalidDocument`], [`Error::InvalidReplacement`].
pub(crate) fn check_replacement(replacement: &RawDocument) -> Result<()> {
    validate(replacement.as_bytes())?;
    let first = replacement.iter().next();
    if first.is_some_and(|field| field.is_ok_and(|(name, _)| name.as_str().starts_with('$'))) {
        return Err(Error::InvalidReplacement {
            what: "it has update operators; use update_one",
        });
    }
    Ok(())
}

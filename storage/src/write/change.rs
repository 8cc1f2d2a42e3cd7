//! What becomes of a document that a write has found.

use std::sync::Arc;

use bson::RawDocument;
use tailwater_matcher::validate;

use crate::catalog::CollectionInfo;
use crate::error::{Error, Result};
use crate::update::{ApplyContext, Update};
use crate::workspace::{Found, Workspace};

/// See the module documentation.
#[derive(Debug)]
pub(crate) enum Change {
    /// Operators, a replacement or a pipeline.
    Update(Update),
    Delete,
}

impl Change {
    /// Stages the change of one document; says whether it changes anything.
    ///
    /// # Errors
    ///
    /// [`Error::Update`], and those of [`Workspace::put`].
    pub(crate) fn stage(
        &self,
        workspace: &mut Workspace,
        info: &Arc<CollectionInfo>,
        found: Found,
        context: &ApplyContext,
    ) -> Result<bool> {
        match self {
            Change::Update(update) => {
                let before = found.document()?;
                let Some(applied) = update.apply(before, context)? else {
                    return Ok(false);
                };
                if let Some(diff) = &applied.diff {
                    debug_assert_eq!(diff.apply(before).ok().as_ref(), Some(&applied.document));
                }
                workspace.put(info, found, &applied.document, applied.diff.as_ref())?;
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

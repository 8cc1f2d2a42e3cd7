//! What becomes of a document that a write has found.

use std::sync::Arc;

use bson::RawDocument;
use tailwater_matcher::validate;

use crate::catalog::CollectionInfo;
use crate::error::{Error, Result};
use crate::state::Stored;
use crate::update::{Applied, ApplyContext, Update, UpdateError};
use crate::workspace::{Found, Workspace};

/// See the module documentation.
#[derive(Debug)]
pub(crate) enum Change {
    /// Operators, a replacement or a pipeline.
    Update(Update),
    Delete,
}

/// What becomes of a document, computed before the lock is taken.
#[derive(Debug)]
pub(crate) struct Prepared {
    before: Stored,
    applied: Option<Applied>,
}

impl Prepared {
    /// Whether it is of the document as it was found now.
    pub(crate) fn is_of(&self, found: &Found) -> bool {
        match (self.before.document(), found.document()) {
            (Ok(before), Ok(found)) => before.as_bytes() == found.as_bytes(),
            _ => false,
        }
    }
}

impl Change {
    /// Computes what becomes of a document, where that may take long.
    ///
    /// # Errors
    ///
    /// [`Error::Update`], when there is no time for it. What else is wrong shows when it is staged, on the document as it is then.
    pub(crate) fn prepare(&self, found: &Found, context: &ApplyContext) -> Result<Option<Prepared>> {
        let Change::Update(update @ Update::Pipeline(_)) = self else {
            return Ok(None);
        };
        match update.apply(found.document()?, context) {
            Ok(applied) => Ok(Some(Prepared {
                before: found.stored.clone(),
                applied,
            })),
            Err(UpdateError::Evaluate { source }) if source.ran_out() => Err(UpdateError::Evaluate { source }.into()),
            Err(_) => Ok(None),
        }
    }

    /// Stages the change of one document, which may have been prepared; says whether it changes anything.
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
        prepared: Option<Prepared>,
    ) -> Result<bool> {
        match self {
            Change::Update(update) => {
                let before = found.document()?;
                let applied = match prepared {
                    Some(prepared) => prepared.applied,
                    None => update.apply(before, context)?,
                };
                let Some(applied) = applied else {
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

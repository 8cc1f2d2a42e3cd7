//! What is returned of each document that was found (MongoDB manual: *Projection*).

use bson::{DateTime, RawDocument, RawDocumentBuf};
use tailwater_matcher::{FindProjection, Variables};

use super::Language;
use crate::error::{Error, Result};
use crate::state::Stored;
use crate::write::Positions;

/// A projection, and what its positional `$` needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    projection: FindProjection,
    positions: Option<Positions>,
    /// What `$$NOW` stands for, in every document.
    now: DateTime,
}

impl Projection {
    /// Reads a projection for documents that a filter in a language finds.
    ///
    /// # Errors
    ///
    /// [`Error::Projection`]; [`Error::Filter`].
    pub(crate) fn parse(projection: &RawDocument, filter: &RawDocument, language: &Language) -> Result<Projection> {
        let projection = FindProjection::parse_with(projection, &language.options(&[])).map_err(Error::Projection)?;
        let positions = projection.is_positional().then(|| Positions::parse(filter, language));
        Ok(Projection {
            positions: positions.transpose()?,
            projection,
            now: language.now(),
        })
    }

    /// What is left of a document.
    ///
    /// # Errors
    ///
    /// [`Error::Project`], [`Error::Evaluate`].
    pub(crate) fn apply(&self, document: &RawDocument) -> Result<RawDocumentBuf> {
        let position = match &self.positions {
            Some(positions) => positions.of(document)?,
            None => None,
        };
        let variables = Variables::new(&document).now(self.now);
        let projected = self.projection.apply_with(document, position, &variables);
        projected.map_err(Error::Project)
    }
}

/// What is returned of a stored document: what a projection leaves, or all of it.
///
/// # Errors
///
/// Those of [`Projection::apply`], and the state's.
pub(crate) fn project(projection: Option<&Projection>, stored: Stored) -> Result<RawDocumentBuf> {
    match projection {
        Some(projection) => projection.apply(stored.document()?),
        None => stored.into_document(),
    }
}

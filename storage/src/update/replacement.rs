//! Replacements: a whole new version of a document, which keeps its `_id`.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use tailwater_matcher::compare;

use super::element::elements;
use super::{Applied, ID, UpdateError, upsert};
use crate::limits::{DOCUMENT_BYTES_MAX, NESTING_MAX, nesting};

/// A checked replacement; see [`Update`](super::Update).
#[derive(Debug)]
pub struct Replacement {
    document: RawDocumentBuf,
}

impl Replacement {
    /// No field may look like an operator, and the document must be one that can be stored.
    pub(super) fn parse(document: &RawDocument) -> Result<Replacement, UpdateError> {
        for field in elements(document) {
            let field = field?;
            if field.name.starts_with('$') {
                return Err(UpdateError::DollarPrefixedField {
                    field: field.name.to_owned(),
                });
            }
        }
        if nesting(document)? > NESTING_MAX {
            return Err(UpdateError::NestingTooDeep { path: String::new() });
        }
        Ok(Replacement {
            document: document.to_owned(),
        })
    }

    /// Puts the replacement in the place of a stored document; `None` if it is that already.
    pub(super) fn apply(&self, old: &RawDocument) -> Result<Option<Applied>, UpdateError> {
        let document = self.with_id_of(old)?;
        Ok((document.as_bytes() != old.as_bytes()).then_some(Applied { document, diff: None }))
    }

    /// The document to insert, with the `_id` that the query gives.
    pub(super) fn upsert(&self, query: &RawDocument) -> Result<RawDocumentBuf, UpdateError> {
        let document = self.with_id_of(&upsert::id_from_query(query)?)?;
        upsert::with_id(&document)
    }

    /// The replacement with an `_id` in front: its own, which must equal that of the other document, or that one.
    fn with_id_of(&self, old: &RawDocument) -> Result<RawDocumentBuf, UpdateError> {
        let (old, new): (Option<RawBsonRef<'_>>, Option<RawBsonRef<'_>>) = (old.get(ID)?, self.document.get(ID)?);
        if let (Some(old), Some(new)) = (old, new)
            && compare(old, new).is_ne()
        {
            return Err(UpdateError::ImmutableField { field: ID.to_owned() });
        }
        let Some(id) = new.or(old) else {
            return Ok(self.document.clone());
        };
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), id);
        for field in self.document.iter_elements() {
            let field = field?;
            if field.key().as_str() != ID {
                document.append(field.key(), field.value()?);
            }
        }
        let bytes_min = document.as_bytes().len();
        if bytes_min > DOCUMENT_BYTES_MAX {
            return Err(UpdateError::DocumentTooLarge { bytes_min });
        }
        Ok(document)
    }
}

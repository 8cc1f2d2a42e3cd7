//! The description of an update that the log carries and change streams show.

use std::sync::Arc;

use bson::raw::{CStr, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, cstr};

use super::UpdateError;
use super::change::Change;
use super::edit::Edit;
use super::element::elements;
use super::path::Path;
use super::tree::Tree;

/// What turns one version of a document into the next: MongoDB's `updateDescription`.
///
/// # Exactness
///
/// [`UpdateDiff::apply`] to the old version gives the new one, byte for byte, save the order of the
/// whole document's fields: one that comes in another place in the new version stays where it was,
/// and new ones follow in their order. Only [`UpdateDiff::between`] meets such versions; an update
/// moves nothing. Applied to the new version it gives that one again. To be exact, the three lists
/// have an order of work:
///
/// 1. `truncated_arrays` cut,
/// 2. `removed_fields` go,
/// 3. `updated_fields` are set: in place where there is something, else appended in their order.
///
/// A path is in one of the lists at most, as with MongoDB.
///
/// # Paths
///
/// Dotted. A number is an index where the document has an array. Names that a path cannot say, empty
/// ones and those with dots, never occur; see [`UpdateDiff::between`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateDiff {
    /// New values by path.
    pub updated_fields: RawDocumentBuf,
    /// Paths of fields that are gone.
    pub removed_fields: Vec<String>,
    /// Arrays that lost elements at their end.
    pub truncated_arrays: Vec<TruncatedArray>,
}

/// An array that became shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruncatedArray {
    /// Path of the array.
    pub field: String,
    /// Number of elements left.
    pub new_size: u32,
}

const UPDATED_FIELDS: &CStr = cstr!("updatedFields");
const REMOVED_FIELDS: &CStr = cstr!("removedFields");
const TRUNCATED_ARRAYS: &CStr = cstr!("truncatedArrays");
const FIELD: &CStr = cstr!("field");
const NEW_SIZE: &CStr = cstr!("newSize");

impl UpdateDiff {
    /// Reads what [`UpdateDiff::to_document`] wrote. All three fields must be there, and no other:
    /// one that this version does not know could change the outcome.
    pub fn parse(document: &RawDocument) -> Result<UpdateDiff, UpdateError> {
        let (mut updated, mut removed, mut truncated) = (None, None, None);
        for field in document.iter_elements() {
            let field = field?;
            let malformed = || malformed(field.key());
            match (field.key(), field.value()?) {
                (key, RawBsonRef::Document(fields)) if key == UPDATED_FIELDS => {
                    updated = Some(fields.to_owned());
                }
                (key, RawBsonRef::Array(fields)) if key == REMOVED_FIELDS => {
                    let paths = fields
                        .into_iter()
                        .map(|path| Ok(path?.as_str().ok_or_else(malformed)?.to_owned()));
                    removed = Some(paths.collect::<Result<_, UpdateError>>()?);
                }
                (key, RawBsonRef::Array(arrays)) if key == TRUNCATED_ARRAYS => {
                    let arrays = arrays
                        .into_iter()
                        .map(|array| TruncatedArray::parse(array?.as_document().ok_or_else(malformed)?));
                    truncated = Some(arrays.collect::<Result<_, UpdateError>>()?);
                }
                _ => return Err(malformed()),
            }
        }
        Ok(UpdateDiff {
            updated_fields: updated.ok_or_else(|| malformed(UPDATED_FIELDS))?,
            removed_fields: removed.ok_or_else(|| malformed(REMOVED_FIELDS))?,
            truncated_arrays: truncated.ok_or_else(|| malformed(TRUNCATED_ARRAYS))?,
        })
    }

    /// `{updatedFields: {…}, removedFields: […], truncatedArrays: [{field, newSize}, …]}`.
    pub fn to_document(&self) -> RawDocumentBuf {
        let removed: RawArrayBuf = self.removed_fields.iter().map(String::as_str).collect();
        let truncated: RawArrayBuf = self.truncated_arrays.iter().map(TruncatedArray::to_document).collect();
        let mut document = RawDocumentBuf::new();
        document.append(UPDATED_FIELDS, &self.updated_fields);
        document.append(REMOVED_FIELDS, removed);
        document.append(TRUNCATED_ARRAYS, truncated);
        document
    }

    /// Whether it describes no change at all.
    pub fn is_empty(&self) -> bool {
        self.updated_fields.is_empty() && self.removed_fields.is_empty() && self.truncated_arrays.is_empty()
    }

    /// Makes the new version of `document`; see *Exactness* above.
    ///
    /// The values of a diff are taken as they are: they were checked when the diff was made, and the
    /// log's checksums stand for them since. An error means that the diff is not this document's.
    pub fn apply(&self, document: &RawDocument) -> Result<RawDocumentBuf, UpdateError> {
        let mut tree = Tree::default();
        for array in &self.truncated_arrays {
            tree.truncate(&Path::of_diff(&array.field)?, array.new_size as usize)?;
        }
        let unset = Arc::new(Change::Unset);
        for path in &self.removed_fields {
            tree.insert(&Path::of_diff(path)?, Arc::clone(&unset))?;
        }
        for field in elements(&self.updated_fields) {
            let field = field?;
            tree.insert(&Path::of_diff(field.name)?, Arc::new(Change::Set(field.to_value())))?;
        }
        let mut edit = Edit::silent();
        edit.run(document, &tree)?;
        let (document, _) = edit.finish()?;
        Ok(document)
    }
}

impl TruncatedArray {
    fn parse(document: &RawDocument) -> Result<TruncatedArray, UpdateError> {
        let field = document.get(FIELD.as_str())?.and_then(RawBsonRef::as_str);
        let new_size = document.get(NEW_SIZE.as_str())?.and_then(RawBsonRef::as_i32);
        Ok(TruncatedArray {
            field: field.ok_or_else(|| malformed(FIELD))?.to_owned(),
            new_size: new_size
                .and_then(|size| u32::try_from(size).ok())
                .ok_or_else(|| malformed(NEW_SIZE))?,
        })
    }

    fn to_document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        document.append(FIELD, self.field.as_str());
        // An array has fewer elements than a document has bytes, so the sign bit stays free.
        document.append(NEW_SIZE, self.new_size as i32);
        document
    }
}

fn malformed(field: &CStr) -> UpdateError {
    UpdateError::DiffMalformed {
        field: field.as_str().to_owned(),
    }
}

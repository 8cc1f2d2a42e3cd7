//! Update documents: `{$set: …, $unset: …, $inc: …}`, what they do to a document, and the
//! description of that which goes into the log.
//!
//! [`Update`] is parsed once and applied to any number of documents. Applying gives the new
//! document and an [`UpdateDiff`] that turns the old one into the new one byte for byte: the log
//! carries the diff, and replay and followers run [`UpdateDiff::apply`].
//!
//! # Semantics
//!
//! MongoDB's, as far as the three operators go:
//!
//! - Dotted paths reach into embedded documents and create them; a number names an element of an
//!   array where there is an array, and a field elsewhere. An array is extended with nulls.
//! - Fields keep their place. New ones are appended in the order of their names, numbers by value;
//!   in a document without `_id`, a new `_id` comes first.
//! - Paths of one update that overlap are an error, as is a path that leads through a scalar.
//! - A value set to itself changes nothing, and an update that changes nothing gives no diff.
//! - `_id` never changes. Its bytes are compared: `1` and `1.0` are not the same here, while MongoDB
//!   would let one replace the other.
//!
//! Not yet there: `$` and `$[]` in paths, and `$inc` on Decimal128. They are errors with names.
//!
//! # Bytes
//!
//! Documents are never decoded as a whole. The unchanged parts are copied as they are, so their
//! bytes survive whatever they hold; field names that occur twice keep both, the first one counts,
//! except that `$unset` removes all.
//!
//! # Depth
//!
//! The walk recurses along the paths of an update, at most [`NESTING_MAX`] components, never along
//! the levels of a document. [`UpdateDiff::between`] recurses along two documents and stops at the
//! same depth.
//!
//! [`NESTING_MAX`]: crate::limits::NESTING_MAX

mod between;
mod diff;
mod edit;
mod element;
mod error;
mod number;
mod path;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::spec::ElementType;

pub use self::diff::{TruncatedArray, UpdateDiff};
pub use self::error::UpdateError;

use self::edit::Edit;
use self::element::{Element, elements};
use self::number::Number;
use self::path::Path;
use self::tree::{Change, Tree};

/// A checked update document.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_storage::update::Update;
///
/// let update = Update::parse(&rawdoc! { "$inc": { "visits": 1 }, "$set": { "last.city": "Ulm" } })?;
/// let applied = update.apply(&rawdoc! { "_id": 7, "visits": 3 })?.expect("it changes something");
/// assert_eq!(applied.document, rawdoc! { "_id": 7, "visits": 4, "last": { "city": "Ulm" } });
/// assert_eq!(applied.diff.updated_fields, rawdoc! { "visits": 4, "last": { "city": "Ulm" } });
/// # Ok::<(), tailwater_storage::update::UpdateError>(())
/// ```
#[derive(Debug)]
pub struct Update {
    tree: Tree,
}

/// What an update made of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The new document.
    pub document: RawDocumentBuf,
    /// What turns the old document into the new one.
    pub diff: UpdateDiff,
}

/// The field that no update changes.
const ID: &str = "_id";

/// The operators of [`Update::parse`], in the order in which messages list them.
const OPERATORS: [(&str, Operator); 3] = [
    ("$set", Operator::Set),
    ("$unset", Operator::Unset),
    ("$inc", Operator::Inc),
];

#[derive(Clone, Copy)]
enum Operator {
    Set,
    Unset,
    Inc,
}

impl Update {
    /// Checks an update document and takes over what it needs of it.
    ///
    /// A document whose first field is no operator is a replacement and none of this function's
    /// business; it is refused as [`UpdateError::FieldWithoutOperator`].
    pub fn parse(document: &RawDocument) -> Result<Update, UpdateError> {
        let mut changes = Vec::new();
        for operation in elements(document) {
            let operation = operation?;
            let operator = operator(operation.name)?;
            let operand = operation.document().ok_or_else(|| UpdateError::OperandNotDocument {
                operator: operation.name.to_owned(),
                found: operation.kind,
            })?;
            for field in elements(operand?) {
                let field = field?;
                let path = Path::of_update(field.name)?;
                let change = operator.change(&path, &field)?;
                changes.push((path, change));
            }
        }
        if elements(document).next().is_none() {
            return Err(UpdateError::Empty);
        }
        // New fields are created in the order in which the tree was built.
        changes.sort_by(|(a, _), (b, _)| a.cmp(b));

        let mut tree = Tree::default();
        for (path, change) in changes {
            tree.insert(&path, change)?;
        }
        Ok(Update { tree })
    }

    /// Applies the update to a stored document; `None` if that changes nothing.
    pub fn apply(&self, document: &RawDocument) -> Result<Option<Applied>, UpdateError> {
        let mut edit = Edit::recording();
        if !edit.run(document, &self.tree)? {
            return Ok(None);
        }
        let (document, diff) = edit.finish()?;
        Ok(Some(Applied { document, diff }))
    }
}

impl Operator {
    fn change(self, path: &Path<'_>, operand: &Element<'_>) -> Result<Change, UpdateError> {
        match self {
            Operator::Set => {
                operand.check(path)?;
                Ok(Change::Set(operand.to_value()))
            }
            Operator::Unset => Ok(Change::Unset),
            Operator::Inc => match Number::read(operand) {
                Some(number) => Ok(Change::Increment(number)),
                None if operand.kind == ElementType::Decimal128 => {
                    Err(UpdateError::DecimalUnsupported { path: path.to_string() })
                }
                None => Err(UpdateError::IncrementNotNumeric {
                    path: path.to_string(),
                    found: operand.kind,
                }),
            },
        }
    }
}

fn operator(name: &str) -> Result<Operator, UpdateError> {
    if let Some((_, operator)) = OPERATORS.iter().find(|(known, _)| *known == name) {
        return Ok(*operator);
    }
    Err(if name.starts_with('$') {
        UpdateError::OperatorUnknown {
            operator: name.to_owned(),
        }
    } else {
        UpdateError::FieldWithoutOperator { field: name.to_owned() }
    })
}

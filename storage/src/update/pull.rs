//! `$pull` and `$pullAll`: elements leave an array.

use std::borrow::Cow;
use std::collections::HashSet;

use bson::raw::{CStr, RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use bson::spec::ElementType;
use tailwater_matcher::{Expression, Fields};

use super::UpdateError;
use super::element::{Element, Value, elements};
use super::list::{self, List};
use super::path::Path;
use crate::query::Language;

/// Which elements go.
#[derive(Debug)]
pub(super) enum Pull {
    /// Those that equal one of these values.
    Values(HashSet<Vec<u8>>, Language),
    /// Those for which a predicate on [`ELEMENT`] holds.
    Condition(Expression),
    /// Documents that satisfy a predicate; others stay.
    Documents(Expression),
}

/// The name under which a condition sees an element.
const ELEMENT: &str = "element";

/// Operators that begin a query on whole documents, not a condition on a value. The last three
/// begin a reference, which is a document as any other.
const DOCUMENT_OPERATORS: [&str; 12] = [
    "$and",
    "$or",
    "$nor",
    "$expr",
    "$where",
    "$text",
    "$comment",
    "$jsonSchema",
    "$sampleRate",
    "$ref",
    "$id",
    "$db",
];

impl Pull {
    /// The operand of `$pull`: a value, a condition, or a query on documents.
    pub(super) fn parse(path: &Path<'_>, operand: &Element<'_>, language: &Language) -> Result<Pull, UpdateError> {
        operand.check(path, 0)?;
        let condition = |source| UpdateError::Condition {
            path: path.to_string(),
            source: Box::new(source),
        };
        let parse = |document: &RawDocument| Expression::parse_with(document, &language.options(&[]));
        let on_element = || {
            let mut wrapped = RawDocumentBuf::new();
            wrapped.append(cstr!("element"), operand.get()?);
            let expression = parse(&wrapped).map_err(condition)?;
            Ok(Pull::Condition(expression))
        };
        match operand.document() {
            Some(document) => {
                let document = document?;
                let first = elements(document).next().transpose()?;
                let is_condition =
                    first.is_some_and(|first| first.name.starts_with('$') && !DOCUMENT_OPERATORS.contains(&first.name));
                if is_condition {
                    return on_element();
                }
                parse(document).map(Pull::Documents).map_err(condition)
            }
            None if operand.kind == ElementType::RegularExpression => on_element(),
            None => {
                let keys = HashSet::from([list::key(operand.get()?, language)]);
                Ok(Pull::Values(keys, language.clone()))
            }
        }
    }

    /// The operand of `$pullAll`; `None` if it is no array.
    pub(super) fn parse_all(operand: &Element<'_>, language: &Language) -> Option<Result<Pull, UpdateError>> {
        let keys = |list: List| {
            let items = list.items()?;
            let keys = items.iter().map(|item| Ok(list::key(item.get()?, language)));
            keys.collect::<Result<_, UpdateError>>()
        };
        let keys = List::of_array(operand)?.and_then(keys);
        Some(keys.map(|keys| Pull::Values(keys, language.clone())))
    }

    /// The array without them.
    pub(super) fn apply(&self, array: &RawDocument) -> Result<Value, UpdateError> {
        let mut kept = Vec::new();
        for item in elements(array) {
            let item = item?;
            if !self.takes(item.get()?)? {
                kept.push(item);
            }
        }
        Ok(list::write(&kept))
    }

    fn takes(&self, value: RawBsonRef<'_>) -> Result<bool, UpdateError> {
        Ok(match (self, value) {
            (Pull::Values(keys, language), _) => keys.contains(&list::key(value, language)),
            (Pull::Condition(condition), _) => condition.matches(&Named { name: ELEMENT, value })?,
            (Pull::Documents(query), RawBsonRef::Document(document)) => query.matches(document)?,
            (Pull::Documents(_), _) => false,
        })
    }
}

/// A document of one field, without its bytes.
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) value: RawBsonRef<'a>,
}

impl Fields for Named<'_> {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        (name == self.name).then_some(self.value)
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        let mut document = RawDocumentBuf::new();
        if let Ok(name) = <&CStr>::try_from(self.name) {
            document.append(name, self.value);
        }
        Cow::Owned(document)
    }
}

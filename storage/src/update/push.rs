//! `$push`: values go into an array, which is then sorted and cut.

use std::cmp::Ordering;

use bson::raw::{RawBsonRef, RawDocument};

use super::UpdateError;
use super::element::{Element, Value, elements};
use super::list::{self, List};
use super::number::Number;
use super::path::{Path, array_index};
use crate::query::Language;

/// What `$push` was asked for.
#[derive(Debug)]
pub(super) struct Push {
    values: List,
    /// `$position`: before which element the values go; negative ones count from the end.
    position: Option<i64>,
    /// `$slice`: how many elements are kept, from the front or, negative, from the end.
    slice: Option<i64>,
    sort: Option<Sort>,
    language: Language,
}

/// `$sort`: how the array is ordered after the values have come in.
#[derive(Debug)]
enum Sort {
    Values { descending: bool },
    Fields(Vec<SortField>),
}

#[derive(Debug)]
struct SortField {
    path: Box<str>,
    descending: bool,
}

/// The array after a push.
pub(super) struct Pushed {
    pub(super) array: Value,
    /// Where the new elements begin, if all they did was to come behind the old ones.
    pub(super) appended_from: Option<usize>,
}

impl Push {
    pub(super) fn parse(path: &Path<'_>, operand: &Element<'_>, language: &Language) -> Result<Push, UpdateError> {
        let mut push = Push {
            values: List::of_value(operand)?,
            position: None,
            slice: None,
            sort: None,
            language: language.clone(),
        };
        let clauses = match operand.document() {
            Some(document) => elements(document?).collect::<Result<Vec<_>, _>>()?,
            None => Vec::new(),
        };
        if !clauses.iter().any(|clause| clause.name == "$each") {
            operand.check(path, 1)?;
            return Ok(push);
        }
        let invalid = |operator, expected| UpdateError::OperandInvalid {
            operator,
            path: path.to_string(),
            expected,
        };
        for (at, clause) in clauses.iter().enumerate() {
            if clauses[..at].iter().any(|earlier| earlier.name == clause.name) {
                return Err(invalid("$push", "each clause once"));
            }
            match clause.name {
                "$each" => {
                    let values = List::of_array(clause).ok_or_else(|| invalid("$each", "an array"))?;
                    // The array takes the place of the one in the document.
                    clause.check(path, 0)?;
                    push.values = values?;
                }
                "$position" => {
                    let position = Number::read_whole(clause);
                    push.position = Some(position.ok_or_else(|| invalid("$position", "a whole number"))?);
                }
                "$slice" => {
                    let slice = Number::read_whole(clause);
                    push.slice = Some(slice.ok_or_else(|| invalid("$slice", "a whole number"))?);
                }
                "$sort" => {
                    let sort = Sort::parse(clause)?;
                    push.sort =
                        Some(sort.ok_or_else(|| invalid("$sort", "1, -1, or a document of fields with these"))?);
                }
                _ => return Err(invalid("$push", "$each, $position, $slice and $sort")),
            }
        }
        Ok(push)
    }

    /// The array after the push; `None` stands for no array yet.
    pub(super) fn apply(&self, old: Option<&RawDocument>) -> Result<Pushed, UpdateError> {
        let mut items = old.map(list::read).transpose()?.unwrap_or_default();
        let old_length = items.len();
        // The new array is counted anew; only where the old one was does a diff of its end make the same bytes.
        let is_counted = (0..)
            .zip(&items)
            .all(|(place, item)| array_index(item.name) == Some(place));
        let at = match self.position {
            None => old_length,
            Some(from_end) if from_end < 0 => old_length.saturating_sub(count(from_end)),
            Some(position) => old_length.min(count(position)),
        };
        items.splice(at..at, self.values.items()?);
        if let Some(sort) = &self.sort {
            items = sort.apply(items, &self.language)?;
        }
        let length = items.len();
        match self.slice {
            Some(slice) if slice < 0 => {
                items.drain(..length.saturating_sub(count(slice)));
            }
            Some(slice) => items.truncate(count(slice)),
            None => {}
        }
        let is_append =
            is_counted && at == old_length && old_length > 0 && self.sort.is_none() && items.len() == length;
        Ok(Pushed {
            array: list::write(&items),
            appended_from: is_append.then_some(old_length),
        })
    }
}

impl Sort {
    /// `None` if it is not an order.
    fn parse(clause: &Element<'_>) -> Result<Option<Sort>, UpdateError> {
        let Some(document) = clause.document() else {
            return Ok(is_descending(clause).map(|descending| Sort::Values { descending }));
        };
        let mut fields = Vec::new();
        for field in elements(document?) {
            let field = field?;
            let (Some(descending), Ok(path)) = (is_descending(&field), Path::of_diff(field.name)) else {
                return Ok(None);
            };
            fields.push(SortField {
                path: path.to_string().into(),
                descending,
            });
        }
        Ok((!fields.is_empty()).then_some(Sort::Fields(fields)))
    }

    /// The elements in order; equal ones stay in the order they had.
    fn apply<'a>(&self, items: Vec<Element<'a>>, language: &Language) -> Result<Vec<Element<'a>>, UpdateError> {
        let mut keyed = Vec::with_capacity(items.len());
        for item in items {
            let value = item.get()?;
            let keys: Vec<RawBsonRef<'_>> = match self {
                Sort::Values { .. } => vec![value],
                Sort::Fields(fields) => fields.iter().map(|field| at_path(value, &field.path)).collect(),
            };
            keyed.push((keys, item));
        }
        keyed.sort_by(|(a, _), (b, _)| self.compare(a, b, language));
        Ok(keyed.into_iter().map(|(_, item)| item).collect())
    }

    fn compare(&self, a: &[RawBsonRef<'_>], b: &[RawBsonRef<'_>], language: &Language) -> Ordering {
        let mut orders = a.iter().zip(b).enumerate().map(|(place, (a, b))| {
            let descending = match self {
                Sort::Values { descending } => *descending,
                Sort::Fields(fields) => fields[place].descending,
            };
            let order = language.compare(*a, *b);
            if descending { order.reverse() } else { order }
        });
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

/// What lies at a dotted path, a number being an index where there is an array. Nothing sorts as null.
fn at_path<'a>(value: RawBsonRef<'a>, path: &str) -> RawBsonRef<'a> {
    let step = |value: RawBsonRef<'a>, component: &str| match value {
        RawBsonRef::Document(document) => document.get(component).ok().flatten(),
        RawBsonRef::Array(array) => array.get(array_index(component)?).ok().flatten(),
        _ => None,
    };
    path.split('.').try_fold(value, step).unwrap_or(RawBsonRef::Null)
}

fn is_descending(element: &Element<'_>) -> Option<bool> {
    match Number::read_whole(element)? {
        1 => Some(false),
        -1 => Some(true),
        _ => None,
    }
}

/// The absolute value, as a number of elements.
fn count(number: i64) -> usize {
    usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX)
}

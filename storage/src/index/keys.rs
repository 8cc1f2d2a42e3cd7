//! Which keys a document has in an index.
//!
//! MongoDB's rules (manual: *Multikey Indexes*): a field that reaches an array has one key for each element; an empty array is
//! the key `undefined`, a missing field the key `null`; an array within an array is a key as a whole. Of the arrays that the
//! fields of a compound index reach, only one may be there at each level: the keys are the elements of that array, combined
//! with the other fields' values.
//!
//! A sparse index has no key for a combination in which every field is missing; a partial one has none for a document that
//! its filter does not match.
//!
//! # What a scan may rely on
//!
//! Whatever a [`Conjunct`](tailwater_matcher::Conjunct) says of a document at an indexed path, one of its keys satisfies it,
//! with two exceptions that the planner knows: a conjunct that is satisfied by an array as a whole, and conjuncts on two
//! fields that go through one array, which may be satisfied by two of its elements.
//!
//! # Layout
//!
//! A key in the engine is the fields' values as the matcher's key strings, inverted where the field is descending, then the
//! document's own key. The value says where the second part begins.

#[cfg(test)]
mod tests;

use bson::raw::{RawArray, RawBsonRef};
use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{Collation, encode_key, encode_key_descending};

use super::definition::{Direction, IndexDefinition, IndexField};
use crate::engine::KEY_BYTES_MAX;
use crate::error::{Error, Result};

/// The keys of one document in one index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct IndexKeys {
    /// Values only, without the document's key; sorted and distinct.
    pub(crate) values: Vec<Vec<u8>>,
    /// Whether a field reached an array.
    pub(crate) multikey: bool,
}

/// Where one field's path stands in the document.
#[derive(Clone, Copy)]
enum Place<'d, 'p> {
    /// Where there is nothing; as a key, null.
    Missing,
    /// At its end.
    Value(RawBsonRef<'d>),
    /// At an array, with so much of the path left.
    Array(&'d RawArray, &'p [String]),
}

/// A document reaches two arrays through fields whose keys are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parallel;

/// The keys of `document`; none when the index leaves it out.
///
/// # Errors
///
/// [`Error::ParallelArrays`], [`Error::IndexKeyTooLong`], and those of the partial filter's evaluation.
pub(crate) fn of(definition: &IndexDefinition, document: &RawDocument) -> Result<IndexKeys> {
    if let Some(filter) = &definition.partial
        && !filter.matches(document)?
    {
        return Ok(IndexKeys::default());
    }
    let wanted = Wanted {
        fields: &definition.fields,
        sparse: definition.sparse,
        collation: None,
    };
    let keys = of_fields(wanted, document).map_err(|Parallel| Error::ParallelArrays {
        name: definition.name.clone(),
    })?;
    let longest = keys.values.iter().map(Vec::len).max().unwrap_or(0);
    if longest > KEY_BYTES_MAX / 2 {
        return Err(Error::IndexKeyTooLong {
            name: definition.name.clone(),
            bytes: longest,
            bytes_max: KEY_BYTES_MAX / 2,
        });
    }
    Ok(keys)
}

/// Which keys are wanted of a document; they need not belong to an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'f> {
    /// In this order and these directions.
    pub(crate) fields: &'f [IndexField],
    /// Whether a combination in which every field is missing has none.
    pub(crate) sparse: bool,
    /// How strings sort; by their bytes if there is none.
    pub(crate) collation: Option<&'f Collation>,
}

/// The keys of `document`.
pub(crate) fn of_fields(wanted: Wanted<'_>, document: &RawDocument) -> Result<IndexKeys, Parallel> {
    let mut keys = IndexKeys::default();
    let places: Vec<_> = wanted
        .fields
        .iter()
        .map(|field| walk(RawBsonRef::Document(document), &field.components))
        .collect();
    expand(wanted, &places, &mut keys)?;
    keys.values.sort_unstable();
    keys.values.dedup();
    Ok(keys)
}

/// Follows a path until it ends or meets an array.
fn walk<'d, 'p>(mut value: RawBsonRef<'d>, mut rest: &'p [String]) -> Place<'d, 'p> {
    loop {
        value = match (value, rest.split_first()) {
            (RawBsonRef::Array(array), _) => return Place::Array(array, rest),
            (value, None) => return Place::Value(value),
            (RawBsonRef::Document(document), Some((name, after))) => {
                rest = after;
                match document.get(name.as_str()).ok().flatten() {
                    Some(value) => value,
                    None => return Place::Missing,
                }
            }
            (_, Some(_)) => return Place::Missing,
        };
    }
}

/// Adds the keys of every combination. It calls itself at most once for each component of the longest path.
fn expand<'d, 'p>(wanted: Wanted<'_>, places: &[Place<'d, 'p>], keys: &mut IndexKeys) -> Result<(), Parallel> {
    let mut arrays = places.iter().filter_map(|place| match place {
        Place::Array(array, _) => Some(*array),
        Place::Missing | Place::Value(_) => None,
    });
    let Some(array) = arrays.next() else {
        if !wanted.sparse || places.iter().any(|place| !matches!(place, Place::Missing)) {
            keys.values.push(encode(wanted, places));
        }
        return Ok(());
    };
    if arrays.any(|other| !std::ptr::eq(other.as_bytes(), array.as_bytes())) {
        return Err(Parallel);
    }
    keys.multikey = true;
    let mut elements = array.into_iter().flatten().enumerate().peekable();
    if elements.peek().is_none() {
        let places: Vec<_> = places.iter().map(|place| of_empty(*place)).collect();
        return expand(wanted, &places, keys);
    }
    for (position, element) in elements {
        let each: Vec<_> = places.iter().map(|place| of_element(*place, element)).collect();
        expand(wanted, &each, keys)?;
        let named = |place: &Place<'d, 'p>| at_position(*place, position, element);
        if places.iter().any(|place| named(place).is_some()) {
            let places = places
                .iter()
                .map(|place| named(place).unwrap_or_else(|| of_element(*place, element)));
            expand(wanted, &places.collect::<Vec<_>>(), keys)?;
        }
    }
    Ok(())
}

fn of_empty<'d, 'p>(place: Place<'d, 'p>) -> Place<'d, 'p> {
    match place {
        Place::Array(_, []) => Place::Value(RawBsonRef::Undefined),
        Place::Array(..) => Place::Missing,
        place => place,
    }
}

fn of_element<'d, 'p>(place: Place<'d, 'p>, element: RawBsonRef<'d>) -> Place<'d, 'p> {
    match (place, element) {
        // An array within an array is a value here: only one level of it is taken apart.
        (Place::Array(_, []), element) => Place::Value(element),
        (Place::Array(_, rest), RawBsonRef::Document(_)) => walk(element, rest),
        (Place::Array(..), _) => Place::Missing,
        (place, _) => place,
    }
}

/// Where the path goes on in an element that it names by its position, which is written without leading zeros.
fn at_position<'d, 'p>(place: Place<'d, 'p>, position: usize, element: RawBsonRef<'d>) -> Option<Place<'d, 'p>> {
    let is_plain = |name: &str| name == "0" || !name.starts_with(['0', '+']);
    match place {
        Place::Array(_, [name, after @ ..]) if is_plain(name) && name.parse() == Ok(position) => {
            Some(walk(element, after))
        }
        _ => None,
    }
}

fn encode(wanted: Wanted<'_>, places: &[Place<'_, '_>]) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    for (field, place) in wanted.fields.iter().zip(places) {
        let value = match place {
            Place::Value(value) => *value,
            Place::Missing | Place::Array(..) => RawBsonRef::Null,
        };
        match wanted.collation {
            None => append(field.direction, value, &mut key),
            Some(collation) => append_collated(collation, field.direction, value, &mut key),
        }
    }
    key
}

fn append_collated(collation: &Collation, direction: Direction, value: RawBsonRef<'_>, key: &mut Vec<u8>) {
    let begin = key.len();
    collation.encode_key(value, key);
    if direction == Direction::Descending {
        key[begin..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Appends a value as it stands in a key.
pub(crate) fn append(direction: Direction, value: RawBsonRef<'_>, key: &mut Vec<u8>) {
    match direction {
        Direction::Ascending => encode_key(value, key),
        Direction::Descending => encode_key_descending(value, key),
    }
}

/// The engine's key of an index entry.
pub(crate) fn entry_key(values: &[u8], document_key: &[u8]) -> Vec<u8> {
    [values, document_key].concat()
}

/// For messages: the values of a document at the fields of an index, as MongoDB's `keyValue` shows them.
pub(crate) fn values_of(definition: &IndexDefinition, document: &RawDocument) -> RawDocumentBuf {
    let mut values = RawDocumentBuf::new();
    for (name, _) in definition.key().iter().flatten() {
        let components: Vec<String> = name.as_str().split('.').map(str::to_owned).collect();
        let value = match walk(RawBsonRef::Document(document), &components) {
            Place::Missing => RawBsonRef::Null,
            Place::Value(value) => value,
            Place::Array(array, _) => RawBsonRef::Array(array),
        };
        values.append(name, value);
    }
    values
}

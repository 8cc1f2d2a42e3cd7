//! Which keys a document has in an index.
//!
//! MongoDB's rules (manual: *Multikey Indexes*): a field that reaches an array has one key for each element; an empty array is
//! the key `undefined`, a missing field the key `null`; an array within an array is a key as a whole. Where a path goes on with
//! a position that the array has, that element alone is the key, unless one of the elements has a field of the same name, which
//! then is a key as well (MongoDB refuses such a document). Of the arrays that the fields of a compound index reach, only one
//! may be there at each level: the keys are the elements of that array, combined with the other fields' values.
//!
//! A position that is an array has a key for each of its elements, beside each key of the other fields. Such products are bounded
//! ([`Steps`]): a document that asks for more is refused, as MongoDB refuses one with too many keys.
//!
//! A sparse index has no key for a combination in which every field is missing; a partial one has none for a document that
//! its filter does not match.
//!
//! # What a scan may rely on
//!
//! Whatever a [`Conjunct`](tailwater_matcher::Conjunct) says of a document at an indexed path, one of its keys satisfies it,
//! with three exceptions that the planner knows: a conjunct that is satisfied by an array as a whole; conjuncts on two
//! fields that go through one array, which may be satisfied by two of its elements; and, at a path with a position, a conjunct
//! that is satisfied by an element without a field of that name.
//!
//! # Layout
//!
//! A key in the engine is the fields' values as the matcher's key strings, by the index's collation if it has one, inverted where the field is descending, then the
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

impl<'d> Place<'d, '_> {
    /// The value in a key.
    fn value(self) -> RawBsonRef<'d> {
        match self {
            Place::Value(value) => value,
            Place::Missing | Place::Array(..) => RawBsonRef::Null,
        }
    }
}

/// Why a document has no keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unkeyed {
    /// It reaches two arrays through fields whose keys are combined.
    Parallel,
    /// Its keys would be far more than what is in it.
    TooMany,
}

/// The rules by which keys are made here. The catalogue says of each index by which rules its entries were made; where they
/// [have changed](have_changed) since, they are made anew when the store is opened.
///
/// - 0: a path with a position has a key for each element of the array;
/// - 1: it has that of the element at the position.
pub(crate) const RULES: i32 = 1;

/// Whether an index may have other entries by earlier rules.
pub(crate) fn have_changed(definition: &IndexDefinition) -> bool {
    let mut names = definition.fields.iter().flat_map(|field| &field.components);
    names.any(|name| position(name).is_some())
}

/// What finding the keys of a document may cost, beside as much as it has bytes. See [`Steps`].
const STEPS_MIN: usize = 100_000;

/// How many more elements and combinations may be looked at.
///
/// Where no path has a position, every element is looked at once and has one key, and an element has at least two bytes: so
/// the bytes of the document are enough. With positions a document may ask for products of its arrays, and of products of those;
/// a small document must not take all memory.
struct Steps(usize);

impl Steps {
    fn of(document: &RawDocument) -> Steps {
        Steps(document.as_bytes().len().saturating_add(STEPS_MIN))
    }

    fn take(&mut self) -> Result<(), Unkeyed> {
        self.0 = self.0.checked_sub(1).ok_or(Unkeyed::TooMany)?;
        Ok(())
    }
}

/// The keys of `document`; none when the index leaves it out.
///
/// # Errors
///
/// [`Error::ParallelArrays`], [`Error::TooManyKeys`], [`Error::IndexKeyTooLong`], and those of the partial filter's evaluation.
pub(crate) fn of(definition: &IndexDefinition, document: &RawDocument) -> Result<IndexKeys> {
    if let Some(filter) = &definition.partial
        && !filter.matches(document)?
    {
        return Ok(IndexKeys::default());
    }
    let refused = |unkeyed| {
        let name = definition.name.clone();
        match unkeyed {
            Unkeyed::Parallel => Error::ParallelArrays { name },
            Unkeyed::TooMany => Error::TooManyKeys { of: name },
        }
    };
    let keys = of_fields(Wanted::by(definition), document).map_err(refused)?;
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

impl<'f> Wanted<'f> {
    fn by(definition: &'f IndexDefinition) -> Wanted<'f> {
        Wanted {
            fields: &definition.fields,
            sparse: definition.sparse,
            collation: definition.collation.as_ref(),
        }
    }
}

/// The keys of `document`.
pub(crate) fn of_fields(wanted: Wanted<'_>, document: &RawDocument) -> Result<IndexKeys, Unkeyed> {
    let mut values = Vec::new();
    let places = places(wanted.fields, document);
    let multikey = expand(&places, &mut Steps::of(document), &mut |places| {
        if !wanted.sparse || places.iter().any(|place| !matches!(place, Place::Missing)) {
            values.push(encode(wanted, places));
        }
    })?;
    values.sort_unstable();
    values.dedup();
    Ok(IndexKeys { values, multikey })
}

fn places<'d, 'p>(fields: &'p [IndexField], document: &'d RawDocument) -> Vec<Place<'d, 'p>> {
    let fields = fields.iter();
    fields
        .map(|field| walk(RawBsonRef::Document(document), &field.components))
        .collect()
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

/// The least key of `document`.
pub(crate) fn least(wanted: Wanted<'_>, document: &RawDocument) -> Result<Vec<u8>, Unkeyed> {
    let mut least: Option<Vec<u8>> = None;
    let places = places(wanted.fields, document);
    expand(&places, &mut Steps::of(document), &mut |places| {
        let key = encode(wanted, places);
        if least.as_ref().is_none_or(|least| key < *least) {
            least = Some(key);
        }
    })?;
    Ok(least.unwrap_or_default())
}

type Each<'e> = &'e mut dyn FnMut(&[Place<'_, '_>]);

/// Calls `each` with every combination that is a key; says whether a field has reached an array. It calls itself at most once
/// for each component of the longest path, one call within the other.
fn expand(places: &[Place<'_, '_>], steps: &mut Steps, each: Each<'_>) -> Result<bool, Unkeyed> {
    let mut arrays = places.iter().filter_map(|place| match place {
        Place::Array(array, _) => Some(*array),
        Place::Missing | Place::Value(_) => None,
    });
    let Some(array) = arrays.next() else {
        steps.take()?;
        each(places);
        return Ok(false);
    };
    if arrays.any(|other| !std::ptr::eq(other.as_bytes(), array.as_bytes())) {
        return Err(Unkeyed::Parallel);
    }
    let mut elements = array.into_iter().flatten().peekable();
    if elements.peek().is_none() {
        let places: Vec<_> = places.iter().map(|place| of_empty(*place)).collect();
        expand(&places, steps, each)?;
    }
    let positional: Vec<_> = places.iter().map(|place| at_position(*place)).collect();
    let goes_on =
        |(place, positional): (&Place<'_, '_>, &Option<_>)| positional.is_some() || !matches!(place, Place::Array(..));
    // Then the same keys come of every element.
    let is_one = places.iter().zip(&positional).all(goes_on);
    for (i, element) in elements.enumerate() {
        steps.take()?;
        let of_both = places.iter().zip(&positional);
        if i == 0 || !is_one {
            let of_this: Vec<_> = of_both
                .clone()
                .map(|(place, positional)| positional.unwrap_or_else(|| of_element(*place, element)))
                .collect();
            expand(&of_this, steps, each)?;
        }
        // The element has a field of the position's name: then the filter finds that one, too.
        let mut positional = of_both.filter(|(_, positional)| positional.is_some());
        if positional.any(|(place, _)| !matches!(of_element(*place, element), Place::Missing)) {
            let named: Vec<_> = places.iter().map(|place| of_element(*place, element)).collect();
            expand(&named, steps, each)?;
        }
    }
    Ok(true)
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

/// Where the path goes on in the element that it names by its position, if there is such an element.
fn at_position<'d, 'p>(place: Place<'d, 'p>) -> Option<Place<'d, 'p>> {
    let Place::Array(array, [name, after @ ..]) = place else {
        return None;
    };
    let element = array.into_iter().nth(position(name)?)?.ok()?;
    Some(walk(element, after))
}

/// The position that a component of a path can be: a number without leading zeros.
pub(crate) fn position(name: &str) -> Option<usize> {
    let is_plain = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|_| is_plain)
}

fn encode(wanted: Wanted<'_>, places: &[Place<'_, '_>]) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    for (field, place) in wanted.fields.iter().zip(places) {
        match wanted.collation {
            None => append(field.direction, place.value(), &mut key),
            Some(collation) => append_collated(collation, field.direction, place.value(), &mut key),
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

/// For messages: the values of the document's key that is written so, as MongoDB's `keyValue` shows them.
pub(crate) fn values_of(definition: &IndexDefinition, document: &RawDocument, key: &[u8]) -> RawDocumentBuf {
    let wanted = Wanted::by(definition);
    let mut found = RawDocumentBuf::new();
    let places = places(wanted.fields, document);
    let expanded = expand(&places, &mut Steps::of(document), &mut |places| {
        if found.is_empty() && encode(wanted, places) == key {
            for ((name, _), place) in definition.key().iter().flatten().zip(places) {
                found.append(name, place.value());
            }
        }
    });
    // What has a key has no parallel arrays, nor too many keys.
    debug_assert!(expanded.is_ok());
    found
}

//! The diff of two versions of a document, found by comparing them.

use std::collections::HashMap;

use bson::raw::RawDocument;

use super::diff::{TruncatedArray, UpdateDiff};
use super::element::{Element, elements};
use super::path::array_index;
use super::writer::Writer;
use super::{ID, UpdateError};
use crate::limits::NESTING_MAX;

impl UpdateDiff {
    /// The diff that turns `old` into `new`.
    ///
    /// It goes into embedded documents and arrays and names what differs by dotted paths. It sets a
    /// whole field instead where
    ///
    /// - that is shorter;
    /// - a name to be given below it is empty, has a dot, or is a number and could be taken for an
    ///   index;
    /// - its fields would come out in another order, or a name occurs twice in it.
    ///
    /// The document itself has no field around it. So if a field of it changes that cannot be named
    /// (empty, or with a dot), if a name occurs twice, or if `_id` changes or moves, the answer is
    /// `None`, and the log needs the new version as a whole. A field of the document that only comes
    /// in another place is updated, not removed: MongoDB never has a path in both lists. Applying the
    /// diff leaves it where it was, see [`UpdateDiff`].
    pub fn between(old: &RawDocument, new: &RawDocument) -> Result<Option<UpdateDiff>, UpdateError> {
        let mut comparison = Comparison::default();
        let start = comparison.updated.begin();
        if !comparison.documents("", 1, old, new)? {
            return Ok(None);
        }
        comparison.updated.end(start);
        Ok(Some(UpdateDiff {
            updated_fields: comparison.updated.finish()?,
            removed_fields: comparison.removed,
            truncated_arrays: comparison.truncated,
        }))
    }
}

/// The diff so far.
#[derive(Default)]
struct Comparison {
    updated: Writer,
    removed: Vec<String>,
    truncated: Vec<TruncatedArray>,
}

/// A place in a [`Comparison`] to go back to.
#[derive(Clone, Copy)]
struct Mark {
    updated: usize,
    removed: usize,
    truncated: usize,
}

/// About what an entry of a list takes besides its path.
const LIST_ENTRY_BYTES: usize = 8;

impl Comparison {
    /// Compares two documents at `path`, on the given level. `false` if the diff cannot say it; what
    /// was added until then is of no use, and the caller goes back to its mark.
    fn documents(
        &mut self,
        path: &str,
        level: usize,
        old: &RawDocument,
        new: &RawDocument,
    ) -> Result<bool, UpdateError> {
        let is_root = level == 1;
        let (old, new) = (Fields::read(old)?, Fields::read(new)?);
        let (Some(old), Some(new)) = (old, new) else {
            return Ok(false);
        };
        let (staying, appended) = new.elements.split_at(old.in_order_with(&new));
        if is_root && !id_stays(&old, staying, appended) {
            return Ok(false);
        }

        for field in old.elements.iter().filter(|field| new.get(field.name).is_none()) {
            if !is_nameable(field.name, is_root) {
                return Ok(false);
            }
            self.removed.push(joined(path, field.name));
        }
        for field in staying {
            let Some(before) = old.get(field.name) else {
                continue;
            };
            if before.is(field.kind, field.value) {
                continue;
            }
            if !is_nameable(field.name, is_root) {
                return Ok(false);
            }
            self.values(&joined(path, field.name), level, before, field)?;
        }
        for field in appended {
            // Only in the document itself may a field that moved stay where it was: what is embedded
            // is compared field by field in order, and is another value in another one.
            let moves = old.get(field.name).is_some();
            if !is_nameable(field.name, is_root) || (moves && !is_root) {
                return Ok(false);
            }
            self.updated.put(&joined(path, field.name), field.kind, field.value);
        }
        Ok(true)
    }

    /// Compares two arrays at `path`, on the given level, element by element.
    fn arrays(&mut self, path: &str, level: usize, old: &RawDocument, new: &RawDocument) -> Result<bool, UpdateError> {
        let old = elements(old).collect::<Result<Vec<_>, _>>()?;
        let new = elements(new).collect::<Result<Vec<_>, _>>()?;
        // BSON does not insist on names that count up, and applying a diff would repair them.
        if !is_counted(&old) || !is_counted(&new) {
            return Ok(false);
        }
        for (before, after) in old.iter().zip(&new) {
            if !before.is(after.kind, after.value) {
                self.values(&joined(path, after.name), level, before, after)?;
            }
        }
        if new.len() < old.len() {
            let new_size = new.len() as u32;
            self.truncated.push(TruncatedArray {
                field: path.to_owned(),
                new_size,
            });
        }
        for element in new.iter().skip(old.len()) {
            self.updated
                .put(&joined(path, element.name), element.kind, element.value);
        }
        Ok(true)
    }

    /// Two values that differ, at `path` in a document or array on the given level.
    fn values(&mut self, path: &str, level: usize, old: &Element<'_>, new: &Element<'_>) -> Result<(), UpdateError> {
        let mark = self.mark();
        let said = match (old.document(), new.document(), old.array(), new.array()) {
            _ if level == NESTING_MAX => false,
            (Some(old), Some(new), ..) => self.documents(path, level + 1, old?, new?)?,
            (.., Some(old), Some(new)) => self.arrays(path, level + 1, old?, new?)?,
            _ => false,
        };
        if !said || self.bytes_since(mark) > path.len() + new.value.len() {
            self.go_back(mark);
            self.updated.put(path, new.kind, new.value);
        }
        Ok(())
    }

    fn mark(&self) -> Mark {
        Mark {
            updated: self.updated.len(),
            removed: self.removed.len(),
            truncated: self.truncated.len(),
        }
    }

    fn go_back(&mut self, mark: Mark) {
        self.updated.truncate(mark.updated);
        self.removed.truncate(mark.removed);
        self.truncated.truncate(mark.truncated);
    }

    fn bytes_since(&self, mark: Mark) -> usize {
        let removed = self.removed[mark.removed..].iter().map(String::len);
        let truncated = self.truncated[mark.truncated..].iter().map(|array| array.field.len());
        let lists: usize = removed.chain(truncated).map(|bytes| bytes + LIST_ENTRY_BYTES).sum();
        self.updated.len() - mark.updated + lists
    }
}

/// The fields of a document, by place and by name.
struct Fields<'a> {
    elements: Vec<Element<'a>>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Fields<'a> {
    /// `None` if a name occurs twice.
    fn read(document: &'a RawDocument) -> Result<Option<Fields<'a>>, UpdateError> {
        let elements = elements(document).collect::<Result<Vec<_>, _>>()?;
        let places: HashMap<_, _> = elements
            .iter()
            .enumerate()
            .map(|(place, field)| (field.name, place))
            .collect();
        let is_unique = places.len() == elements.len();
        Ok(is_unique.then_some(Fields { elements, places }))
    }

    fn get(&self, name: &str) -> Option<&Element<'a>> {
        self.places.get(name).map(|place| &self.elements[*place])
    }

    /// How many fields `new` begins with that are here too, and in the same order.
    fn in_order_with(&self, new: &Fields<'_>) -> usize {
        let mut next = 0;
        let staying = new
            .elements
            .iter()
            .take_while(|field| match self.places.get(field.name) {
                Some(place) if *place >= next => {
                    next = place + 1;
                    true
                }
                _ => false,
            });
        staying.count()
    }
}

/// Whether `_id` is the same and stays where it is, or was never there.
fn id_stays(old: &Fields<'_>, staying: &[Element<'_>], appended: &[Element<'_>]) -> bool {
    let id = |fields: &[Element<'_>]| fields.iter().any(|field| field.name == ID);
    match old.get(ID) {
        None => !id(appended),
        Some(before) => staying
            .iter()
            .any(|field| field.name == ID && before.is(field.kind, field.value)),
    }
}

/// Whether a dotted path can say the name without ambiguity.
fn is_nameable(name: &str, is_root: bool) -> bool {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    !name.is_empty() && !name.contains('.') && (is_root || !is_number)
}

/// Whether the elements are named by their places, as those of an array should be.
fn is_counted(elements: &[Element<'_>]) -> bool {
    elements
        .iter()
        .enumerate()
        .all(|(index, element)| array_index(element.name) == Some(index))
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

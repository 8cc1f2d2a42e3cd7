//! Dotted paths, and which values they reach.
//!
//! MongoDB's rules, at every level of `a.b.c`:
//!
//! - In a document, a component names a field. If there is none, or the value cannot have fields,
//!   the path reaches *missing*.
//! - In an array, the rest of the path is looked up in every element that is a document. If the
//!   component is a position, the element there is reached as well. Other elements reach nothing,
//!   not even missing.
//! - An array at the end of the path is reached element by element and then as a whole; unless it
//!   was itself reached by its position in another array, then only as a whole.
//!
//! Conditions on arrays as such, like `$size`, ask for whole arrays at the end of a path only.
//!
//! A predicate holds when it holds for *any* value reached, so the walk is a visitor that can stop.
//! It allocates nothing. Its depth is bounded by the number of components, its breadth by the
//! arrays in the document times two for every numeric component (which may be a position or a name,
//! so both are tried); that is why numeric components have a limit of their own.

use std::fmt;
use std::sync::Arc;

use bson::{RawArray, RawBsonRef, RawDocument};

use crate::elements;
use crate::fields::Fields;

/// How many components a path may have; deeper than any valid document.
pub const PATH_COMPONENTS_MAX: usize = 128;

/// How many components of a path may be positions.
pub const PATH_POSITIONS_MAX: usize = 10;

/// Whether a component of a path, the one at `position`, may begin with `$`: it is a field of a database reference, which is
/// not at the top (MongoDB manual: *Database References*).
#[must_use]
pub fn is_reference_field(position: usize, component: &str) -> bool {
    position > 0 && matches!(component, "$ref" | "$id" | "$db")
}

/// A dotted path, split once. A clone shares it and takes eight bytes: a predicate holds one for each of its conditions.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Path(Arc<Split>);

#[derive(PartialEq, Eq, Hash)]
struct Split {
    dotted: Box<str>,
    components: Box<[Component]>,
}

#[derive(PartialEq, Eq, Hash)]
struct Component {
    name: Box<str>,
    /// The component as a position in an array, if it can be one.
    position: Option<usize>,
}

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The path holds a zero byte, which no field name can.
    #[error("a path cannot hold a zero byte")]
    ZeroByte,
    /// The path has more than [`PATH_COMPONENTS_MAX`] components.
    #[error("the path has too many components, found={found} limit={PATH_COMPONENTS_MAX}")]
    TooLong {
        /// How many it has.
        found: usize,
    },
    /// The path has more than [`PATH_POSITIONS_MAX`] numeric components.
    #[error("the path has too many numeric components, found={found} limit={PATH_POSITIONS_MAX}")]
    TooManyPositions {
        /// How many it has.
        found: usize,
    },
}

impl Path {
    /// Splits `dotted` at its dots.
    pub fn new(dotted: &str) -> Result<Path, PathError> {
        if dotted.contains('\0') {
            return Err(PathError::ZeroByte);
        }
        let path = Path::split(dotted);
        let found = path.0.components.len();
        if found > PATH_COMPONENTS_MAX {
            return Err(PathError::TooLong { found });
        }
        let found = path.0.components.iter().filter(|part| part.position.is_some()).count();
        if found > PATH_POSITIONS_MAX {
            return Err(PathError::TooManyPositions { found });
        }
        Ok(path)
    }

    fn split(dotted: &str) -> Path {
        let component = |name: &str| Component {
            name: name.into(),
            position: position(name),
        };
        Path(Arc::new(Split {
            dotted: dotted.into(),
            components: dotted.split('.').map(component).collect(),
        }))
    }

    /// The path with `prefix.` in front. Bytes that no name can hold are left out.
    pub(crate) fn prefixed(&self, prefix: &str) -> Path {
        Path::split(&format!("{}.{}", prefix.replace('\0', ""), self.0.dotted))
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.dotted
    }

    /// The path's components, in order; there is at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.components.iter().map(|component| &*component.name)
    }

    /// Visits the values the path reaches in `root` until `visit` says `true`, and says whether it
    /// did. `None` stands for *missing*; a path may reach it several times.
    ///
    /// ```
    /// use bson::{RawBsonRef, rawdoc};
    /// use tailwater_matcher::Path;
    ///
    /// let document = rawdoc! { "items": [{ "n": 1 }, { "n": 2 }] };
    /// let mut sum = 0;
    /// let path = Path::new("items.n")?;
    /// path.any(&document, &mut |value| {
    ///     sum += value.and_then(RawBsonRef::as_i32).unwrap_or(0);
    ///     false
    /// });
    /// assert_eq!(sum, 3);
    /// # Ok::<(), tailwater_matcher::PathError>(())
    /// ```
    pub fn any<F: Fields + ?Sized>(&self, root: &F, visit: &mut dyn FnMut(Option<RawBsonRef<'_>>) -> bool) -> bool {
        self.visit(root, true, visit)
    }

    /// As [`any`](Path::any), but an array at the end of the path is only visited as a whole.
    pub(crate) fn any_whole<F: Fields + ?Sized>(
        &self,
        root: &F,
        visit: &mut dyn FnMut(Option<RawBsonRef<'_>>) -> bool,
    ) -> bool {
        self.visit(root, false, visit)
    }

    #[inline]
    fn visit<F: Fields + ?Sized>(&self, root: &F, expand: bool, visit: &mut Visit<'_>) -> bool {
        match &*self.0.components {
            [first, rest @ ..] => match root.field(&first.name) {
                Some(value) => reach(value, rest, expand, visit),
                None => visit(None),
            },
            [] => false,
        }
    }

    /// Visits the values that what follows the first `depth` components reaches from the value found there.
    #[inline]
    pub(crate) fn each_below(
        &self,
        depth: usize,
        value: Option<RawBsonRef<'_>>,
        visit: &mut dyn FnMut(Option<RawBsonRef<'_>>),
    ) {
        let rest = self.0.components.get(depth..).unwrap_or(&[]);
        match value {
            None => visit(None),
            Some(plain) if rest.is_empty() && !matches!(plain, RawBsonRef::Array(_)) => visit(value),
            Some(value) => {
                reach(value, rest, true, &mut |found| {
                    visit(found);
                    false
                });
            }
        }
    }

    /// The path of a condition on a value itself; it reaches nothing.
    pub(crate) fn this() -> Path {
        Path(Arc::new(Split {
            dotted: "".into(),
            components: Box::default(),
        }))
    }

    /// Says whether the last component can be a position in an array.
    pub(crate) fn ends_in_position(&self) -> bool {
        self.0.components.last().is_some_and(|last| last.position.is_some())
    }

    /// Says whether the first component can be a position in an array.
    pub(crate) fn begins_with_position(&self) -> bool {
        self.0.components.first().is_some_and(|first| first.position.is_some())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.dotted)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({:?})", self.0.dotted)
    }
}

type Visit<'v> = dyn FnMut(Option<RawBsonRef<'_>>) -> bool + 'v;

/// Follows `rest` from a value that was found under a field name.
fn reach(value: RawBsonRef<'_>, rest: &[Component], expand: bool, visit: &mut Visit<'_>) -> bool {
    match value {
        RawBsonRef::Array(array) => reach_array(array, rest, expand, visit),
        RawBsonRef::Document(document) if !rest.is_empty() => reach_field(document, rest, expand, visit),
        _ if rest.is_empty() => visit(Some(value)),
        _ => visit(None),
    }
}

/// Follows `rest`, which is not empty, into a document.
fn reach_field(document: &RawDocument, rest: &[Component], expand: bool, visit: &mut Visit<'_>) -> bool {
    let Some((first, rest)) = rest.split_first() else {
        return visit(Some(RawBsonRef::Document(document)));
    };
    match elements::find(document, &first.name) {
        Some(value) => reach(value, rest, expand, visit),
        None => visit(None),
    }
}

fn reach_array(array: &RawArray, rest: &[Component], expand: bool, visit: &mut Visit<'_>) -> bool {
    let Some(mut elements) = elements::of_array(array) else {
        return false;
    };
    let Some((first, after)) = rest.split_first() else {
        while expand && let Some((_, value)) = elements.next_value() {
            if visit(Some(value)) {
                return true;
            }
        }
        return visit(Some(RawBsonRef::Array(array)));
    };
    let mut position = 0;
    while let Some((_, value)) = elements.next_value() {
        if let RawBsonRef::Document(document) = value
            && reach_field(document, rest, expand, visit)
        {
            return true;
        }
        if first.position == Some(position) && reach_position(value, after, expand, visit) {
            return true;
        }
        position += 1;
    }
    false
}

/// Follows `rest` from an array's element that was named by its position.
fn reach_position(value: RawBsonRef<'_>, rest: &[Component], expand: bool, visit: &mut Visit<'_>) -> bool {
    if rest.is_empty() {
        return visit(Some(value));
    }
    match value {
        RawBsonRef::Document(document) => reach_field(document, rest, expand, visit),
        RawBsonRef::Array(array) => reach_array(array, rest, expand, visit),
        _ => false,
    }
}

/// Positions are written without leading zeros: `a.01` can only be a field name.
pub(crate) fn position(name: &str) -> Option<usize> {
    let plain = name == "0" || !name.starts_with(['0', '+']);
    if plain { name.parse().ok() } else { None }
}

//! Dotted paths: their components, their order, and which component is an array index.

use std::cmp::Ordering;
use std::fmt;

use super::UpdateError;
use crate::limits::NESTING_MAX;

/// Most nulls that one index behind the end of an array may add before itself. MongoDB's limit.
pub(super) const ARRAY_PADDING_MAX: usize = 1_500_000;

/// A path with at least one component, none of them empty, and no more than documents have levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    components: Vec<&'a str>,
}

/// A path component that stands for elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Positional<'a> {
    /// `$`: the element that the query matched.
    Matched,
    /// `$[]`: every element.
    All,
    /// `$[identifier]`: the elements that satisfy an array filter.
    Filtered(&'a str),
}

impl<'a> Positional<'a> {
    /// `None` for a name, also one that only begins with a dollar sign.
    pub(super) fn of(component: &'a str) -> Option<Positional<'a>> {
        if component == "$" {
            return Some(Positional::Matched);
        }
        let identifier = component.strip_prefix("$[")?.strip_suffix(']')?;
        Some(match identifier {
            "" => Positional::All,
            identifier => Positional::Filtered(identifier),
        })
    }

    /// `$[]` or `$[identifier]`, which cannot share an array with anything else.
    pub(super) fn is_spread(component: &str) -> bool {
        matches!(
            Positional::of(component),
            Some(Positional::All | Positional::Filtered(_))
        )
    }
}

impl<'a> Path<'a> {
    /// A path of an update document, where some components with a dollar sign have a meaning.
    ///
    /// `$` occurs once at most, and neither it nor `$[…]` comes first.
    pub(super) fn of_update(path: &'a str) -> Result<Path<'a>, UpdateError> {
        let parsed = Path::of_diff(path)?;
        let kinds = parsed.components.iter().map(|component| Positional::of(component));
        let is_misplaced = |(place, kind): (usize, Option<Positional<'_>>)| match kind {
            None => false,
            Some(kind) => {
                let matched = &parsed.components[..place];
                place == 0 || kind == Positional::Matched && matched.contains(&"$")
            }
        };
        match kinds.enumerate().position(is_misplaced) {
            None => Ok(parsed),
            Some(place) => Err(UpdateError::PositionalMisplaced {
                path: path.to_owned(),
                component: parsed.components[place].to_owned(),
            }),
        }
    }

    /// A path of a diff, where a dollar sign is part of a name.
    pub(super) fn of_diff(path: &'a str) -> Result<Path<'a>, UpdateError> {
        let components: Vec<&str> = path.split('.').take(NESTING_MAX + 1).collect();
        if components.len() > NESTING_MAX {
            return Err(UpdateError::NestingTooDeep { path: path.to_owned() });
        }
        if components.contains(&"") {
            return Err(UpdateError::PathComponentEmpty { path: path.to_owned() });
        }
        Ok(Path { components })
    }

    /// Whether which place it means depends on the document.
    pub(super) fn is_positional(&self) -> bool {
        self.components
            .iter()
            .any(|component| Positional::of(component).is_some())
    }

    /// Whether one of the two is, or contains, the other.
    pub(super) fn overlaps(&self, other: &Path<'_>) -> bool {
        self.components.iter().zip(&other.components).all(|(a, b)| a == b)
    }

    pub(super) fn components(&self) -> &[&'a str] {
        &self.components
    }

    /// The last component, and those before it.
    pub(super) fn split_last(&self) -> (&'a str, &[&'a str]) {
        let (last, parents) = self.components.split_last().expect("splitting gives one at least");
        (last, parents)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.components.join("."))
    }
}

/// By component: numbers first, by value, then the rest, by bytes.
impl Ord for Path<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let a = self.components.iter().copied().map(sort_key);
        let b = other.components.iter().copied().map(sort_key);
        a.cmp(b)
    }
}

fn sort_key(component: &str) -> (bool, usize, &str) {
    if is_number(component) {
        // Without leading zeros, the longer number is the larger one.
        (false, component.len(), component)
    } else {
        (true, 0, component)
    }
}

impl PartialOrd for Path<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether `component` would name an element if there were an array: digits, no leading zero.
pub(super) fn is_number(component: &str) -> bool {
    !component.is_empty()
        && component.bytes().all(|byte| byte.is_ascii_digit())
        && (component.len() == 1 || !component.starts_with('0'))
}

/// The array index that `component` names. One too large for the machine becomes the largest.
pub(super) fn array_index(component: &str) -> Option<usize> {
    is_number(component).then(|| component.parse().unwrap_or(usize::MAX))
}

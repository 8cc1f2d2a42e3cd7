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

impl<'a> Path<'a> {
    /// A path of an update document, where a dollar sign has a meaning.
    pub(super) fn of_update(path: &'a str) -> Result<Path<'a>, UpdateError> {
        let parsed = Path::of_diff(path)?;
        match parsed.components.iter().find(|component| component.starts_with('$')) {
            None => Ok(parsed),
            Some(component) => Err(UpdateError::PathComponentReserved {
                path: path.to_owned(),
                component: (*component).to_owned(),
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

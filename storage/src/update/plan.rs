//! Update operators, from the paths of the update to those of one document.
//!
//! Most updates mean the same places in every document; their tree is built once. A `$rename`, a `$` or a `$[…]` means
//! places that only the document tells. Then the paths are resolved against it first, and the tree is built from what
//! they come to: positional components become indices, and a rename becomes a removal and a setting. That way one walk
//! ([`Edit`]) serves all, and two paths that come to the same place are found as any conflict is.

use std::collections::HashMap;
use std::sync::Arc;

use bson::raw::{RawBsonRef, RawDocument};
use bson::spec::ElementType;

use super::change::Change;
use super::edit::Edit;
use super::element::{Element, elements};
use super::filters::ArrayFilters;
use super::path::{Path, Positional, array_index};
use super::tree::Tree;
use super::{Applied, ApplyContext, UpdateError, parse};
use crate::query::Language;

/// Most changes that the paths of one update may come to in one document.
pub(super) const CHANGES_MAX: usize = 2_000_000;

/// A checked document of update operators; see [`Update`](super::Update).
#[derive(Debug)]
pub struct Operators {
    steps: Vec<Step>,
    filters: ArrayFilters,
    /// What happens to every document that is not just being inserted, if it is the same for all.
    fixed: Option<Tree>,
}

/// One path of an update document.
#[derive(Debug)]
pub(super) enum Step {
    Change {
        path: String,
        change: Arc<Change>,
        only_on_insert: bool,
    },
    Rename {
        from: String,
        to: String,
    },
}

impl Operators {
    pub(super) fn parse<D: AsRef<RawDocument>>(
        document: &RawDocument,
        array_filters: &[D],
        language: &Language,
    ) -> Result<Operators, UpdateError> {
        let steps = parse::parse(document, language)?;
        let filters = ArrayFilters::parse(array_filters, language)?;
        let paths = steps.iter().flat_map(Step::paths).map(Path::of_diff);
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        filters.check(&paths)?;
        check_conflicts(&paths)?;
        let has_rename = steps.iter().any(|step| matches!(step, Step::Rename { .. }));
        let is_fixed = !has_rename && !paths.iter().any(Path::is_positional);

        let mut operators = Operators {
            steps,
            filters,
            fixed: None,
        };
        if is_fixed {
            let tree = operators.resolve(RawDocument::from_bytes(EMPTY)?, &ApplyContext::default())?;
            operators.fixed = Some(tree);
        }
        Ok(operators)
    }

    /// Whether a path has a `$`.
    pub(super) fn is_positional(&self) -> bool {
        let mut components = self.steps.iter().flat_map(Step::paths).flat_map(|path| path.split('.'));
        components.any(|component| matches!(Positional::of(component), Some(Positional::Matched)))
    }

    /// Applies the operators to a stored document; `None` if that changes nothing.
    pub(super) fn apply(&self, document: &RawDocument, context: &ApplyContext) -> Result<Option<Applied>, UpdateError> {
        let mut edit = Edit::recording(context);
        let changed = match &self.fixed {
            Some(tree) if !context.is_insert => edit.run(document, tree)?,
            _ => {
                let tree = self.resolve(document, context)?;
                edit.run(document, &tree)?
            }
        };
        if !changed {
            return Ok(None);
        }
        let (document, diff) = edit.finish()?;
        Ok(Some(Applied {
            document,
            diff: Some(diff),
        }))
    }

    /// What happens to this document.
    fn resolve(&self, document: &RawDocument, context: &ApplyContext) -> Result<Tree, UpdateError> {
        let mut resolved = Resolved::default();
        for step in &self.steps {
            match step {
                Step::Change {
                    only_on_insert: true, ..
                } if !context.is_insert => {}
                Step::Change { path, change, .. } => {
                    let path = Path::of_diff(path)?;
                    if path.is_positional() {
                        let mut spread = Spread {
                            path: &path,
                            change,
                            filters: &self.filters,
                            context,
                            resolved: &mut resolved,
                        };
                        spread.follow(Place::Document(document), 0, &mut Vec::new())?;
                    } else {
                        resolved.push(path.to_string(), Arc::clone(change))?;
                    }
                }
                Step::Rename { from, to } => {
                    let (from, to) = (Path::of_diff(from)?, Path::of_diff(to)?);
                    if let Some(value) = rename_source(document, &from)? {
                        check_rename_target(document, &to)?;
                        value.check(&to, 0)?;
                        resolved.push(from.to_string(), Arc::new(Change::Unset))?;
                        resolved.push(to.to_string(), Arc::new(Change::Set(value.to_value())))?;
                    }
                }
            }
        }
        resolved.into_tree()
    }
}

/// An empty document.
const EMPTY: &[u8] = &[5, 0, 0, 0, 0];

impl Step {
    /// The paths as the update has them.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Step::Change { path, .. } => (path, None),
            Step::Rename { from, to } => (from, Some(to)),
        };
        std::iter::once(first).chain(second).map(String::as_str)
    }
}

/// Refuses paths that meet whatever the document holds: one that is, or contains, another, and an array some of whose
/// elements are named by `$[…]` and others in another way.
fn check_conflicts(paths: &[Path<'_>]) -> Result<(), UpdateError> {
    let mut tree = Tree::default();
    let nothing = Arc::new(Change::Unset);
    let mut spreads: HashMap<&[&str], bool> = HashMap::new();
    for path in paths {
        tree.insert(path, Arc::clone(&nothing))?;
        let components = path.components();
        for (depth, component) in components.iter().enumerate() {
            let is_spread = Positional::is_spread(component);
            if *spreads.entry(&components[..depth]).or_insert(is_spread) != is_spread {
                return Err(UpdateError::ConflictingUpdateOperators {
                    path: path.to_string(),
                    conflict: components[..depth].join("."),
                });
            }
        }
    }
    Ok(())
}

/// The paths in one document, and what happens there.
#[derive(Default)]
struct Resolved {
    changes: Vec<(String, Arc<Change>)>,
    /// Arrays with a `$[…]` behind them.
    spreads: Vec<String>,
}

impl Resolved {
    fn push(&mut self, path: String, change: Arc<Change>) -> Result<(), UpdateError> {
        if self.changes.len() == CHANGES_MAX {
            return Err(UpdateError::TooManyChanges);
        }
        self.changes.push((path, change));
        Ok(())
    }

    fn into_tree(self) -> Result<Tree, UpdateError> {
        let changes = self
            .changes
            .iter()
            .map(|(path, change)| Ok((Path::of_diff(path)?, change)));
        let mut changes = changes.collect::<Result<Vec<_>, UpdateError>>()?;
        // New fields are created in the order in which the tree was built.
        changes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut tree = Tree::default();
        for (path, change) in changes {
            tree.insert(&path, Arc::clone(change))?;
        }
        for array in &self.spreads {
            tree.spread(Path::of_diff(array)?.components());
        }
        Ok(tree)
    }
}

/// A place on a positional path.
enum Place<'a> {
    Document(&'a RawDocument),
    Array(&'a RawDocument),
    Scalar(Element<'a>),
    Nothing,
}

impl<'a> Place<'a> {
    fn of(element: Option<Element<'a>>) -> Result<Place<'a>, UpdateError> {
        let Some(element) = element else {
            return Ok(Place::Nothing);
        };
        match (element.document(), element.array()) {
            (Some(document), _) => Ok(Place::Document(document?)),
            (_, Some(array)) => Ok(Place::Array(array?)),
            _ => Ok(Place::Scalar(element)),
        }
    }

    /// What lies here under that name, or at that index.
    fn step(&self, component: &str) -> Result<Place<'a>, UpdateError> {
        let element = match self {
            Place::Document(document) => field(document, component)?,
            Place::Array(array) => match array_index(component) {
                Some(index) => elements(array).nth(index).transpose()?,
                None => None,
            },
            Place::Scalar(_) | Place::Nothing => None,
        };
        Place::of(element)
    }
}

/// One positional path on its way through a document.
struct Spread<'s> {
    path: &'s Path<'s>,
    change: &'s Arc<Change>,
    filters: &'s ArrayFilters,
    context: &'s ApplyContext,
    resolved: &'s mut Resolved,
}

impl Spread<'_> {
    /// Follows the path from its component at `depth`; `taken` is what the ones before it came to.
    fn follow(&mut self, place: Place<'_>, depth: usize, taken: &mut Vec<String>) -> Result<(), UpdateError> {
        let Some(component) = self.path.components().get(depth) else {
            return self.resolved.push(taken.join("."), Arc::clone(self.change));
        };
        let identifier = match Positional::of(component) {
            None => return self.enter(&place, component, depth, taken),
            Some(Positional::Matched) => {
                let position = self
                    .context
                    .matched_position
                    .ok_or_else(|| UpdateError::PositionUnknown {
                        path: self.path.to_string(),
                    })?;
                return self.enter(&place, &position.to_string(), depth, taken);
            }
            Some(Positional::All) => None,
            Some(Positional::Filtered(identifier)) => Some(identifier),
        };
        let array = match place {
            Place::Array(array) => array,
            Place::Nothing => return Err(UpdateError::ArrayMissing { path: taken.join(".") }),
            Place::Scalar(element) => {
                return Err(UpdateError::ArrayExpected {
                    path: taken.join("."),
                    found: element.kind,
                });
            }
            Place::Document(_) => {
                return Err(UpdateError::ArrayExpected {
                    path: taken.join("."),
                    found: ElementType::EmbeddedDocument,
                });
            }
        };
        self.resolved.spreads.push(taken.join("."));
        for (index, element) in elements(array).enumerate() {
            let element = element?;
            let value: RawBsonRef<'_> = element.get()?;
            let is_meant = match identifier {
                None => true,
                Some(identifier) => self.filters.matches(identifier, value)?,
            };
            if is_meant {
                taken.push(index.to_string());
                self.follow(Place::of(Some(element))?, depth + 1, taken)?;
                taken.pop();
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        place: &Place<'_>,
        component: &str,
        depth: usize,
        taken: &mut Vec<String>,
    ) -> Result<(), UpdateError> {
        taken.push(component.to_owned());
        self.follow(place.step(component)?, depth + 1, taken)?;
        taken.pop();
        Ok(())
    }
}

/// The value that moves; `None` if there is none.
fn rename_source<'a>(document: &'a RawDocument, path: &Path<'_>) -> Result<Option<Element<'a>>, UpdateError> {
    let (last, parents) = path.split_last();
    let mut within = document;
    for (depth, component) in parents.iter().enumerate() {
        let here = || path.components()[..=depth].join(".");
        let Some(element) = field(within, component)? else {
            return Ok(None);
        };
        within = match element.document() {
            Some(document) => document?,
            None if element.array().is_some() => {
                return Err(UpdateError::RenameThroughArray {
                    path: path.to_string(),
                    array: here(),
                });
            }
            None => {
                return Err(UpdateError::PathNotViable {
                    path: here(),
                    component: path.components()[depth + 1].to_owned(),
                    found: element.kind,
                });
            }
        };
    }
    field(within, last)
}

fn check_rename_target(document: &RawDocument, path: &Path<'_>) -> Result<(), UpdateError> {
    let mut place = Place::Document(document);
    let (_, parents) = path.split_last();
    for (depth, component) in parents.iter().enumerate() {
        place = place.step(component)?;
        if let Place::Array(..) = place {
            return Err(UpdateError::RenameThroughArray {
                path: path.to_string(),
                array: path.components()[..=depth].join("."),
            });
        }
    }
    Ok(())
}

fn field<'a>(document: &'a RawDocument, name: &str) -> Result<Option<Element<'a>>, UpdateError> {
    let found = elements(document).find(|element| !matches!(element, Ok(found) if found.name != name));
    found.transpose()
}

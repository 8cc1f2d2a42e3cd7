//! `arrayFilters`: the conditions behind the identifiers of `$[identifier]`.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::raw::{RawBsonRef, RawDocument};
use tailwater_matcher::Expression;

use super::UpdateError;
use super::element::elements;
use super::path::{Path, Positional};
use super::pull::Named;
use crate::query::Language;

/// The conditions by identifier.
#[derive(Debug, Default)]
pub(super) struct ArrayFilters(HashMap<String, Expression>);

impl ArrayFilters {
    pub(super) fn parse<D: AsRef<RawDocument>>(
        filters: &[D],
        language: &Language,
    ) -> Result<ArrayFilters, UpdateError> {
        let options = language.options(&[]);
        let mut parsed = HashMap::new();
        for (index, filter) in filters.iter().enumerate() {
            let filter = filter.as_ref();
            // Also bounds how deep the search for names may go.
            let condition =
                Expression::parse_with(filter, &options).map_err(|source| UpdateError::ArrayFilterCondition {
                    index,
                    source: Box::new(source),
                })?;
            let mut names = BTreeSet::new();
            collect_names(filter, &mut names)?;
            if names.len() != 1 {
                let found = names.into_iter().collect();
                return Err(UpdateError::ArrayFilterFields { index, found });
            }
            for identifier in names {
                if !is_identifier(&identifier) {
                    return Err(UpdateError::ArrayFilterName { identifier });
                }
                if parsed.insert(identifier.clone(), condition.clone()).is_some() {
                    return Err(UpdateError::ArrayFilterDuplicate { identifier });
                }
            }
        }
        Ok(ArrayFilters(parsed))
    }

    /// Every identifier of the paths has a filter, and every filter is used.
    pub(super) fn check<'a>(&self, paths: impl IntoIterator<Item = &'a Path<'a>>) -> Result<(), UpdateError> {
        let mut used = HashSet::new();
        for path in paths {
            for component in path.components() {
                let Some(Positional::Filtered(identifier)) = Positional::of(component) else {
                    continue;
                };
                if !self.0.contains_key(identifier) {
                    return Err(UpdateError::ArrayFilterMissing {
                        identifier: identifier.to_owned(),
                        path: path.to_string(),
                    });
                }
                used.insert(identifier);
            }
        }
        match self
            .0
            .keys()
            .filter(|identifier| !used.contains(identifier.as_str()))
            .min()
        {
            None => Ok(()),
            Some(identifier) => Err(UpdateError::ArrayFilterUnused {
                identifier: identifier.clone(),
            }),
        }
    }

    /// Whether an array's element satisfies the filter of that name.
    pub(super) fn matches(&self, identifier: &str, value: RawBsonRef<'_>) -> Result<bool, UpdateError> {
        let Some(condition) = self.0.get(identifier) else {
            return Ok(false);
        };
        let named = Named {
            name: identifier,
            value,
        };
        Ok(condition.matches(&named)?)
    }
}

/// The first components of the paths in a match document, that parses.
fn collect_names(filter: &RawDocument, names: &mut BTreeSet<String>) -> Result<(), UpdateError> {
    for field in elements(filter) {
        let field = field?;
        if !field.name.starts_with('$') {
            let name = field.name.split('.').next().unwrap_or_default();
            names.insert(name.to_owned());
            continue;
        }
        let Some(clauses) = field.array() else {
            continue;
        };
        for clause in elements(clauses?) {
            if let Some(clause) = clause?.document() {
                collect_names(clause?, names)?;
            }
        }
    }
    Ok(())
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(|char| char.is_ascii_alphanumeric())
}

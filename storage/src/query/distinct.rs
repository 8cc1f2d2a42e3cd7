//! The different values of a field (MongoDB manual: *distinct*).

use std::collections::HashSet;

use bson::raw::RawBsonRef;
use bson::{Bson, RawDocument};
use tailwater_matcher::{Collation, Path, encode_key};

use super::{Candidates, Language, Query};
use crate::collection::DistinctOptions;
use crate::error::{Error, Result};
use crate::limits::DOCUMENT_BYTES_MAX;

/// Gathers the values of a field, each once, in the order in which they were first met.
#[derive(Debug)]
pub(crate) struct Distinct {
    components: Vec<String>,
    /// Values as bytes that are the same for equal ones.
    seen: HashSet<Vec<u8>>,
    values: Vec<Bson>,
    bytes: usize,
    collation: Option<Collation>,
}

impl Distinct {
    /// Of a field, by its path; strings are equal by the collation, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidField`].
    pub(crate) fn new(field: &str, collation: Option<&Collation>) -> Result<Distinct> {
        let invalid = |what: String| Error::InvalidField {
            field: field.to_owned(),
            what,
        };
        if field.split('.').any(str::is_empty) {
            return Err(invalid("it has an empty component".into()));
        }
        let path = Path::new(field).map_err(|source| invalid(source.to_string()))?;
        Ok(Distinct {
            components: path.components().map(str::to_owned).collect(),
            seen: HashSet::new(),
            values: Vec::new(),
            bytes: 0,
            collation: collation.cloned(),
        })
    }

    /// The values of a field in the documents that a query finds, which is made of a filter and handed to `candidates`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidField`], [`Error::Collation`], [`Error::Filter`], [`Error::DistinctTooLarge`], and those of the candidates.
    pub(crate) fn gather(
        field: &str,
        filter: &RawDocument,
        options: &DistinctOptions,
        default: Option<&Collation>,
        candidates: impl FnOnce(Query) -> Result<Candidates>,
    ) -> Result<Vec<Bson>> {
        let language = Language::new(options.collation.as_deref(), default)?;
        let mut distinct = Distinct::new(field, language.collation())?;
        let mut query = language.query(filter, None)?;
        query.hint.clone_from(&options.hint);
        query.control = options.control.clone();
        for found in candidates(query)? {
            distinct.add(found?.document()?)?;
        }
        Ok(distinct.finish())
    }

    /// Adds the values that a document has.
    ///
    /// # Errors
    ///
    /// [`Error::DistinctTooLarge`].
    pub(crate) fn add(&mut self, document: &RawDocument) -> Result<()> {
        // What is still to be walked: a value, and how many components have led to it.
        let mut open = vec![(RawBsonRef::Document(document), 0)];
        let mut reached = Vec::new();
        while let Some((value, depth)) = open.pop() {
            let Some(name) = self.components.get(depth) else {
                match value {
                    RawBsonRef::Array(array) => reached.extend(array.into_iter().flatten()),
                    value => reached.push(value),
                }
                continue;
            };
            match value {
                RawBsonRef::Document(inner) => {
                    open.extend(inner.get(name.as_str()).ok().flatten().map(|value| (value, depth + 1)));
                }
                RawBsonRef::Array(array) => match name.parse() {
                    Ok(position) => {
                        open.extend(array.get(position).ok().flatten().map(|value| (value, depth + 1)));
                    }
                    Err(_) => {
                        let inner = array.into_iter().flatten();
                        let inner: Vec<_> = inner.filter(|e| e.as_document().is_some()).collect();
                        // The last that is pushed is the next to be walked.
                        open.extend(inner.into_iter().rev().map(|element| (element, depth)));
                    }
                },
                _ => {}
            }
        }
        reached.into_iter().try_for_each(|value| self.add_value(value))
    }

    fn add_value(&mut self, value: RawBsonRef<'_>) -> Result<()> {
        let mut key = Vec::new();
        match &self.collation {
            Some(collation) => collation.encode_key(value, &mut key),
            None => encode_key(value, &mut key),
        }
        let bytes = key.len();
        if !self.seen.insert(key) {
            return Ok(());
        }
        self.bytes += bytes;
        if self.bytes > DOCUMENT_BYTES_MAX {
            return Err(Error::DistinctTooLarge {
                bytes_max: DOCUMENT_BYTES_MAX,
            });
        }
        // Values that cannot be decoded are malformed, and nobody could have stored them.
        self.values.extend(Bson::try_from(value).ok());
        Ok(())
    }

    /// The values.
    pub(crate) fn finish(self) -> Vec<Bson> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use bson::{bson, rawdoc};

    use super::*;

    #[test]
    fn values_are_those_of_the_manual() {
        // The manual's inventory, and what arrays and missing fields do.
        let inventory = [
            rawdoc! { "dept": "A", "item": { "sku": "111", "color": "red" }, "sizes": ["S", "M"] },
            rawdoc! { "dept": "A", "item": { "sku": "111", "color": "blue" }, "sizes": ["M", "L"] },
            rawdoc! { "dept": "B", "item": { "sku": "222", "color": "blue" }, "sizes": "S" },
            rawdoc! { "dept": "A", "item": { "sku": "333", "color": "black" }, "sizes": ["S"] },
            rawdoc! { "lots": [{ "n": 1 }, { "n": 2.0 }, 5, { "n": [1.0, [2, 3]] }], "sizes": [] },
        ];
        for (field, expected) in [
            ("dept", bson!(["A", "B"])),
            ("item.sku", bson!(["111", "222", "333"])),
            ("sizes", bson!(["S", "M", "L"])),
            ("sizes.0", bson!(["S", "M"])),
            ("lots.n", bson!([1, 2.0, [2, 3]])),
            ("lots.1.n", bson!([2.0])),
            ("nothing", bson!([])),
        ] {
            let mut distinct = Distinct::new(field, None).unwrap();
            inventory.iter().for_each(|document| distinct.add(document).unwrap());
            assert_eq!(Bson::Array(distinct.finish()), expected, "{field}");
        }
        assert!(matches!(Distinct::new("a..b", None), Err(Error::InvalidField { .. })));
    }
}

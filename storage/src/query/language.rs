//! How a query compares strings: by their bytes, or by a collation (MongoDB manual: *Collation*).
//!
//! What an index has in order are bytes. So under a collation the matcher says of a comparison with a string only that there
//! must be a value, no bounds come of it, and an order is made in memory; comparisons with other values use indexes as ever.

use std::cmp::Ordering;
use std::sync::Arc;

use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf};
use tailwater_matcher::{Collation, Expression, ParseOptions, Variables, compare, encode_key};

use super::Query;
use crate::error::{Error, Result};
use crate::sort::SortPattern;

/// See the module documentation. The default is by bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Language {
    options: ParseOptions,
    /// What `$$NOW` stands for in all that is asked in it; each query's own moment if there is none.
    now: Option<DateTime>,
}

impl Language {
    /// Reads `{locale: …, strength: …}`; none, an empty one and the locale `simple` are by bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Collation`].
    pub(crate) fn new(collation: Option<&RawDocument>) -> Result<Language> {
        let collation = collation.filter(|document| !document.is_empty());
        let collation = collation.map(Collation::parse).transpose().map_err(Error::Collation)?;
        Ok(Language {
            options: ParseOptions::default().with_collation(collation.flatten()),
            now: None,
        })
    }

    /// The same at a moment.
    pub(crate) fn at(mut self, now: DateTime) -> Language {
        self.now = Some(now);
        self
    }

    pub(crate) fn collation(&self) -> Option<&Collation> {
        self.options.collation.as_ref()
    }

    /// What expressions of this language are parsed with, which may use variables.
    pub(crate) fn options(&self, variables: &[&str]) -> ParseOptions {
        self.options.clone().with_variables(variables)
    }

    /// The order of two values.
    pub(crate) fn compare(&self, a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Ordering {
        match self.collation() {
            Some(collation) => collation.compare_values(a, b),
            None => compare(a, b),
        }
    }

    /// Appends bytes that are in the order of [`Language::compare`].
    pub(crate) fn encode_key(&self, value: RawBsonRef<'_>, out: &mut Vec<u8>) {
        match self.collation() {
            Some(collation) => collation.encode_key(value, out),
            None => encode_key(value, out),
        }
    }

    pub(super) fn now(&self) -> DateTime {
        self.now.unwrap_or_else(DateTime::now)
    }

    /// A filter in this language.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`].
    pub(crate) fn filter(&self, filter: &RawDocument) -> Result<Expression> {
        Ok(Expression::parse_with(filter, &self.options)?)
    }

    /// An order in this language; nothing for an empty one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSort`].
    pub(crate) fn sort(&self, sort: Option<&RawDocument>) -> Result<Option<SortPattern>> {
        let sort = sort.map(SortPattern::parse).transpose()?.flatten();
        Ok(sort.map(|sort| sort.with_collation(self.collation().cloned())))
    }

    /// All documents that match a filter, in an order. `$$NOW` is one moment for all of them.
    ///
    /// # Errors
    ///
    /// Those of [`Language::filter`] and [`Language::sort`].
    pub(crate) fn query(&self, filter: &RawDocument, sort: Option<&RawDocument>) -> Result<Query> {
        let mut filter = self.filter(filter)?;
        if filter.computes() {
            let root = RawDocumentBuf::new();
            filter = filter.bind(&Variables::new(&root).now(self.now()));
        }
        let mut query = Query::new(Arc::new(filter));
        query.sort = self.sort(sort)?;
        Ok(query)
    }
}

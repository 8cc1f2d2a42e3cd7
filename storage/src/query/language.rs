//! How a query compares strings: by their bytes, or by a collation (MongoDB manual: *Collation*).
//!
//! A query has one collation, the one that it names or else the collection's. An index has strings in the order of its own, or of
//! their bytes: only where both are the same it bounds comparisons with strings and provides an order; comparisons with other
//! values use indexes as ever.

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
    /// Reads `{locale: …, strength: …}`; the locale `simple` is by bytes. Without one, or with an empty one, it is the default of
    /// the collection that is asked.
    ///
    /// # Errors
    ///
    /// [`Error::Collation`].
    pub(crate) fn new(collation: Option<&RawDocument>, default: Option<&Collation>) -> Result<Language> {
        let collation = match collation.filter(|document| !document.is_empty()) {
            Some(document) => Collation::parse(document).map_err(Error::Collation)?,
            None => default.cloned(),
        };
        Ok(Language {
            options: ParseOptions::default().with_collation(collation),
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
        query.collation = self.collation().cloned();
        Ok(query)
    }
}

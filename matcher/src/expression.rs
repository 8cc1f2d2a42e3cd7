//! Checked predicates: the tree both languages compile to, and its evaluation.
//!
//! An [`Expression`] is parsed once and evaluated for every entry of a log, so everything that can
//! be decided early is: paths are split, constants decoded, `$in` lists sorted, negative operators
//! turned into `Not` around positive ones. Evaluating comparisons allocates nothing and cannot fail;
//! bytes it cannot read count as missing.
//!
//! This is the public face; the tree itself is [`Node`].

use std::collections::HashSet;

use bson::{RawDocument, RawDocumentBuf};

use crate::aggregation::Variables;
use crate::collation::Collation;
use crate::conjunct::{self, Conjunct};
use crate::error::ParseError;
use crate::evaluate::EvaluateError;
use crate::fields::Fields;
use crate::node::Node;
use crate::path::Path;
use crate::{parse, render};

/// How many operators an expression may hold.
pub const EXPRESSION_NODES_MAX: usize = 10_000;

/// How many values one `$in`, `$nin` or `$all` may list.
pub const IN_VALUES_MAX: usize = 100_000;

/// How many regular expressions an expression may hold.
pub const EXPRESSION_REGEXES_MAX: usize = 1_000;

/// What besides the document decides what an expression means.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ParseOptions {
    /// How strings are compared; by their bytes if there is none.
    pub collation: Option<Collation>,
    /// Variables that `$expr` may use; [`Expression::bind`] gives them values.
    pub variables: Vec<String>,
}

impl ParseOptions {
    /// Comparison of strings by this collation.
    #[must_use]
    pub fn with_collation(mut self, collation: Option<Collation>) -> ParseOptions {
        self.collation = collation;
        self
    }

    /// `$expr` with these variables in sight.
    #[must_use]
    pub fn with_variables(mut self, variables: &[&str]) -> ParseOptions {
        self.variables = variables.iter().map(|&name| name.to_owned()).collect();
        self
    }
}

/// A predicate on documents.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_matcher::Expression;
///
/// let adult = Expression::parse(&rawdoc! { "age": { "$gte": 18 } })?;
/// assert!(adult.matches(&rawdoc! { "age": 30 })?);
/// assert!(!adult.matches(&rawdoc! { "age": "30" })?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    pub(crate) root: Node,
}

impl Expression {
    /// Compiles a `$match` document.
    ///
    /// The document is validated first, so untrusted bytes are welcome. An empty document compiles
    /// to a predicate that holds for everything.
    pub fn parse(document: &RawDocument) -> Result<Expression, ParseError> {
        parse::parse(document, &ParseOptions::default())
    }

    /// As [`parse`](Expression::parse), with options.
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_matcher::{Collation, Expression, ParseOptions};
    ///
    /// let letters = Collation::parse(&rawdoc! { "locale": "en", "strength": 1 })?;
    /// let options = ParseOptions::default().with_collation(letters);
    /// let filter = Expression::parse_with(&rawdoc! { "city": "Zurich" }, &options)?;
    /// assert!(filter.matches(&rawdoc! { "city": "ZÜRICH" })?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse_with(document: &RawDocument, options: &ParseOptions) -> Result<Expression, ParseError> {
        parse::parse(document, options)
    }

    /// The predicate that holds for everything.
    pub fn always() -> Expression {
        Expression { root: Node::and([]) }
    }

    /// The predicate that holds where both hold. The limits of parsing do not apply to it.
    pub fn and(a: Expression, b: Expression) -> Expression {
        Expression {
            root: Node::and([a.root, b.root]),
        }
    }

    /// Says whether `root` satisfies the predicate.
    ///
    /// # Errors
    ///
    /// The predicate has no answer for `root`; see [`EvaluateErrorKind`](crate::EvaluateErrorKind).
    /// Parts are evaluated in order and no further than needed, so a part that another one has made
    /// irrelevant does not fail.
    pub fn matches<F: Fields + ?Sized>(&self, root: &F) -> Result<bool, EvaluateError> {
        self.root.matches(root)
    }

    /// Says whether this is the predicate that holds for everything.
    pub fn is_always(&self) -> bool {
        matches!(&self.root, Node::And(parts) if parts.is_empty())
    }

    /// The same predicate one document further down: every path gets `prefix.` in front.
    ///
    /// `prefix` is a path of field names; it must not begin with `$`.
    #[must_use]
    pub fn prefixed(&self, prefix: &str) -> Expression {
        Expression {
            root: self.root.prefixed(prefix),
        }
    }

    /// Says whether an expression is a part of the predicate (`$expr`), for which [`bind`](Expression::bind) makes a difference.
    #[must_use]
    pub fn computes(&self) -> bool {
        self.root.computes()
    }

    /// The same predicate, in which `$expr` sees the time and the variables of `variables`. Those that
    /// are not bound are missing; so are all of them before this is called.
    #[must_use]
    pub fn bind(&self, variables: &Variables<'_>) -> Expression {
        let mut bound = self.clone();
        bound.root.bind(variables);
        bound
    }

    /// The predicate as a `$match` document, which parses back to an equal expression with the same
    /// options; unless [`and`](Expression::and) or [`prefixed`](Expression::prefixed) has grown it
    /// beyond the limits of parsing.
    pub fn to_document(&self) -> RawDocumentBuf {
        render::document(&self.root)
    }

    /// What the predicate asks of single paths; see [`Conjunct`] for what may be concluded.
    pub fn indexable(&self) -> Vec<Conjunct<'_>> {
        self.indexable_by(None)
    }

    /// As [`indexable`](Expression::indexable), for an index that has strings in the order of a collation: of comparisons by this
    /// one.
    pub fn indexable_by(&self, order: Option<&Collation>) -> Vec<Conjunct<'_>> {
        conjunct::of(&self.root, order)
    }

    /// The predicate as alternatives, at most `limit` of them (at least one): whenever it holds, all
    /// conjuncts of one alternative do. An alternative without conjuncts says nothing; with no
    /// alternative at all, the predicate never holds.
    ///
    /// Where disjunctions multiply beyond the limit, parts of the predicate are left out.
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_matcher::Expression;
    ///
    /// let filter = Expression::parse(&rawdoc! { "a": 1, "$or": [{ "b": 2 }, { "c": 3 }] })?;
    /// let paths = |limit| -> Vec<Vec<String>> {
    ///     let alternatives = filter.alternatives(limit);
    ///     alternatives.iter().map(|all| all.iter().map(|part| part.path().to_string()).collect()).collect()
    /// };
    /// assert_eq!(paths(8), [["a", "b"], ["a", "c"]]);
    /// assert_eq!(paths(1), [["a"]]);
    /// # Ok::<(), tailwater_matcher::ParseError>(())
    /// ```
    pub fn alternatives(&self, limit: usize) -> Vec<Vec<Conjunct<'_>>> {
        self.alternatives_by(limit, None)
    }

    /// As [`alternatives`](Expression::alternatives), for indexes that have strings in the order of a collation.
    pub fn alternatives_by(&self, limit: usize, order: Option<&Collation>) -> Vec<Vec<Conjunct<'_>>> {
        conjunct::alternatives(&self.root, limit.max(1), order)
    }

    /// Has the predicate share its paths with others: it uses those in `known` where they are equal to its own, and adds its
    /// own where they are new. Many predicates over the same fields keep each path once.
    pub fn share_paths(&mut self, known: &mut HashSet<Path>) {
        self.root.share_paths(known);
    }

    /// The paths the predicate reads, each as often as it is read; those of `$elemMatch` only as far
    /// as the array, and none of a `$jsonSchema`, which reads the root as a whole.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.root.collect_paths(&mut paths);
        paths
    }
}

impl Default for Expression {
    fn default() -> Self {
        Expression::always()
    }
}

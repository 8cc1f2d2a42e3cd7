//! Checked predicates: the tree both languages compile to, and its evaluation.
//!
//! An [`Expression`] is parsed once and evaluated for every entry of a log, so everything that can
//! be decided early is: paths are split, constants decoded, `$in` lists sorted, negative operators
//! turned into `Not` around positive ones. Evaluating comparisons allocates nothing and cannot fail;
//! bytes it cannot read count as missing.
//!
//! This is the public face; the tree itself is [`Node`].

use bson::{RawDocument, RawDocumentBuf};

use crate::conjunct::{self, Conjunct};
use crate::error::ParseError;
use crate::evaluate::EvaluateError;
use crate::fields::Fields;
use crate::node::Node;
use crate::path::Path;
use crate::{parse, render};

/// How many levels of conjunction, disjunction and negation may nest.
///
/// Each level takes up to two levels of BSON, so an expression within this limit renders to a
/// document within [`DEPTH_MAX`](crate::DEPTH_MAX).
pub const EXPRESSION_DEPTH_MAX: usize = 45;

/// How many operators an expression may hold.
pub const EXPRESSION_NODES_MAX: usize = 10_000;

/// How many values one `$in` or `$nin` may list.
pub const IN_VALUES_MAX: usize = 100_000;

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
        parse::parse(document)
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

    /// The predicate as a `$match` document, which parses back to an equal expression; unless
    /// [`and`](Expression::and) has grown it beyond the limits of parsing.
    pub fn to_document(&self) -> RawDocumentBuf {
        render::document(&self.root)
    }

    /// What the predicate asks of single paths; see [`Conjunct`] for what may be concluded.
    pub fn indexable(&self) -> Vec<Conjunct<'_>> {
        conjunct::of(&self.root)
    }

    /// The paths the predicate reads, each as often as it is read; without those in `$expr`.
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

//! Which documents a partial copy of a store has: of some namespaces, those that match an expression.
//!
//! A partial copy is kept by following: its log has an entry for each of the primary's, but the entries of no concern to it are
//! only places ([`Share`]). What is of concern is decided from the entry alone, by the member that sends it, which has neither the
//! state of then nor that of the follower:
//!
//! | entry | a partial log has |
//! |---|---|
//! | of a document that matches after it | all of it; the document may thereby have come in |
//! | of one that does not, and did not before, as far as the entry tells | its place |
//! | of one that does not, and may have before | that it has left (*leave*), with its key |
//! | a deletion | all of it, unless it is known that the document did not match |
//! | of a definition of a collection that is of the part | all of it |
//! | a rename out of the part | that the collection has left |
//! | a rename into the part | that the copy must be made anew, for its documents are not in the entry |
//! | of anything else | its place |
//!
//! What an expression cannot be decided for, it is taken to match: a copy may have too much, never too little.

mod share;

use std::fmt;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::Expression;
use tailwater_oplog::PART_BYTES_MAX;

use crate::aggregate::is_temporary;
use crate::names::{check_collection, check_database};
use crate::plan::implies;

pub use share::Sharing;
#[doc(no_inline)]
pub use tailwater_oplog::Share;

/// Namespaces that a selection may name.
pub const SELECTION_NAMESPACES_MAX: usize = 1000;

/// Why something is no selection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// A namespace is neither `database.collection` nor `database.*`.
    #[error(
        "{namespace:?} is no namespace: write database.collection, or database.* for all collections of a database"
    )]
    Namespace {
        /// What was given.
        namespace: String,
    },
    /// There are too many of them.
    #[error(
        "{count} namespaces are more than the {SELECTION_NAMESPACES_MAX} that may be named: name databases, or leave them out"
    )]
    TooManyNamespaces {
        /// How many were given.
        count: usize,
    },
    /// The expression does not parse.
    #[error("the filter is not one: {message}")]
    Filter {
        /// What is wrong.
        message: String,
    },
    /// The expression depends on more than the document.
    #[error(
        "the filter has $expr, which may depend on more than the document: a partial copy takes plain conditions on fields"
    )]
    Computes,
    /// It is too long to be kept.
    #[error("the selection is {bytes} bytes long, more than {PART_BYTES_MAX}: name less")]
    TooLarge {
        /// Bytes as it is kept.
        bytes: usize,
    },
    /// Bytes that are no selection, from a file or another member.
    #[error("no selection: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

/// All collections of a database, or one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Pattern {
    database: String,
    /// Nothing for all.
    collection: Option<String>,
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, SelectionError> {
        let bad = || SelectionError::Namespace {
            namespace: text.to_owned(),
        };
        let (database, collection) = text.split_once('.').ok_or_else(bad)?;
        check_database(database).map_err(|_| bad())?;
        if collection != "*" {
            check_collection(collection).map_err(|_| bad())?;
        }
        Ok(Pattern {
            database: database.to_owned(),
            collection: (collection != "*").then(|| collection.to_owned()),
        })
    }

    fn has(&self, database: &str, collection: &str) -> bool {
        self.database == database && self.collection.as_ref().is_none_or(|own| own == collection)
    }

    fn is_within(&self, wider: &Pattern) -> bool {
        let all = wider.collection.is_none();
        self.database == wider.database && (all || self.collection == wider.collection)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection.as_deref().unwrap_or("*"))
    }
}

/// Which documents a partial copy has. Without namespaces those of all collections, without a filter all documents.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Selection {
    /// Sorted, no one twice; empty for all there are.
    namespaces: Vec<Pattern>,
    filter: Expression,
}

impl Selection {
    /// Of these namespaces (`database.collection`, or `database.*`; none for all), the documents that match `filter`, a `$match`
    /// document.
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_storage::Selection;
    ///
    /// let selection = Selection::new(["shop.orders", "people.*"], &rawdoc! { "tenant": 7 })?;
    /// assert!(selection.has_collection("people", "adults") && !selection.has_collection("shop", "things"));
    /// assert!(selection.has_document(&rawdoc! { "_id": 1, "tenant": 7 }));
    /// # Ok::<(), tailwater_storage::SelectionError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SelectionError`], by name for what cannot be kept by following.
    pub fn new<'n>(
        namespaces: impl IntoIterator<Item = &'n str>,
        filter: &RawDocument,
    ) -> Result<Selection, SelectionError> {
        let mut namespaces: Vec<Pattern> = namespaces.into_iter().map(Pattern::parse).collect::<Result<_, _>>()?;
        namespaces.sort();
        namespaces.dedup();
        if namespaces.len() > SELECTION_NAMESPACES_MAX {
            let count = namespaces.len();
            return Err(SelectionError::TooManyNamespaces { count });
        }
        let filter = Expression::parse(filter).map_err(|error| SelectionError::Filter {
            message: error.to_string(),
        })?;
        if filter.computes() {
            return Err(SelectionError::Computes);
        }
        let selection = Selection { namespaces, filter };
        match selection.to_bytes().len() {
            ..=PART_BYTES_MAX => Ok(selection),
            bytes => Err(SelectionError::TooLarge { bytes }),
        }
    }

    /// As it is kept and sent: `{namespaces: [...], filter: {...}}`. Equal selections have equal bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_document().into_bytes()
    }

    /// The same as a document.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        let mut namespaces = bson::RawArrayBuf::new();
        for pattern in &self.namespaces {
            namespaces.push(pattern.to_string());
        }
        rawdoc! { "namespaces": namespaces, "filter": self.filter.to_document() }
    }

    /// The selection that [`Selection::to_bytes`] has written.
    ///
    /// # Errors
    ///
    /// [`SelectionError`]; nothing that is given makes it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Selection, SelectionError> {
        let malformed = |what| SelectionError::Malformed { what };
        if bytes.len() > PART_BYTES_MAX {
            return Err(SelectionError::TooLarge { bytes: bytes.len() });
        }
        tailwater_matcher::validate(bytes).map_err(|_| malformed("not a document"))?;
        let document = RawDocument::from_bytes(bytes).map_err(|_| malformed("not a document"))?;
        let list = document
            .get_array("namespaces")
            .map_err(|_| malformed("without namespaces"))?;
        let filter = document
            .get_document("filter")
            .map_err(|_| malformed("without a filter"))?;
        let mut names = Vec::new();
        for name in list {
            match name {
                Ok(RawBsonRef::String(name)) => names.push(name),
                _ => return Err(malformed("a namespace that is no string")),
            }
        }
        Selection::new(names, filter)
    }

    /// Whether a collection of that name is of the part. The collections that an [`$out`](crate::Aggregation) fills are, in a
    /// database of which any is: they may take the place of one.
    #[must_use]
    pub fn has_collection(&self, database: &str, collection: &str) -> bool {
        let temporary = is_temporary(collection);
        let has = |pattern: &Pattern| pattern.has(database, collection) || temporary && pattern.database == database;
        self.namespaces.is_empty() || self.namespaces.iter().any(has)
    }

    /// Whether any collection of a database may be of the part.
    #[must_use]
    pub fn has_database(&self, database: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|pattern| pattern.database == database)
    }

    /// Whether a document of such a collection is of the part.
    #[must_use]
    pub fn has_document(&self, document: &RawDocument) -> bool {
        self.filter.matches(document).unwrap_or(true)
    }

    /// Whether everything that is of this part is, provably, of `wider` as well: only then can this one be had from that. Its
    /// namespaces must be of those, and each condition of `wider` must follow from one here; what cannot be told counts as no.
    #[must_use]
    pub fn is_within(&self, wider: &Selection) -> bool {
        let named = |pattern: &Pattern| wider.namespaces.iter().any(|wide| pattern.is_within(wide));
        let namespaces = !self.namespaces.is_empty() && self.namespaces.iter().all(named);
        (wider.namespaces.is_empty() || namespaces) && self.filter_is_within(wider)
    }

    fn filter_is_within(&self, wider: &Selection) -> bool {
        if wider.filter.is_always() || wider.filter == self.filter || implies(&self.filter.indexable(), &wider.filter) {
            return true;
        }
        // What is no condition on a single field may be there as it is.
        let own = conditions(&self.filter.to_document());
        conditions(&wider.filter.to_document())
            .iter()
            .all(|condition| own.contains(condition))
    }
}

/// The conditions of a `$match` document all of which must hold.
fn conditions(filter: &RawDocument) -> Vec<RawDocumentBuf> {
    let mut conditions = Vec::new();
    for (name, value) in filter.iter().flatten() {
        match (name.as_str(), value) {
            ("$and", RawBsonRef::Array(all)) => {
                let all = all.into_iter().flatten().filter_map(RawBsonRef::as_document);
                conditions.extend(all.map(ToOwned::to_owned));
            }
            _ => {
                let mut condition = RawDocumentBuf::new();
                condition.append(name, value.to_owned());
                conditions.push(condition);
            }
        }
    }
    conditions
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match bson::Document::try_from(self.to_document()) {
            Ok(document) => write!(f, "{document}"),
            Err(_) => f.write_str("a selection"),
        }
    }
}

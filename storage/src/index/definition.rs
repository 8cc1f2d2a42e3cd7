//! What an index is asked to be: `{key, name, unique, sparse, partialFilterExpression, expireAfterSeconds, collation}`, checked.
//!
//! The options and their rules are those of MongoDB's `createIndexes` (manual: *createIndexes*, *Indexes*). Index types other
//! than ascending and descending, and options that this store does not have, are refused by name: an index that silently does
//! less than was asked for would be worse than none.

use std::time::Duration;

use bson::raw::{CString, RawBsonRef};
use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{Collation, Expression, ParseOptions, Path, compare};

use super::partial;
use crate::error::{Error, Result};
use crate::names::is_field_path;

/// Most fields of one index.
pub const INDEX_FIELDS_MAX: usize = 32;
/// Most indexes of one collection, the one on `_id` included.
pub const INDEXES_MAX: usize = 64;

/// Name of the index that every collection has.
pub const ID_INDEX: &str = "_id_";

/// Which way a field of an index is sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

/// One field of an index.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct IndexField {
    pub(crate) path: Path,
    /// The path's components, for walking.
    pub(crate) components: Vec<String>,
    pub(crate) direction: Direction,
}

/// A checked definition.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct IndexDefinition {
    pub(crate) name: String,
    pub(crate) fields: Vec<IndexField>,
    pub(crate) unique: bool,
    pub(crate) sparse: bool,
    pub(crate) hidden: bool,
    /// Only documents that match are indexed.
    pub(crate) partial: Option<Expression>,
    /// Documents whose date in the first field is older than this are deleted.
    pub(crate) expire_after: Option<Duration>,
    /// How strings sort in it, and are compared by its filter; by their bytes if there is none.
    pub(crate) collation: Option<Collation>,
    /// As it was given, with its name; goes into the log and comes back from `list_indexes`.
    pub(crate) document: RawDocumentBuf,
}

impl IndexDefinition {
    /// Checks a definition that somebody asks for: beyond [`IndexDefinition::parse`], that its filter is one that an index may
    /// have. It has the collation that it names, or else the collection's.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidIndex`], [`Error::Filter`], [`Error::Collation`].
    pub(crate) fn asked_for(given: &RawDocument, default: Option<&Collation>) -> Result<IndexDefinition> {
        let definition = IndexDefinition::parse_with(given, default)?;
        for (option, value) in given.iter().flatten() {
            if let ("partialFilterExpression", RawBsonRef::Document(filter)) = (option.as_str(), value) {
                partial::check(filter)?;
            }
        }
        Ok(definition)
    }

    /// That of the index on `_id` in a collection with a default collation. Elsewhere the documents themselves are that index.
    pub(crate) fn on_id(collation: &Collation) -> IndexDefinition {
        let given = bson::rawdoc! { "key": { "_id": 1 }, "name": ID_INDEX, "unique": true };
        IndexDefinition::parse_with(&given, Some(collation)).expect("the index on _id can be defined")
    }

    /// Reads a definition. What is in the catalogue and the log was asked for once and is taken as it is, whatever would be refused
    /// today: a store must open.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidIndex`], [`Error::Filter`], [`Error::Collation`].
    pub(crate) fn parse(given: &RawDocument) -> Result<IndexDefinition> {
        IndexDefinition::parse_with(given, None)
    }

    fn parse_with(given: &RawDocument, default: Option<&Collation>) -> Result<IndexDefinition> {
        // The filter compares by it, wherever it stands.
        let collation = match given.get("collation") {
            Ok(Some(RawBsonRef::Document(collation))) => Collation::parse(collation).map_err(Error::Collation)?,
            Ok(None) => default.cloned(),
            _ => return Err(invalid("", "collation must be a document".into())),
        };
        let language = ParseOptions::default().with_collation(collation.clone());
        let mut key = None;
        let mut name = None;
        let mut definition = IndexDefinition {
            name: String::new(),
            fields: Vec::new(),
            unique: false,
            sparse: false,
            hidden: false,
            partial: None,
            expire_after: None,
            collation,
            document: RawDocumentBuf::new(),
        };
        for field in given {
            let (option, value) = field.map_err(|_| invalid("", "its definition is malformed".into()))?;
            let refuse = |what: &str| invalid("", format!("{option} must be {what}"));
            match (option.as_str(), value) {
                ("key", RawBsonRef::Document(fields)) => key = Some(fields),
                ("key", _) => return Err(refuse("a document")),
                ("name", RawBsonRef::String(text)) if !text.is_empty() => {
                    name = Some(text.to_owned());
                }
                ("name", _) => return Err(refuse("a string that is not empty")),
                ("unique", value) => definition.unique = truth(value).ok_or_else(|| refuse("a boolean"))?,
                ("sparse", value) => definition.sparse = truth(value).ok_or_else(|| refuse("a boolean"))?,
                ("hidden", value) => definition.hidden = truth(value).ok_or_else(|| refuse("a boolean"))?,
                ("partialFilterExpression", RawBsonRef::Document(filter)) => {
                    definition.partial = Some(Expression::parse_with(filter, &language)?);
                }
                ("partialFilterExpression", _) => return Err(refuse("a document")),
                ("expireAfterSeconds", value) => {
                    let seconds = whole(value).filter(|seconds| (0..=i64::from(i32::MAX)).contains(seconds));
                    let seconds = seconds.ok_or_else(|| refuse("a number of seconds from 0 to 2147483647"))?;
                    definition.expire_after = Some(Duration::from_secs(seconds.unsigned_abs()));
                }
                ("collation", _) => {}
                // Version and build options of MongoDB that ask for nothing here.
                ("v" | "background" | "ns" | "commitQuorum", _) => {}
                (unknown, _) => return Err(invalid("", format!("the option {unknown} is not supported"))),
            }
        }
        let key = key.ok_or_else(|| invalid("", "it has no key".into()))?;
        definition.fields = fields(key)?;
        definition.name = name.unwrap_or_else(|| default_name(&definition.fields));
        definition.check_together()?;
        definition.document = definition.to_document(key, given);
        Ok(definition)
    }

    fn check_together(&self) -> Result<()> {
        let refuse = |what: &str| Err(invalid(&self.name, what.into()));
        if self.sparse && self.partial.is_some() {
            return refuse("sparse and partialFilterExpression exclude each other");
        }
        if self.expire_after.is_some() && self.fields.len() > 1 {
            return refuse("expireAfterSeconds needs an index on one field");
        }
        let on_id = self.fields.len() == 1 && self.fields[0].path.as_str() == "_id";
        if on_id && (self.sparse || self.partial.is_some() || self.expire_after.is_some()) {
            return refuse("the index on _id takes no such options");
        }
        Ok(())
    }

    /// The definition with `key` and `name` in front, and without what asks for nothing.
    fn to_document(&self, key: &RawDocument, given: &RawDocument) -> RawDocumentBuf {
        let mut document = bson::rawdoc! { "v": 2, "key": key.to_owned(), "name": self.name.as_str() };
        for (option, value) in given.iter().flatten() {
            let kept = match option.as_str() {
                "unique" | "sparse" | "hidden" => truth(value) == Some(true),
                "partialFilterExpression" | "expireAfterSeconds" => true,
                _ => false,
            };
            if kept {
                document.append(option, value);
            }
        }
        if let Some(collation) = &self.collation {
            document.append(bson::raw::cstr!("collation"), collation.to_document());
        }
        document
    }

    /// The definition as it has to be asked for to be the same in any collection: the one that is kept says nothing of an order by
    /// bytes, which would then be the collection's.
    pub(crate) fn to_ask_for(&self) -> RawDocumentBuf {
        let mut document = self.document.clone();
        if self.collation.is_none() {
            document.append(bson::raw::cstr!("collation"), bson::rawdoc! { "locale": "simple" });
        }
        document
    }

    /// The definition with what `collMod` changes of it: `hidden` and `expireAfterSeconds`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidIndex`].
    pub(crate) fn changed(&self, changes: &[(&str, RawBsonRef<'_>)]) -> Result<IndexDefinition> {
        let mut document = RawDocumentBuf::new();
        for (option, value) in self.document.iter().flatten() {
            if !changes.iter().any(|(changed, _)| *changed == option.as_str()) {
                document.append(option, value);
            }
        }
        for (option, value) in changes {
            if let Ok(option) = CString::try_from((*option).to_owned()) {
                document.append(&option, *value);
            }
        }
        IndexDefinition::parse(&document)
    }

    /// Its `key` pattern.
    pub(crate) fn key(&self) -> &RawDocument {
        self.document.get_document("key").unwrap_or_else(|_| empty())
    }

    /// Whether it is the index on `_id` that every collection has.
    pub(crate) fn is_id(&self) -> bool {
        self.fields.len() == 1 && self.fields[0].path.as_str() == "_id"
    }

    /// Whether its `key` pattern is this one, numbers by their values.
    pub(crate) fn has_key(&self, key: &RawDocument) -> bool {
        let [own, key] = [self.key(), key].map(RawBsonRef::Document);
        compare(own, key).is_eq()
    }

    /// Whether two definitions ask for the same index under the same name, in whatever words. Whether it is hidden does not
    /// make it another one.
    pub(crate) fn is_same(&self, other: &IndexDefinition) -> bool {
        self.name == other.name && self.is_equivalent(other) && self.expire_after == other.expire_after
    }

    /// Whether two definitions ask for what makes them one index, whatever their names and other options.
    pub(crate) fn is_equivalent(&self, other: &IndexDefinition) -> bool {
        let options = |definition: &IndexDefinition| (definition.unique, definition.sparse);
        self.has_key(other.key())
            && self.partial == other.partial
            && self.collation == other.collation
            && options(self) == options(other)
    }
}

fn empty() -> &'static RawDocument {
    RawDocument::from_bytes(&[5, 0, 0, 0, 0]).expect("an empty document is sound")
}

fn fields(key: &RawDocument) -> Result<Vec<IndexField>> {
    let mut fields: Vec<IndexField> = Vec::new();
    for field in key {
        let (path, direction) = field.map_err(|_| invalid("", "its key is malformed".into()))?;
        let name = path.as_str();
        let refuse = |what: &str| invalid("", format!("the field {name:?} {what}"));
        if !is_field_path(name) {
            return Err(refuse("has an empty component or one that begins with $"));
        }
        let direction = match direction {
            RawBsonRef::String(kind) => {
                return Err(refuse(&format!("asks for a {kind} index, which is not supported")));
            }
            value => match number(value) {
                Some(n) if n > 0.0 => Direction::Ascending,
                Some(n) if n < 0.0 => Direction::Descending,
                _ => return Err(refuse("needs 1 or -1")),
            },
        };
        let path = Path::new(name).map_err(|source| invalid("", source.to_string()))?;
        if fields.iter().any(|other| other.path == path) {
            return Err(refuse("occurs twice"));
        }
        let components = path.components().map(str::to_owned).collect();
        fields.push(IndexField {
            path,
            components,
            direction,
        });
    }
    match fields.len() {
        0 => Err(invalid("", "its key is empty".into())),
        n if n > INDEX_FIELDS_MAX => Err(invalid("", format!("it has more than {INDEX_FIELDS_MAX} fields"))),
        _ => Ok(fields),
    }
}

/// `a_1_b_-1`, as MongoDB's drivers make it.
fn default_name(fields: &[IndexField]) -> String {
    let parts = fields.iter().map(|field| match field.direction {
        Direction::Ascending => format!("{}_1", field.path),
        Direction::Descending => format!("{}_-1", field.path),
    });
    let name = parts.collect::<Vec<_>>().join("_");
    if name == "_id_1" { ID_INDEX.to_owned() } else { name }
}

fn invalid(name: &str, what: String) -> Error {
    Error::InvalidIndex {
        name: name.to_owned(),
        what,
    }
}

fn number(value: RawBsonRef<'_>) -> Option<f64> {
    Some(match value {
        RawBsonRef::Int32(n) => n.into(),
        #[expect(clippy::cast_precision_loss, reason = "only the sign and wholeness matter")]
        RawBsonRef::Int64(n) => n as f64,
        RawBsonRef::Double(n) => n,
        _ => return None,
    })
}

fn whole(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(n) => Some(n.into()),
        RawBsonRef::Int64(n) => Some(n),
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
        RawBsonRef::Double(n) if n.fract() == 0.0 && n.abs() < 1e15 => Some(n as i64),
        _ => None,
    }
}

/// A boolean, or a number as MongoDB takes it for one.
fn truth(value: RawBsonRef<'_>) -> Option<bool> {
    match value {
        RawBsonRef::Boolean(truth) => Some(truth),
        value => number(value).map(|n| n != 0.0),
    }
}

/// An index definition, built field by field.
///
/// ```
/// use tailwater_storage::IndexModel;
///
/// let by_age = IndexModel::new("age", 1).and("name", -1).unique();
/// ```
#[derive(Clone, Debug)]
pub struct IndexModel {
    key: RawDocumentBuf,
    options: RawDocumentBuf,
}

impl IndexModel {
    /// An index on one field: ascending (`1`) or descending (`-1`).
    ///
    /// A path with a NUL in it is cut there, and refused when the index is created.
    #[must_use]
    pub fn new(path: &str, direction: i32) -> IndexModel {
        let model = IndexModel {
            key: RawDocumentBuf::new(),
            options: RawDocumentBuf::new(),
        };
        model.and(path, direction)
    }

    /// Another field after those before.
    #[must_use]
    pub fn and(mut self, path: &str, direction: i32) -> IndexModel {
        let until_nul = path.split('\0').next().unwrap_or_default();
        if let Ok(path) = CString::try_from(until_nul.to_owned()) {
            self.key.append(&path, direction);
        }
        self
    }

    /// No two documents may have the same key.
    #[must_use]
    pub fn unique(self) -> IndexModel {
        self.option("unique", true)
    }

    /// Documents without any of the fields are left out.
    #[must_use]
    pub fn sparse(self) -> IndexModel {
        self.option("sparse", true)
    }

    /// Only documents that match are indexed.
    #[must_use]
    pub fn partial(self, filter: &RawDocument) -> IndexModel {
        self.option("partialFilterExpression", filter.to_owned())
    }

    /// Documents are deleted when the date in the field is older than this, in whole seconds.
    #[must_use]
    pub fn expire_after(self, age: Duration) -> IndexModel {
        self.option("expireAfterSeconds", i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
    }

    /// How strings sort and are compared in it, `{locale: …, strength: …}` (MongoDB manual: *Collation*). Default: as the
    /// collection says.
    #[must_use]
    pub fn collation(self, collation: &RawDocument) -> IndexModel {
        self.option("collation", collation.to_owned())
    }

    /// Its name. Default: fields and directions, as in `age_1_name_-1`.
    #[must_use]
    pub fn name(self, name: &str) -> IndexModel {
        self.option("name", name)
    }

    fn option(mut self, name: &str, value: impl Into<bson::RawBson>) -> IndexModel {
        if let Ok(name) = CString::try_from(name.to_owned()) {
            self.options.append(&name, value.into());
        }
        self
    }

    /// As `createIndexes` takes it.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        let mut document = bson::rawdoc! { "key": self.key.clone() };
        for (name, value) in self.options.iter().flatten() {
            document.append(name, value);
        }
        document
    }
}

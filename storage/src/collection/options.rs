//! Options of operations, under the names of MongoDB's drivers (driver specifications: *CRUD API*).

use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::Collation;

use crate::error::Result;
use crate::query::{Hint, Language, Projection, Query, QueryControl};

/// Options of [`Collection::insert_many_with`](crate::Collection::insert_many_with).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InsertManyOptions {
    /// Whether the first document that is refused ends the insert. Otherwise the others are inserted all the same, and all
    /// that were refused are told. Default true.
    pub ordered: bool,
    /// Whether documents may fail the collection's validator. Default false.
    pub bypass_document_validation: bool,
}

impl Default for InsertManyOptions {
    fn default() -> InsertManyOptions {
        InsertManyOptions {
            ordered: true,
            bypass_document_validation: false,
        }
    }
}

/// Options of [`Collection::bulk_write_with`](crate::Collection::bulk_write_with).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BulkWriteOptions {
    /// Whether the first write that fails ends it. Otherwise the others are carried out all the same. Default true.
    pub ordered: bool,
    /// Whether what the writes make may fail the collection's validator, beside what each write's own options say. Default
    /// false.
    pub bypass_document_validation: bool,
}

impl Default for BulkWriteOptions {
    fn default() -> BulkWriteOptions {
        BulkWriteOptions {
            ordered: true,
            bypass_document_validation: false,
        }
    }
}

/// Options of [`Collection::find_with`](crate::Collection::find_with).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FindOptions {
    /// The order: `{field: 1 or -1, …}`.
    pub sort: Option<RawDocumentBuf>,
    /// What to return of each document, `{field: 1, …}`; all of it when it is missing.
    pub projection: Option<RawDocumentBuf>,
    /// Documents to pass over.
    pub skip: u64,
    /// Most documents to return; no limit when it is missing or 0.
    pub limit: Option<u64>,
    /// Which index to use.
    pub hint: Option<Hint>,
    /// How the filter and the sort compare strings, `{locale: …, strength: …}` (MongoDB manual: *Collation*); as the
    /// collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
    /// What ends it in the middle, and bounds what it holds.
    pub control: QueryControl,
}

impl FindOptions {
    /// The query for a filter, and what is returned of what it finds.
    pub(crate) fn query(
        &self,
        filter: &RawDocument,
        default: Option<&Collation>,
    ) -> Result<(Query, Option<Projection>)> {
        let language = Language::new(self.collation.as_deref(), default)?;
        let projection = self.projection.as_deref();
        let projection = projection.map(|projection| Projection::parse(projection, filter, &language));
        let projection = projection.transpose()?;
        let mut query = language.query(filter, self.sort.as_deref())?;
        query.skip = self.skip;
        query.limit = self.limit.filter(|limit| *limit > 0);
        query.hint.clone_from(&self.hint);
        query.control = self.control.clone();
        Ok((query, projection))
    }
}

/// Options of [`Collection::count_with`](crate::Collection::count_with).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CountOptions {
    /// Documents to pass over before counting.
    pub skip: u64,
    /// Where to stop counting; no limit when it is missing or 0.
    pub limit: Option<u64>,
    /// Which index to use.
    pub hint: Option<Hint>,
    /// How the filter compares strings, `{locale: …, strength: …}` (MongoDB manual: *Collation*); as the
    /// collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
    /// What ends it in the middle, and bounds what it holds.
    pub control: QueryControl,
}

impl CountOptions {
    pub(crate) fn query(&self, filter: &RawDocument, default: Option<&Collation>) -> Result<Query> {
        let mut query = Language::new(self.collation.as_deref(), default)?.query(filter, None)?;
        query.skip = self.skip;
        query.limit = self.limit.filter(|limit| *limit > 0);
        query.hint.clone_from(&self.hint);
        query.control = self.control.clone();
        Ok(query)
    }
}

/// Options of [`Collection::distinct_with`](crate::Collection::distinct_with).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DistinctOptions {
    /// Which index to use.
    pub hint: Option<Hint>,
    /// How the filter compares strings and which of the values are equal, `{locale: …, strength: …}` (MongoDB manual:
    /// *Collation*); as the collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
    /// What ends it in the middle, and bounds what it holds.
    pub control: QueryControl,
}

/// Options of updates.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct UpdateOptions {
    /// Whether to insert a document when none matches: what the filter says by equalities, with the update applied.
    pub upsert: bool,
    /// Which elements `$[identifier]` means: `[{"identifier.field": condition}, …]`.
    pub array_filters: Vec<RawDocumentBuf>,
    /// In which order the first match is the first. An update of many documents has none.
    pub sort: Option<RawDocumentBuf>,
    /// Which index to use.
    pub hint: Option<Hint>,
    /// Whether the result may fail the collection's validator.
    pub bypass_document_validation: bool,
    /// How the filter and the sort compare strings, `{locale: …, strength: …}` (MongoDB manual: *Collation*); as the
    /// collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
}

/// Options of replacements.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReplaceOptions {
    /// Whether to insert the replacement when nothing matches, with the `_id` of the filter if that names one.
    pub upsert: bool,
    /// In which order the first match is the first.
    pub sort: Option<RawDocumentBuf>,
    /// Which index to use.
    pub hint: Option<Hint>,
    /// Whether the result may fail the collection's validator.
    pub bypass_document_validation: bool,
    /// How the filter and the sort compare strings, `{locale: …, strength: …}` (MongoDB manual: *Collation*); as the
    /// collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
}

/// Options of deletions.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DeleteOptions {
    /// Which index to use.
    pub hint: Option<Hint>,
    /// How the filter compares strings, `{locale: …, strength: …}` (MongoDB manual: *Collation*); as the
    /// collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
}

/// Which version of a document to return that is found and changed at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReturnDocument {
    /// As it was before; nothing after an upsert that has inserted it.
    #[default]
    Before,
    /// As it is after.
    After,
}

/// Options of [`Collection::find_one_and_update_with`](crate::Collection::find_one_and_update_with).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FindOneAndUpdateOptions {
    /// Which version to return.
    pub return_document: ReturnDocument,
    /// In which order the first match is the first.
    pub sort: Option<RawDocumentBuf>,
    /// Whether to insert a document when none matches.
    pub upsert: bool,
    /// Which elements `$[identifier]` means.
    pub array_filters: Vec<RawDocumentBuf>,
    /// What to return of it, `{field: 1, …}`; all when it is missing.
    pub projection: Option<RawDocumentBuf>,
    /// Which index to use.
    pub hint: Option<Hint>,
    /// Whether the result may fail the collection's validator.
    pub bypass_document_validation: bool,
    /// How the filter and the sort compare strings, `{locale: …, strength: …}` (MongoDB manual: *Collation*); as the
    /// collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
}

impl FindOneAndUpdateOptions {
    pub(crate) fn update(&self) -> UpdateOptions {
        UpdateOptions {
            upsert: self.upsert,
            array_filters: self.array_filters.clone(),
            sort: self.sort.clone(),
            hint: self.hint.clone(),
            bypass_document_validation: self.bypass_document_validation,
            collation: self.collation.clone(),
        }
    }
}

/// Options of [`Collection::find_one_and_replace_with`](crate::Collection::find_one_and_replace_with).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FindOneAndReplaceOptions {
    /// Which version to return.
    pub return_document: ReturnDocument,
    /// In which order the first match is the first.
    pub sort: Option<RawDocumentBuf>,
    /// Whether to insert the replacement when nothing matches.
    pub upsert: bool,
    /// What to return of it, `{field: 1, …}`; all when it is missing.
    pub projection: Option<RawDocumentBuf>,
    /// Which index to use.
    pub hint: Option<Hint>,
    /// Whether the result may fail the collection's validator.
    pub bypass_document_validation: bool,
    /// How the filter and the sort compare strings, `{locale: …, strength: …}` (MongoDB manual: *Collation*); as the
    /// collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
}

impl FindOneAndReplaceOptions {
    pub(crate) fn replace(&self) -> ReplaceOptions {
        ReplaceOptions {
            upsert: self.upsert,
            sort: self.sort.clone(),
            hint: self.hint.clone(),
            bypass_document_validation: self.bypass_document_validation,
            collation: self.collation.clone(),
        }
    }
}

/// Options of [`Collection::find_one_and_delete_with`](crate::Collection::find_one_and_delete_with).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FindOneAndDeleteOptions {
    /// In which order the first match is the first.
    pub sort: Option<RawDocumentBuf>,
    /// What to return of it, `{field: 1, …}`; all when it is missing.
    pub projection: Option<RawDocumentBuf>,
    /// Which index to use.
    pub hint: Option<Hint>,
    /// How the filter and the sort compare strings, `{locale: …, strength: …}` (MongoDB manual: *Collation*); as the
    /// collection says when it is missing.
    pub collation: Option<RawDocumentBuf>,
}

//! One collection: reading its documents, and writing them through the log.

use bson::raw::{CStr, RawBsonRef};
use bson::{Document, RawDocument, RawDocumentBuf};
use tailwater_matcher::{Conjunct, Expression, encode_key, validate};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Durability, OpId};

use crate::catalog::{CollectionInfo, Namespace};
use crate::engine::KEY_BYTES_MAX;
use crate::error::{Error, Result};
use crate::state::{LayersScan, Stored};
use crate::store::{Commit, Core, Draft, Store, entry_for};
use crate::update::{Update, UpdateDiff};

const ID: &CStr = bson::raw::cstr!("_id");

/// Documents of one `insert_many` that are appended as one batch: so many at most …
const BATCH_DOCUMENTS_MAX: usize = 1000;
/// … and so many bytes, unless one document is larger.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// What an insert has done.
#[derive(Clone, PartialEq, Debug)]
pub struct InsertOutcome {
    /// The documents' `_id`s, in order; made up where a document had none.
    pub inserted_ids: Vec<bson::Bson>,
    /// The last entry it wrote.
    pub op_id: OpId,
}

/// What an update, replacement or deletion has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteOutcome {
    /// Documents that matched the filter.
    pub matched: u64,
    /// Documents that were changed or deleted; an update that changes nothing writes nothing.
    pub modified: u64,
    /// The last entry it wrote, if any.
    pub op_id: Option<OpId>,
}

/// A collection of a store. Cheap to clone.
///
/// Filters and updates are MongoDB's documents; see [`tailwater_matcher`] for the operators.
#[derive(Clone, Debug)]
pub struct Collection {
    store: Store,
    namespace: Namespace,
    durability: Option<Durability>,
}

impl Collection {
    pub(crate) fn new(store: Store, namespace: Namespace) -> Collection {
        Collection {
            store,
            namespace,
            durability: None,
        }
    }

    pub(crate) fn into_namespace(self) -> Namespace {
        self.namespace
    }

    /// The same collection, whose writes return when they are as durable as this.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Collection {
        self.durability = Some(durability);
        self
    }

    /// Name of its database.
    #[must_use]
    pub fn database_name(&self) -> &str {
        &self.namespace.database
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.namespace.collection
    }

    /// The store it belongs to.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn core(&self) -> &Core {
        self.store.core()
    }

    fn settle(&self, op_id: OpId) -> Result<OpId> {
        let core = self.core();
        core.settle(op_id, self.durability.unwrap_or(core.options.durability))
    }

    /// Inserts one document. Without an `_id` it gets an ObjectId, in front.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateKey`], [`Error::InvalidDocument`], [`Error::InvalidId`], and the log's errors.
    pub fn insert_one(&self, document: &RawDocument) -> Result<InsertOutcome> {
        self.insert_many([document]).map_err(|error| match error {
            Error::InsertMany { source, .. } => *source,
            error => error,
        })
    }

    /// Inserts documents in order, up to the first that is refused.
    ///
    /// # Errors
    ///
    /// [`Error::NoDocuments`] when there are none. [`Error::InsertMany`] says which document was refused and why; the ones
    /// before it are inserted, as durably as asked. The log's errors, when nothing was inserted before.
    pub fn insert_many<'a>(&self, documents: impl IntoIterator<Item = &'a RawDocument>) -> Result<InsertOutcome> {
        let mut inserted_ids = Vec::new();
        let mut last = OpId::ZERO;
        let mut refused = None;
        let mut documents = documents.into_iter().enumerate().peekable();
        if documents.peek().is_none() {
            return Err(Error::NoDocuments);
        }
        while documents.peek().is_some() && refused.is_none() {
            let inserted = inserted_ids.len();
            match self.insert_batch(&mut documents, &mut inserted_ids, &mut refused) {
                Ok(Some(op_id)) => last = op_id,
                Ok(None) => {}
                Err(error) if inserted == 0 => return Err(error),
                // The batch failed as a whole, after others that are in.
                Err(error) => refused = Some((inserted, error)),
            }
        }
        if last > OpId::ZERO {
            self.settle(last)?;
        }
        match refused {
            Some((index, source)) => Err(Error::InsertMany {
                index,
                source: Box::new(source),
            }),
            None => Ok(InsertOutcome {
                inserted_ids,
                op_id: last,
            }),
        }
    }

    /// Appends as many documents as a batch holds, up to the first that is refused; returns the last entry, if there is one.
    fn insert_batch<'a>(
        &self,
        documents: &mut impl Iterator<Item = (usize, &'a RawDocument)>,
        inserted_ids: &mut Vec<bson::Bson>,
        refused: &mut Option<(usize, Error)>,
    ) -> Result<Option<OpId>> {
        let core = self.core();
        let guard = core.lock_commit()?;
        let (info, creation) = core.define(&guard, &self.namespace);
        let mut batch = InsertBatch::new(core, info, creation);
        while batch.has_room()
            && let Some((index, document)) = documents.next()
        {
            match batch.add(document) {
                Ok(id) => inserted_ids.push(id),
                Err(source) => {
                    *refused = Some((index, source));
                    break;
                }
            }
        }
        // A collection comes into being with its first document, and not without one.
        if batch.keys.is_empty() {
            return Ok(None);
        }
        Ok(Some(core.commit(&guard, &batch.drafts)?.last))
    }

    /// The documents that match `filter`, in the order of their `_id`s, as they were when the call was made; later writes do
    /// not disturb it.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`]; the iterator's items can fail with [`Error::Engine`] and
    /// [`Error::Evaluate`], after which there are no more.
    pub fn find(&self, filter: &RawDocument) -> Result<Documents> {
        self.find_matching(Expression::parse(filter)?)
    }

    /// As [`Collection::find`], with a filter that has been parsed.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`].
    pub fn find_matching(&self, filter: Expression) -> Result<Documents> {
        Ok(Documents(self.candidates(filter)?))
    }

    /// The first document that matches, if any.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`].
    pub fn find_one(&self, filter: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        self.find(filter)?.next().transpose()
    }

    /// How many documents match.
    ///
    /// # Errors
    ///
    /// As [`Collection::find`].
    pub fn count(&self, filter: &RawDocument) -> Result<u64> {
        let mut count = 0;
        for candidate in self.candidates(Expression::parse(filter)?)? {
            candidate?;
            count += 1;
        }
        Ok(count)
    }

    /// Changes the first document that matches.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], [`Error::Evaluate`], [`Error::Update`], and the log's errors.
    pub fn update_one(&self, filter: &RawDocument, update: &RawDocument) -> Result<WriteOutcome> {
        let update = Update::parse(update)?;
        self.change(filter, Reach::First, |before| draft_update(before, &update))
    }

    /// Changes every document that matches. Each is changed atomically by itself, not all together.
    ///
    /// # Errors
    ///
    /// As [`Collection::update_one`]; [`Error::ChangeMany`] when documents were changed before the error. They stay changed,
    /// as durably as asked.
    pub fn update_many(&self, filter: &RawDocument, update: &RawDocument) -> Result<WriteOutcome> {
        let update = Update::parse(update)?;
        self.change(filter, Reach::All, |before| draft_update(before, &update))
    }

    /// Replaces the first document that matches; its `_id` stays. A replacement may name the same `_id`, also as a number of
    /// another type (`1.0` for `1`), which then takes the stored one's place, as in MongoDB.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidReplacement`], [`Error::InvalidDocument`], [`Error::Filter`], [`Error::Evaluate`], and the log's errors.
    pub fn replace_one(&self, filter: &RawDocument, replacement: &RawDocument) -> Result<WriteOutcome> {
        validate(replacement.as_bytes())?;
        if replacement
            .iter()
            .next()
            .is_some_and(|field| field.is_ok_and(|(name, _)| name.as_str().starts_with('$')))
        {
            return Err(Error::InvalidReplacement {
                what: "it has update operators; use update_one",
            });
        }
        self.change(filter, Reach::First, |before| draft_replacement(before, replacement))
    }

    /// Deletes the first document that matches.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`], [`Error::Evaluate`], and the log's errors.
    pub fn delete_one(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.change(filter, Reach::First, draft_deletion)
    }

    /// Deletes every document that matches. Each is deleted atomically by itself, not all together.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete_one`]; [`Error::ChangeMany`] when documents were deleted before the error. They stay deleted,
    /// as durably as asked.
    pub fn delete_many(&self, filter: &RawDocument) -> Result<WriteOutcome> {
        self.change(filter, Reach::All, draft_deletion)
    }

    fn candidates(&self, filter: Expression) -> Result<Candidates> {
        let core = self.core();
        // The state before the catalogue: a collection that is still there afterwards has not begun to go from that state.
        let (layers, at) = core.reading()?;
        let catalog = core.catalog();
        let Some(info) = catalog.get(&self.namespace) else {
            return Ok(Candidates {
                source: Source::Nothing,
                filter,
            });
        };
        let key = filter.indexable().into_iter().find_map(|conjunct| match conjunct {
            // An array as a whole is no `_id`, and neither is a regular expression, so equality means this key.
            Conjunct::Equal { path, value } if path.as_str() == "_id" => {
                let mut key = Vec::new();
                encode_key(value, &mut key);
                Some(key)
            }
            _ => None,
        });
        let source = match key {
            Some(key) => {
                let found = layers.get(info.number, &key, at)?;
                found.map_or(Source::Nothing, |stored| Source::One(Some((key, stored))))
            }
            None => Source::Scan(layers.scan(info.number, at)),
        };
        Ok(Candidates { source, filter })
    }

    /// Finds candidates without the lock, and changes each under it if it still matches.
    fn change(
        &self,
        filter: &RawDocument,
        reach: Reach,
        draft: impl Fn(&Before<'_>) -> Result<Option<Draft>>,
    ) -> Result<WriteOutcome> {
        let filter = Expression::parse(filter)?;
        let mut outcome = WriteOutcome::default();
        let changed = self.change_each(&filter, reach, draft, &mut outcome);
        // Also before an error: what is reported as changed is as durable as asked.
        if let Some(op_id) = outcome.op_id {
            self.settle(op_id)?;
        }
        match changed {
            Ok(()) => Ok(outcome),
            Err(error) if outcome.modified == 0 => Err(error),
            Err(error) => Err(Error::ChangeMany {
                modified: outcome.modified,
                source: Box::new(error),
            }),
        }
    }

    /// As [`Collection::change`], without waiting for durability; `outcome` says how far it got, also on an error.
    fn change_each(
        &self,
        filter: &Expression,
        reach: Reach,
        draft: impl Fn(&Before<'_>) -> Result<Option<Draft>>,
        outcome: &mut WriteOutcome,
    ) -> Result<()> {
        for candidate in self.candidates(filter.clone())? {
            let (key, _) = candidate?;
            let core = self.core();
            let guard = core.lock_commit()?;
            let Some((info, stored)) = self.current(core, &guard, &key)? else {
                continue;
            };
            let document = stored.document()?;
            if !filter.matches(document)? {
                continue;
            }
            outcome.matched += 1;
            if let Some(draft) = draft(&Before { info: &info, document })? {
                outcome.op_id = Some(core.commit(&guard, &[draft])?.last);
                outcome.modified += 1;
            }
            if reach == Reach::First {
                break;
            }
        }
        Ok(())
    }

    /// The document under `key` as it is now, under the lock.
    fn current(&self, core: &Core, _: &Commit<'_>, key: &[u8]) -> Result<Option<(CollectionInfo, Stored)>> {
        let catalog = core.catalog();
        let Some(info) = catalog.get(&self.namespace) else {
            return Ok(None);
        };
        let (layers, at) = core.reading()?;
        Ok(layers.get(info.number, key, at)?.map(|stored| (info.clone(), stored)))
    }
}

/// How many of the matching documents a write concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    First,
    All,
}

/// The document that a write finds.
struct Before<'a> {
    info: &'a CollectionInfo,
    document: &'a RawDocument,
}

impl Before<'_> {
    fn id(&self) -> Result<RawBsonRef<'_>> {
        let id = self.document.get("_id").ok().flatten();
        id.ok_or(Error::Inconsistent {
            op_id: OpId::ZERO,
            what: "a stored document has no _id",
        })
    }

    fn key(&self) -> Result<RawDocumentBuf> {
        let mut key = RawDocumentBuf::new();
        key.append(ID, self.id()?);
        Ok(key)
    }
}

fn draft_update(before: &Before<'_>, update: &Update) -> Result<Option<Draft>> {
    let Some(applied) = update.apply(before.document)? else {
        return Ok(None);
    };
    debug_assert_eq!(
        UpdateDiff::apply(&applied.diff, before.document).ok().as_ref(),
        Some(&applied.document)
    );
    let (key, diff) = (before.key()?, applied.diff.to_document());
    let entry = StoreEntry {
        key: Some(&key),
        diff: Some(&diff),
        document: Some(&applied.document),
        ..entry_for(before.info)
    };
    Ok(Some(Draft::new(EntryKind::Update, &entry)))
}

fn draft_replacement(before: &Before<'_>, replacement: &RawDocument) -> Result<Option<Draft>> {
    let document = match replacement.get("_id").ok().flatten() {
        Some(id) if document_key(id)? == document_key(before.id()?)? => with_id_first(replacement, id),
        Some(_) => {
            return Err(Error::InvalidReplacement {
                what: "its _id is another; an _id never changes",
            });
        }
        None => with_id_first(replacement, before.id()?),
    };
    if document.as_bytes() == before.document.as_bytes() {
        return Ok(None);
    }
    validate(document.as_bytes())?;
    let entry = StoreEntry {
        document: Some(&document),
        ..entry_for(before.info)
    };
    Ok(Some(Draft::new(EntryKind::Replace, &entry)))
}

fn draft_deletion(before: &Before<'_>) -> Result<Option<Draft>> {
    let key = before.key()?;
    let entry = StoreEntry {
        key: Some(&key),
        ..entry_for(before.info)
    };
    Ok(Some(Draft::new(EntryKind::Delete, &entry)))
}

/// The document with `id` as its first field.
fn with_id_first(document: &RawDocument, id: RawBsonRef<'_>) -> RawDocumentBuf {
    let mut copy = RawDocumentBuf::new();
    copy.append(ID, id);
    for (name, value) in document.iter().flatten() {
        if name.as_str() != "_id" {
            copy.append(name, value);
        }
    }
    copy
}

/// Documents of one insert that are appended together.
struct InsertBatch<'a> {
    core: &'a Core,
    info: CollectionInfo,
    drafts: Vec<Draft>,
    keys: std::collections::HashSet<Vec<u8>>,
    bytes: usize,
}

impl<'a> InsertBatch<'a> {
    fn new(core: &'a Core, info: CollectionInfo, creation: Option<Draft>) -> InsertBatch<'a> {
        InsertBatch {
            core,
            info,
            drafts: creation.into_iter().collect(),
            keys: std::collections::HashSet::new(),
            bytes: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.drafts.len() < BATCH_DOCUMENTS_MAX && self.bytes < BATCH_BYTES_MAX
    }

    /// Checks one document and adds its entry; returns its `_id`.
    fn add(&mut self, document: &RawDocument) -> Result<bson::Bson> {
        validate(document.as_bytes())?;
        let made;
        let document = match document.iter().next() {
            Some(Ok((name, _))) if name.as_str() == "_id" => document,
            _ => {
                let id = document.get("_id").ok().flatten();
                let id = id.unwrap_or_else(|| RawBsonRef::ObjectId(bson::oid::ObjectId::new()));
                made = with_id_first(document, id);
                validate(made.as_bytes())?;
                &made
            }
        };
        let id = document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null);
        let key = document_key(id)?;
        let (layers, at) = self.core.reading()?;
        if self.keys.contains(&key) || layers.get(self.info.number, &key, at)?.is_some() {
            let mut key = RawDocumentBuf::new();
            key.append(ID, id);
            return Err(Error::DuplicateKey {
                namespace: self.info.namespace.to_string(),
                key,
            });
        }
        let draft = Draft::new(
            EntryKind::Insert,
            &StoreEntry {
                document: Some(document),
                ..entry_for(&self.info)
            },
        );
        let inserted = bson::Bson::try_from(id).map_err(|_| Error::InvalidId { what: "malformed" })?;
        self.bytes += draft.bytes();
        self.drafts.push(draft);
        self.keys.insert(key);
        Ok(inserted)
    }
}

/// The engine's key for an `_id`, if it can be one.
fn document_key(id: RawBsonRef<'_>) -> Result<Vec<u8>> {
    let what = match id {
        RawBsonRef::Array(_) => "an array",
        RawBsonRef::RegularExpression(_) => "a regular expression",
        RawBsonRef::Undefined => "undefined",
        _ => {
            let mut key = Vec::new();
            encode_key(id, &mut key);
            if key.len() <= KEY_BYTES_MAX {
                return Ok(key);
            }
            "longer than 64 KiB"
        }
    };
    Err(Error::InvalidId { what })
}

/// Where the documents come from that a filter is tried on.
#[derive(Debug)]
enum Source {
    Nothing,
    One(Option<(Vec<u8>, Stored)>),
    Scan(LayersScan),
}

/// The stored documents that match a filter, with their keys.
#[derive(Debug)]
struct Candidates {
    source: Source,
    filter: Expression,
}

impl Iterator for Candidates {
    type Item = Result<(Vec<u8>, Stored)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, stored) = match &mut self.source {
                Source::Nothing => return None,
                Source::One(found) => found.take()?,
                Source::Scan(scan) => match scan.next()? {
                    Ok(found) => found,
                    Err(e) => return Some(Err(e)),
                },
            };
            let matched = match stored.document() {
                Ok(document) => self.filter.matches(document).map_err(Error::from),
                Err(e) => Err(e),
            };
            match matched {
                Ok(true) => return Some(Ok((key, stored))),
                Ok(false) => {}
                Err(e) => {
                    // Going on would pass for an answer that leaves this document out.
                    self.source = Source::Nothing;
                    return Some(Err(e));
                }
            }
        }
    }
}

/// The documents that match a filter. See [`Collection::find`].
#[derive(Debug)]
pub struct Documents(Candidates);

impl Iterator for Documents {
    type Item = Result<RawDocumentBuf>;

    fn next(&mut self) -> Option<Result<RawDocumentBuf>> {
        Some(self.0.next()?.and_then(|(_, stored)| stored.into_document()))
    }
}

impl Documents {
    /// The documents decoded, for small results.
    ///
    /// # Errors
    ///
    /// Those of the items.
    pub fn into_documents(self) -> Result<Vec<Document>> {
        self.map(|document| {
            Document::try_from(document?.as_ref()).map_err(|_| Error::Inconsistent {
                op_id: OpId::ZERO,
                what: "a stored document is malformed",
            })
        })
        .collect()
    }
}

//! Entries of the log in MongoDB's form.

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use tailwater::oplog::SharedEntry;
use tailwater::oplog::entry::{EntryKind, StoreEntry};
use tailwater::{INTERNAL_DATABASE, LogError, cluster_time};

use super::diff;

type Result<T> = std::result::Result<T, LogError>;

/// What was appended together; not empty.
pub(super) struct Batch(Vec<SharedEntry>);

/// One operation: its kind, and the fields that tell it.
struct Operation {
    op: &'static str,
    namespace: String,
    collection_id: Option<[u8; 16]>,
    o: RawDocumentBuf,
    o2: Option<RawDocumentBuf>,
}

impl Operation {
    /// `op`, `ns`, `ui`, `o` and `o2`, as they stand in an entry and in a member of `applyOps`.
    fn append_to(self, document: &mut RawDocumentBuf) {
        document.append(cstr!("op"), self.op);
        document.append(cstr!("ns"), self.namespace);
        if let Some(id) = self.collection_id {
            document.append(cstr!("ui"), uuid(&id));
        }
        document.append(cstr!("o"), self.o);
        if let Some(o2) = self.o2 {
            document.append(cstr!("o2"), o2);
        }
    }
}

impl Batch {
    pub(super) fn new(entries: Vec<SharedEntry>) -> Batch {
        Batch(entries)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The oplog entry.
    pub(super) fn to_document(&self) -> Result<RawDocumentBuf> {
        let mut operations = Vec::new();
        let mut session = RawDocumentBuf::new();
        let mut in_transaction = false;
        for entry in &self.0 {
            let Some(kind) = EntryKind::from_number(entry.kind()) else {
                continue;
            };
            let store = StoreEntry::decode(entry.payload())?;
            match (kind, store.detail) {
                // Of a single write it is what MongoDB has in the write's own entry.
                (EntryKind::SessionWrite, Some(record)) if !in_transaction => session = session_of(record),
                (EntryKind::SessionWrite, _) => {}
                // What the store keeps for itself is nobody's to read.
                _ if store.database == INTERNAL_DATABASE => {}
                _ => operations.extend(operation(kind, &store)?),
            }
            if let Some(transaction) = store.session.filter(|_| !in_transaction) {
                in_transaction = true;
                session = transaction.to_owned();
            }
        }
        let mut document = RawDocumentBuf::new();
        let first = &self.0[0];
        let operation = match operations.len() {
            0 => noop("periodic noop"),
            1 if !in_transaction => operations.swap_remove(0),
            _ => {
                // It does not say which statement each of them is.
                if !in_transaction {
                    session = RawDocumentBuf::new();
                }
                apply_ops(operations)
            }
        };
        for (name, value) in session.iter().flatten() {
            document.append(name, value);
        }
        operation.append_to(&mut document);
        let time = cluster_time(first.timestamp());
        document.append(cstr!("ts"), time);
        document.append(cstr!("t"), i64::from(first.term().get()));
        document.append(cstr!("v"), 2_i64);
        let millis = i64::try_from(first.timestamp().as_nanos() / 1_000_000).unwrap_or(i64::MAX);
        document.append(cstr!("wall"), DateTime::from_millis(millis));
        if in_transaction {
            let none = Timestamp { time: 0, increment: 0 };
            document.append(cstr!("prevOpTime"), rawdoc! { "ts": none, "t": -1_i64 });
        }
        Ok(document)
    }
}

fn apply_ops(operations: Vec<Operation>) -> Operation {
    let mut members = RawArrayBuf::new();
    for operation in operations {
        let mut member = RawDocumentBuf::new();
        operation.append_to(&mut member);
        members.push(member);
    }
    Operation {
        op: "c",
        namespace: "admin.$cmd".to_owned(),
        collection_id: None,
        o: rawdoc! { "applyOps": members },
        o2: None,
    }
}

/// `lsid`, `txnNumber` and `stmtId` of a record of one statement.
fn session_of(record: &RawDocument) -> RawDocumentBuf {
    let mut session = RawDocumentBuf::new();
    let value = |name| record.get(name).ok().flatten();
    if let (Some(id), Some(number), Some(statement)) = (value("session"), value("txnNumber"), value("first")) {
        let mut lsid = RawDocumentBuf::new();
        lsid.append(cstr!("id"), id);
        session.append(cstr!("lsid"), lsid);
        session.append(cstr!("txnNumber"), number);
        session.append(cstr!("stmtId"), statement);
    }
    session
}

fn noop(message: &str) -> Operation {
    Operation {
        op: "n",
        namespace: String::new(),
        collection_id: None,
        o: rawdoc! { "msg": message },
        o2: None,
    }
}

fn uuid(id: &[u8; 16]) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.to_vec(),
    }
}

fn malformed(what: &'static str) -> LogError {
    LogError::MalformedEntry { what }
}

/// The operation of an entry, if it is one.
fn operation(kind: EntryKind, store: &StoreEntry<'_>) -> Result<Option<Operation>> {
    let of_document = |op, o: RawDocumentBuf, o2| Operation {
        op,
        namespace: format!("{}.{}", store.database, store.collection),
        collection_id: Some(store.collection_id),
        o,
        o2,
    };
    let document = || store.document.ok_or(malformed("it has no document"));
    let key = || store.key.map(RawDocument::to_owned).ok_or(malformed("it has no key"));
    Ok(Some(match kind {
        EntryKind::Insert => of_document("i", document()?.to_owned(), Some(key_of(document()?))),
        EntryKind::Replace => of_document("u", document()?.to_owned(), Some(key_of(document()?))),
        EntryKind::Update => {
            let description = store.diff.ok_or(malformed("it has no diff"))?;
            let o = diff::update(description, document()?).ok_or(malformed("its diff is malformed"))?;
            of_document("u", o, Some(key()?))
        }
        EntryKind::Delete => of_document("d", key()?, None),
        EntryKind::StartIndexBuild => noop("index build started"),
        EntryKind::AbortIndexBuild => noop("index build aborted"),
        EntryKind::Noop | EntryKind::SessionWrite | EntryKind::Leave => return Ok(None),
        _ => Operation {
            op: "c",
            namespace: format!("{}.$cmd", store.database),
            collection_id: (kind != EntryKind::DropDatabase).then_some(store.collection_id),
            o: definition(kind, store)?,
            o2: None,
        },
    }))
}

/// `{_id: …}`.
fn key_of(document: &RawDocument) -> RawDocumentBuf {
    let mut key = RawDocumentBuf::new();
    if let Ok(Some(id)) = document.get("_id") {
        key.append(cstr!("_id"), id);
    }
    key
}

/// The command that a definition is.
fn definition(kind: EntryKind, store: &StoreEntry<'_>) -> Result<RawDocumentBuf> {
    let detail = || store.detail.ok_or(malformed("it has no detail"));
    let mut o = RawDocumentBuf::new();
    match kind {
        EntryKind::Create => {
            o.append(cstr!("create"), store.collection);
            append_all(&mut o, store.detail);
            o.append(
                cstr!("idIndex"),
                rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" },
            );
        }
        EntryKind::Drop => o.append(cstr!("drop"), store.collection),
        EntryKind::DropDatabase => o.append(cstr!("dropDatabase"), 1),
        EntryKind::Rename => {
            let detail = detail()?;
            let to = detail
                .get_document("to")
                .map_err(|_| malformed("its rename is malformed"))?;
            let (database, collection) = (to.get_str("db"), to.get_str("coll"));
            let (Ok(database), Ok(collection)) = (database, collection) else {
                return Err(malformed("its rename is malformed"));
            };
            o.append(
                cstr!("renameCollection"),
                format!("{}.{}", store.database, store.collection),
            );
            o.append(cstr!("to"), format!("{database}.{collection}"));
            o.append(cstr!("stayTemp"), false);
            match detail.get("dropTarget") {
                Ok(Some(target @ RawBsonRef::Binary(_))) => o.append(cstr!("dropTarget"), target),
                _ => o.append(cstr!("dropTarget"), false),
            }
        }
        EntryKind::CreateIndexes | EntryKind::DropIndexes => {
            let indexes = detail()?
                .get_array("indexes")
                .map_err(|_| malformed("it has no indexes"))?;
            let documents = indexes.into_iter().flatten().filter_map(RawBsonRef::as_document);
            indexes_command(&mut o, kind, store.collection, &documents.collect::<Vec<_>>());
        }
        _ => {
            o.append(cstr!("collMod"), store.collection);
            let detail = detail()?;
            append_all(&mut o, detail.get_document("options").ok());
            if let Ok(index) = detail.get_document("index") {
                o.append(cstr!("index"), index.to_owned());
            }
        }
    }
    Ok(o)
}

/// One index is in the command itself, as MongoDB has it; of several there is a list.
fn indexes_command(o: &mut RawDocumentBuf, kind: EntryKind, collection: &str, indexes: &[&RawDocument]) {
    let name = |index: &RawDocument| index.get_str("name").unwrap_or_default().to_owned();
    match (kind, indexes) {
        (EntryKind::CreateIndexes, [index]) => {
            o.append(cstr!("createIndexes"), collection);
            o.append(cstr!("v"), 2);
            let fields = index.iter().flatten().filter(|(name, _)| name.as_str() != "v");
            fields.for_each(|(name, value)| o.append(name, value));
        }
        (EntryKind::CreateIndexes, indexes) => {
            o.append(cstr!("commitIndexBuild"), collection);
            let indexes = indexes.iter().map(|index| (*index).to_owned());
            o.append(cstr!("indexes"), RawArrayBuf::from_iter(indexes));
        }
        (_, [index]) => {
            o.append(cstr!("dropIndexes"), collection);
            o.append(cstr!("index"), name(index));
        }
        (_, indexes) => {
            o.append(cstr!("dropIndexes"), collection);
            o.append(
                cstr!("index"),
                RawArrayBuf::from_iter(indexes.iter().map(|index| name(index))),
            );
        }
    }
}

fn append_all(o: &mut RawDocumentBuf, fields: Option<&RawDocument>) {
    for (name, value) in fields.into_iter().flat_map(|fields| fields.iter().flatten()) {
        o.append(name, value);
    }
}

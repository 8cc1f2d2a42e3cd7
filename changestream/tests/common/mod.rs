//! What the tests of change streams share: a log, and somebody who writes a store's entries into it.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod reference;

use std::path::Path;
use std::time::{Duration, Instant};

use bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use tailwater_changestream::{ChangeEvent, ChangeStream, Scope, Watch};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{AppendOutcome, Durability, OpId, Oplog, Options, ReadConcern};

/// Long enough that only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Id of every collection here.
pub(crate) const COLLECTION_ID: [u8; 16] = [7; 16];

/// A log in `dir` with small segments, because each is prepared by writing it.
pub(crate) fn open(dir: &Path) -> Oplog {
    let options = Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    };
    options.open(dir).unwrap()
}

/// Writes entries as the store does.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) log: Oplog,
    pub(crate) durability: Durability,
}

impl Writer {
    pub(crate) fn open(dir: &Path) -> Writer {
        let (log, durability) = (open(dir), Durability::Disk);
        Writer { log, durability }
    }

    pub(crate) fn write(&self, kind: EntryKind, entry: &StoreEntry<'_>) -> AppendOutcome {
        let mut payload = Vec::new();
        entry.encode(&mut payload);
        self.log.append(kind.number(), &payload, self.durability).unwrap()
    }

    pub(crate) fn insert(&self, namespace: &str, document: &RawDocument) -> AppendOutcome {
        let entry = StoreEntry {
            document: Some(document),
            ..of(namespace)
        };
        self.write(EntryKind::Insert, &entry)
    }

    /// `$set: {n: value}` of the document with that `_id`.
    pub(crate) fn update(&self, namespace: &str, id: i32, value: i32) -> AppendOutcome {
        let entry = StoreEntry {
            key: Some(&rawdoc! { "_id": id }),
            document: Some(&rawdoc! { "_id": id, "n": value }),
            diff: Some(&diff(value)),
            ..of(namespace)
        };
        self.write(EntryKind::Update, &entry)
    }

    /// An update that left the document like this.
    pub(crate) fn write_update(&self, namespace: &str, id: i32, document: &RawDocument) -> AppendOutcome {
        let entry = StoreEntry {
            key: Some(&rawdoc! { "_id": id }),
            document: Some(document),
            diff: Some(&diff(id)),
            ..of(namespace)
        };
        self.write(EntryKind::Update, &entry)
    }

    pub(crate) fn replace(&self, namespace: &str, document: &RawDocument) -> AppendOutcome {
        let entry = StoreEntry {
            document: Some(document),
            ..of(namespace)
        };
        self.write(EntryKind::Replace, &entry)
    }

    pub(crate) fn delete(&self, namespace: &str, id: i32) -> AppendOutcome {
        let entry = StoreEntry {
            key: Some(&rawdoc! { "_id": id }),
            ..of(namespace)
        };
        self.write(EntryKind::Delete, &entry)
    }

    pub(crate) fn create(&self, namespace: &str) -> AppendOutcome {
        let entry = StoreEntry {
            detail: Some(&rawdoc! { "capped": false }),
            ..of(namespace)
        };
        self.write(EntryKind::Create, &entry)
    }

    pub(crate) fn drop_collection(&self, namespace: &str) -> AppendOutcome {
        self.write(EntryKind::Drop, &of(namespace))
    }

    pub(crate) fn rename(&self, namespace: &str, to: &str) -> AppendOutcome {
        let target = of(to);
        let entry = StoreEntry {
            detail: Some(&rawdoc! { "to": { "db": target.database, "coll": target.collection } }),
            ..of(namespace)
        };
        self.write(EntryKind::Rename, &entry)
    }

    pub(crate) fn drop_database(&self, database: &str) -> AppendOutcome {
        let entry = StoreEntry {
            database,
            ..StoreEntry::default()
        };
        self.write(EntryKind::DropDatabase, &entry)
    }

    /// Fills more than one segment with documents `{_id: n}` of 1 KiB.
    pub(crate) fn fill(&self, namespace: &str, count: i32) {
        let writer = Writer {
            durability: Durability::Memory,
            ..self.clone()
        };
        for n in 0..count {
            writer.insert(namespace, &rawdoc! { "_id": n, "pad": "x".repeat(1000) });
        }
        writer.log.sync(writer.log.watermarks().appended).unwrap();
    }

    /// Trims what fits into whole segments, of all but the last few entries.
    pub(crate) fn trim(&self) -> OpId {
        let oldest = self.log.trim(self.log.watermarks().durable).unwrap();
        assert!(oldest > OpId::FIRST, "nothing was trimmed");
        oldest
    }

    pub(crate) fn watch(&self, scope: Scope) -> Watch {
        Watch::new(self.log.view(), scope)
    }

    pub(crate) fn newest(&self) -> OpId {
        self.log.view().newest(ReadConcern::Durable)
    }
}

/// What `$set: {n: value}` is described as.
pub(crate) fn diff(value: i32) -> RawDocumentBuf {
    let none = bson::RawArrayBuf::new;
    rawdoc! { "updatedFields": { "n": value }, "removedFields": none(), "truncatedArrays": none() }
}

/// An entry of `database.collection`.
pub(crate) fn of(namespace: &str) -> StoreEntry<'_> {
    let (database, collection) = namespace.split_once('.').unwrap();
    StoreEntry {
        database,
        collection,
        collection_id: COLLECTION_ID,
        ..StoreEntry::default()
    }
}

pub(crate) fn collection(namespace: &str) -> Scope {
    let entry = of(namespace);
    Scope::Collection {
        database: entry.database.to_owned(),
        collection: entry.collection.to_owned(),
    }
}

pub(crate) fn database(name: &str) -> Scope {
    Scope::Database(name.to_owned())
}

/// Every event there is by now.
pub(crate) fn drain(stream: &mut ChangeStream) -> Vec<ChangeEvent> {
    std::iter::from_fn(|| stream.next_if_any().unwrap()).collect()
}

/// An event in short: `insert shop.orders 1`.
pub(crate) fn short(event: &ChangeEvent) -> String {
    let mut text = event.operation_type().name().to_owned();
    for part in [event.database(), event.collection()] {
        if !part.is_empty() {
            text.push_str(if text.contains(' ') { "." } else { " " });
            text.push_str(part);
        }
    }
    match event.document_key() {
        Some(key) => format!("{text} {}", key.get_i32("_id").unwrap()),
        None => text,
    }
}

pub(crate) fn shorts(events: &[ChangeEvent]) -> Vec<String> {
    events.iter().map(short).collect()
}

pub(crate) fn decoded(event: &ChangeEvent) -> Document {
    Document::try_from(event.to_document().as_ref()).unwrap()
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Copies a log's directory, also that of a log that is open.
pub(crate) fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if let Err(error) = std::fs::copy(entry.path(), to.join(entry.file_name())) {
            // A spare segment may have been renamed, a temporary file removed, since the directory was read.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{entry:?}");
        }
    }
}

pub(crate) fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) const ORDERS: &str = "shop.orders";

/// A log with orders 1 to `count`.
pub(crate) fn orders(count: i32) -> (tempfile::TempDir, Writer) {
    let dir = temporary();
    let writer = Writer::open(dir.path());
    insert_orders(&writer, 1..=count);
    (dir, writer)
}

pub(crate) fn insert_orders(writer: &Writer, ids: std::ops::RangeInclusive<i32>) {
    for id in ids {
        writer.insert(ORDERS, &rawdoc! { "_id": id, "n": id });
    }
}

pub(crate) fn ids(events: &[ChangeEvent]) -> Vec<i32> {
    events
        .iter()
        .map(|e| e.document_key().unwrap().get_i32("_id").unwrap())
        .collect()
}

/// Events from the oldest entry on, of everything.
pub(crate) fn from_oldest(writer: &Writer) -> Vec<ChangeEvent> {
    drain(&mut writer.watch(Scope::Everything).start_at_oldest().start().unwrap())
}

/// The fields that every event has, as MongoDB has them.
pub(crate) fn common_fields(event: &ChangeEvent, operation: &str) -> Document {
    let nanos = event.timestamp().as_nanos();
    let time = bson::Timestamp {
        time: (nanos / 1_000_000_000) as u32,
        increment: (nanos % 1_000_000_000) as u32 + 1,
    };
    doc! {
        "_id": { "_data": event.resume_token().to_string() },
        "operationType": operation,
        "clusterTime": time,
        "wallTime": bson::DateTime::from_millis((nanos / 1_000_000) as i64),
    }
}

//! Entries that are rolled back, kept where people can read them: one line of Extended JSON for each.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bson::{Bson, Document, RawDocument};
use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Entry, OpId, OplogView, ReadConcern};

use crate::error::{Error, Result};

/// Writes every entry behind `last` into a new file in `folder`, durably; returns its path.
///
/// # Errors
///
/// [`Error::RollbackTooLarge`] when they have more than `bytes_max` bytes: then nothing is written.
pub(super) fn write(log: &OplogView, folder: &Path, last: OpId, bytes_max: u64) -> Result<PathBuf> {
    let (mut cursor, mut bytes) = (log.cursor(last.next(), ReadConcern::Local)?, 0);
    while let Some(entry) = cursor.try_next()? {
        bytes += entry.payload().len() as u64;
    }
    if bytes > bytes_max {
        return Err(Error::RollbackTooLarge {
            last,
            bytes,
            max: bytes_max,
        });
    }
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let newest = log.newest(ReadConcern::Local);
    let term = log.get(newest, ReadConcern::Local)?.term();
    // Named by what it holds: after a crash it is written again.
    let path = folder.join(format!("{}-{}-term-{term}.jsonl", last.next(), newest));
    let written = || -> std::io::Result<File> {
        let mut out = BufWriter::new(File::create(&path)?);
        let mut cursor = log
            .cursor(last.next(), ReadConcern::Local)
            .map_err(std::io::Error::other)?;
        while let Some(entry) = cursor.try_next().map_err(std::io::Error::other)? {
            writeln!(out, "{}", Bson::Document(line(&entry)).into_canonical_extjson())?;
        }
        out.into_inner().map_err(std::io::IntoInnerError::into_error)
    };
    let synced = written()
        .and_then(|file| file.sync_all())
        .and_then(|()| File::open(folder)?.sync_all());
    synced.map_err(Error::file("write", &path))?;
    tracing::warn!(path = %path.display(), from = %last.next(), to = %newest, "rolled back: entries that the primary does not have");
    Ok(path)
}

fn line(entry: &Entry<'_>) -> Document {
    let mut line = bson::doc! {
        "opId": int(entry.op_id().get()),
        "term": int(entry.term().get().into()),
        "time": bson::DateTime::from_millis(entry.timestamp().as_millis()),
    };
    let kind = EntryKind::from_number(entry.kind());
    let decoded = kind.and_then(|kind| Some((kind, StoreEntry::decode(entry.payload()).ok()?)));
    let Some((kind, store)) = decoded else {
        line.insert("kind", i32::from(entry.kind()));
        line.insert("bytes", bytes(entry.payload()));
        return line;
    };
    line.insert("kind", kind.name());
    line.insert("db", store.database);
    line.insert("coll", store.collection);
    let sections = [
        ("key", store.key),
        ("document", store.document),
        ("diff", store.diff),
        ("preImage", store.pre_image),
        ("session", store.session),
        ("detail", store.detail),
    ];
    for (name, section) in sections {
        if let Some(section) = section {
            line.insert(name, document(section));
        }
    }
    line
}

/// The document, or its bytes when it cannot be read.
fn document(raw: &RawDocument) -> Bson {
    match Document::try_from(raw) {
        Ok(document) => Bson::Document(document),
        Err(_) => bytes(raw.as_bytes()),
    }
}

fn bytes(bytes: &[u8]) -> Bson {
    Bson::Binary(bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    })
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

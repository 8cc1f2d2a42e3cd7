//! A record of what a session's statements have done, as it lies in the log (the *detail* of a `sessionWrite` entry) and in the
//! state. `docs/oplog-format.md` (*Entries*) lists its fields.

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_oplog::entry::{EntryKind, StoreEntry};

use super::{RetryableWrite, SessionId, StatementOutcome, damaged};
use crate::error::{Error, Result};
use crate::store::Draft;
use crate::write::Modified;

/// The field that lists sessions to be forgotten.
pub(super) const FORGET: &str = "forget";

/// A record, borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) session: SessionId,
    pub(super) number: i64,
    /// When it was made.
    pub(super) at: DateTime,
    /// The first and the last of the statements that it is of; nothing for a transaction's commit.
    pub(super) statements: Option<(i32, i32)>,
    /// In a head: whether there are records of further statements.
    pub(super) has_more: bool,
    pub(super) document: &'a RawDocument,
}

impl<'a> Record<'a> {
    /// # Errors
    ///
    /// [`Error::Inconsistent`].
    pub(super) fn decode(document: &'a RawDocument) -> Result<Record<'a>> {
        fn fields(document: &RawDocument) -> Option<Record<'_>> {
            let statements = match document.get("first").ok()? {
                Some(first) => Some((first.as_i32()?, document.get_i32("last").ok()?)),
                None => None,
            };
            Some(Record {
                session: document.get_binary("session").ok()?.bytes.try_into().ok()?,
                number: document.get_i64("txnNumber").ok()?,
                at: document.get_datetime("at").ok()?,
                statements,
                has_more: document.get("more").ok()?.is_some(),
                document,
            })
        }
        fields(document).ok_or_else(|| damaged("the record of a session's write is malformed"))
    }

    pub(super) fn outcome(&self) -> Result<StatementOutcome> {
        let value = |name| self.document.get(name).ok().flatten();
        let upserted_id = value("upserted").map(Bson::try_from).transpose();
        Ok(StatementOutcome {
            matched: value("matched").is_some(),
            modified: value("matched").is_some() && value("unchanged").is_none(),
            upserted_id: upserted_id.map_err(|_| damaged("the _id in the record of a write is malformed"))?,
            document: value("document")
                .and_then(RawBsonRef::as_document)
                .map(RawDocument::to_owned),
        })
    }
}

/// The fields that every record has.
fn record(session: SessionId, number: i64) -> RawDocumentBuf {
    rawdoc! { "session": uuid(session), "txnNumber": number, "at": DateTime::now() }
}

fn uuid(session: SessionId) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: session.to_vec(),
    }
}

fn draft(detail: &RawDocument) -> Draft {
    let entry = StoreEntry {
        detail: Some(detail),
        ..StoreEntry::default()
    };
    Draft::new(EntryKind::SessionWrite, &entry)
}

impl RetryableWrite {
    /// The records of inserts, by the indexes of their documents, ascending: one for each run of statements.
    pub(crate) fn insert_records(&self, indexes: impl Iterator<Item = usize>) -> Vec<Draft> {
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for statement in indexes.filter_map(|index| self.statements.get(index).copied()) {
            match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(statement) => *last = statement,
                _ => runs.push((statement, statement)),
            }
        }
        let records = runs.into_iter().map(|run| draft(&self.of_statements(run)));
        records.collect()
    }

    /// Whether statements follow the one with this index.
    pub(crate) fn has_more_than(&self, index: usize) -> bool {
        self.statements.len() > index + 1
    }

    /// The record of an update, a replacement or a deletion, by its index.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`].
    pub(crate) fn record(&self, index: usize, modified: &Modified) -> Result<Option<Draft>> {
        let Some(&statement) = self.statements.get(index) else {
            return Ok(None);
        };
        let mut detail = self.of_statements((statement, statement));
        if modified.matched {
            detail.append(cstr!("matched"), true);
            if !modified.changed {
                detail.append(cstr!("unchanged"), true);
            }
        }
        if let Some(id) = &modified.upserted_id {
            let id = RawBson::try_from(id.clone()).map_err(|_| Error::InvalidId { what: "malformed" })?;
            detail.append(cstr!("upserted"), id);
        }
        if let Some(document) = &modified.document {
            detail.append(cstr!("document"), document.clone());
        }
        Ok(Some(draft(&detail)))
    }

    fn of_statements(&self, (first, last): (i32, i32)) -> RawDocumentBuf {
        let mut detail = record(self.session, self.number);
        detail.append(cstr!("first"), first);
        detail.append(cstr!("last"), last);
        detail
    }
}

/// The record of a transaction's commit.
pub(crate) fn commit_record(session: SessionId, number: i64) -> Draft {
    draft(&record(session, number))
}

/// An entry that says that sessions are forgotten.
pub(crate) fn forgetting(sessions: &[SessionId]) -> Draft {
    let sessions = RawArrayBuf::from_iter(sessions.iter().copied().map(uuid));
    draft(&rawdoc! { "forget": sessions })
}

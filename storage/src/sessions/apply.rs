//! Applying records of sessions' writes.

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocument};
use tailwater_oplog::OpId;

use super::record::{FORGET, Record};
use super::{SESSIONS, SessionId, damaged};
use crate::engine::Slice;
use crate::error::Result;
use crate::overlay::{KeyRange, Version};
use crate::state::Layers;

/// Applies the detail of a `sessionWrite` entry to the newest generation.
pub(crate) fn apply(layers: &Layers, op_id: OpId, detail: &RawDocument) -> Result<()> {
    if let Ok(sessions) = detail.get_array(FORGET) {
        for session in sessions {
            let session = match session {
                Ok(RawBsonRef::Binary(session)) => SessionId::try_from(session.bytes).ok(),
                _ => None,
            };
            forget(
                layers,
                op_id,
                &session.ok_or_else(|| damaged("a session to forget is none"))?,
            )?;
        }
        return Ok(());
    }
    let record = Record::decode(detail)?;
    let before = OpId::new(op_id.get() - 1);
    let stored = layers.get(SESSIONS, &record.session, before)?;
    let head = stored.as_ref().map(|stored| Record::decode(stored.document()?));
    match (head.transpose()?, record.statements) {
        (Some(head), Some((first, _))) if head.number == record.number => {
            if !head.has_more {
                let mut longer = head.document.to_owned();
                longer.append(cstr!("more"), true);
                put(layers, op_id, &head.session, &longer);
            }
            put(layers, op_id, &statement_key(&record.session, first), detail);
        }
        // Of a write that the session has gone on from, which two who use one session at the same time can leave behind.
        (Some(head), _) if head.number > record.number => {}
        (head, _) => {
            if head.is_some_and(|head| head.has_more) {
                forget(layers, op_id, &record.session)?;
            }
            put(layers, op_id, &record.session, detail);
        }
    }
    Ok(())
}

fn put(layers: &Layers, op_id: OpId, key: &[u8], record: &RawDocument) {
    layers.generations[0].put(SESSIONS, key, op_id, Version::Put(Slice::new(record.as_bytes())));
}

/// Deletes all records of a session.
fn forget(layers: &Layers, op_id: OpId, session: &SessionId) -> Result<()> {
    let before = OpId::new(op_id.get() - 1);
    for found in layers.scan(SESSIONS, KeyRange::prefix(session), before) {
        layers.generations[0].put(SESSIONS, &found?.0, op_id, Version::Deleted);
    }
    Ok(())
}

/// Where the record of a further statement lies: in the order of the statements.
fn statement_key(session: &SessionId, statement: i32) -> Vec<u8> {
    let ordered = statement.cast_unsigned() ^ (1 << 31);
    [&session[..], &ordered.to_be_bytes()].concat()
}

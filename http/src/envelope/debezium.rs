//! The envelope of Debezium's connector for MongoDB, without its schema (Debezium documentation: *Debezium connector for
//! MongoDB*, data change events). Documents are strings of JSON there. The key, which is a record's other half there, stands
//! beside the value's fields.

use bson::{RawBsonRef, RawDocument};
use serde::Serialize;
use tailwater::{ChangeEvent, OperationType};

use super::millis;
use crate::extjson::{Extended, Json, Text};

/// An event in its envelope.
#[derive(Serialize)]
pub(super) struct Record<'a> {
    key: Key<'a>,
    before: Option<Text<'a>>,
    after: Option<Text<'a>>,
    #[serde(rename = "updateDescription")]
    update_description: Option<Description<'a>>,
    source: Source<'a>,
    op: &'static str,
    ts_ms: i64,
    transaction: Option<()>,
}

#[derive(Serialize)]
struct Key<'a> {
    id: Option<Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    removed_fields: Option<Extended<'a>>,
    updated_fields: Option<Text<'a>>,
    truncated_arrays: Option<Extended<'a>>,
}

#[derive(Serialize)]
struct Source<'a> {
    version: &'static str,
    connector: &'static str,
    name: &'static str,
    ts_ms: i64,
    snapshot: &'static str,
    db: &'a str,
    sequence: Option<()>,
    collection: &'a str,
    ord: u32,
    lsid: Option<Text<'a>>,
    #[serde(rename = "txnNumber")]
    txn_number: Option<i64>,
    #[serde(rename = "wallTime")]
    wall_time: i64,
}

impl<'a> Record<'a> {
    /// The record of an event, of which `shown` is what the watch's pipeline has made, so that it does not show what that left
    /// out; nothing for events of collections and databases, which have no place there.
    pub(super) fn new(event: &'a ChangeEvent, shown: &'a RawDocument, json: Json) -> Option<Record<'a>> {
        let op = match event.operation_type() {
            OperationType::Insert => "c",
            OperationType::Update | OperationType::Replace => "u",
            OperationType::Delete => "d",
            _ => return None,
        };
        let text = |document| Text(Extended::of(document, json));
        let image = |name| shown.get_document(name).ok().map(text);
        let id = shown.get_document("documentKey").ok();
        let id = id.and_then(|key| key.get("_id").ok().flatten());
        Some(Record {
            key: Key {
                id: id.map(|id| Text(Extended::new(id, json))),
            },
            before: image("fullDocumentBeforeChange"),
            after: image("fullDocument"),
            update_description: shown.get_document("updateDescription").ok().map(|changed| {
                let list = |name| changed.get_array(name).ok().filter(|list| !list.is_empty());
                let list = |name| list(name).map(|list| Extended::new(RawBsonRef::Array(list), Json::Relaxed));
                Description {
                    removed_fields: list("removedFields"),
                    updated_fields: changed.get_document("updatedFields").ok().map(text),
                    truncated_arrays: list("truncatedArrays"),
                }
            }),
            source: Source {
                version: env!("CARGO_PKG_VERSION"),
                connector: "mongodb",
                name: "tailwater",
                ts_ms: millis(event),
                snapshot: "false",
                db: event.database(),
                sequence: None,
                collection: event.collection(),
                ord: tailwater::cluster_time(event.timestamp()).increment,
                lsid: image("lsid"),
                txn_number: shown.get_i64("txnNumber").ok(),
                wall_time: millis(event),
            },
            op,
            ts_ms: bson::DateTime::now().timestamp_millis(),
            transaction: None,
        })
    }
}

//! The envelope of Debezium's connector for MongoDB, without its schema (Debezium documentation: *Debezium connector for
//! MongoDB*, data change events). Documents are strings of JSON there. The key, which is a record's other half there, stands
//! beside the value's fields.

use bson::{Bson, Document};
use serde_json::{Value, json};
use tailwater::{ChangeEvent, OperationType};

use super::{Json, decoded, millis};

/// The event in its envelope; nothing for events of collections and databases, which have no place there.
pub(super) fn value(event: &ChangeEvent, json: Json) -> Option<Value> {
    let operation = match event.operation_type() {
        OperationType::Insert => "c",
        OperationType::Update | OperationType::Replace => "u",
        OperationType::Delete => "d",
        _ => return None,
    };
    // From what the watch's pipeline has made of the event, so that it does not show what that left out.
    let shown = decoded(&event.to_document());
    let text = |document: &Document| Value::String(json.value(document.clone()).to_string());
    let image = |name: &str| shown.get_document(name).map_or(Value::Null, text);
    let changed = shown.get_document("updateDescription");
    let description = changed.map_or(Value::Null, |changed| {
        let list = |name: &str| match changed.get_array(name) {
            Ok(list) if !list.is_empty() => Bson::Array(list.clone()).into_relaxed_extjson(),
            _ => Value::Null,
        };
        json!({
            "removedFields": list("removedFields"),
            "updatedFields": changed.get_document("updatedFields").map_or(Value::Null, text),
            "truncatedArrays": list("truncatedArrays"),
        })
    });
    let id = shown.get_document("documentKey").ok().and_then(|key| key.get("_id"));
    let id = id.map_or(Value::Null, |id| Value::String(json.of(id.clone()).to_string()));
    let cluster_time = tailwater::cluster_time(event.timestamp());
    let now = bson::DateTime::now().timestamp_millis();
    Some(json!({
        "key": { "id": id },
        "before": image("fullDocumentBeforeChange"),
        "after": image("fullDocument"),
        "updateDescription": description,
        "source": {
            "version": env!("CARGO_PKG_VERSION"),
            "connector": "mongodb",
            "name": "tailwater",
            "ts_ms": millis(event),
            "snapshot": "false",
            "db": event.database(),
            "sequence": null,
            "collection": event.collection(),
            "ord": cluster_time.increment,
            "lsid": shown.get_document("lsid").map_or(Value::Null, text),
            "txnNumber": shown.get_i64("txnNumber").map_or(Value::Null, Value::from),
            "wallTime": millis(event),
        },
        "op": operation,
        "ts_ms": now,
        "transaction": null,
    }))
}

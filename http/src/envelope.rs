//! How an event is written: as MongoDB delivers it, or as other systems that carry changes do.

mod debezium;

use bson::{Bson, Document, RawDocument};
use serde_json::{Value, json};
use tailwater::ChangeEvent;

/// What is put around an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Envelope {
    /// Nothing: the event as MongoDB's drivers deliver it.
    #[default]
    Mongodb,
    /// That of Debezium's connector for MongoDB.
    Debezium,
    /// That of CloudEvents 1.0, in its JSON format.
    CloudEvents,
}

/// How BSON is written as JSON (MongoDB manual: *MongoDB Extended JSON*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Json {
    /// Readable; the number types that JSON cannot tell apart look alike.
    Relaxed,
    /// Every type exactly.
    Canonical,
}

impl Json {
    fn of(self, value: Bson) -> Value {
        match self {
            Json::Relaxed => value.into_relaxed_extjson(),
            Json::Canonical => value.into_canonical_extjson(),
        }
    }

    fn value(self, document: Document) -> Value {
        self.of(Bson::Document(document))
    }
}

/// How the events of a watch are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Writing {
    pub(crate) envelope: Envelope,
    json: Json,
}

impl Writing {
    /// Without a word on it JSON is relaxed, but in Debezium's envelope, whose readers expect types.
    pub(crate) fn new(envelope: Envelope, json: Option<Json>) -> Writing {
        let json = json.unwrap_or(match envelope {
            Envelope::Debezium => Json::Canonical,
            Envelope::Mongodb | Envelope::CloudEvents => Json::Relaxed,
        });
        Writing { envelope, json }
    }

    /// Writes an event on one line, without its end; whether it has a form in that envelope.
    pub(crate) fn write(self, event: &ChangeEvent, out: &mut Vec<u8>) -> bool {
        let value = match self.envelope {
            Envelope::Mongodb => Some(self.json.value(decoded(&event.to_document()))),
            Envelope::CloudEvents => Some(self.cloud_event(event)),
            Envelope::Debezium => debezium::value(event, self.json),
        };
        match value {
            Some(value) => serde_json::to_writer(out, &value).is_ok(),
            None => false,
        }
    }

    /// `source` and `id` together are the event's alone: the token names its log.
    fn cloud_event(self, event: &ChangeEvent) -> Value {
        let token = event.resume_token();
        let subject = match event.collection() {
            "" => event.database().to_owned(),
            collection => format!("{}.{collection}", event.database()),
        };
        let time = bson::DateTime::from_millis(millis(event));
        json!({
            "specversion": "1.0",
            "id": token.to_string(),
            "source": format!("urn:uuid:{}", token.log_id()),
            "type": format!("tailwater.change.{}", event.operation_type().name()),
            "subject": subject,
            "time": time.try_to_rfc3339_string().unwrap_or_default(),
            "datacontenttype": "application/json",
            "data": self.json.value(decoded(&event.to_document())),
        })
    }
}

/// What is in the log was valid when it was written there.
fn decoded(document: &RawDocument) -> Document {
    Document::try_from(document).unwrap_or_default()
}

/// When the event was written, in milliseconds since 1970.
fn millis(event: &ChangeEvent) -> i64 {
    i64::try_from(event.timestamp().as_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

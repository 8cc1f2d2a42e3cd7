//! How an event is written: as MongoDB delivers it, or as other systems that carry changes do.

mod debezium;

use std::io::Write;

use serde::Serialize;
use tailwater::ChangeEvent;

use crate::extjson::{Counter, Extended, Json};

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

    /// Writes an event on one line, without its end; whether it has a form in that envelope. When it has none, a part of it may
    /// have been written.
    pub(crate) fn write(self, event: &ChangeEvent, out: impl Write) -> bool {
        let document = event.to_document();
        let data = Extended::of(&document, self.json);
        let written = match self.envelope {
            Envelope::Mongodb => serde_json::to_writer(out, &data),
            Envelope::CloudEvents => serde_json::to_writer(out, &CloudEvent::new(event, data)),
            Envelope::Debezium => match debezium::Record::new(event, &document, self.json) {
                Some(record) => serde_json::to_writer(out, &record),
                None => return false,
            },
        };
        written.is_ok()
    }

    /// Bytes that writing an event comes to.
    pub(crate) fn length(self, event: &ChangeEvent) -> usize {
        let mut counter = Counter::default();
        match self.write(event, &mut counter) {
            true => counter.0,
            false => 0,
        }
    }
}

/// An event as CloudEvents have it (CloudEvents 1.0: *JSON Event Format*). `source` and `id` together are the event's alone: the
/// token names its log.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: String,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    data: Extended<'a>,
}

impl<'a> CloudEvent<'a> {
    fn new(event: &ChangeEvent, data: Extended<'a>) -> CloudEvent<'a> {
        let token = event.resume_token();
        let time = bson::DateTime::from_millis(millis(event));
        CloudEvent {
            specversion: "1.0",
            id: token.to_string(),
            source: format!("urn:uuid:{}", token.log_id()),
            r#type: format!("tailwater.change.{}", event.operation_type().name()),
            subject: match event.collection() {
                "" => event.database().to_owned(),
                collection => format!("{}.{collection}", event.database()),
            },
            time: time.try_to_rfc3339_string().unwrap_or_default(),
            datacontenttype: "application/json",
            data,
        }
    }
}

/// When the event was written, in milliseconds since 1970.
fn millis(event: &ChangeEvent) -> i64 {
    i64::try_from(event.timestamp().as_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

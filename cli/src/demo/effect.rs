//! What a watcher keeps of an event: one line of text in a file of its own.
//!
//! ```text
//! resume token ⇥ OpID ⇥ operation type ⇥ day ⇥ SHA-256 of the event ⏎
//! ```
//!
//! Token and effect stand in the same line and are written by the same call, so neither is ever there without the other.
//! That is all it takes to turn "resume after the last token" into effects that happen exactly once.

use bson::Document;
use tailwater::ChangeEvent;

use super::written::{Seen, digest};
use crate::failure::{Exit, Failure, Outcome};

/// One line of a watcher's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Effect {
    /// The token of the event, as text.
    pub(crate) token: String,
    pub(crate) seen: Seen,
}

impl Effect {
    /// What is kept of an event.
    pub(crate) fn of(event: &ChangeEvent) -> Outcome<Effect> {
        let malformed = |e| Failure::new(Exit::Damage, format!("an event is malformed: {e}"));
        let mut document = Document::try_from(event.to_document().as_ref()).map_err(malformed)?;
        // These differ from run to run; all else has to be what the plan says.
        for field in ["_id", "clusterTime", "wallTime"] {
            document.remove(field);
        }
        let key = document.get_document("documentKey");
        let day = key.and_then(|key| key.get_str("_id")).unwrap_or_default().to_owned();
        Ok(Effect {
            token: event.resume_token().to_string(),
            seen: Seen {
                op_id: event.op_id().get(),
                operation: event.operation_type().name().to_owned(),
                day,
                digest: digest(&document)?,
            },
        })
    }

    /// The line, with its end.
    pub(crate) fn line(&self) -> String {
        let Seen {
            op_id,
            operation,
            day,
            digest,
        } = &self.seen;
        format!("{}\t{op_id}\t{operation}\t{day}\t{digest}\n", self.token)
    }

    /// Reads a line without its end.
    pub(crate) fn parse(line: &str) -> Option<Effect> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [token, op_id, operation, day, digest] = fields[..] else {
            return None;
        };
        Some(Effect {
            token: token.to_owned(),
            seen: Seen {
                op_id: op_id.parse().ok()?,
                operation: operation.to_owned(),
                day: day.to_owned(),
                digest: digest.to_owned(),
            },
        })
    }
}

//! Writing to standard output. A reader that has gone away ends the command, quietly and with success, as pipes do.

use std::io::{self, Write};

use bson::{Bson, Document, RawDocument};

use crate::failure::{Exit, Failure, Outcome};

/// Prints a text as it is.
pub(crate) fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// How BSON is written as JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Json {
    /// Readable; the number types that JSON cannot tell apart look alike.
    Relaxed,
    /// Every type exactly.
    Canonical,
}

/// A document as Extended JSON, on one line without its end.
pub(crate) fn json(document: &RawDocument, json: Json) -> Outcome<Vec<u8>> {
    let malformed = |e: &dyn std::fmt::Display| Failure::new(Exit::Damage, format!("a document is malformed: {e}"));
    let document = Document::try_from(document).map_err(|e| malformed(&e))?;
    let value = match json {
        Json::Relaxed => Bson::Document(document).into_relaxed_extjson(),
        Json::Canonical => Bson::Document(document).into_canonical_extjson(),
    };
    serde_json::to_vec(&value).map_err(|e| malformed(&e))
}

/// Writes a document as one line of Extended JSON to standard output.
pub(crate) fn line(out: &mut impl Write, document: &RawDocument, json: Json) -> Outcome {
    let text = self::json(document, json)?;
    written(out.write_all(&text).and_then(|()| out.write_all(b"\n")))
}

/// Passes errors of standard output on.
pub(crate) fn written(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::io("write to standard output", &e)),
    }
}

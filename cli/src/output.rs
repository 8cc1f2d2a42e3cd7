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

/// Writes a document as one line of Extended JSON.
pub(crate) fn line(out: &mut impl Write, document: &RawDocument, json: Json) -> Outcome {
    let document = Document::try_from(document)
        .map_err(|e| Failure::new(Exit::Damage, format!("a document in the log is malformed: {e}")))?;
    let value = match json {
        Json::Relaxed => Bson::Document(document).into_relaxed_extjson(),
        Json::Canonical => Bson::Document(document).into_canonical_extjson(),
    };
    let written_line = serde_json::to_writer(&mut *out, &value).map_err(io::Error::from);
    written(written_line.and_then(|()| out.write_all(b"\n")))
}

/// Passes errors of standard output on.
pub(crate) fn written(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::io("write to standard output", &e)),
    }
}

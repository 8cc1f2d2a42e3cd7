//! Tests of the import as its caller sees it: text in, documents or a placed
//! error out. They go through the functions here, so that a change of the
//! reader's interface touches one file.

mod faults;
mod limits;
mod random;
mod stream;
mod types;

use std::io::Read;

use bson::{Document, RawDocumentBuf};

use super::DocumentReader;
use super::error::ReadError;

/// All documents of `input` up to the first error, and that error.
fn read_from(input: impl Read) -> (Vec<RawDocumentBuf>, Option<ReadError>) {
    let mut reader = DocumentReader::new(input);
    let mut documents = Vec::new();
    let mut error = None;
    for item in reader.by_ref() {
        match item {
            Ok(parsed) => documents.push(parsed.document),
            Err(fault) => error = Some(fault),
        }
    }
    assert!(reader.next().is_none(), "the reader goes on after its end");
    assert_eq!(reader.documents(), documents.len() as u64);
    (documents, error)
}

/// The documents of an input without faults.
fn read(input: impl AsRef<[u8]>) -> Vec<Document> {
    let (documents, error) = read_from(input.as_ref());
    assert!(error.is_none(), "{}", error.expect("is an error"));
    let decoded = documents.iter().map(Document::try_from);
    decoded.collect::<Result<_, _>>().expect("the output is BSON")
}

/// The message of the first error, and how many documents came before it.
fn read_error(input: impl AsRef<[u8]>) -> (String, usize) {
    let (documents, error) = read_from(input.as_ref());
    let error = error.expect("the input has a fault");
    (error.to_string(), documents.len())
}

/// Gives one byte per call.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(1);
        self.0.read(&mut buffer[..count])
    }
}

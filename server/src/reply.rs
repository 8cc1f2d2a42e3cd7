//! Parts of answers.

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, RawArrayBuf, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use tailwater::ResumeToken;

/// Most bytes of documents in one answer; with what is around them a reply stays below the limit of a message.
pub(crate) const BATCH_BYTES_MAX: usize = 16 << 20;

/// The documents that a cursor gives at a time.
pub(crate) struct Batch {
    pub(crate) documents: RawArrayBuf,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch {
            documents: RawArrayBuf::new(),
            count: 0,
            bytes: 0,
        }
    }

    /// Whether the document still fits. The first always does.
    pub(crate) fn has_room_for(&self, document: &RawDocument) -> bool {
        self.count == 0 || self.bytes + document.as_bytes().len() <= BATCH_BYTES_MAX
    }

    pub(crate) fn push(&mut self, document: &RawDocument) {
        self.count += 1;
        // Beside the document its type and its index.
        self.bytes += document.as_bytes().len() + 8;
        self.documents.push(document);
    }
}

/// `{cursor: {firstBatch or nextBatch, id, ns, postBatchResumeToken}}`.
pub(crate) fn cursor(
    name: &bson::raw::CStr,
    batch: Batch,
    id: i64,
    namespace: &str,
    token: Option<&ResumeToken>,
) -> RawDocumentBuf {
    let mut cursor = RawDocumentBuf::new();
    cursor.append(name, batch.documents);
    if let Some(token) = token {
        cursor.append(cstr!("postBatchResumeToken"), token.to_document());
    }
    cursor.append(cstr!("id"), id);
    cursor.append(cstr!("ns"), namespace);
    rawdoc! { "cursor": cursor }
}

/// The document without fields of those names.
pub(crate) fn without(document: &RawDocument, names: &[&str]) -> RawDocumentBuf {
    let mut kept = RawDocumentBuf::new();
    // An answer is the server's own: it can be read.
    for (name, value) in document.iter().flatten() {
        if !names.contains(&name.as_str()) {
            kept.append(name, value);
        }
    }
    kept
}

/// What every answer ends with: `ok`, and the time of the newest entry, by which clients order what they read and write.
pub(crate) fn finish(mut document: RawDocumentBuf, time: Timestamp) -> RawDocumentBuf {
    if document.get("ok").is_ok_and(|ok| ok.is_none()) {
        document.append(cstr!("ok"), 1.0);
    }
    let signature = rawdoc! {
        "hash": Binary { subtype: BinarySubtype::Generic, bytes: vec![0; 20] },
        "keyId": 0_i64,
    };
    document.append(
        cstr!("$clusterTime"),
        rawdoc! { "clusterTime": time, "signature": signature },
    );
    document.append(cstr!("operationTime"), time);
    document
}

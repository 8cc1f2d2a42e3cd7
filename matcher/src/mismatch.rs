//! Why a document does not match a filter, as MongoDB tells it of a document that fails validation (manual: *Choose How to Handle
//! Invalid Documents*, the `details` of `errInfo`).
//!
//! - [`clause`]: a filter's clauses, one by one;
//! - [`leaf`]: what is said of conditions on fields;
//! - [`schema`]: what is said of `$jsonSchema`;
//! - [`report`]: what all of it may take.
//!
//! It is worked out from the filter as it was written, each clause asked by itself, so it costs some evaluations: it is meant
//! for the document that has failed, not for finding out whether it does.

mod clause;
mod leaf;
mod report;
mod schema;

use bson::{RawDocument, RawDocumentBuf};

use report::Report;

/// Most bytes of names and values in a [`Mismatch`].
pub const MISMATCH_BYTES_MAX: usize = 64 << 10;

/// See [`explain_mismatch`].
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// What does not hold: `{operatorName, …}`.
    pub details: RawDocumentBuf,
    /// Whether it would have become too large: then the values that were considered and the conditions as they were written are
    /// left out, and if that is not enough, clauses.
    pub truncated: bool,
}

/// Says what of a `$match` document does not hold for a document that it does not match, in MongoDB's words.
///
/// The filter is one that parses; a document that it does match has empty details.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_matcher::explain_mismatch;
///
/// let filter = rawdoc! { "age": { "$gte": 18 } };
/// let details = explain_mismatch(&filter, &rawdoc! { "_id": 1, "age": 7 }).details;
/// let expected = rawdoc! {
///     "operatorName": "$gte", "specifiedAs": { "age": { "$gte": 18 } },
///     "reason": "comparison failed", "consideredValue": 7,
/// };
/// assert_eq!(details, expected);
/// ```
#[must_use]
pub fn explain_mismatch(filter: &RawDocument, document: &RawDocument) -> Mismatch {
    let explain = |mut report: Report| {
        let details = clause::of_filter(&mut report, filter, document, false);
        (details.unwrap_or_default(), report.is_cut())
    };
    let (details, truncated) = explain(Report::whole());
    let details = if truncated { explain(Report::terse()).0 } else { details };
    Mismatch { details, truncated }
}

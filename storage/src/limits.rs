//! How large and how deep a document may be, and the walk that finds out.
//!
//! The limits are the matcher's. Every document that enters the store passes its
//! [`validate`](tailwater_matcher::validate) first, so code that reads stored documents may recurse
//! over their levels: there are never more than [`NESTING_MAX`].

use bson::raw::{RawBsonRef, RawDocument, RawIter};

/// Largest document, in bytes of BSON.
pub const DOCUMENT_BYTES_MAX: usize = tailwater_matcher::DOCUMENT_BYTES_MAX;

/// How many steps of evaluation there are while other writers wait: some ten milliseconds. The steps are those of
/// [`StepScope`](tailwater_matcher::StepScope).
pub const LOCKED_STEPS_MAX: u64 = 1_000_000;

/// After so many of them a batch is committed, and the rest of it in a turn of its own.
pub(crate) const TURN_STEPS: u64 = LOCKED_STEPS_MAX / 4;

/// Deepest nesting: a document without embedded documents or arrays has one level.
pub const NESTING_MAX: usize = tailwater_matcher::DEPTH_MAX;

/// Levels of `document`, reading and thereby checking every value in it.
///
/// Does not recurse, and stops at `NESTING_MAX + 1`, so it is safe for bytes from anywhere.
pub fn nesting(document: &RawDocument) -> bson::error::Result<usize> {
    let mut open: Vec<RawIter<'_>> = vec![document.iter_elements()];
    let mut deepest = 1;
    while let Some(level) = open.last_mut() {
        let Some(element) = level.next() else {
            open.pop();
            continue;
        };
        let embedded = match element?.value()? {
            RawBsonRef::Document(document) => document.iter_elements(),
            RawBsonRef::Array(array) => array.iter_elements(),
            RawBsonRef::JavaScriptCodeWithScope(code) => code.scope.iter_elements(),
            _ => continue,
        };
        open.push(embedded);
        deepest = deepest.max(open.len());
        if deepest > NESTING_MAX {
            break;
        }
    }
    Ok(deepest)
}

#[cfg(test)]
mod tests {
    use bson::raw::{RawDocumentBuf, cstr};
    use bson::{rawbson, rawdoc};

    use super::*;

    fn nested(levels: usize) -> RawDocumentBuf {
        (1..levels).fold(rawdoc! {}, |inner, _| {
            let mut outer = RawDocumentBuf::new();
            outer.append(cstr!("a"), inner);
            outer
        })
    }

    #[test]
    fn levels_are_counted() {
        let check = |document: &RawDocument, expected| {
            assert_eq!(nesting(document).unwrap(), expected, "{document:?}");
        };
        check(&rawdoc! {}, 1);
        check(&rawdoc! { "a": 1, "b": "c" }, 1);
        check(&rawdoc! { "a": {}, "b": 1 }, 2);
        check(&rawdoc! { "a": [1, [2]], "b": { "c": 1 } }, 3);
        check(&nested(NESTING_MAX), NESTING_MAX);
        check(&nested(NESTING_MAX + 1), NESTING_MAX + 1);
        check(&nested(5_000), NESTING_MAX + 1);
    }

    #[test]
    fn damage_at_any_depth_is_found() {
        let sound = rawdoc! { "a": [{ "b": "text" }], "c": rawbson!(1) };
        let text = sound.as_bytes().windows(4).position(|bytes| bytes == b"text").unwrap();
        let mut bytes = sound.as_bytes().to_vec();
        bytes[text] = 0xff;
        let damaged = RawDocumentBuf::from_bytes(bytes).unwrap();
        assert!(nesting(&damaged).is_err());
    }
}

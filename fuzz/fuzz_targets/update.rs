//! Update documents from any bytes, applied to any bytes; and what the log relies on: the diff of an update, and that of
//! two versions, makes the new version of the old one.
#![no_main]

use bson::{RawArrayBuf, RawDocument, RawDocumentBuf};
use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::Input;
use tailwater_storage::update::{ApplyContext, Update, UpdateDiff};

/// The document in the bytes, once its outermost length is set right.
fn document(bytes: &[u8]) -> RawDocumentBuf {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(5), 0);
    let length = i32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    *bytes.last_mut().unwrap() = 0;
    RawDocumentBuf::from_bytes(bytes).unwrap()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (position, update_length, filter_length) = (input.u8(), input.u8(), input.u8());
    let (update, rest) = input.0.split_at(usize::from(update_length).min(input.0.len()));
    let (filter, old) = rest.split_at(usize::from(filter_length).min(rest.len()));
    let (update, filter, old) = (document(update), document(filter), document(old));

    let context = ApplyContext {
        matched_position: (position < 8).then_some(usize::from(position)),
        ..ApplyContext::default()
    };
    let filters: &[&RawDocument] = if filter.is_empty() { &[] } else { &[&filter] };
    for update in [
        Update::parse_filtered(&update, filters),
        Update::parse_replacement(&update),
    ] {
        let Ok(update) = update else {
            continue;
        };
        if let Ok(inserted) = update.upsert(&filter, &context) {
            assert!(inserted.get("_id").is_ok_and(|id| id.is_some()));
        }
        let Ok(Some(applied)) = update.apply(&old, &context) else {
            continue;
        };
        assert_ne!(applied.document, old);
        if let Some(diff) = applied.diff {
            assert_eq!(diff.apply(&old).unwrap(), applied.document);
            assert_eq!(UpdateDiff::parse(&diff.to_document()).unwrap(), diff);
        }
        let _ = UpdateDiff::between(&old, &applied.document);
    }
    let _ = UpdateDiff::parse(&old);
    let mut stages = RawArrayBuf::new();
    stages.push(update);
    let _ = Update::parse_any::<&RawDocument>(bson::RawBsonRef::Array(&stages), &[]);
});

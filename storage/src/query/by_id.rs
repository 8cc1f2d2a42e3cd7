//! Filters that are an `_id` and nothing else, as most are that look for one document.
//!
//! Such a filter names the one key that can match, and whatever lies there matches: the keys of two values are the same
//! exactly when the values are equal. So there is nothing to plan and nothing to ask.

use bson::RawDocument;
use bson::raw::RawBsonRef;
use tailwater_matcher::encode_key;

/// The key of the only document that a filter, whose strings are compared by their bytes, can match; nothing when the filter
/// is another one.
pub(crate) fn only_id(filter: &RawDocument) -> Option<Vec<u8>> {
    let mut fields = filter.iter();
    let (Some(Ok((name, id))), None) = (fields.next(), fields.next()) else {
        return None;
    };
    // A document may be operators, a regular expression is one, an array and null mean more than themselves.
    let is_plain = matches!(
        id,
        RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::Double(_)
            | RawBsonRef::Decimal128(_)
            | RawBsonRef::String(_)
            | RawBsonRef::ObjectId(_)
            | RawBsonRef::Binary(_)
            | RawBsonRef::Boolean(_)
            | RawBsonRef::DateTime(_)
            | RawBsonRef::Timestamp(_)
    );
    if !is_plain || name.as_str() != "_id" {
        return None;
    }
    let mut key = Vec::with_capacity(24);
    encode_key(id, &mut key);
    Some(key)
}

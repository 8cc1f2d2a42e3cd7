//! The numbers of `$limit` and `$skip` (MongoDB manual: *$limit*, *$skip*).

use bson::RawBsonRef;

use super::error::AggregateErrorKind as Kind;
use super::parse::whole;

pub(super) fn limit(value: RawBsonRef<'_>) -> Result<u64, Kind> {
    let number = whole(value).ok_or_else(|| Kind::specification("the limit must be a whole number", 2_107_201))?;
    match u64::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Kind::specification("the limit must be positive", 15958)),
    }
}

pub(super) fn skip(value: RawBsonRef<'_>) -> Result<u64, Kind> {
    let number = whole(value).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| Kind::specification("the number must be whole and not negative", 5_107_200))
}

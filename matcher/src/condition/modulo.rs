//! `$mod`: what is left of a number after a division.
//!
//! Divisor, remainder and value are truncated towards zero to 64-bit integers, and the remainder has
//! the sign of the value, as in C. A value that no 64-bit integer holds has no remainder.
//!
//! Rules: <https://www.mongodb.com/docs/manual/reference/operator/query/mod/>

use bson::RawBsonRef;

use crate::number::Number;

/// A divisor, which is not zero, and the remainder to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modulo {
    pub(crate) divisor: i64,
    pub(crate) remainder: i64,
}

impl Modulo {
    pub(crate) fn accepts(self, value: RawBsonRef<'_>) -> bool {
        let Some(value) = Number::from_bson(value).and_then(Number::truncated) else {
            return false;
        };
        // The one quotient that does not fit, i64::MIN / -1, leaves nothing.
        value.wrapping_rem(self.divisor) == self.remainder
    }
}

//! The masks of the bitwise operators: a number, binary data, or a list of positions.
//!
//! Rules: <https://www.mongodb.com/docs/manual/reference/operator/query-bitwise/>

use bson::RawBsonRef;

use super::Parser;
use crate::condition::{BitMask, BitTest, Condition};
use crate::error::{ParseError, type_name};
use crate::number::Number;

/// What the operators take.
pub(crate) const MASK: &str = "a mask: an integer that is not negative, binary data or an array of positions";
const POSITION: &str = "positions that are integers from 0 to 2147483647";

impl Parser<'_> {
    pub(super) fn bits(&self, operator: &str, test: BitTest, value: RawBsonRef<'_>) -> Result<Condition, ParseError> {
        let mask = match value {
            RawBsonRef::Binary(binary) => BitMask::from_bytes(binary.bytes, value),
            RawBsonRef::Array(array) => {
                let mut positions = Vec::new();
                for position in array {
                    let found = position.as_ref().map_or("?", |value| type_name(value.element_type()));
                    let number = position.ok().and_then(Number::from_bson).and_then(Number::exact);
                    let position = number.and_then(|at| i32::try_from(at).ok());
                    match position.and_then(|at| u32::try_from(at).ok()) {
                        Some(at) => positions.push(at),
                        None => return Err(self.wrong(operator, POSITION, found)),
                    }
                }
                BitMask::from_positions(&positions, value)
            }
            value => {
                let number = Number::from_bson(value).and_then(Number::exact);
                match number.and_then(|mask| u64::try_from(mask).ok()) {
                    Some(mask) => BitMask::from_number(mask, value),
                    None => return Err(self.wrong(operator, MASK, type_name(value.element_type()))),
                }
            }
        };
        Ok(Condition::Bits(test, Box::new(mask)))
    }
}

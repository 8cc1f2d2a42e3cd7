//! `$bitsAllSet`, `$bitsAllClear`, `$bitsAnySet` and `$bitsAnyClear`.
//!
//! A value is a row of bits: an integer's are its two's complement, extended with its sign without
//! end; binary data's begin with the lowest bit of its first byte and go on with zeros. Numbers that
//! are not 64-bit integers, and all other types, have no bits and never match.
//!
//! Rules: <https://www.mongodb.com/docs/manual/reference/operator/query-bitwise/>

use bson::RawBsonRef;

use crate::node::Constant;
use crate::number::Number;

/// Which bits must be how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BitTest {
    AllSet,
    AllClear,
    AnySet,
    AnyClear,
}

/// The bits to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BitMask {
    /// Those at positions 0 to 63.
    low: u64,
    high: High,
    /// The mask as it was written.
    pub(crate) source: Constant,
}

/// The bits from position 64 on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum High {
    Positions(Box<[u32]>),
    /// Masks of eight bits, the first for positions 64 to 71.
    Bytes(Box<[u8]>),
}

impl BitMask {
    /// The bits set in a number that is not negative.
    pub(crate) fn from_number(number: u64, source: RawBsonRef<'_>) -> BitMask {
        BitMask {
            low: number,
            high: High::Positions(Box::default()),
            source: Constant::new(source),
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8], source: RawBsonRef<'_>) -> BitMask {
        let (low, high) = split(bytes);
        BitMask {
            low,
            high: High::Bytes(high.into()),
            source: Constant::new(source),
        }
    }

    pub(crate) fn from_positions(positions: &[u32], source: RawBsonRef<'_>) -> BitMask {
        let low = positions.iter().filter(|at| **at < 64);
        BitMask {
            low: low.fold(0, |mask, at| mask | 1 << at),
            high: High::Positions(positions.iter().copied().filter(|at| *at >= 64).collect()),
            source: Constant::new(source),
        }
    }

    pub(crate) fn accepts(&self, test: BitTest, value: RawBsonRef<'_>) -> bool {
        let (low, high, sign) = match value {
            RawBsonRef::Binary(binary) => {
                let (low, high) = split(binary.bytes);
                (low, high, false)
            }
            value => match Number::from_bson(value).and_then(Number::exact) {
                Some(int) => (int as u64, &[][..], int < 0),
                None => return false,
            },
        };
        match test {
            BitTest::AllSet => low & self.low == self.low && self.all_high(high, sign, true),
            BitTest::AllClear => low & self.low == 0 && self.all_high(high, sign, false),
            BitTest::AnySet => low & self.low != 0 || !self.all_high(high, sign, false),
            BitTest::AnyClear => low & self.low != self.low || !self.all_high(high, sign, true),
        }
    }

    /// Says whether all bits from 64 on that the mask names are `wanted` in `bytes`, which go on
    /// with `sign`.
    fn all_high(&self, bytes: &[u8], sign: bool, wanted: bool) -> bool {
        let extension = if sign { 0xff } else { 0 };
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(extension);
        match &self.high {
            High::Positions(positions) => positions.iter().all(|position| {
                let at = *position as usize - 64;
                (byte(at / 8) >> (at % 8) & 1 == 1) == wanted
            }),
            High::Bytes(masks) => masks.iter().enumerate().all(|(at, mask)| {
                let wrong = if wanted { !byte(at) } else { byte(at) };
                wrong & mask == 0
            }),
        }
    }
}

/// The first 64 bits, and the bytes of the others.
fn split(bytes: &[u8]) -> (u64, &[u8]) {
    let (head, high) = bytes.split_at(bytes.len().min(8));
    let mut low = [0; 8];
    low[..head.len()].copy_from_slice(head);
    (u64::from_le_bytes(low), high)
}

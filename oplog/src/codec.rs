//! Encoding of metadata: manifests, segment headers, slots, footers, resume tokens, checkpoints.
//!
//! This module is the only one that knows bincode. The crate is frozen at 2.0.1 and unmaintained, so the bytes are
//! pinned by golden tests below: any other encoder of fixed-width integers can take its place. The hot frame header does
//! not pass through here.
//!
//! Two orders are offered because two things are wanted of them: [`encode`] is little-endian, as everything on disk;
//! [`encode_ordered`] is big-endian, so that comparing the bytes compares the values.

use bincode::config::{BigEndian, Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};

/// Largest encoded value. A length field that claims more is refused before anything is allocated.
pub const ENCODED_BYTES_MAX: usize = 1 << 20;

const LITTLE: Configuration<LittleEndian, Fixint, Limit<ENCODED_BYTES_MAX>> = bincode::config::standard()
    .with_fixed_int_encoding()
    .with_little_endian()
    .with_limit::<ENCODED_BYTES_MAX>();
const BIG: Configuration<BigEndian, Fixint, Limit<ENCODED_BYTES_MAX>> = bincode::config::standard()
    .with_fixed_int_encoding()
    .with_big_endian()
    .with_limit::<ENCODED_BYTES_MAX>();

/// The bytes are not an encoding of the wanted type.
#[derive(Debug, thiserror::Error)]
#[error("malformed encoding")]
pub struct DecodeError(#[source] Box<bincode::error::DecodeError>);

/// Encodes `value` in field order, fixed-width little-endian, no padding.
///
/// # Panics
///
/// When the encoding is larger than [`ENCODED_BYTES_MAX`]; metadata is bounded far below that by its types.
#[must_use]
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, LITTLE).expect("metadata is small and encodes without I/O")
}

/// Decodes what [`encode`] made. Bytes left over are an error.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, used) = bincode::decode_from_slice(bytes, LITTLE).map_err(|e| DecodeError(Box::new(e)))?;
    whole(value, used, bytes)
}

/// Encodes `value` in field order, fixed-width big-endian: byte order is value order.
///
/// # Panics
///
/// As [`encode`].
#[must_use]
pub fn encode_ordered<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, BIG).expect("metadata is small and encodes without I/O")
}

/// Decodes what [`encode_ordered`] made. Bytes left over are an error.
pub fn decode_ordered<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, used) = bincode::decode_from_slice(bytes, BIG).map_err(|e| DecodeError(Box::new(e)))?;
    whole(value, used, bytes)
}

/// CRC-32 (IEEE), for encodings that leave the log's own files.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crate::frame::crc32(0, bytes)
}

fn whole<T>(value: T, used: usize, bytes: &[u8]) -> Result<T, DecodeError> {
    if used == bytes.len() {
        return Ok(value);
    }
    Err(DecodeError(Box::new(bincode::error::DecodeError::Other(
        "bytes left over",
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Encode, Decode, PartialEq, Debug)]
    struct Sample {
        a: u32,
        id: [u8; 4],
        b: u64,
        c: u8,
    }

    const SAMPLE: Sample = Sample {
        a: 0x0102_0304,
        id: [9, 8, 7, 6],
        b: 0x1122_3344_5566_7788,
        c: 5,
    };

    #[test]
    fn little_endian_bytes_are_golden() {
        let bytes = [
            4, 3, 2, 1, 9, 8, 7, 6, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 5,
        ];
        assert_eq!(encode(&SAMPLE), bytes);
        assert_eq!(decode::<Sample>(&bytes).unwrap(), SAMPLE);
    }

    #[test]
    fn ordered_bytes_are_golden() {
        let bytes = [
            1, 2, 3, 4, 9, 8, 7, 6, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 5,
        ];
        assert_eq!(encode_ordered(&SAMPLE), bytes);
        assert_eq!(decode_ordered::<Sample>(&bytes).unwrap(), SAMPLE);
    }

    #[test]
    fn short_and_long_inputs_are_refused() {
        let bytes = encode(&SAMPLE);
        assert!(decode::<Sample>(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode::<Sample>(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn a_claimed_tebibyte_is_refused_before_it_is_allocated() {
        let claim = (1u64 << 40).to_le_bytes();
        assert!(decode::<String>(&claim).is_err());
        assert!(decode::<Vec<u8>>(&claim).is_err());
    }
}

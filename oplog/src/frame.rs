//! The frame around one entry: a fixed little-endian header read in place, and the checksum over all that follows it.
//! `docs/oplog-format.md` is the authority for the layout.

use crate::format::FRAMES_START;
use crate::ids::{OpId, Term, Timestamp};

/// Bytes of the frame header.
pub(crate) const HEADER_BYTES: usize = 40;
/// Member of a batch.
pub(crate) const FLAG_BATCH: u8 = 1;
/// Last member of its batch.
pub(crate) const FLAG_BATCH_END: u8 = 2;

const _: () = assert!(HEADER_BYTES.is_multiple_of(8) && FRAMES_START.is_multiple_of(8));

/// Bytes of a frame around a payload of that length, padding included.
pub(crate) const fn frame_bytes(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(8)
}

/// CRC-32 (IEEE) of `bytes`, continuing from the finished value `seed`.
#[inline]
pub(crate) fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The header of one frame, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) crc: u32,
    pub(crate) length: u32,
    pub(crate) op_id: OpId,
    pub(crate) term: Term,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) reserved: u16,
    pub(crate) timestamp: Timestamp,
    pub(crate) watermark: OpId,
}

impl FrameHeader {
    #[inline]
    pub(crate) fn encode(&self, bytes: &mut [u8; HEADER_BYTES]) {
        bytes[0..4].copy_from_slice(&self.crc.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.op_id.get().to_le_bytes());
        bytes[16..20].copy_from_slice(&self.term.get().to_le_bytes());
        bytes[20] = self.kind;
        bytes[21] = self.flags;
        bytes[22..24].copy_from_slice(&self.reserved.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.timestamp.as_nanos().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.watermark.get().to_le_bytes());
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> FrameHeader {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        FrameHeader {
            crc: u32_at(0),
            length: u32_at(4),
            op_id: OpId::new(u64_at(8)),
            term: Term::new(u32_at(16)),
            kind: bytes[20],
            flags: bytes[21],
            reserved: u16::from_le_bytes([bytes[22], bytes[23]]),
            timestamp: Timestamp::from_nanos(u64_at(24)),
            watermark: OpId::new(u64_at(32)),
        }
    }

    /// Bytes of the whole frame, padding included.
    #[inline]
    pub(crate) fn frame_bytes(&self) -> usize {
        frame_bytes(self.length as usize)
    }

    /// Whether the entry ends what must be released together: it stands alone, or is the last of its batch.
    #[inline]
    pub(crate) fn ends_batch(&self) -> bool {
        self.flags & FLAG_BATCH == 0 || self.flags & FLAG_BATCH_END != 0
    }
}

/// Decodes the frame at the start of `bytes`, which end with the frame area, when it is whole, its checksum under `seed`
/// holds and its reserved bits are zero.
pub(crate) fn check_frame(bytes: &[u8], seed: u32) -> Option<FrameHeader> {
    let header = FrameHeader::decode(bytes.first_chunk()?);
    let frame = bytes.get(..header.frame_bytes())?;
    let known = header.reserved == 0 && header.flags & !(FLAG_BATCH | FLAG_BATCH_END) == 0;
    (known && header.op_id > OpId::ZERO && crc32(seed, &frame[4..]) == header.crc).then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(seed: u32, payload: &[u8]) -> Vec<u8> {
        let mut header = FrameHeader {
            crc: 0,
            length: u32::try_from(payload.len()).unwrap(),
            op_id: OpId::new(0x0102_0304_0506_0708),
            term: Term::new(9),
            kind: 128,
            flags: 0,
            reserved: 0,
            timestamp: Timestamp::from_nanos(0x1112_1314_1516_1718),
            watermark: OpId::new(7),
        };
        let mut bytes = vec![0; HEADER_BYTES];
        header.encode(bytes.first_chunk_mut().unwrap());
        bytes.extend_from_slice(payload);
        bytes.resize(frame_bytes(payload.len()), 0);
        header.crc = crc32(seed, &bytes[4..]);
        bytes[..4].copy_from_slice(&header.crc.to_le_bytes());
        bytes
    }

    #[test]
    fn the_header_layout_is_golden() {
        let bytes = frame(0, b"");
        assert_eq!(bytes.len(), 40);
        assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[16..24], [9, 0, 0, 0, 128, 0, 0, 0]);
        assert_eq!(bytes[24..32], [0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        assert_eq!(bytes[32..40], [7, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let good = frame(5, b"thirteen bytes");
        assert!(check_frame(&good, 5).is_some());
        assert!(check_frame(&good, 6).is_none(), "another segment's seed");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check_frame(&bad, 5).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_frame_is_no_frame() {
        let good = frame(5, b"thirteen bytes");
        for length in 0..good.len() {
            assert!(check_frame(&good[..length], 5).is_none(), "{length} bytes");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert!(check_frame(&[0; 4096], 0).is_none());
    }
}

//! What a message can be compressed with (driver specification: *Wire Compression*).

use std::fmt;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::error::{Error, Result};

/// A compressor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Compressor {
    /// None: the bytes as they are.
    Noop = 0,
    /// Snappy.
    Snappy = 1,
    /// Zlib.
    Zlib = 2,
    /// Zstandard.
    Zstd = 3,
}

impl Compressor {
    /// The ones that a client can ask for, the quickest first.
    pub const ALL: [Compressor; 3] = [Compressor::Snappy, Compressor::Zstd, Compressor::Zlib];

    /// Its name in a handshake.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compressor::Noop => "noop",
            Compressor::Snappy => "snappy",
            Compressor::Zlib => "zlib",
            Compressor::Zstd => "zstd",
        }
    }

    /// The one with that name, of those that a client can ask for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Compressor> {
        Compressor::ALL.into_iter().find(|compressor| compressor.name() == name)
    }

    pub(crate) fn from_id(id: u8) -> Result<Compressor> {
        [Compressor::Noop, Compressor::Snappy, Compressor::Zlib, Compressor::Zstd]
            .into_iter()
            .find(|compressor| *compressor as u8 == id)
            .ok_or(Error::UnknownCompressor { id })
    }

    /// The bytes compressed.
    pub(crate) fn compress(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let compressed = match self {
            Compressor::Noop => Some(bytes.to_vec()),
            Compressor::Snappy => snap::raw::Encoder::new().compress_vec(bytes).ok(),
            Compressor::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
                encoder.write_all(bytes).and_then(|()| encoder.finish()).ok()
            }
            Compressor::Zstd => zstd::bulk::compress(bytes, 1).ok(),
        };
        compressed.ok_or(Error::Compress { compressor: self })
    }

    /// The bytes that these were compressed from, of which there are `length`. No more than that is ever allocated.
    pub(crate) fn decompress(self, bytes: &[u8], length: usize) -> Result<Vec<u8>> {
        let decompressed = match self {
            Compressor::Noop => Some(bytes.to_vec()),
            // Snappy's own length is looked at before anything is allocated for it.
            Compressor::Snappy => match snap::raw::decompress_len(bytes) {
                Ok(own) if own == length => snap::raw::Decoder::new().decompress_vec(bytes).ok(),
                _ => None,
            },
            Compressor::Zlib => limited(ZlibDecoder::new(bytes), length),
            Compressor::Zstd => zstd::bulk::decompress(bytes, length).ok(),
        };
        decompressed
            .filter(|decompressed| decompressed.len() == length)
            .ok_or(Error::Decompress {
                compressor: self,
                length,
            })
    }
}

/// What the reader has, if it is `length` bytes and not more.
fn limited(reader: impl Read, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    // One more, so that what is longer is seen to be.
    let limit = u64::try_from(length).ok()?.checked_add(1)?;
    reader.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

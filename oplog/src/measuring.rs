//! What `benches/` needs of the inside, to measure what a log could reach at best. No part of the interface.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::format::FRAMES_START;
use crate::region::Region;

/// The frame area of a segment file that nobody writes to any more, in a map of its own.
#[derive(Debug)]
pub struct MappedFrames {
    region: Region,
    length: usize,
}

impl MappedFrames {
    /// Maps the file at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or mapped, or is shorter than a segment's header.
    pub fn open(path: &Path) -> io::Result<MappedFrames> {
        let file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if length < FRAMES_START {
            return Err(io::Error::other("shorter than a segment's header"));
        }
        let region = Region::map(&file, length, false)?;
        region.publish_foreign(length);
        Ok(MappedFrames { region, length })
    }

    /// The bytes where frames may stand, footer included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.region.bytes(FRAMES_START..self.length)
    }
}

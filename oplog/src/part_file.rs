//! The file `PART`: that the log has only a part of another's entries, and which.
//!
//! A partial log has an entry for every OpID, but of those outside its part only place and time ([`ELIDED`](crate::entry::ELIDED)).
//! What belongs to the part is the document store's affair: here it is a name, at most [`PART_BYTES_MAX`] bytes of it. The file is
//! written before the log comes into being, and never changed: a log with another part is another copy.

use bincode::{Decode, Encode};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{Checked, VERSION, encode_checked};
use crate::ids::LogId;
use crate::record_file::read_record;

pub(crate) const PART: &str = "PART";

/// Longest name of a part in bytes.
pub const PART_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct PartRecord {
    version: u32,
    log_id: [u8; 16],
    part: Vec<u8>,
}

impl Checked for PartRecord {
    const MAGIC: [u8; 8] = *b"TAILWPRT";
}

/// Reads the file; nothing for a log that has everything.
pub(crate) fn read_part(disk: &dyn Disk, log_id: LogId) -> Result<Option<Box<[u8]>>> {
    let damage = "checksum or contents are wrong, so it is not known which part of the entries the log has";
    let Some(record) = read_record::<PartRecord>(disk, PART, damage)? else {
        return Ok(None);
    };
    let what = match (record.log_id == log_id.to_bytes(), record.part.len()) {
        (false, _) => "it is of another log",
        (true, 0) => "it names no part",
        (true, bytes) if bytes > PART_BYTES_MAX => "the name of its part is too long",
        _ => return Ok(Some(record.part.into())),
    };
    Err(Error::DamagedMetadata {
        path: disk.path().join(PART),
        what,
    })
}

/// Writes the file, durably.
pub(crate) fn write_part(disk: &dyn Disk, log_id: LogId, part: &[u8]) -> Result<()> {
    let record = PartRecord {
        version: VERSION,
        log_id: log_id.to_bytes(),
        part: part.to_vec(),
    };
    disk.replace(PART, &encode_checked(&record, 0))
        .map_err(Error::io("write", disk.path().join(PART)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn the_part_is_what_was_written_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(dir.path());
        let log_id = LogId::from_bytes([3; 16]);
        assert_eq!(read_part(&disk, log_id).unwrap(), None);
        write_part(&disk, log_id, b"some").unwrap();
        assert_eq!(read_part(&disk, log_id).unwrap().as_deref(), Some(&b"some"[..]));
        let refused = |log_id| matches!(read_part(&disk, log_id), Err(Error::DamagedMetadata { .. }));
        assert!(refused(LogId::from_bytes([4; 16])));
        for part in [0, PART_BYTES_MAX + 1] {
            write_part(&disk, log_id, &vec![7; part]).unwrap();
            assert!(refused(log_id), "{part} bytes");
        }
        let mut bytes = std::fs::read(dir.path().join(PART)).unwrap();
        bytes[20] ^= 1;
        std::fs::write(dir.path().join(PART), bytes).unwrap();
        assert!(refused(log_id));
    }
}

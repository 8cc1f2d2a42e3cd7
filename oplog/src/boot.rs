//! Which boot of the machine this is: what lies in memory that files share is good for this one only.
//!
//! Without it, what a dead writer has left cannot be told from what power loss has left of it. So nobody takes such files for
//! live then, and no log is opened for writing.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// Where the kernel says it.
pub(crate) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The running kernel's boot id. It is read once: while an open relies on it, no want of a descriptor must make what a dead
/// writer has left look stale.
pub(crate) fn boot_id() -> io::Result<[u8; 16]> {
    static KNOWN: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(id) = KNOWN.get() {
        return Ok(*id);
    }
    let id = match cfg!(miri) {
        // Miri has no such file, and no log outlives it.
        true => [1; 16],
        false => read(Path::new(BOOT_ID))?,
    };
    Ok(*KNOWN.get_or_init(|| id))
}

fn read(path: &Path) -> io::Result<[u8; 16]> {
    let text = fs::read_to_string(path)?;
    let id = uuid::Uuid::try_parse(text.trim()).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(id.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_read_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot_id");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        for text in ["", "\n", "no such thing", "0123"] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
        fs::write(&path, "00010203-0405-0607-0809-0a0b0c0d0e0f\n").unwrap();
        assert_eq!(read(&path).unwrap(), std::array::from_fn(|i| i as u8));
    }
}

//! Small files that hold one checked record which begins with its format version: manifest, role, retention slots, a cut.

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{Checked, NewerVersion, VERSION, decode_versioned};

/// Reads the record in file `name`; nothing when there is no such file.
///
/// # Errors
///
/// [`Error::NewerFormat`] when a newer release wrote it; [`Error::DamagedMetadata`], with `damage` for what is wrong, when it is
/// not whole or not such a record; [`Error::Io`].
pub(crate) fn read_record<T: Checked>(disk: &dyn Disk, name: &str, damage: &'static str) -> Result<Option<T>> {
    let path = disk.path().join(name);
    let Some(bytes) = disk.read(name).map_err(Error::io("read", &path))? else {
        return Ok(None);
    };
    match decode_versioned::<T>(&bytes) {
        Some(Ok(record)) => Ok(Some(record)),
        Some(Err(NewerVersion(found))) => Err(Error::NewerFormat {
            path,
            found,
            known: VERSION,
        }),
        None => Err(Error::DamagedMetadata { path, what: damage }),
    }
}

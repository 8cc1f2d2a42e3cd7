//! The manifest, and the directory as it belongs to it.

use crate::chain::Chain;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{MANIFEST, Manifest, OP_ID_MAX};
use crate::record_file::read_record;

/// Reads and checks the manifest.
pub(crate) fn read_manifest(disk: &dyn Disk) -> Result<Manifest> {
    let damage = "checksum or contents are wrong";
    let Some(manifest) = read_record::<Manifest>(disk, MANIFEST, damage)? else {
        let path = disk.path().to_path_buf();
        return Err(if path.is_dir() {
            Error::NotALog { path }
        } else {
            Error::NotFound { path }
        });
    };
    let numbers = [manifest.first_sequence, manifest.first_op_id];
    let sane = numbers.iter().all(|number| (1..=OP_ID_MAX).contains(number)) && manifest.term < u32::MAX;
    if !sane {
        return Err(Error::DamagedMetadata {
            path: disk.path().join(MANIFEST),
            what: damage,
        });
    }
    Ok(manifest)
}

/// Reads the manifest and the directory as they belong together, though a trim may come between the two.
pub(crate) fn read_log(disk: &dyn Disk) -> Result<(Manifest, Chain)> {
    let mut manifest = read_manifest(disk)?;
    loop {
        match Chain::read(disk, &manifest) {
            Ok(chain) => return Ok((manifest, chain)),
            Err(error) => {
                let now = read_manifest(disk)?;
                if now.first_sequence == manifest.first_sequence {
                    return Err(error);
                }
                manifest = now;
            }
        }
    }
}

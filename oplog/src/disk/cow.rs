//! File systems that write elsewhere what is written over: there a file's own space does not keep a full disk away from it.
//!
//! Segments are written by system calls, which fail by name. The log buffer and the tail page are stored into through their maps,
//! and a store for whose page there is no space is a SIGBUS. So they are made without copy on write where that can be had, and
//! where it cannot, the log's opening says what may happen.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{IFlags, fstatfs, ioctl_getflags, ioctl_setflags};

/// What becomes of a store into a page of a mapped file whose space has been reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stores {
    /// It goes where the page stands.
    InPlace,
    /// As [`Stores::InPlace`] in a file that was made so, and in others it needs space elsewhere.
    InPlaceIfFlagged(&'static str),
    /// It needs space elsewhere.
    Elsewhere(&'static str),
}

/// By what `statfs` says of the file system. Those that are not known are taken for ones that write in place, as most do.
fn stores_on(magic: u64) -> Stores {
    match magic {
        0x9123_683e => Stores::InPlaceIfFlagged("btrfs"),
        0x2fc1_2fc1 => Stores::Elsewhere("ZFS"),
        0xca45_1a4e => Stores::Elsewhere("bcachefs"),
        // Logs of blocks, whose every write goes elsewhere.
        0x3434 => Stores::Elsewhere("NILFS2"),
        _ => Stores::InPlace,
    }
}

/// Asks for a file without copy on write, which only an empty one can become. Most file systems know nothing of it.
pub(super) fn avoid(empty: &File) {
    let _ = ioctl_getflags(empty).and_then(|flags| ioctl_setflags(empty, flags | IFlags::NOCOW));
}

fn is_flagged(file: &File) -> bool {
    ioctl_getflags(file).is_ok_and(|flags| flags.contains(IFlags::NOCOW))
}

/// The name of the file system, if a full disk can make a store into a map of this file end the process.
pub(super) fn endangers(file: &File) -> io::Result<Option<&'static str>> {
    // As wide as the kernel gives it, and some are negative there.
    let magic = u64::from(fstatfs(file)?.f_type as u32);
    Ok(match stores_on(magic) {
        Stores::InPlaceIfFlagged(name) => (!is_flagged(file)).then_some(name),
        Stores::Elsewhere(name) => Some(name),
        Stores::InPlace => None,
    })
}

/// Says so, if a full disk can make a store into a map of the file at `path` end the process.
pub(super) fn warn(file: &File, path: &Path) {
    if let Ok(Some(file_system)) = endangers(file) {
        tracing::warn!(
            path = %path.display(),
            file_system,
            "a full disk may end this process with SIGBUS: the file is stored into through a map, and the file system writes \
             that elsewhere. Put the log on a file system that writes in place (ext4, XFS), or, on btrfs, close the log, remove \
             this file, and open it again, and make no snapshots of it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, OsDisk};

    #[test]
    fn file_systems_are_known_by_their_numbers() {
        // As `stat -f -c %t` prints them.
        for (magic, name) in [(0x9123_683e, "btrfs"), (0x2fc1_2fc1, "ZFS"), (0xca45_1a4e, "bcachefs")] {
            match stores_on(magic) {
                Stores::InPlaceIfFlagged(found) | Stores::Elsewhere(found) => assert_eq!(found, name),
                Stores::InPlace => panic!("{name}"),
            }
        }
        // ext2 to ext4, XFS, tmpfs, overlayfs.
        for magic in [0xef53, 0x5846_5342, 0x0102_1994, 0x794c_7630] {
            assert_eq!(stores_on(magic), Stores::InPlace, "{magic:x}");
        }
    }

    /// Where temporary files are and in memory, and wherever `TAILWATER_COW_DIRECTORY` says, for a btrfs.
    #[test]
    fn what_is_stored_into_is_made_without_copy_on_write_where_that_can_be_had() {
        let given = std::env::var_os("TAILWATER_COW_DIRECTORY").map(tempfile::tempdir_in);
        for dir in [Some(tempfile::tempdir()), Some(tempfile::tempdir_in("/dev/shm")), given]
            .into_iter()
            .flatten()
            .flatten()
        {
            let probe = File::create(dir.path().join("probe")).unwrap();
            avoid(&probe);
            let disk = OsDisk::new(dir.path());
            for _ in 0..2 {
                disk.open_shared("shared", 8192, true).unwrap();
                let file = File::open(disk.at("shared")).unwrap();
                assert_eq!(is_flagged(&file), is_flagged(&probe));
                assert_eq!(endangers(&file).unwrap(), endangers(&probe).unwrap());
                if let Stores::InPlaceIfFlagged(_) = stores_on(u64::from(fstatfs(&file).unwrap().f_type as u32)) {
                    assert!(is_flagged(&file) && endangers(&file).unwrap().is_none());
                }
            }
        }
    }
}

//! The manifest, and the directory as it belongs to it.

use std::io;

use crate::chain::Chain;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{MANIFEST, Manifest, OP_ID_MAX, TAIL};
use crate::record_file::read_record;
use crate::tail::Tail;

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

/// Opens the tail page for one who only reads, and whether it is live or not. There is none where no writer has been, or none
/// that may be read; for any other reason it cannot be opened, there may be a writer that is not to be overlooked.
pub(crate) fn find_tail(disk: &dyn Disk) -> Result<Option<Tail>> {
    use io::ErrorKind::{NotFound, PermissionDenied, UnexpectedEof};
    match Tail::open(disk, false) {
        Ok(tail) => Ok(Some(tail)),
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied | UnexpectedEof) => Ok(None),
        Err(error) => Err(Error::io("open", disk.path().join(TAIL))(error)),
    }
}

/// Reads the manifest and the directory as they belong together, though a trim, or segments that are made, may come between.
pub(crate) fn read_log(disk: &dyn Disk) -> Result<(Manifest, Chain)> {
    read_together(|| read_manifest(disk), |manifest| Chain::read(disk, manifest))
}

fn read_together(
    read_manifest: impl Fn() -> Result<Manifest>,
    mut read_chain: impl FnMut(&Manifest) -> Result<Chain>,
) -> Result<(Manifest, Chain)> {
    let mut manifest = read_manifest()?;
    let mut refused = None;
    loop {
        let error = match read_chain(&manifest) {
            Ok(chain) => return Ok((manifest, chain)),
            Err(error) => error,
        };
        let now = read_manifest()?;
        // A large directory is listed in pieces: of two segments that come meanwhile the list may have only the second. What is
        // really missing is missing again.
        let why = Some(format!("{error:?}"));
        if now.first_sequence == manifest.first_sequence && refused == why {
            return Err(error);
        }
        (manifest, refused) = (now, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OpId;

    #[test]
    fn a_gap_counts_when_it_is_there_twice() {
        let manifest = || {
            Ok(Manifest {
                version: 1,
                log_id: [1; 16],
                created: 0,
                term: 1,
                first_sequence: 1,
                first_op_id: 1,
            })
        };
        let missing = |sequence| Error::MissingSegment {
            path: "log".into(),
            sequence,
            from: OpId::FIRST,
        };
        // What each listing misses, and what comes of it after how many.
        let cases: [(&[u64], Option<u64>, usize); 4] = [
            (&[], None, 1),
            (&[5], None, 2),
            (&[5, 7], None, 3),
            (&[5, 7, 7], Some(7), 3),
        ];
        for (gaps, refused, listings) in cases {
            let mut listed = 0;
            let found = read_together(manifest, |_| {
                listed += 1;
                gaps.get(listed - 1)
                    .map_or(Ok(Chain::default()), |gap| Err(missing(*gap)))
            });
            let gap = match found {
                Err(Error::MissingSegment { sequence, .. }) => Some(sequence),
                other => other.map(|_| None).unwrap(),
            };
            assert_eq!((gap, listed), (refused, listings), "{gaps:?}");
        }
    }
}

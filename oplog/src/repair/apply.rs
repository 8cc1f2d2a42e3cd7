//! Carrying a repair out: everything that will go is kept first, then the log is closed to everyone by taking its manifest
//! away, and only then changed.
//!
//! Whatever moment it is interrupted at, the folder says what is left to do: without whole `STEPS` nothing has been changed,
//! and with them each step can be told to have been done or not.

use std::io::ErrorKind;

use super::RepairPlan;
use super::plan::Make;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::folders::Folders;
use crate::format::{FRAMES_START, HEADER_OFFSETS, MANIFEST, encode_checked};
use crate::ids::Timestamp;
use crate::segment::prepared_records;

/// Beginning of the names of the folders in which repairs keep what they remove.
const FOLDER: &str = "repair-";
/// Folder, inside that of a repair, of the files that are to be moved into the log.
const NEW: &str = "new";
const STEPS: &str = "STEPS";
const REPORT: &str = "report.txt";
/// Last line of a whole `STEPS`.
const STEPS_END: &str = "end";

/// The folder of a repair that had begun to change the log and was interrupted. Only called when there is no manifest.
pub(super) fn interrupted(disk: &dyn Folders, names: &[String]) -> Result<Option<String>> {
    for name in names.iter().filter(|name| name.starts_with(FOLDER)) {
        let folder = disk.within(name);
        let new = folder.within(NEW);
        if exists(&*new, MANIFEST)? && steps(&*folder)?.is_some() {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

fn exists(disk: &dyn Disk, name: &str) -> Result<bool> {
    match disk.length(name) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(Error::io("look at", disk.path().join(name))(e)),
    }
}

/// What a repair's folder says is to be done: files to retire, and files to move in. Nothing when that was not written to
/// its end.
fn steps(folder: &dyn Disk) -> Result<Option<(Vec<String>, Vec<String>)>> {
    let text = folder
        .read(STEPS)
        .map_err(Error::io("read", folder.path().join(STEPS)))?;
    let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return Ok(None);
    };
    let (mut retire, mut place) = (Vec::new(), Vec::new());
    let mut lines = text.lines();
    for line in lines.by_ref() {
        match line.split_once(' ') {
            Some(("retire", name)) => retire.push(name.to_owned()),
            Some(("place", name)) => place.push(name.to_owned()),
            _ => return Ok((line == STEPS_END).then_some((retire, place))),
        }
    }
    Ok(None)
}

/// Keeps everything that will be removed, and makes what is to come; durably. Changes nothing in the log.
pub(super) fn prepare(disk: &dyn Folders, plan: &RepairPlan) -> Result<String> {
    let names = disk.names().map_err(Error::io("list", disk.path()))?;
    // A preparation that was interrupted must never be carried out later, when the log is another.
    for name in names.iter().filter(|name| name.starts_with(FOLDER)) {
        let new = disk.within(name).within(NEW);
        if exists(&*new, MANIFEST)? {
            new.remove(MANIFEST)
                .and_then(|()| new.sync_directory())
                .map_err(Error::io("remove", new.path().join(MANIFEST)))?;
        }
    }
    let stem = format!("{FOLDER}{}", Timestamp::now().as_millis());
    let free = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}")));
    let folder_name = free
        .into_iter()
        .find(|name| !names.contains(name))
        .unwrap_or_else(|| stem.clone());
    let folder = disk
        .make_directory(&folder_name)
        .map_err(Error::io("create", disk.path().join(&folder_name)))?;
    let new = folder
        .make_directory(NEW)
        .map_err(Error::io("create", folder.path().join(NEW)))?;
    let manifest = names.iter().find(|name| *name == MANIFEST);
    for name in plan.work.retire.iter().chain(manifest) {
        disk.keep_in(&folder_name, name)
            .map_err(Error::io("keep", disk.path().join(name)))?;
    }
    let log_id = plan.log_id;
    for (name, how) in &plan.work.make {
        let path = new.path().join(name);
        let (length, records) = match how {
            Make::Empty { sequence, length } => {
                let seed = uuid::Uuid::new_v4().as_fields().0;
                (
                    *length,
                    prepared_records(log_id, *sequence, seed, *length, Timestamp::now()),
                )
            }
            Make::Cut {
                from,
                frames,
                behind,
                header,
            } => {
                let medium = disk
                    .open(from, frames.end, false)
                    .map_err(Error::io("map", disk.path().join(from)))?;
                medium.region.publish_foreign(frames.end);
                let mut bytes = medium.region.bytes(frames.clone()).to_vec();
                bytes.extend_from_slice(behind);
                let header = encode_checked(header, 0);
                let mut records: Vec<_> = HEADER_OFFSETS.iter().map(|&at| (at, header.clone())).collect();
                records.push((FRAMES_START, bytes));
                (records_length(how), records)
            }
        };
        new.prepare(name, length, 0, &records)
            .map_err(Error::preparing(disk.path(), &path, length))?;
    }
    let write = |disk: &dyn Disk, name: &str, bytes: &[u8]| {
        disk.replace(name, bytes)
            .map_err(Error::io("write", disk.path().join(name)))
    };
    if let Some(manifest) = &plan.work.manifest {
        write(&*new, MANIFEST, &encode_checked(manifest, 0))?;
    }
    write(&*folder, REPORT, plan.report().as_bytes())?;
    let mut steps = String::new();
    for name in &plan.work.retire {
        steps += &format!("retire {name}\n");
    }
    for (name, _) in &plan.work.make {
        steps += &format!("place {name}\n");
    }
    steps += STEPS_END;
    steps += "\n";
    new.sync_directory().map_err(Error::io("sync", new.path()))?;
    write(&*folder, STEPS, steps.as_bytes())?;
    disk.sync_directory().map_err(Error::io("sync", disk.path()))?;
    Ok(folder_name)
}

fn records_length(how: &Make) -> u64 {
    match how {
        Make::Cut { header, .. } => header.length,
        Make::Empty { length, .. } => *length,
    }
}

/// Does what has been prepared in `folder_name`, from wherever it was interrupted.
pub(super) fn carry_out(disk: &dyn Folders, folder_name: &str) -> Result<()> {
    let folder = disk.within(folder_name);
    let new = folder.within(NEW);
    let new_name = format!("{folder_name}/{NEW}");
    let Some((retire, place)) = steps(&*folder)? else {
        return Err(Error::Unrepairable {
            path: folder.path().to_path_buf(),
            what: "its STEPS are damaged; put the files in it back by hand, or restore the log from a copy",
        });
    };
    // Nothing is removed that has not been kept.
    let manifest = MANIFEST.to_owned();
    let mut leaving = Vec::new();
    for name in retire.iter().chain([&manifest]) {
        if !exists(disk, name)? {
            continue;
        }
        let path = disk.path().join(name);
        let same = |folder: &str| disk.is_kept_in(folder, name).map_err(Error::io("compare", &path));
        if same(folder_name)? {
            leaving.push(name);
            continue;
        }
        // It may have been moved in already; whether the directory it came from knows of that is another matter.
        let placed = place.contains(name) && (!exists(&*new, name)? || same(&new_name)?);
        if !placed {
            return Err(Error::Unrepairable {
                path,
                what: "it has changed since the repair began; nothing was removed",
            });
        }
    }
    // The manifest first: without it nobody opens the log.
    leaving.reverse();
    for (i, name) in leaving.iter().enumerate() {
        disk.remove(name).map_err(Error::io("remove", disk.path().join(name)))?;
        if i == 0 {
            disk.sync_directory().map_err(Error::io("sync", disk.path()))?;
        }
    }
    for name in &place {
        if exists(&*new, name)? {
            disk.take_from(&new_name, name)
                .map_err(Error::io("move", new.path().join(name)))?;
        }
    }
    disk.sync_directory().map_err(Error::io("sync", disk.path()))?;
    // With the manifest the log is whole again.
    let path = new.path().join(MANIFEST);
    if let Some(bytes) = new.read(MANIFEST).map_err(Error::io("read", &path))? {
        disk.replace(MANIFEST, &bytes)
            .map_err(Error::io("write", disk.path().join(MANIFEST)))?;
        new.remove(MANIFEST).map_err(Error::io("remove", &path))?;
    }
    // An empty folder, whose name says nothing any more.
    let _ = folder.remove_directory(NEW);
    folder.sync_directory().map_err(Error::io("sync", folder.path()))
}

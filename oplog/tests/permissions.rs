//! A directory that may be read and not written: by its permission bits, and by a flag that binds root as well.
//!
//! Permission bits mean nothing to root. So as root the first test starts itself again as another user; the second needs
//! root and a file system with that flag, and says so where it has checked nothing.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use tailwater_oplog::{Durability, Error, ErrorKind, OplogView, ReadConcern, verify};

mod common;

use common::{copy, options, picture, temporary};

const ENTRIES: u64 = 20;
const DIRECTORY: &str = "TAILWATER_PERMISSIONS_DIRECTORY";
/// `nobody`.
const USER: u32 = 65_534;

fn write_log(dir: &Path) {
    let log = options().open(dir).unwrap();
    for n in 0..ENTRIES {
        log.append(200, &[n as u8; 100], Durability::Memory).unwrap();
    }
    log.close().unwrap();
}

/// A writer is refused by an error that names something in the directory, and a reader reads everything and changes nothing.
fn check(dir: &Path) {
    let error = options().open(dir).unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path.starts_with(dir)),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Environment);
    let before = picture(dir);
    let view = OplogView::open(dir).unwrap();
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let mut count = 0;
    while let Some(entry) = cursor.try_next().unwrap() {
        assert_eq!(entry.payload(), [count as u8; 100]);
        count += 1;
    }
    assert_eq!(count, ENTRIES);
    assert!(verify(dir).unwrap().findings.is_empty());
    assert!(picture(dir) == before, "something has changed");
}

/// Takes or gives write permission, for the directory and what is in it.
fn chmod(dir: &Path, directory: u32, file: u32) {
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(file)).unwrap();
    }
    fs::set_permissions(dir, Permissions::from_mode(directory)).unwrap();
}

fn without_permission(dir: &Path) {
    write_log(dir);
    // Nothing may be written; files may be, but none be made.
    for file in [0o444, 0o644] {
        chmod(dir, 0o555, file);
        check(dir);
        chmod(dir, 0o755, 0o644);
    }
    // It was the permissions and nothing else.
    options().open(dir).unwrap().close().unwrap();
    // Nothing may be read either.
    chmod(dir, 0o000, 0o644);
    for error in [
        options().open(dir).unwrap_err(),
        OplogView::open(dir).unwrap_err(),
        verify(dir).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Environment, "{error:?}");
        assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    }
    chmod(dir, 0o755, 0o644);
}

#[test]
fn without_permission_a_log_can_be_read_and_nothing_is_written() {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        return without_permission(Path::new(&dir));
    }
    let temporary = temporary();
    if !rustix::process::geteuid().is_root() {
        return without_permission(&temporary.path().join("log"));
    }
    // Where the other user gets at it.
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o755)).unwrap();
    let program = temporary.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let home = temporary.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(USER), Some(USER)).unwrap();
    let output = Command::new(&program)
        .args(["--exact", "without_permission_a_log_can_be_read_and_nothing_is_written"])
        .env(DIRECTORY, home.join("log"))
        .current_dir(&home)
        .uid(USER)
        .gid(USER)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Sets or clears the flag that keeps a file from any change, root's included.
fn immutable(path: &Path, set: bool) -> rustix::io::Result<()> {
    let file = File::open(path).map_err(|_| rustix::io::Errno::IO)?;
    let flags = ioctl_getflags(&file)?;
    ioctl_setflags(
        &file,
        match set {
            true => flags | IFlags::IMMUTABLE,
            false => flags - IFlags::IMMUTABLE,
        },
    )
}

/// Clears the flag of everything in a directory at the end, or that could never be removed.
struct Unset<'a>(&'a Path);

impl Drop for Unset<'_> {
    fn drop(&mut self) {
        let _ = immutable(self.0, false);
        for entry in fs::read_dir(self.0).into_iter().flatten().flatten() {
            let _ = immutable(&entry.path(), false);
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "says what was not checked, and why")]
fn an_immutable_log_can_be_read_and_nothing_is_written() {
    let origin = temporary();
    write_log(origin.path());
    // On the disk and in memory, whichever knows the flag.
    let places = [tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")];
    let mut refused = Vec::new();
    for place in places.into_iter().flatten() {
        let dir = place.path();
        for entry in fs::read_dir(copy(origin.path()).path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
        let unset = Unset(dir);
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.push(dir.to_path_buf());
        match files.iter().try_for_each(|path| immutable(path, true)) {
            Ok(()) => return check(dir),
            Err(error) => refused.push(error),
        }
        drop(unset);
    }
    eprintln!("an_immutable_log HAS CHECKED NOTHING: the flag cannot be set: {refused:?}");
}

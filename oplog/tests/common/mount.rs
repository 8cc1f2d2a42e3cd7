//! File systems of a test's own.
//!
//! As root they mount a small tmpfs, or a file system in a file; as another user the test starts itself again in a mount namespace (`unshare -rm`). Where
//! neither is permitted they say so and check nothing; as root they fail.

use std::path::Path;
use std::process::Command;

const INSIDE: &str = "TAILWATER_INSIDE_NAMESPACE";

/// A tmpfs that goes away with the value.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(size: &str) -> Result<Mount, String> {
        let dir = tempfile::tempdir().unwrap();
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size}"),
                "tmpfs",
                dir.path().to_str().unwrap(),
            ],
        )?;
        Ok(Mount(dir))
    }

    /// A file system made by such a command, in a file of so many mebibytes.
    fn looped(mkfs: &[&str], mebibytes: u64) -> Result<Mount, String> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().with_extension("img");
        std::fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let place = image.to_str().unwrap();
        let mounted = run(mkfs[0], &[&mkfs[1..], &[place][..]].concat())
            .and_then(|()| run("mount", &["-o", "loop", place, dir.path().to_str().unwrap()]));
        // The mount keeps it.
        std::fs::remove_file(&image).unwrap();
        mounted.map(|()| Mount(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", self.path().to_str().unwrap()]);
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Runs `test` on a tmpfs of that size, here or in a namespace where it may be mounted.
#[expect(clippy::print_stderr, reason = "says what was not checked, and why")]
pub(crate) fn on_tmpfs(name: &str, size: &str, test: impl FnOnce(&Path)) {
    let refused = match Mount::new(size) {
        Ok(mount) => return test(mount.path()),
        Err(refused) => refused,
    };
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "no mounts inside the namespace either: {refused}"
    );
    let there = Command::new("unshare")
        .args(["-rm", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        assert!(
            !rustix::process::geteuid().is_root(),
            "root must be able to mount a tmpfs: {refused}"
        );
        eprintln!("{name} HAS CHECKED NOTHING: no tmpfs can be mounted ({refused}) and unshare -rm is not permitted");
        return;
    }
    let inside = Command::new("unshare")
        .arg("-rm")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(inside.unwrap().success(), "failed in a namespace of its own");
}

/// No blocks that only root may use.
#[allow(dead_code, reason = "not every test binary has such a test")]
pub(crate) const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F", "-m", "0"];
/// Data and metadata in one place, as a small one needs it.
#[allow(dead_code, reason = "not every test binary has such a test")]
pub(crate) const BTRFS: &[&str] = &["mkfs.btrfs", "-q", "-M"];

/// Runs `test` on a file system of so many mebibytes, where it can be made and mounted: as root, with a loop device and with the
/// program that makes it.
#[allow(dead_code, reason = "not every test binary has such a test")]
#[expect(clippy::print_stderr, reason = "says what was not checked, and why")]
pub(crate) fn on_loop(name: &str, mkfs: &[&str], mebibytes: u64, test: impl FnOnce(&Path)) {
    match Mount::looped(mkfs, mebibytes) {
        Ok(mount) => test(mount.path()),
        Err(refused) => eprintln!("{name} HAS CHECKED NOTHING: {refused}"),
    }
}

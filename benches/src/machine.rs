//! What a number depends on besides the code: the machine, the kernel and the file system.

use std::fs;
use std::path::Path;

/// One line that says where the measurements were taken.
pub(crate) fn facts(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |n| n.to_string());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = match kernel.trim() {
        "" => std::env::consts::OS,
        release => release,
    };
    let file_system = file_system(dir);
    let warning = match file_system.as_str() {
        "tmpfs" | "ramfs" => ", which is memory: syncs cost nothing here, name a disk with --dir",
        _ => "",
    };
    format!(
        "{cores} cores, {}, kernel {kernel}, data on {file_system}{warning}",
        processor()
    )
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1));
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// Type of the file system that holds `dir`, as the mount table calls it.
fn file_system(dir: &Path) -> String {
    let unknown = || "an unknown file system".to_owned();
    let Ok(dir) = dir.canonicalize() else { return unknown() };
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // "36 35 98:0 /root /mount/point options … - type source options"; the longest mount point wins, of equals the last.
    let mounts = table.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = Path::new(mount.split(' ').nth(4)?);
        dir.starts_with(point)
            .then(|| (point.as_os_str().len(), file_system.split(' ').next().unwrap_or("")))
    });
    mounts
        .max_by_key(|&(length, _)| length)
        .map_or_else(unknown, |(_, file_system)| file_system.to_owned())
}

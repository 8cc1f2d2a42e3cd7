//! `tailwater serve` as a process: what it leaves on the disk.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts a server under that umask, and waits until it listens.
fn serve(dir: &Path, umask: &str) -> Child {
    let mut server = Command::new("sh")
        .args([
            "-c",
            "umask \"$1\"; exec \"$2\" serve --bind 127.0.0.1:0 --dir \"$3\"",
            "sh",
            umask,
        ])
        .arg(env!("CARGO_BIN_EXE_tailwater"))
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = server.stdout.as_mut().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on mongodb://"), "{line}");
    server
}

/// What others than the owner may do with something, and with everything in it.
fn open_to_others(path: &Path) -> Vec<String> {
    let metadata = fs::metadata(path).unwrap();
    let mut found = Vec::new();
    if metadata.permissions().mode() & 0o077 != 0 {
        found.push(format!("{} {:o}", path.display(), metadata.permissions().mode()));
    }
    if metadata.is_dir() {
        let members = fs::read_dir(path).unwrap();
        found.extend(members.flat_map(|member| open_to_others(&member.unwrap().path())));
    }
    found
}

#[test]
fn files_of_the_store_are_their_owners_whatever_the_umask_is() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("store");
    let mut server = serve(&dir, "0");
    assert_eq!(open_to_others(&dir), Vec::<String>::new());
    server.kill().unwrap();
    server.wait().unwrap();
}

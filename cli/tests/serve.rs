//! `tailwater serve` as a process: what it leaves on the disk, and where its settings come from.

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

/// What `--print-config` says with a file, variables and flags.
fn settings(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tailwater.toml");
    fs::write(&config, file).unwrap();
    let printed = Command::new(env!("CARGO_BIN_EXE_tailwater"))
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .args(flags)
        .arg("--print-config")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap()
}

#[test]
fn settings_that_belong_together_may_come_from_several_places() {
    let file = "dir = \"a\"\nhttp = \"127.0.0.1:0\"\nauth = true\nmembers = [\"a\", \"b\"]\nname = \"a\"\n";
    let printed = settings(
        file,
        &[
            ("TAILWATER_TLS_KEY", "key.pem"),
            ("TAILWATER_HTTP_ALLOW_HOST", "one,two"),
        ],
        &[
            "--tls-cert",
            "cert.pem",
            "--http-allow-origin",
            "https://a.example,https://b.example",
            "--no-auth",
        ],
    );
    for line in [
        "tls-cert = \"cert.pem\"  # command line",
        "tls-key = \"key.pem\"  # TAILWATER_TLS_KEY",
        "http-allow-origin = \"https://a.example,https://b.example\"  # command line",
        "http-allow-host = \"one,two\"  # TAILWATER_HTTP_ALLOW_HOST",
        "no-auth = true  # command line",
        "auth = false  # default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
    let members = printed.lines().find(|line| line.starts_with("members"));
    assert!(members.unwrap().starts_with("members = \"a,b\"  # "), "{printed}");
}

#[test]
fn caps_of_a_member_have_names_everywhere() {
    let printed = settings(
        "dir = \"a\"\nlag-max = 1\n",
        &[("TAILWATER_COPY_LAG_MAX", "2")],
        &["--rollback-max", "3"],
    );
    assert!(
        printed.contains("\ncopy-lag-max = 2  # TAILWATER_COPY_LAG_MAX\n"),
        "{printed}"
    );
    assert!(printed.contains("\nrollback-max = 3  # command line\n"), "{printed}");
    let of_file = printed.lines().find(|line| line.starts_with("lag-max"));
    assert!(of_file.unwrap().starts_with("lag-max = 1  # "), "{printed}");
    let printed = settings("dir = \"a\"\n", &[], &[]);
    for (name, default) in [
        ("lag-max", 16_u64 << 30),
        ("copy-lag-max", 64 << 30),
        ("rollback-max", 300 << 20),
    ] {
        let line = format!("{name} = {default}  # default");
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
}

#[test]
fn settings_that_say_nothing_alone_are_refused() {
    for (flags, named) in [
        (&["--http-allow-origin", "https://a.example"][..], "--http"),
        (&["--tls-cert", "cert.pem"], "tls-key"),
        (&["--name", "a"], "--replicate"),
        (
            &["--replicate", "127.0.0.1:0", "--name", "a", "--heartbeat", "60001"],
            "60000",
        ),
        (&["--follow", "127.0.0.1:1"], "--name"),
        (
            &[
                "--follow",
                "127.0.0.1:1",
                "--name",
                "a",
                "--members",
                "a",
                "--hosts",
                "b=127.0.0.1:2",
            ],
            "none of the members",
        ),
        (
            &["--replicate", "127.0.0.1:0", "--name", "a", "--hosts", "a"],
            "NAME=HOST:PORT",
        ),
        (
            &[
                "--replicate",
                "127.0.0.1:0",
                "--name",
                "a",
                "--filter",
                "a = 1",
                "--no-auth",
            ],
            "a primary has everything",
        ),
        (
            &[
                "--follow",
                "127.0.0.1:1",
                "--name",
                "a",
                "--filter-namespaces",
                "shop.*",
            ],
            "leaves out the users",
        ),
        (
            &[
                "--follow",
                "127.0.0.1:1",
                "--name",
                "a",
                "--filter-namespaces",
                "tailwater.*",
                "--filter",
                "a = 1",
            ],
            "leaves out the users",
        ),
        (
            &["--follow", "127.0.0.1:1", "--name", "a", "--filter", "a ==="],
            "filter",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let refused = Command::new(env!("CARGO_BIN_EXE_tailwater"))
            .args(["serve", "--bind", "127.0.0.1:0", "--dir"])
            .arg(dir.path())
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(named), "{flags:?}: {said}");
    }
}

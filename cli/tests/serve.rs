//! `tailwater serve` as a process: what it leaves on the disk, and where its settings come from.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

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
fn what_is_logged_is_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tailwater.toml");
    fs::write(&config, "log = \"info\"\n").unwrap();
    for (variable, flags, is_told) in [
        (None, &[][..], true),
        (Some("error"), &[], false),
        (Some("error"), &["--log", "warn,tailwater_server=info"], true),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
        command
            .args(["serve", "--bind", "127.0.0.1:0", "--config"])
            .arg(&config)
            .args(flags);
        command
            .args(["--dir"])
            .arg(dir.path().join("store"))
            .envs(variable.map(|level| ("TAILWATER_LOG", level)));
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        // What is no message: the server tells of the end of its connection at the level info.
        let address = line.split("://").nth(1).unwrap().split('/').next().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&[0; 16]).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
        Command::new("kill").arg(server.id().to_string()).status().unwrap();
        let output = server.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            told.contains("connection ended"),
            is_told,
            "{variable:?} {flags:?}: {told}"
        );
    }
    let said = Command::new(env!("CARGO_BIN_EXE_tailwater"))
        .args(["serve", "--dir", "unused", "--log", "info=nothing"])
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(2), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn settings_that_say_nothing_alone_are_refused() {
    for (flags, named) in [
        (&["--http-allow-origin", "https://a.example"][..], "--http"),
        (&["--tls-cert", "cert.pem"], "tls-key"),
        (&["--http-no-tls"], "--http"),
        (&["--auth", "--http", "0.0.0.0:0"], "--tls-cert"),
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

/// A server with HTTP that ends with this; where it serves that, and where it is followed if it is.
struct Served {
    process: Child,
    http: String,
    followed: Option<String>,
}

impl Served {
    /// Starts one with these flags.
    fn start(dir: &Path, flags: &[&str]) -> Served {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tailwater"))
            .args(["serve", "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dir"])
            .arg(dir)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut next = |before: &str| {
            let line = lines.next().unwrap().unwrap();
            let found = line
                .strip_prefix(before)
                .map(|rest| rest.trim_end_matches('/').to_owned());
            found.unwrap_or_else(|| panic!("{line}"))
        };
        next("listening on mongodb://");
        let is_encrypted = flags.contains(&"--tls-cert") && !flags.contains(&"--http-no-tls");
        let http = next(if is_encrypted {
            "listening on https://"
        } else {
            "listening on http://"
        });
        let followed = flags.contains(&"--name").then(|| next("listening for followers on "));
        Served {
            process,
            http,
            followed,
        }
    }

    /// What it tells of itself.
    fn stats(&self) -> serde_json::Value {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        let request = format!(
            "GET /v1/stats HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.http
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Watches everything; the stream is open once this is back.
    fn watch(&self) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        let request = format!("GET /v1/watch HTTP/1.1\r\nHost: {}\r\n\r\n", self.http);
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        reader
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_a_served_log_keeps_is_a_setting() {
    let file = "dir = \"a\"\nlog-max-bytes = 1000000000\n";
    let variables = [("TAILWATER_LOG_MAX_AGE", "604800")];
    let printed = settings(file, &variables, &["--log-hard-max-bytes", "2000000000"]);
    for line in [
        "log-max-age = 604800  # TAILWATER_LOG_MAX_AGE",
        "log-hard-max-bytes = 2000000000  # command line",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
    assert!(printed.contains("log-max-bytes = 1000000000  # "), "{printed}");
}

#[test]
fn a_server_and_its_follower_keep_as_much_history_as_they_are_told_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ["--log-max-age", "3600", "--log-max-bytes", "200000000"];
    let mut flags = vec![
        "--name",
        "a",
        "--replicate",
        "127.0.0.1:0",
        "--log-hard-max-bytes",
        "400000000",
    ];
    flags.extend(limits);
    let primary = Served::start(&dir.path().join("a"), &flags);
    let _watch = primary.watch();
    let stats = primary.stats();
    let expected = serde_json::json!({ "maxBytes": 200_000_000, "maxAgeSeconds": 3600.0, "hardMaxBytes": 400_000_000 });
    assert_eq!(stats["log"]["retention"], expected);
    let left = stats["watches"]["told"][0]["expiresInSeconds"].as_f64();
    assert!(left.is_some_and(|left| left > 0.0 && left <= 3600.0), "{stats}");

    let from = primary.followed.clone().unwrap();
    let mut flags = vec!["--name", "b", "--follow", &from];
    flags.extend(limits);
    let follower = Served::start(&dir.path().join("b"), &flags);
    let expected = serde_json::json!({ "maxBytes": 200_000_000, "maxAgeSeconds": 3600.0, "hardMaxBytes": null });
    assert_eq!(follower.stats()["log"]["retention"], expected);

    // The same in a terminal, which shows the follower as soon as it has come.
    let deadline = Instant::now() + Duration::from_secs(60);
    let shown = loop {
        let shown = Command::new(env!("CARGO_BIN_EXE_tailwater"))
            .args(["top", "--once", "--server", &primary.http])
            .output()
            .unwrap();
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        let shown = String::from_utf8(shown.stdout).unwrap();
        if shown.contains("FOLLOWER") || Instant::now() > deadline {
            break shown;
        }
        sleep(Duration::from_millis(20));
    };
    assert!(
        shown.contains("keeps 190.7 MiB, 60 min, 381.5 MiB at the very most"),
        "{shown}"
    );
    assert!(shown.contains("1 streams, the furthest behind first"), "{shown}");
    let below = |head: &str| {
        let lines = shown.lines().skip_while(|line| !line.starts_with(head));
        lines.skip(1).take_while(|line| !line.is_empty()).count()
    };
    assert_eq!(
        [below("WATCHES"), below("FOLLOWER"), below("SEGMENT")],
        [1, 1, 1],
        "{shown}"
    );
}

#[test]
fn certificates_encrypt_http_as_well_unless_it_is_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = file("cert.pem", signed.cert.pem());
    let key = file("key.pem", signed.signing_key.serialize_pem());
    let flags = ["--tls-cert", &certificate, "--tls-key", &key];
    let top = |flags: &[&str]| {
        let shown = Command::new(env!("CARGO_BIN_EXE_tailwater"))
            .args(["top", "--once", "--server"])
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8(shown.stderr).unwrap();
        (shown.status.success(), String::from_utf8(shown.stdout).unwrap() + &said)
    };

    let served = Served::start(&dir.path().join("encrypted"), &flags);
    let (http, server) = (&*served.http, format!("https://{}/", served.http));
    let (server, certificate) = (&*server, &*certificate);
    let (is_shown, said) = top(&[server, "--tls-ca", certificate]);
    assert!(is_shown && said.contains("SEGMENT"), "{said}");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = file("other.pem", other.cert.pem());
    for (flags, advice) in [
        (&[server][..], "--tls-ca"),
        (&[server, "--tls-ca", &other], "certificate"),
        (&[http], "ask it by https"),
        (&[http, "--tls-ca", certificate], "https://"),
    ] {
        let (is_shown, said) = top(flags);
        assert!(!is_shown && said.contains(advice), "{flags:?}: {said}");
    }

    let plain = [&flags[..], &["--http-no-tls"]].concat();
    let plain = Served::start(&dir.path().join("plain"), &plain);
    let (is_shown, said) = top(&[&plain.http]);
    assert!(is_shown && said.contains("SEGMENT"), "{said}");
}

//! Flags of `tailwater follow` and of `replicate`, and how they end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tailwater::{OpId, StoreOptions};
use tailwater_tests::binary::tailwater;
use tailwater_tests::certificates::Certificates;
use tempfile::TempDir;

use crate::members::{LONG, Member, Writer, address, assert_digests_agree, await_entry, base, lines_of};

/// Waits until a process ends by itself; its exit code, and what it said.
fn ended(process: &mut Command) -> (Option<i32>, String) {
    let output = process.output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Waits until a line says that.
fn until_said(said: &Receiver<String>, what: &str) {
    let until = Instant::now() + LONG;
    let mut others = Vec::new();
    loop {
        match said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains(what) => return,
            Ok(line) => others.push(line),
            Err(error) => panic!("{error}; what was said: {others:?}"),
        }
    }
}

#[test]
fn a_follower_that_listens_is_followed() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let (from, middle) = (address(7, 0), address(7, 1));
    let mut writer = Writer::start(a.path(), "a", &from);
    let mut process = base("follow", b.path(), "b");
    process.args(["--from", &from, "--listen", &middle, "--lag-max", "1000000000"]);
    let mut of_b = Member(process.spawn().unwrap());
    let mut of_c = Member::follow(c.path(), "c", &middle);
    let last = writer.insert_all(0..30, "");
    for dir in [&b, &c] {
        await_entry(dir.path(), last);
    }
    let slots = Command::new(tailwater())
        .args(["log", "slots", "--json", "--dir"])
        .arg(b.path())
        .output();
    let slots = String::from_utf8(slots.unwrap().stdout).unwrap();
    assert!(slots.contains("follower.c") && slots.contains("1000000000"), "{slots}");
    writer.kill();
    of_b.kill();
    of_c.kill();
    assert_digests_agree(&[&a, &b, &c]);
    // Caps are of who is followed.
    for alone in ["--lag-max", "--copy-lag-max"] {
        let (code, said) = ended(
            base("follow", b.path(), "b")
                .args(["--from", &from, alone, "1"])
                .stderr(Stdio::piped()),
        );
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--listen"), "{said}");
    }
}

#[test]
fn a_follower_whose_place_in_the_log_is_gone_ends_with_code_6_and_copies_again_if_told_to() {
    let [a, b] = [(); 2].map(|()| TempDir::new().unwrap());
    let from = address(8, 0);
    let alone = ["--w", "1", "--lag-max", "1"];
    let lead = || {
        let mut process = base("replicate", a.path(), "a");
        Writer::spawn(process.args(["--listen", &from, "--insert", "shop.things"]).args(alone))
    };
    let mut writer = lead();
    let mut of_b = Member::follow(b.path(), "b", &from);
    await_entry(b.path(), writer.insert_all(0..10, ""));
    of_b.kill();
    writer.insert_all(10..200, &"x".repeat(1 << 20));
    writer.kill();
    let mut options = StoreOptions::default();
    options.oplog.create = false;
    let store = tailwater::Store::open_with(a.path(), &options).unwrap();
    store.trim_log(store.log().watermarks().durable).unwrap();
    assert!(store.log().watermarks().oldest > OpId::new(12));
    store.close().unwrap();

    let mut writer = lead();
    let follow = || {
        let mut process = base("follow", b.path(), "b");
        process.args(["--from", &from]).stderr(Stdio::piped());
        process
    };
    let (code, said) = ended(&mut follow());
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("resync"), "{said}");
    let mut child = follow().arg("--resync").spawn().unwrap();
    let (said, _) = lines_of(child.stderr.take().unwrap());
    let mut of_b = Member(child);
    until_said(&said, "replaced by a new copy");
    let last = writer.insert_all(200..210, "");
    await_entry(b.path(), last);
    writer.kill();
    of_b.kill();
    assert_digests_agree(&[&a, &b]);
}

#[test]
fn members_with_certificates_follow_each_other_and_others_do_not() {
    let [a, b, keys] = [(); 3].map(|()| TempDir::new().unwrap());
    let authority = Certificates::new(keys.path(), "members");
    let strangers = Certificates::new(keys.path(), "strangers");
    let with = |process: &mut Command, certificates: &Certificates, name: &str| {
        let signed = certificates.sign(keys.path(), name);
        process
            .arg("--tls-cert")
            .arg(signed.certificate)
            .arg("--tls-key")
            .arg(signed.key);
        process.arg("--tls-ca").arg(&certificates.ca);
    };
    let mut primary = base("replicate", a.path(), "a");
    // Its certificate is for this address.
    primary.args(["--listen", "127.0.0.1:0", "--insert", "shop.things"]);
    with(&mut primary, &authority, "a");
    let mut child = primary.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let input = child.stdin.take().unwrap();
    let mut of_a = Member(child);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let from = said["listening"].as_str().unwrap();
    let follow = |certificates: Option<(&Certificates, &str)>| {
        let mut process = base("follow", b.path(), "b");
        process.args(["--from", from]).stderr(Stdio::piped());
        if let Some((certificates, name)) = certificates {
            with(&mut process, certificates, name);
        }
        let mut child = process.spawn().unwrap();
        let (said, _) = lines_of(child.stderr.take().unwrap());
        (Member(child), said)
    };
    for stranger in [None, Some((&strangers, "stranger"))] {
        let (mut process, said) = follow(stranger);
        until_said(&said, "trying again");
        process.kill();
        assert!(!b.path().join("oplog").exists());
    }
    let (mut of_b, _) = follow(Some((&authority, "b")));
    let mut input = input;
    std::io::Write::write_all(&mut input, b"{\"_id\": 1}\n").unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    await_entry(b.path(), OpId::new(said["opId"].as_u64().unwrap()));
    of_a.kill();
    of_b.kill();
    assert_digests_agree(&[&a, &b]);
    // A certificate without its key, and one of nobody's making.
    let half = ended(
        base("follow", b.path(), "b")
            .args(["--from", from, "--tls-cert", "a.pem"])
            .stderr(Stdio::piped()),
    );
    assert_eq!(half.0, Some(2), "{}", half.1);
    let missing = [
        "--tls-cert",
        "/nowhere.pem",
        "--tls-key",
        "/nowhere.key",
        "--tls-ca",
        "/nowhere-ca.pem",
    ];
    let missing = ended(
        base("follow", b.path(), "b")
            .args(["--from", from])
            .args(missing)
            .stderr(Stdio::piped()),
    );
    assert_eq!(missing.0, Some(2), "{}", missing.1);
    assert!(missing.1.contains("/nowhere"), "{}", missing.1);
}

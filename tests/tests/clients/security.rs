//! Logins, what users may watch, and encrypted connections, by the official drivers.

use std::path::Path;
use std::process::Command;

use tailwater_tests::certificates::{Certificates, Signed};
use tailwater_tests::served::Served;

use crate::client::{Driver, Watcher, run};

#[test]
fn drivers_log_in_by_each_mechanism_and_do_what_they_may() {
    for driver in Driver::ALL {
        let served = Served::start_with(&["--auth"]);
        run(driver.task("login").arg(served.address().to_string()));
        served.stop();
    }
}

#[test]
fn watchers_with_a_login_get_the_changes_of_their_collection_and_kinds() {
    let served = Served::start_with(&["--auth"]);
    let address = served.address();
    run(Driver::Python.task("login").arg(address.to_string()));
    let uri = |user: &str| format!("mongodb://{user}:w@{address}/?directConnection=true&authSource=admin");
    let watchers = Driver::ALL.map(|driver| {
        let mut command = driver.task("operations");
        command.args([&uri("watcher"), "insert,delete", "4"]);
        Watcher::start(command)
    });
    run(Driver::Python.task("change").arg(uri("writer")));
    for watcher in watchers {
        assert_eq!(watcher.lines(), ["insert 1", "insert 2", "delete 1", "insert 3"]);
    }
    served.stop();
}

/// What a client says of whether it can use a server: with an authority, and perhaps a certificate of its own.
fn can(driver: Driver, served: &Served, files: &[&Path]) -> bool {
    let mut client = driver.task("encrypted");
    let answer = run(client.arg(served.address().to_string()).args(files));
    match answer.trim() {
        "yes" => true,
        "no" => false,
        other => panic!("{other}"),
    }
}

fn serve(signed: &Signed, more: &[&str]) -> Served {
    let (certificate, key) = (signed.certificate.to_str().unwrap(), signed.key.to_str().unwrap());
    let arguments = [&["--tls-cert", certificate, "--tls-key", key], more].concat();
    Served::start_with(&arguments)
}

#[test]
fn drivers_connect_over_tls_to_a_server_whose_authority_they_know_and_to_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (
        Certificates::new(dir.path(), "ours"),
        Certificates::new(dir.path(), "other"),
    );
    let signed = ours.sign(dir.path(), "server");
    let served = serve(&signed, &[]);
    for driver in Driver::ALL {
        assert!(can(driver, &served, &[&ours.ca]), "{driver:?}");
        assert!(!can(driver, &served, &[&other.ca]), "{driver:?}: of another authority");
        assert!(!can(driver, &served, &[]), "{driver:?}: not encrypted");
    }
    // A new certificate is taken up without a restart.
    let renewed = other.sign(dir.path(), "renewed");
    std::fs::copy(&renewed.certificate, &signed.certificate).unwrap();
    std::fs::copy(&renewed.key, &signed.key).unwrap();
    served.signal("HUP");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !can(Driver::Python, &served, &[&other.ca]) {
        assert!(
            std::time::Instant::now() < deadline,
            "the certificate was not read again"
        );
    }
    served.stop();
}

#[test]
fn a_certificate_that_has_expired_or_is_of_another_host_is_taken_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Certificates::new(dir.path(), "ours");
    let here = ["localhost", "127.0.0.1"];
    let expired = ours.sign_with(dir.path(), "expired", &here, true);
    let elsewhere = ours.sign_with(dir.path(), "elsewhere", &["db.example"], false);
    for (signed, what) in [(&expired, "expired"), (&elsewhere, "of another host")] {
        let served = serve(signed, &[]);
        for driver in Driver::ALL {
            assert!(!can(driver, &served, &[&ours.ca]), "{driver:?}: {what}");
        }
        served.stop();
    }
    // A client's own, too.
    let server = ours.sign(dir.path(), "server");
    let mutual = serve(&server, &["--tls-ca", ours.ca.to_str().unwrap()]);
    for driver in Driver::ALL {
        assert!(!can(driver, &mutual, &[&ours.ca, &expired.both]), "{driver:?}");
    }
    mutual.stop();
}

#[test]
fn a_server_that_wants_certificates_of_its_clients_lets_nobody_in_without() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (
        Certificates::new(dir.path(), "ours"),
        Certificates::new(dir.path(), "other"),
    );
    let (server, known, stranger) = (
        ours.sign(dir.path(), "server"),
        ours.sign(dir.path(), "known"),
        other.sign(dir.path(), "stranger"),
    );
    let ca = ours.ca.to_str().unwrap();
    let mutual = serve(&server, &["--tls-ca", ca]);
    let optional = serve(&server, &["--tls-ca", ca, "--tls-mode", "optional"]);
    for driver in Driver::ALL {
        assert!(can(driver, &mutual, &[&ours.ca, &known.both]), "{driver:?}");
        assert!(!can(driver, &mutual, &[&ours.ca]), "{driver:?}: without one");
        assert!(
            !can(driver, &mutual, &[&ours.ca, &stranger.both]),
            "{driver:?}: of another authority"
        );
        assert!(can(driver, &optional, &[&ours.ca]), "{driver:?}");
        assert!(
            !can(driver, &optional, &[&ours.ca, &stranger.both]),
            "{driver:?}: of another authority"
        );
    }
    mutual.stop();
    optional.stop();
}

#[test]
fn what_cannot_be_served_safely_is_refused_at_start_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let start = |arguments: &[&str]| {
        let output = Command::new(tailwater_tests::binary::tailwater())
            .args(["serve", "--dir"])
            .arg(dir.path())
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (arguments, advice) in [
        (&["--bind", "0.0.0.0:0"][..], "--auth"),
        (&["--bind", "0.0.0.0:0", "--auth"], "--tls-cert"),
        (&["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], "/nowhere"),
        (&["--auth", "--no-auth"], "cannot be used with"),
    ] {
        let (code, message) = start(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {message}");
        assert!(message.contains(advice), "{arguments:?}: {message}");
    }
}

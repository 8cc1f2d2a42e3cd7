//! Encrypted connections between real stores over loopback: members with certificates of one authority follow each other, and
//! nobody else gets a word in.

use crate::certificates;
use crate::stores;

use std::path::Path;
use std::time::Duration;

use certificates::{Certificates, Signed};
use stores::{HEARTBEAT, LONG, Proxy, assert_same, assert_same_segments, follower, open, write};
use tailwater_replication::{Error, Follower, FollowerEvent, Primary, TlsOptions, WriteConcern};
use tempfile::TempDir;

fn options(signed: &Signed, authority: &Certificates) -> TlsOptions {
    TlsOptions {
        certificate: signed.certificate.clone(),
        key: signed.key.clone(),
        authority: authority.ca.clone(),
    }
}

/// A follower that is expected to try in vain; returns what it says about that.
fn refusal(dir: &Path, from: &str, tls: Option<TlsOptions>) -> Error {
    let (say, said) = std::sync::mpsc::channel();
    let mut builder = Follower::builder(dir, "b", from)
        .heartbeat(HEARTBEAT)
        .on_event(move |event| {
            if let FollowerEvent::Retrying { error: Some(error), .. } = event {
                let _ = say.send(error.clone());
            }
        });
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    let following = builder.start().unwrap();
    let error = said.recv_timeout(LONG).unwrap();
    following.stop();
    assert!(following.store().is_none(), "it was given something");
    error
}

#[test]
fn members_follow_over_encrypted_connections_that_also_break() {
    let (pki, a, b) = (
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    let authority = Certificates::new(pki.path(), "members");
    let (ours, theirs) = (authority.sign(pki.path(), "a"), authority.sign(pki.path(), "b"));
    let store = open(a.path());
    write(&store, 0, 3000);
    let builder = Primary::builder(store.clone(), "a")
        .members(["a", "b"])
        .heartbeat(HEARTBEAT);
    let serving = builder.tls(options(&ours, &authority)).start().unwrap();
    let proxy = Proxy::to(serving.address());
    let builder = follower(b.path(), "b", proxy.address, &["a", "b"]);
    let following = builder.tls(options(&theirs, &authority)).start().unwrap();
    for round in 1..4 {
        let last = write(&store, 10_000 * round, 2000);
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        assert_same(&following, &store, last);
        proxy.cut();
    }
    following.stop();
    assert_same_segments(&a, &b);
}

#[test]
fn whoever_has_no_certificate_of_the_authority_gets_nothing() {
    let (pki, a) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (authority, other) = (
        Certificates::new(pki.path(), "members"),
        Certificates::new(pki.path(), "other"),
    );
    let (ours, stranger) = (authority.sign(pki.path(), "a"), other.sign(pki.path(), "stranger"));
    let store = open(a.path());
    write(&store, 0, 10);
    let builder = Primary::builder(store.clone(), "a").heartbeat(HEARTBEAT);
    let serving = builder.tls(options(&ours, &authority)).start().unwrap();
    let address = serving.address().to_string();
    for tls in [
        // Its certificate is of another authority, though it knows the primary's.
        Some(options(&stranger, &authority)),
        // It does not believe the primary.
        Some(options(&stranger, &other)),
        None,
    ] {
        let dir = TempDir::new().unwrap();
        let error = refusal(dir.path(), &address, tls);
        assert!(
            matches!(error, Error::Network { .. } | Error::Protocol { .. }),
            "{error:?}"
        );
    }
    // Nor does who is encrypted speak with a primary that is not.
    let dir = TempDir::new().unwrap();
    let plain = Primary::builder(open(dir.path()), "c")
        .heartbeat(HEARTBEAT)
        .start()
        .unwrap();
    let there = TempDir::new().unwrap();
    let error = refusal(
        there.path(),
        &plain.address().to_string(),
        Some(options(&ours, &authority)),
    );
    assert!(matches!(error, Error::Network { .. }), "{error:?}");
    assert_eq!(serving.followers() + plain.followers(), 0);
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let (pki, a) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let authority = Certificates::new(pki.path(), "members");
    let ours = authority.sign(pki.path(), "a");
    let store = open(a.path());
    let good = options(&ours, &authority);
    let bad = [
        TlsOptions {
            certificate: ours.key.clone(),
            ..good.clone()
        },
        TlsOptions {
            key: authority.ca.clone(),
            ..good.clone()
        },
        TlsOptions {
            authority: pki.path().join("none.pem"),
            ..good
        },
    ];
    for options in bad {
        let builder = Primary::builder(store.clone(), "a").heartbeat(Duration::from_millis(100));
        let refused = builder.tls(options).start();
        assert!(matches!(refused, Err(Error::Certificate { .. })), "{refused:?}");
    }
}

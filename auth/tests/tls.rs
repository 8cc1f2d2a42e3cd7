//! Certificates and keys that cannot be used are named before anything is served.

use std::path::Path;

use tailwater_auth::{ClientCertificates, Tls, TlsError, TlsOptions};

fn load(dir: &Path, certificate: &str) -> TlsError {
    let options = TlsOptions {
        certificate: dir.join(certificate),
        key: dir.join("key.pem"),
        client_authorities: None,
        client_certificates: ClientCertificates::NotAsked,
    };
    Tls::load(options).unwrap_err()
}

#[test]
fn files_that_are_missing_or_have_nothing_in_them_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty.pem"), "nothing\n").unwrap();
    let missing = load(dir.path(), "missing.pem");
    assert!(matches!(missing, TlsError::File { .. }) && missing.to_string().contains("missing.pem"));
    let empty = load(dir.path(), "empty.pem");
    assert!(matches!(empty, TlsError::Empty { .. }) && empty.to_string().contains("empty.pem"));
}

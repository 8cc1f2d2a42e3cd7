//! Certificates for tests of encrypted connections: an authority, and what it has signed, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

/// An authority whose files are in a directory.
pub struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    /// The authority's certificate.
    pub ca: PathBuf,
}

/// A certificate and its key.
pub struct Signed {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one file, as drivers want a client's.
    pub both: PathBuf,
}

impl Certificates {
    /// A new authority.
    ///
    /// # Panics
    ///
    /// When its file cannot be written.
    #[must_use]
    pub fn new(dir: &Path, name: &str) -> Certificates {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = dir.join(format!("{name}-ca.pem"));
        fs::write(&ca, authority.pem()).unwrap();
        Certificates { authority, ca }
    }

    /// A certificate of this authority, for a server on this machine and for a client.
    ///
    /// # Panics
    ///
    /// When its files cannot be written.
    #[must_use]
    pub fn sign(&self, dir: &Path, name: &str) -> Signed {
        self.sign_with(dir, name, &["localhost", "127.0.0.1"], false)
    }

    /// The same for a server of other names, or that has expired.
    ///
    /// # Panics
    ///
    /// When its files cannot be written.
    #[must_use]
    pub fn sign_with(&self, dir: &Path, name: &str, hosts: &[&str], is_expired: bool) -> Signed {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        if is_expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap().pem();
        let file = |kind: &str| dir.join(format!("{name}-{kind}.pem"));
        let signed = Signed {
            certificate: file("cert"),
            key: file("key"),
            both: file("both"),
        };
        fs::write(&signed.certificate, &certificate).unwrap();
        fs::write(&signed.key, key.serialize_pem()).unwrap();
        fs::write(&signed.both, certificate + &key.serialize_pem()).unwrap();
        signed
    }
}

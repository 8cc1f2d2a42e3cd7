//! HTTPS to the server that is looked at.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::failure::{Exit, Failure, Outcome};

/// Whom to believe, and who one is.
#[derive(Debug, clap::Args)]
pub(super) struct EncryptionArguments {
    /// The certificate of the authority that the server's certificate is of (PEM), for `https://`.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A certificate to show to a server that asks for one (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// Encrypts connections to one server.
pub(super) struct Encryption {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A connection's bytes.
pub(super) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl EncryptionArguments {
    /// What encrypts connections to `host:port`.
    pub(super) fn load(&self, server: &str) -> Outcome<Encryption> {
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let ca = self.tls_ca.as_ref().ok_or_else(|| {
            usage("https needs the authority that the server's certificate is of: name its file (--tls-ca)".into())
        })?;
        let certificates = |path: &PathBuf| {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let unreadable = |error| usage(format!("{} has no certificate in PEM: {error}", path.display()));
            read.map_err(unreadable)
        };
        let unusable = |error: rustls::Error| usage(format!("the certificates cannot be used: {error}"));
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(unusable)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots);
        let config = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                let unreadable = |error| usage(format!("{} has no private key in PEM: {error}", key.display()));
                let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
                let own = certificates(certificate)?;
                builder.with_client_auth_cert(own, key).map_err(unusable)?
            }
            _ => builder.with_no_client_auth(),
        };
        // An IPv6 address has brackets around it.
        let name = server.rsplit_once(':').map_or(server, |(name, _)| name);
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| usage(format!("{server} is no name of a server")))?;
        Ok(Encryption {
            config: Arc::new(config),
            name,
        })
    }

    /// Refuses files that are given for nothing.
    pub(super) fn refuse(&self) -> Outcome {
        match self.tls_ca.is_some() || self.tls_cert.is_some() {
            true => Err(Failure::new(
                Exit::Usage,
                "files of certificates are given, and the server is asked without encryption: put https:// in front of it",
            )),
            false => Ok(()),
        }
    }
}

impl Encryption {
    /// The same connection, encrypted.
    pub(super) fn encrypt(&self, stream: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        Ok(StreamOwned::new(connection.map_err(io::Error::other)?, stream))
    }
}

//! Encryption of connections: certificates and keys from files, and which clients have to show one of their own.
//!
//! TLS 1.2 and 1.3, by rustls. It makes configurations and knows no sockets. Files are read again by [`Tls::reload`], for
//! connections from then on; one that cannot be read leaves those in use as they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// Which clients have to show a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    NotAsked,
    /// Whoever shows one shows one of the authority; who has none is let in as well.
    Optional,
    /// Everybody shows one of the authority.
    Required,
}

/// Where certificates and keys are.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The server's certificate, and those between it and an authority that clients know; PEM.
    pub certificate: PathBuf,
    /// Its private key; PEM.
    pub key: PathBuf,
    /// The certificates of the authorities that clients' certificates are of; PEM.
    pub client_authorities: Option<PathBuf>,
    /// Which clients have to show a certificate.
    pub client_certificates: ClientCertificates,
}

/// Why connections cannot be encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{} has no {what} in PEM that can be read", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        source: rustls::pki_types::pem::Error,
    },
    /// A file has none of what was looked for.
    #[error("{} has no {what}", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Clients are to show certificates of no authority.
    #[error("clients' certificates are checked against an authority's: name the file that has it (--tls-ca)")]
    NoAuthority,
    /// An authority that is none, or a key that is not the certificate's.
    #[error("the certificates cannot be used")]
    Unusable(#[source] rustls::Error),
    /// No certificates of clients can be checked by what is in the authorities' file.
    #[error("the certificates of {} cannot be used to check clients' certificates", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::server::VerifierBuilderError,
    },
}

/// Encrypts connections. See the module documentation.
pub struct Tls {
    options: TlsOptions,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn load(options: TlsOptions) -> Result<Tls, TlsError> {
        let config = ArcSwap::new(Arc::new(config(&options)?));
        Ok(Tls { options, config })
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; what was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(config(&self.options)?));
        Ok(())
    }

    /// What a new connection is encrypted by. Protocols above it, such as HTTP's, are for the caller to set on a copy.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

/// Keys are not for logs.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn config(options: &TlsOptions) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = certificates(&options.certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_file(&options.key).map_err(|source| TlsError::File {
        path: options.key.clone(),
        what: "private key",
        source,
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?;
    let builder = match client_verifier(options, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(TlsError::Unusable)?;
    if options.client_certificates != ClientCertificates::NotAsked {
        // Who takes up an earlier session is not asked for a certificate again, which may have expired, or be no longer trusted.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn client_verifier(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let asked = options.client_certificates;
    if asked == ClientCertificates::NotAsked {
        return Ok(None);
    }
    let path = options.client_authorities.as_ref().ok_or(TlsError::NoAuthority)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "authority's certificate")? {
        roots.add(certificate).map_err(TlsError::Unusable)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match asked {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        _ => builder,
    };
    let verifier = builder.build().map_err(|source| TlsError::Authorities {
        path: path.clone(),
        source,
    })?;
    Ok(Some(verifier))
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        what,
        source,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let certificates = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    match certificates.is_empty() {
        true => Err(TlsError::Empty {
            path: path.to_owned(),
            what,
        }),
        false => Ok(certificates),
    }
}

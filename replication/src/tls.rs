//! Encrypted connections between members, in which both sides show a certificate.
//!
//! TLS 1.3, by rustls. Who has a certificate of the authority is a member: use an authority for nothing else. The primary's must
//! be for the host name or address by which followers reach it.
//!
//! A connection is read by one thread and written by another, which share the state of the encryption: the reader waits for
//! bytes without holding it, and the writer hands records to the socket in the order in which they were encrypted.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::error::{Error, Result};

/// Bytes read from the socket at once: two records of the largest size.
const READ_BYTES: usize = 32 << 10;

/// Where a member's certificate is, and that of the authority of all members'; PEM.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The member's certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority whose certificates members have.
    pub authority: PathBuf,
}

/// What a member encrypts connections by, whichever side begins them.
#[derive(Clone)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Keys are not for logs.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(options: &TlsOptions) -> Result<Tls> {
        let unusable = |source: rustls::Error| Error::Certificate {
            path: options.certificate.clone(),
            what: source.to_string(),
        };
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&options.authority)? {
            roots.add(certificate).map_err(|source| Error::Certificate {
                path: options.authority.clone(),
                what: source.to_string(),
            })?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&options.certificate)?;
        let key = || {
            PrivateKeyDer::from_pem_file(&options.key).map_err(|source| Error::Certificate {
                path: options.key.clone(),
                what: source.to_string(),
            })
        };
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|source| Error::Certificate {
            path: options.authority.clone(),
            what: source.to_string(),
        })?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier);
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots);
        Ok(Tls {
            server: Arc::new(server.with_single_cert(chain.clone(), key()?).map_err(unusable)?),
            client: Arc::new(client.with_client_auth_cert(chain, key()?).map_err(unusable)?),
        })
    }

    /// The state of a connection that another member has begun.
    pub(crate) fn accept(&self) -> io::Result<Connection> {
        let connection = ServerConnection::new(Arc::clone(&self.server)).map_err(io::Error::other)?;
        Ok(connection.into())
    }

    /// The state of a connection to the member at `HOST:PORT`, which has to show a certificate for that host.
    pub(crate) fn connect(&self, address: &str) -> io::Result<Connection> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.client), name).map_err(io::Error::other)?;
        Ok(connection.into())
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |what: String| Error::Certificate {
        path: path.to_owned(),
        what,
    };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(wrong("there is no certificate in it".into())),
        Ok(found) => Ok(found),
        Err(source) => Err(wrong(source.to_string())),
    }
}

/// What the two threads of a connection share.
#[derive(Debug)]
struct Shared<W> {
    connection: Mutex<Connection>,
    /// Locked before the connection, and until what was encrypted is on its way.
    out: Mutex<W>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The half that decrypts.
#[derive(Debug)]
pub(crate) struct Decrypting<R, W> {
    input: R,
    shared: Arc<Shared<W>>,
    /// What was read and has not been looked at.
    bytes: Vec<u8>,
    at: usize,
}

/// The half that encrypts.
#[derive(Debug)]
pub(crate) struct Encrypting<W> {
    shared: Arc<Shared<W>>,
}

/// Agrees with the other side on keys, and makes the two halves.
pub(crate) fn split<R: Read, W: Write>(
    mut connection: Connection,
    mut input: R,
    mut out: W,
) -> io::Result<(Decrypting<R, W>, Encrypting<W>)> {
    while connection.is_handshaking() {
        connection.complete_io(&mut Both(&mut input, &mut out))?;
    }
    let shared = Arc::new(Shared {
        connection: Mutex::new(connection),
        out: Mutex::new(out),
    });
    let encrypting = Encrypting {
        shared: Arc::clone(&shared),
    };
    let decrypting = Decrypting {
        input,
        shared,
        bytes: Vec::new(),
        at: 0,
    };
    Ok((decrypting, encrypting))
}

impl<R, W> Decrypting<R, W> {
    /// What the bytes come from.
    pub(crate) fn get_mut(&mut self) -> &mut R {
        &mut self.input
    }
}

impl<R: Read, W: Write> Read for Decrypting<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let answers = {
                let mut connection = lock(&self.shared.connection);
                match connection.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
                let mut rest = &self.bytes[self.at..];
                if rest.is_empty() {
                    false
                } else {
                    let taken = connection.read_tls(&mut rest)?;
                    self.at += taken;
                    let processed = connection.process_new_packets();
                    processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    connection.wants_write()
                }
            };
            if answers {
                self.shared.flush()?;
            }
            if self.at == self.bytes.len() && lock(&self.shared.connection).wants_read() {
                self.bytes.resize(READ_BYTES, 0);
                // Nobody is kept from writing meanwhile.
                let count = self.input.read(&mut self.bytes);
                self.at = 0;
                self.bytes.truncate(*count.as_ref().unwrap_or(&0));
                if count? == 0 {
                    return Ok(0);
                }
            }
        }
    }
}

impl<W: Write> Shared<W> {
    /// Sends what the encryption itself has to say.
    fn flush(&self) -> io::Result<()> {
        let mut out = lock(&self.out);
        let mut records = Vec::new();
        drain(&mut lock(&self.connection), &mut records)?;
        out.write_all(&records)?;
        out.flush()
    }
}

fn drain(connection: &mut Connection, records: &mut Vec<u8>) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(records)?;
    }
    Ok(())
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = lock(&self.shared.out);
        let mut records = Vec::new();
        let taken = {
            let mut connection = lock(&self.shared.connection);
            let taken = connection.writer().write(bytes)?;
            drain(&mut connection, &mut records)?;
            taken
        };
        out.write_all(&records)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        lock(&self.shared.out).flush()
    }
}

/// A reader and a writer as one.
struct Both<'a, R, W>(&'a mut R, &'a mut W);

impl<R: Read, W> Read for Both<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R, W: Write> Write for Both<'_, R, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

//! What a server can fail with. What a request is answered with is a [`Problem`](crate::problem::Problem).

use std::net::SocketAddr;

/// The result of running a server.
pub type HttpResult<T, E = HttpError> = Result<T, E>;

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// An address that others could reach, and nobody has to log in.
    #[error(
        "{address} can be reached from other machines, and nobody has to log in: bind a loopback address, such as 127.0.0.1, or ask for logins"
    )]
    WithoutUsers {
        /// The address.
        address: SocketAddr,
    },
    /// An address that others could reach, where passwords and documents could be read on the way.
    #[error(
        "{address} can be reached from other machines, and HTTP is not encrypted: give a certificate and its key (--tls-cert, --tls-key), bind a loopback address behind a proxy that encrypts, or allow plaintext (--http-allow-plaintext)"
    )]
    WithoutTls {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The threads that serve connections cannot be started.
    #[error("cannot start the threads that serve connections: {0}")]
    Runtime(std::io::Error),
}

//! HTTPS: how a connection comes to be encrypted, before anything is read of a request.
//!
//! It has a deadline, and its place among the connections from the beginning. The encryption lies over a [`Patient`] connection, so
//! who takes nothing of what is encrypted is left as anybody else.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tailwater_auth::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};

use crate::patience::Patient;
use crate::server::Shared;

/// What is spoken within: browsers that could speak HTTP/2 are told that it is not.
const PROTOCOL: &[u8] = b"http/1.1";
/// The first byte of a connection that begins to be encrypted: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 22;
/// Bytes that wait, encrypted, for a client that does not read.
const ENCRYPTED_BYTES_MAX: usize = 16 << 10;
/// Bytes of a request that is not encrypted of which notice is taken, so that its answer arrives.
const PLAIN_BYTES_MAX: u64 = 64 << 10;

/// What a client is told that does not encrypt.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: 102\r\n\
Connection: close\r\n\r\n\
{\"status\": 400, \"title\": \"Bad Request\", \"detail\": \"this port is encrypted: ask it by https, not http\"}";

/// Encrypts a connection that has come in. The server's end ends it, too.
pub(crate) async fn accept(shared: &Shared, tls: &Tls, stream: TcpStream) -> io::Result<TlsStream<Patient>> {
    let mut stop = shared.stop.clone();
    tokio::select! {
        done = timeout(shared.options.handshake_deadline, shake_hands(shared, tls, stream)) => {
            done.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it took too long"))?
        }
        () = stop.stopped() => Err(io::Error::other("the server stops")),
    }
}

async fn shake_hands(shared: &Shared, tls: &Tls, stream: TcpStream) -> io::Result<TlsStream<Patient>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first != [HANDSHAKE_RECORD] {
        refuse(stream).await?;
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the client does not encrypt",
        ));
    }
    let mut config = ServerConfig::clone(&tls.config());
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let stream = Patient::new(stream, shared.options.stall_deadline);
    TlsAcceptor::from(Arc::new(config))
        .accept_with(stream, |connection| {
            connection.set_buffer_limit(Some(ENCRYPTED_BYTES_MAX));
        })
        .await
}

/// Tells a client that it has to encrypt. What it has sent is read: closing a connection with something unread would take the answer
/// back.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN).await?;
    stream.shutdown().await?;
    let mut request = stream.take(PLAIN_BYTES_MAX);
    tokio::io::copy(&mut request, &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plaintext_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 400);
    }
}

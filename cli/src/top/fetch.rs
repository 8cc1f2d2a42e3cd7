//! One request for `/v1/stats`, answered with a document whose length is said.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tailwater_auth::Password;

use super::encryption::{Encryption, EncryptionArguments, Stream};
use crate::failure::{Exit, Failure, Outcome};

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// The variable with the password.
const PASSWORD: &str = "TAILWATER_PASSWORD";

/// A server that is asked.
pub(super) struct Server {
    host: String,
    encryption: Option<Encryption>,
    authorization: Option<Password>,
}

impl Server {
    pub(super) fn new(server: &str, user: Option<&str>, encryption: &EncryptionArguments) -> Outcome<Server> {
        let server = server.trim_end_matches('/');
        let (host, encryption) = match server.strip_prefix("https://") {
            Some(host) => (host, Some(encryption.load(host)?)),
            None => {
                encryption.refuse()?;
                (server.strip_prefix("http://").unwrap_or(server), None)
            }
        };
        let authorization = match user {
            Some(user) => {
                let password = env::var(PASSWORD).map(Password::from).map_err(|_| {
                    Failure::new(
                        Exit::Usage,
                        format!("--user needs the password in the variable {PASSWORD}"),
                    )
                })?;
                let login = Password::from(format!("{user}:{}", &*password));
                let encoded = Password::from(STANDARD.encode(login.as_bytes()));
                Some(Password::from(format!("Authorization: Basic {}\r\n", &*encoded)))
            }
            None => None,
        };
        Ok(Server {
            host: host.to_owned(),
            encryption,
            authorization,
        })
    }

    /// How things are there.
    pub(super) fn stats(&self) -> Outcome<Value> {
        let (status, body) = self.ask().map_err(|error| {
            let message = format!(
                "cannot ask {}: {error}; is there a `tailwater serve --http`?",
                self.host
            );
            Failure::new(Exit::Environment, message)
        })?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| Failure::new(Exit::Failure, format!("{} answers with no JSON: {error}", self.host)))?;
        match status {
            200 => Ok(answer),
            _ => {
                let detail = answer["detail"].as_str().unwrap_or("no reason is given");
                Err(Failure::new(Exit::Failure, format!("{} refuses: {detail}", self.host)))
            }
        }
    }

    /// Status and body of the answer.
    fn ask(&self) -> std::io::Result<(u16, Vec<u8>)> {
        let malformed = || std::io::Error::new(std::io::ErrorKind::InvalidData, "it does not speak HTTP");
        let address = self.host.to_socket_addrs()?.next().ok_or_else(malformed)?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream: Box<dyn Stream> = match &self.encryption {
            None => Box::new(stream),
            Some(encryption) => Box::new(encryption.encrypt(stream)?),
        };
        let authorization = self.authorization.as_deref().unwrap_or_default();
        write!(
            stream,
            "GET /v1/stats HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{authorization}\r\n",
            self.host
        )?;
        let mut reader = BufReader::new(stream.take(ANSWER_BYTES_MAX));
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(malformed)?;
        // What the head says besides is not needed: the server closes behind the answer.
        while !line.trim_end().is_empty() {
            line.clear();
            reader.read_line(&mut line)?;
        }
        let mut body = Vec::new();
        reader.read_to_end(&mut body)?;
        Ok((status, body))
    }
}

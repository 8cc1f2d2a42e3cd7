//! The server's side of a SCRAM conversation (RFC 5802), without channel binding, which MongoDB's drivers do not use.
//!
//! ```text
//! client ── n,,n=user,r=NONCE ─────────────────► ClientFirst
//!        ◄─ r=NONCE MORE,s=SALT,i=ITERATIONS ───  Exchange
//!        ── c=biws,r=NONCE MORE,p=PROOF ───────►  Exchange::verify
//!        ◄─ v=SIGNATURE ────────────────────────
//! ```
//!
//! No I/O, no clock, and nothing of who the user is but its keys: so a user that is not there is answered in the same steps.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::credentials::{Credential, Mechanism};
use crate::error::LoginError;

/// Most bytes of a client's message.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Random bytes of the server's part of the nonce.
const NONCE_BYTES: usize = 24;

/// The first message of a client.
#[derive(Debug)]
pub(crate) struct ClientFirst<'a> {
    /// What stands before the message proper: about channel binding.
    header: &'a str,
    /// The message proper.
    bare: &'a str,
    /// The user's name.
    pub(crate) user: String,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<ClientFirst<'a>, LoginError> {
        let message = text(message)?;
        // "n" or "y", and no other identity to act for.
        let rest = message.strip_prefix("n,,").or_else(|| message.strip_prefix("y,,"));
        let bare = rest.ok_or(LoginError)?;
        let mut parts = bare.split(',');
        let user = parts.next().and_then(|part| part.strip_prefix("n="));
        let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
        let (user, nonce) = user.zip(nonce).ok_or(LoginError)?;
        let is_nonce = !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_nonce {
            return Err(LoginError);
        }
        Ok(ClientFirst {
            header: &message[..message.len() - bare.len()],
            bare,
            user: unescape(user)?,
            nonce,
        })
    }
}

/// A conversation that waits for the client's proof.
pub(crate) struct Exchange {
    credential: Credential,
    /// The first two messages as they are signed.
    messages: String,
    /// What the client has to send back: the header, encoded, and the nonce.
    prefix: String,
}

impl Exchange {
    /// Begins a conversation; with the server's answer.
    pub(crate) fn begin(first: &ClientFirst<'_>, credential: Credential) -> Result<(Exchange, String), LoginError> {
        let mut bytes = [0; NONCE_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| LoginError)?;
        Ok(Exchange::with_nonce(first, credential, &BASE64_STANDARD.encode(bytes)))
    }

    fn with_nonce(first: &ClientFirst<'_>, credential: Credential, nonce: &str) -> (Exchange, String) {
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = BASE64_STANDARD.encode(&credential.salt);
        let answer = format!("r={nonce},s={salt},i={}", credential.iterations);
        let exchange = Exchange {
            credential,
            messages: format!("{},{answer}", first.bare),
            prefix: format!("c={},r={nonce}", BASE64_STANDARD.encode(first.header)),
        };
        (exchange, answer)
    }

    /// The keys that it is about.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// How it is held.
    pub(crate) fn mechanism(&self) -> Mechanism {
        self.credential.mechanism
    }

    /// Looks at the client's proof; the server's own, if it is right.
    pub(crate) fn verify(&self, message: &[u8]) -> Result<String, LoginError> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(LoginError)?;
        let proof = BASE64_STANDARD.decode(proof).map_err(|_| LoginError)?;
        let Credential {
            mechanism,
            stored_key,
            server_key,
            ..
        } = &self.credential;
        if without_proof != self.prefix || proof.len() != stored_key.len() {
            return Err(LoginError);
        }
        let signed = format!("{},{without_proof}", self.messages);
        let signature = mechanism.hmac(stored_key, signed.as_bytes());
        // Whoever has it can log in.
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(proof, byte)| proof ^ byte).collect();
        let client_key = Zeroizing::new(client_key);
        match mechanism.hash(&client_key).ct_eq(stored_key).into() {
            true => Ok(format!(
                "v={}",
                BASE64_STANDARD.encode(mechanism.hmac(server_key, signed.as_bytes()))
            )),
            false => Err(LoginError),
        }
    }
}

fn text(message: &[u8]) -> Result<&str, LoginError> {
    match message.len() <= MESSAGE_BYTES_MAX {
        true => std::str::from_utf8(message).map_err(|_| LoginError),
        false => Err(LoginError),
    }
}

/// A name in which commas and equals signs stand as `=2C` and `=3D`.
fn unescape(name: &str) -> Result<String, LoginError> {
    let mut pieces = name.split('=');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (sign, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(LoginError),
        };
        plain.push(sign);
        plain.push_str(rest);
    }
    match plain.is_empty() {
        true => Err(LoginError),
        false => Ok(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conversation of RFC 7677, section 3.
    #[test]
    fn the_conversation_of_the_specification_is_held() {
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.user, "user");
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let credential = Credential::with_salt(Mechanism::ScramSha256, "user", "pencil", salt, 4096).unwrap();
        let (exchange, answer) = Exchange::with_nonce(&first, credential, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(answer, server_first);
        let proof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let last = exchange.verify(proof.as_bytes()).unwrap();
        assert_eq!(last, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_changed_proof_nonce_or_header_is_refused() {
        let first = ClientFirst::parse(b"n,,n=user,r=abc").unwrap();
        let credential = Credential::decoy(Mechanism::ScramSha1, b"secret", "user");
        let (exchange, _) = Exchange::with_nonce(&first, credential, "def");
        let zeros = BASE64_STANDARD.encode([0; 20]);
        for message in [
            format!("c=biws,r=abcdef,p={zeros}"),
            format!("c=biws,r=abcdeg,p={zeros}"),
            format!("c=eSws,r=abcdef,p={zeros}"),
            "c=biws,r=abcdef,p=AAAA".to_owned(),
            "c=biws,r=abcdef,p=?".to_owned(),
            "c=biws,r=abcdef".to_owned(),
            String::new(),
        ] {
            assert!(exchange.verify(message.as_bytes()).is_err(), "{message}");
        }
    }

    #[test]
    fn first_messages_are_taken_as_the_specification_has_them_and_no_others() {
        for (message, user) in [
            ("n,,n=a=2Cb=3Dc,r=x", Some("a,b=c")),
            ("y,,n=user,r=x", Some("user")),
            ("n,,n=user,r=x,e=later", Some("user")),
            ("p=tls-unique,,n=user,r=x", None),
            ("n,a=other,n=user,r=x", None),
            ("n,,m=must,n=user,r=x", None),
            ("n,,n=a=2Db,r=x", None),
            ("n,,n=,r=x", None),
            ("n,,n=user,r=", None),
            ("n,,n=user,r=a b", None),
            ("n,,n=user", None),
            ("", None),
        ] {
            let found = ClientFirst::parse(message.as_bytes()).ok().map(|first| first.user);
            assert_eq!(found.as_deref(), user, "{message}");
        }
        let long = format!("n,,n={},r=x", "u".repeat(MESSAGE_BYTES_MAX));
        assert!(ClientFirst::parse(long.as_bytes()).is_err());
        assert!(ClientFirst::parse(b"n,,n=\xff,r=x").is_err());
    }
}

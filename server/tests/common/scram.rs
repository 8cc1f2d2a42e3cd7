//! The client's side of a login by SCRAM-SHA-256, as drivers have it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Client;

/// A login that has begun.
pub(crate) struct Begun {
    bare: String,
    password: String,
}

impl Begun {
    pub(crate) fn new(user: &str, password: &str) -> Begun {
        Begun {
            bare: format!("n={user},r=fyko+d2lbbFgONRv9qkxdawL"),
            password: password.to_owned(),
        }
    }

    /// The fields of `saslStart`.
    pub(crate) fn start(&self, skip_empty: bool) -> Document {
        doc! {
            "saslStart": 1,
            "mechanism": "SCRAM-SHA-256",
            "payload": binary(&format!("n,,{}", self.bare)),
            "options": { "skipEmptyExchange": skip_empty },
        }
    }

    /// `saslContinue` with the proof that the server's first answer asks for.
    pub(crate) fn prove(&self, answer: &Document) -> Document {
        let server = payload(answer);
        let part = |name: &str| {
            let part = server.split(',').find_map(|part| part.strip_prefix(name));
            part.unwrap().to_owned()
        };
        let (nonce, salt, iterations) = (part("r="), part("s="), part("i="));
        let mut salted = [0; 32];
        let salt = BASE64_STANDARD.decode(salt).unwrap();
        pbkdf2::pbkdf2_hmac::<Sha256>(
            self.password.as_bytes(),
            &salt,
            iterations.parse().unwrap(),
            &mut salted,
        );
        let client_key = hmac(&salted, b"Client Key");
        let stored_key = Sha256::digest(&client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server},{without_proof}", self.bare);
        let signature = hmac(&stored_key, signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
        let proof = BASE64_STANDARD.encode(proof);
        doc! {
            "saslContinue": 1,
            "conversationId": answer.get_i32("conversationId").unwrap(),
            "payload": binary(&format!("{without_proof},p={proof}")),
        }
    }
}

impl Client {
    /// Logs in; the answer that ends it, whatever it says.
    pub(crate) fn try_login(&mut self, database: &str, user: &str, password: &str) -> Document {
        let begun = Begun::new(user, password);
        let answer = self.run_on(database, begun.start(true));
        match answer.get_f64("ok") {
            Ok(1.0) => self.run_on(database, begun.prove(&answer)),
            _ => answer,
        }
    }

    /// Logs in as a user of `admin` that is there.
    #[track_caller]
    pub(crate) fn login(&mut self, user: &str, password: &str) {
        let answer = self.try_login("admin", user, password);
        assert_eq!(answer.get_bool("done").ok(), Some(true), "{answer}");
    }
}

pub(crate) fn payload(answer: &Document) -> String {
    String::from_utf8(answer.get_binary_generic("payload").unwrap().clone()).unwrap()
}

pub(crate) fn binary(text: &str) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: text.as_bytes().to_vec(),
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

//! What a user's password leaves behind: salted keys from which a login can be checked and the password not be found
//! (RFC 5802, *SCRAM*; RFC 7677, *SCRAM-SHA-256*).
//!
//! Each mechanism has keys of its own. The counts of iterations are MongoDB's. For SCRAM-SHA-1 the password is an MD5 digest of
//! itself with the user's name, as MongoDB's drivers send it; for SCRAM-SHA-256 it is prepared by SASLprep (RFC 4013).

use std::borrow::Cow;
use std::fmt::Write as _;

use bson::{Binary, RawDocument, RawDocumentBuf, rawdoc, spec::BinarySubtype};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;

/// A way to log in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Mechanism {
    /// For drivers from before 2018.
    ScramSha1,
    /// What drivers choose today.
    ScramSha256,
}

impl Mechanism {
    /// Both, as a user has them who was made without a choice.
    pub const ALL: [Mechanism; 2] = [Mechanism::ScramSha1, Mechanism::ScramSha256];

    /// The name it is registered under.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The mechanism of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Iterations of a new password's key.
    pub(crate) const fn iterations(self) -> u32 {
        match self {
            Mechanism::ScramSha1 => 10_000,
            Mechanism::ScramSha256 => 15_000,
        }
    }

    /// Bytes of a salt: so many that salt and counter fill a block of the hash.
    pub(crate) const fn salt_bytes(self) -> usize {
        self.key_bytes() - 4
    }

    /// Bytes of a key.
    pub(crate) const fn key_bytes(self) -> usize {
        match self {
            Mechanism::ScramSha1 => 20,
            Mechanism::ScramSha256 => 32,
        }
    }

    pub(crate) fn hash(self, data: &[u8]) -> Vec<u8> {
        #[cfg(test)]
        work::note("hash", self, data.len());
        match self {
            Mechanism::ScramSha1 => Sha1::digest(data).to_vec(),
            Mechanism::ScramSha256 => Sha256::digest(data).to_vec(),
        }
    }

    pub(crate) fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        #[cfg(test)]
        work::note("hmac", self, data.len());
        match self {
            Mechanism::ScramSha1 => mac::<Hmac<Sha1>>(key, data),
            Mechanism::ScramSha256 => mac::<Hmac<Sha256>>(key, data),
        }
    }

    /// `Hi` of the RFC: the costly step from a password to a key.
    fn stretch(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        #[cfg(test)]
        work::note("stretch", self, iterations as usize);
        let mut key = vec![0; self.key_bytes()];
        match self {
            Mechanism::ScramSha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut key),
            Mechanism::ScramSha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut key),
        }
        key
    }

    /// The password as it goes into the key.
    fn prepare<'a>(self, user: &str, password: &'a str) -> Result<Cow<'a, str>, Error> {
        match self {
            Mechanism::ScramSha1 => {
                let digest = Md5::digest(Zeroizing::new(format!("{user}:mongo:{password}")).as_bytes());
                // At once as long as it gets: nothing of it is left where it has been shorter.
                let mut hex = String::with_capacity(2 * digest.len());
                for byte in digest {
                    let _ = write!(hex, "{byte:02x}");
                }
                Ok(Cow::Owned(hex))
            }
            Mechanism::ScramSha256 => stringprep::saslprep(password).map_err(|_| Error::PasswordCharacters),
        }
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so there is nothing to go wrong.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// The keys of one user and one mechanism.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) mechanism: Mechanism,
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: Vec<u8>,
    pub(crate) server_key: Vec<u8>,
}

/// Keys are not for logs.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

/// What has been let go of is not to be found in memory.
impl Drop for Credential {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl Credential {
    /// The keys of a new password, with a salt of their own.
    pub(crate) fn new(mechanism: Mechanism, user: &str, password: &str) -> Result<Credential, Error> {
        let mut salt = vec![0; mechanism.salt_bytes()];
        getrandom::fill(&mut salt).map_err(|_| Error::NoRandomness)?;
        Credential::with_salt(mechanism, user, password, salt, mechanism.iterations())
    }

    pub(crate) fn with_salt(
        mechanism: Mechanism,
        user: &str,
        password: &str,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Result<Credential, Error> {
        // Each of these is as good as the password.
        let prepared = Zeroizing::new(mechanism.prepare(user, password)?.into_owned());
        let salted = Zeroizing::new(mechanism.stretch(prepared.as_bytes(), &salt, iterations));
        let client_key = Zeroizing::new(mechanism.hmac(&salted, b"Client Key"));
        Ok(Credential {
            mechanism,
            iterations,
            salt,
            stored_key: mechanism.hash(&client_key),
            server_key: mechanism.hmac(&salted, b"Server Key"),
        })
    }

    /// Keys for a user that is not there: the same for the same name, as if it were, and of no password.
    pub(crate) fn decoy(mechanism: Mechanism, secret: &[u8], user: &str) -> Credential {
        let part = |what: &str| mechanism.hmac(secret, format!("{what}\0{}\0{user}", mechanism.name()).as_bytes());
        let mut salt = part("salt");
        salt.truncate(mechanism.salt_bytes());
        Credential {
            mechanism,
            iterations: mechanism.iterations(),
            salt,
            stored_key: part("stored key"),
            server_key: part("server key"),
        }
    }

    /// A number for a name, which nobody can tell who does not know the secret.
    pub(crate) fn decoy_number(secret: &[u8], user: &str) -> u64 {
        let made = Mechanism::ScramSha256.hmac(secret, format!("mechanisms\0{user}").as_bytes());
        made.iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Whether the keys are those of this password. Takes as long as making them.
    pub(crate) fn is_of(&self, user: &str, password: &str) -> bool {
        use subtle::ConstantTimeEq;
        let made = Credential::with_salt(self.mechanism, user, password, self.salt.clone(), self.iterations);
        made.is_ok_and(|made| bool::from(made.stored_key.ct_eq(&self.stored_key)))
    }

    pub(crate) fn to_document(&self) -> RawDocumentBuf {
        let binary = |bytes: &[u8]| Binary {
            subtype: BinarySubtype::Generic,
            bytes: bytes.to_vec(),
        };
        rawdoc! {
            "mechanism": self.mechanism.name(),
            "iterationCount": i64::from(self.iterations),
            "salt": binary(&self.salt),
            "storedKey": binary(&self.stored_key),
            "serverKey": binary(&self.server_key),
        }
    }

    /// The keys as [`Credential::to_document`] wrote them; nothing for what it did not write.
    pub(crate) fn from_document(document: &RawDocument) -> Option<Credential> {
        let mechanism = Mechanism::from_name(document.get_str("mechanism").ok()?)?;
        let bytes = |name: &str| document.get_binary(name).ok().map(|binary| binary.bytes.to_vec());
        let credential = Credential {
            mechanism,
            iterations: u32::try_from(document.get_i64("iterationCount").ok()?).ok()?,
            salt: bytes("salt")?,
            stored_key: bytes("storedKey")?,
            server_key: bytes("serverKey")?,
        };
        let whole = credential.stored_key.len() == mechanism.key_bytes()
            && credential.server_key.len() == mechanism.key_bytes()
            && credential.iterations > 0;
        whole.then_some(credential)
    }
}

/// What has been calculated by this thread: what takes its time.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::RefCell;

    use super::Mechanism;

    /// What was done, by which mechanism, over how many bytes or how often.
    pub(crate) type Step = (&'static str, Mechanism, usize);

    thread_local! {
        static DONE: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(what: &'static str, mechanism: Mechanism, amount: usize) {
        DONE.with_borrow_mut(|done| done.push((what, mechanism, amount)));
    }

    /// All of it since it was asked for last.
    pub(crate) fn take() -> Vec<Step> {
        DONE.take()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn keys_are_of_their_password_alone_and_survive_being_kept() {
        for mechanism in Mechanism::ALL {
            let credential = Credential::new(mechanism, "ada", "correct horse").unwrap();
            assert!(credential.is_of("ada", "correct horse"));
            assert!(!credential.is_of("ada", "correct horses"));
            let kept = Credential::from_document(&credential.to_document());
            assert!(kept == Some(credential));
        }
    }

    #[test]
    fn passwords_that_are_written_differently_are_the_same_after_preparation() {
        // A soft hyphen is nothing, a Roman numeral is its letters (RFC 4013, section 3).
        let credential = Credential::new(Mechanism::ScramSha256, "ada", "I\u{ad}X").unwrap();
        assert!(credential.is_of("ada", "IX"));
        assert!(credential.is_of("ada", "\u{2168}"));
        assert!(Credential::new(Mechanism::ScramSha256, "ada", "bell\u{7}").is_err());
    }

    /// The examples of RFC 7677 (section 3), and of the driver specification *Authentication* for SCRAM-SHA-1.
    #[test]
    fn keys_are_those_of_the_specifications() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let credential = Credential::with_salt(Mechanism::ScramSha256, "user", "pencil", salt, 4096).unwrap();
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = Mechanism::ScramSha256.hmac(&credential.server_key, message.as_bytes());
        assert_eq!(
            BASE64_STANDARD.encode(signature),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let salt = BASE64_STANDARD.decode("rQ9ZY3MntBeuP3E1TDVC4w==").unwrap();
        let credential = Credential::with_salt(Mechanism::ScramSha1, "user", "pencil", salt, 10_000).unwrap();
        let message = "n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE,\
            s=rQ9ZY3MntBeuP3E1TDVC4w==,i=10000,c=biws,r=fyko+d2lbbFgONRv9qkxdawLHo+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE";
        let signature = Mechanism::ScramSha1.hmac(&credential.server_key, message.as_bytes());
        assert_eq!(BASE64_STANDARD.encode(signature), "UMWeI25JD1yNYZRMpZ4VHvhZ9e0=");
    }
}

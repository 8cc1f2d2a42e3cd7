//! Logging in: by a SCRAM conversation, or by the password itself where the connection keeps it secret.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::authority::{Authority, network};
use crate::credentials::{Credential, Mechanism};
use crate::error::LoginError;
use crate::identity::Identity;
use crate::name::UserName;
use crate::scram::{ClientFirst, Exchange};
use crate::user::User;

/// A SCRAM conversation that waits for the client's proof.
pub struct Conversation {
    exchange: Exchange,
    name: UserName,
    /// Nothing when there is no such user, or it has no such keys.
    user: Option<Arc<User>>,
    address: IpAddr,
}

impl Authority {
    /// Begins a SCRAM conversation with a client's first message; with the answer to it.
    ///
    /// # Errors
    ///
    /// For a message that is none, and for a user that has no keys for the mechanism: drivers then take the one that
    /// [`Authority::mechanisms_of`] tells them. A user that is not there is answered like one that has them.
    pub fn begin_login(
        &self,
        mechanism: Mechanism,
        database: &str,
        message: &[u8],
        address: IpAddr,
    ) -> Result<(Conversation, String), LoginError> {
        let first = ClientFirst::parse(message)?;
        let name = UserName::new(database, &first.user);
        // What cannot be a name is not remembered either, as one that has failed.
        if !name.is_valid() || !self.mechanisms_of(&name).contains(&mechanism) {
            return Err(LoginError);
        }
        let (user, credential) = self.credential(&name, mechanism);
        let (exchange, answer) = Exchange::begin(&first, credential)?;
        let conversation = Conversation {
            exchange,
            name,
            user,
            address,
        };
        Ok((conversation, answer))
    }

    /// Ends a conversation with the client's proof; with the server's, if it was right. Waits if there were failures before.
    ///
    /// # Errors
    ///
    /// [`LoginError`], whatever the reason.
    pub fn finish_login(&self, conversation: &Conversation, message: &[u8]) -> Result<(Identity, String), LoginError> {
        let Conversation {
            exchange,
            name,
            user,
            address,
        } = conversation;
        self.attempt(name, *address, || {
            let answer = exchange.verify(message).ok();
            user.as_ref().zip(answer)
        })
        .map(|(user, answer)| (Identity::user(name.clone(), user.id), answer))
    }

    /// Logs a user in by its password. Only for connections that keep it secret: encrypted ones, and those of this machine.
    /// Takes as long as a login by SCRAM takes client and server together, some ten milliseconds, and waits if there were
    /// failures before.
    ///
    /// # Errors
    ///
    /// [`LoginError`], whatever the reason.
    pub fn verify_password(&self, name: &UserName, password: &str, address: IpAddr) -> Result<Identity, LoginError> {
        if !name.is_valid() {
            return Err(LoginError);
        }
        let mechanism = match self.user(name) {
            Some(user) if user.credential(Mechanism::ScramSha256).is_none() => Mechanism::ScramSha1,
            _ => Mechanism::ScramSha256,
        };
        let (user, credential) = self.credential(name, mechanism);
        let user = self.attempt(name, address, || match credential.is_of(&name.name, password) {
            true => user,
            false => None,
        })?;
        Ok(Identity::user(name.clone(), user.id))
    }

    /// How a user can log in. One that is not there can as one that was made without a choice.
    #[must_use]
    pub fn mechanisms_of(&self, name: &UserName) -> Vec<Mechanism> {
        match self.user(name) {
            Some(user) => user.mechanisms().collect(),
            None => Mechanism::ALL.to_vec(),
        }
    }

    /// The user and its keys; or keys that are made up, and nobody.
    fn credential(&self, name: &UserName, mechanism: Mechanism) -> (Option<Arc<User>>, Credential) {
        // Made up in either case, so that it takes as long.
        let decoy = Credential::decoy(mechanism, &self.decoys, &name.key());
        let user = self.user(name);
        let credential = user.as_ref().and_then(|user| user.credential(mechanism)).cloned();
        match credential {
            Some(credential) => (user, credential),
            None => (None, decoy),
        }
    }

    /// Makes an attempt to log in, after the wait that there may be, and counts its outcome.
    fn attempt<T>(
        &self,
        name: &UserName,
        address: IpAddr,
        verify: impl FnOnce() -> Option<T>,
    ) -> Result<T, LoginError> {
        let from = network(address);
        let Some(wait) = self.throttle.admit(name, from, Instant::now()) else {
            tracing::warn!(user = %name, %address, "login refused: too many have failed");
            return Err(LoginError);
        };
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        match verify() {
            Some(verified) => {
                self.throttle.succeeded(name, from);
                tracing::info!(user = %name, %address, "logged in");
                Ok(verified)
            }
            None => {
                self.throttle.failed(name, from, Instant::now());
                tracing::warn!(user = %name, %address, "login failed");
                Err(LoginError)
            }
        }
    }
}

//! Logging in: by a SCRAM conversation, or by the password itself where the connection keeps it secret.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

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

/// An attempt to log in that has been admitted, and is to be made when its wait is over. Of those that are given up nothing is
/// counted; the turn that they had passes by.
#[derive(Debug)]
pub struct Attempt {
    name: UserName,
    address: IpAddr,
    wait: Duration,
}

impl Attempt {
    /// How long whoever makes it waits first: nothing, unless there were failures before.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }
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
        let attempt = self.admit_login(name, *address)?;
        if !attempt.wait.is_zero() {
            thread::sleep(attempt.wait);
        }
        let verified = {
            let answer = exchange.verify(message).ok();
            let user = user.as_ref();
            let user = user.filter(|user| self.is_current(user, name, exchange.mechanism(), exchange.credential()));
            user.zip(answer)
        };
        self.settle(&attempt, verified)
            .map(|(user, answer)| (Identity::user(name.clone(), user.id), answer))
    }

    /// Admits an attempt to log in, which is made by [`Authority::verify_password`] behind its [wait](Attempt::wait).
    ///
    /// # Errors
    ///
    /// [`LoginError`] for what cannot be a name, and when so much has failed that nobody should wait for it.
    pub fn admit_login(&self, name: &UserName, address: IpAddr) -> Result<Attempt, LoginError> {
        if !name.is_valid() {
            return Err(LoginError);
        }
        let Some(wait) = self.throttle.admit(name, network(address), Instant::now()) else {
            tracing::warn!(user = %name, %address, "login refused: too many have failed");
            return Err(LoginError);
        };
        Ok(Attempt {
            name: name.clone(),
            address,
            wait,
        })
    }

    /// Logs a user in by its password. Only for connections that keep it secret: encrypted ones, and those of this machine.
    /// Takes as long as a login by SCRAM takes client and server together, some ten milliseconds, and does not wait.
    ///
    /// # Errors
    ///
    /// [`LoginError`], whatever the reason.
    #[expect(clippy::needless_pass_by_value, reason = "an attempt is made once")]
    pub fn verify_password(&self, attempt: Attempt, password: &str) -> Result<Identity, LoginError> {
        let name = &attempt.name;
        let mechanisms = self.mechanisms_of(name);
        let mechanism = match mechanisms.contains(&Mechanism::ScramSha256) {
            true => Mechanism::ScramSha256,
            false => Mechanism::ScramSha1,
        };
        let (user, credential) = self.credential(name, mechanism);
        // Also of keys that are made up: it is nearly all of the time that this takes.
        let is_right = credential.is_of(&name.name, password);
        let verified = user
            .filter(|_| is_right)
            .filter(|user| self.is_current(user, name, mechanism, &credential));
        self.settle(&attempt, verified)
            .map(|user| Identity::user(name.clone(), user.id))
    }

    /// How a user can log in. Names of nobody are given the mechanisms of some user, by a keyed hash of the name: so of what
    /// there is among users all of it can be found among names that are not there, as often, and none of it tells whether there
    /// is such a user.
    #[must_use]
    pub fn mechanisms_of(&self, name: &UserName) -> Vec<Mechanism> {
        let directory = self.directory();
        let made_up = directory.mechanisms_of_nobody(Credential::decoy_number(&self.decoys(), &name.key()));
        match directory.user(name) {
            Some(user) => user.mechanisms().collect(),
            None => made_up,
        }
    }

    /// Whether these are still a user's keys. Of a password that was changed while it was checked, or waited to be, the old one
    /// is good for nothing.
    fn is_current(&self, user: &User, name: &UserName, mechanism: Mechanism, credential: &Credential) -> bool {
        let now = self.user(name).filter(|now| now.id == user.id);
        now.is_some_and(|now| now.credential(mechanism) == Some(credential))
    }

    /// The user and its keys; or keys that are made up, and nobody.
    fn credential(&self, name: &UserName, mechanism: Mechanism) -> (Option<Arc<User>>, Credential) {
        // Made up in either case, so that it takes as long.
        let decoy = Credential::decoy(mechanism, &self.decoys(), &name.key());
        let user = self.user(name);
        let credential = user.as_ref().and_then(|user| user.credential(mechanism)).cloned();
        match credential {
            Some(credential) => (user, credential),
            None => (None, decoy),
        }
    }

    /// Counts what has become of an attempt.
    fn settle<T>(&self, attempt: &Attempt, verified: Option<T>) -> Result<T, LoginError> {
        let Attempt { name, address, .. } = attempt;
        let from = network(*address);
        match verified {
            Some(verified) => {
                self.throttle.succeeded(name, from, Instant::now());
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use tailwater::Store;

    use super::*;
    use crate::authority::Authentication;
    use crate::credentials::work::{self, Step};
    use crate::user::UserChange;

    /// Names of one length, of which the first is a user's.
    const NAMES: [&str; 2] = ["alice", "mallo"];

    /// What is calculated tells by the time that it takes whether there is such a user; so it is the same.
    #[test]
    fn a_wrong_password_is_as_much_work_for_a_name_of_nobody_as_for_a_users() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let authority = Authority::open(store, Authentication::Off).unwrap();
        let user = UserChange {
            password: Some("pencil".into()),
            roles: Some(Vec::new()),
            ..UserChange::default()
        };
        let nobody = Identity::nobody(Ipv4Addr::LOCALHOST.into());
        let alice = UserName::new("admin", NAMES[0]);
        authority.create_user(&nobody, &alice, &user).unwrap();

        let mut last = 0;
        // Whoever has failed waits the next time.
        let mut somewhere = || {
            last += 1;
            IpAddr::from(Ipv4Addr::new(192, 0, last, 1))
        };
        let mut work_of = |run: &mut dyn FnMut(&str, IpAddr)| -> [Vec<Step>; 2] {
            NAMES.map(|name| {
                work::take();
                run(name, somewhere());
                work::take()
            })
        };
        for mechanism in Mechanism::ALL {
            let [known, unknown] = work_of(&mut |name, address| {
                let first = format!("n,,n={name},r=nonce");
                let begun = authority.begin_login(mechanism, "admin", first.as_bytes(), address);
                let (conversation, answer) = begun.unwrap();
                let nonce = answer.split(',').next().unwrap();
                let proof = BASE64_STANDARD.encode(vec![0; mechanism.key_bytes()]);
                let last = format!("c=biws,{nonce},p={proof}");
                assert!(authority.finish_login(&conversation, last.as_bytes()).is_err());
            });
            assert!(!known.is_empty());
            assert_eq!(known, unknown, "{mechanism:?}");
        }
        let [known, unknown] = work_of(&mut |name, address| {
            let attempt = authority.admit_login(&UserName::new("admin", name), address).unwrap();
            assert!(authority.verify_password(attempt, "pencils").is_err());
        });
        assert!(known.iter().any(|(what, ..)| *what == "stretch"));
        assert_eq!(known, unknown);
    }
}

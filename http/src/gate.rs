//! Who a client is, and whether it may: logins by HTTP Basic (RFC 7617), and the questions that are asked of the store's
//! [`Authority`].
//!
//! Checking a password is costly on purpose. So who was let in is remembered for a minute by a keyed hash of what it sent, as long
//! as the user is what it was then (its rights are asked for each time); and few logins are checked at a time, so that guesses leave
//! threads for everybody else. What waits after failures waits in no thread. Of many who come at once with one password the first few
//! have it checked.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use tailwater::Scope;
use tailwater_auth::{Action, Authority, Identity, Password, Resource, User, UserName};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::problem::{Answer, Problem};

/// How long a login is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many are.
const REMEMBERED_MAX: usize = 4096;
/// Passwords that are checked at a time.
const LOGINS_AT_ONCE: usize = 2;
/// The database of users that do not name theirs.
const ADMIN: &str = "admin";

/// What a client wants to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sight {
    /// Every change in that scope.
    Changes(Scope),
    /// How the store and those who watch it are.
    Numbers,
}

/// Somebody who was let in.
struct Remembered {
    identity: Identity,
    /// As it was then: its keys, too.
    user: Arc<User>,
    at: Instant,
}

/// Asks who may.
pub(crate) struct Gate {
    authority: Arc<Authority>,
    logins: Semaphore,
    remembered: Mutex<HashMap<(u64, u64), Remembered>>,
    keys: (RandomState, RandomState),
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// What somebody was let in for. It may be taken back.
#[derive(Clone, Debug)]
pub(crate) struct Warrant {
    gate: Arc<Gate>,
    identity: Identity,
    sight: Sight,
}

impl Gate {
    pub(crate) fn new(authority: Arc<Authority>) -> Gate {
        Gate {
            authority,
            logins: Semaphore::new(LOGINS_AT_ONCE),
            remembered: Mutex::default(),
            keys: Default::default(),
        }
    }

    /// Whether clients have to log in now.
    pub(crate) fn asks_for_login(&self) -> bool {
        self.authority.is_required()
    }

    /// Lets a client see that, or not.
    pub(crate) async fn admit(self: &Arc<Gate>, headers: &HeaderMap, address: IpAddr, sight: Sight) -> Answer<Warrant> {
        let identity = match headers.get(AUTHORIZATION) {
            Some(authorization) if self.asks_for_login() => self.log_in(authorization, address).await?,
            _ => Identity::nobody(address),
        };
        let warrant = Warrant {
            gate: Arc::clone(self),
            identity,
            sight,
        };
        warrant.check().map(|()| warrant)
    }

    async fn log_in(self: &Arc<Gate>, authorization: &HeaderValue, address: IpAddr) -> Answer<Identity> {
        let key = (self.keys.0.hash_one(authorization), self.keys.1.hash_one(authorization));
        if let Some(identity) = self.remembered(key) {
            return Ok(identity);
        }
        let (name, password) = credentials(authorization).ok_or_else(login_needed)?;
        // The semaphore is never closed.
        let mut turn = self.logins.acquire().await;
        if let Some(identity) = self.remembered(key) {
            return Ok(identity);
        }
        // Only with a turn: of many that come at once all but a few are then admitted with the failures of those before counted.
        let attempt = self.authority.admit_login(&name, address);
        let attempt = attempt.map_err(|_| login_needed())?;
        if !attempt.wait().is_zero() {
            drop(turn);
            sleep(attempt.wait()).await;
            turn = self.logins.acquire().await;
        }
        // What is remembered is forgotten with the password that it was checked against, also if that was changed meanwhile.
        let user = self.authority.user(&name);
        let gate = Arc::clone(self);
        let checked = spawn_blocking(move || gate.authority.verify_password(attempt, &password)).await;
        let identity = checked.ok().and_then(Result::ok).ok_or_else(login_needed)?;
        drop(turn);
        let user = user.ok_or_else(login_needed)?;
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        let entry = Remembered {
            identity: identity.clone(),
            user,
            at: Instant::now(),
        };
        remembered.insert(key, entry);
        Ok(identity)
    }

    fn remembered(&self, key: (u64, u64)) -> Option<Identity> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = remembered.get_mut(&key)?;
        let now = self.authority.user_of(&entry.identity);
        if entry.at.elapsed() < REMEMBERED && now.is_some_and(|(user, _)| user == entry.user) {
            // Who uses it goes on, whatever others have guessed of that user meanwhile.
            entry.at = Instant::now();
            return Some(entry.identity.clone());
        }
        remembered.remove(&key);
        None
    }
}

impl Warrant {
    /// Whether it still holds.
    pub(crate) fn check(&self) -> Answer<()> {
        let authority = &self.gate.authority;
        let allowed = match &self.sight {
            Sight::Numbers => authority.may(&self.identity, Action::ServerStatus, Resource::Cluster),
            Sight::Changes(scope) => {
                let resource = match scope {
                    Scope::Everything | Scope::Deployment => Resource::AllCollections,
                    Scope::Database(database) => Resource::Database(database),
                    Scope::Collection { database, collection } => Resource::Collection { database, collection },
                };
                [Action::ChangeStream, Action::Find]
                    .into_iter()
                    .all(|action| authority.may(&self.identity, action, resource))
            }
        };
        match allowed {
            true => Ok(()),
            false if self.gate.asks_for_login() && !authority.is_known(&self.identity) => Err(login_needed()),
            false => {
                let what = match &self.sight {
                    Sight::Numbers => {
                        "the server's numbers: that takes the action serverStatus on the cluster".to_owned()
                    }
                    Sight::Changes(scope) => format!("watch {scope}: that takes the actions changeStream and find"),
                };
                let problem = Problem::new(StatusCode::FORBIDDEN, format!("not authorized to {what}"));
                Err(problem.with_code(13, "Unauthorized"))
            }
        }
    }
}

/// User and password. A user of another database than `admin` puts that in front: `shop/ada`.
fn credentials(authorization: &HeaderValue) -> Option<(UserName, Password)> {
    let (scheme, encoded) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = Password::from(String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?);
    let (user, password) = text.split_once(':')?;
    // No database has a slash in its name.
    let (database, user) = user.split_once('/').unwrap_or((ADMIN, user));
    Some((UserName::new(database, user), password.into()))
}

fn login_needed() -> Problem {
    let scheme = HeaderValue::from_static("Basic realm=\"tailwater\", charset=\"UTF-8\"");
    Problem::new(StatusCode::UNAUTHORIZED, "authentication is required, or has failed")
        .with_code(18, "AuthenticationFailed")
        .with_header(WWW_AUTHENTICATE, scheme)
}

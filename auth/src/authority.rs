//! The authority: users and roles of a store, and what they allow.

mod change;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{INTERNAL_DATABASE, Store};

use crate::action::Action;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::identity::{Identity, Who};
use crate::name::{RoleName, UserName};
use crate::privilege::Privileges;
use crate::records;
use crate::resource::Resource;
use crate::role::{ADMIN, Role};
use crate::throttle::Throttle;
use crate::user::User;

/// Most users of a store: all of them are in memory.
pub const USERS_MAX: usize = 10_000;
/// Most roles of a store beside those that every store has.
pub const ROLES_MAX: usize = 10_000;

/// The name of the secret by which users that are not there are made up.
const DECOYS: &str = "decoys";

/// Whether clients have to log in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Authentication {
    /// They have to as soon as there is a user. Until then everybody who can connect may do everything, so this is for servers
    /// that only their own machine reaches.
    #[default]
    OnceThereAreUsers,
    /// They have to. As long as there are no users, whoever connects from the same machine can make the first one, in `admin`.
    Required,
    /// They need not, and everybody who can connect may do everything.
    Off,
}

/// Users and roles of a store, and what they allow. See the crate's documentation.
pub struct Authority {
    store: Store,
    authentication: Authentication,
    directory: ArcSwap<Directory>,
    /// Whether there have been users since it was opened: who drops the last one does not open the store to everybody.
    had_users: AtomicBool,
    /// Held while users or roles are changed.
    changing: Mutex<()>,
    decoys: ArcSwap<Vec<u8>>,
    pub(crate) throttle: Throttle,
}

impl Authority {
    /// Reads the users and roles of a store.
    ///
    /// One authority serves a store at a time: it alone changes them. Of a store that follows another it is told by
    /// [`Authority::refresh`] that they have been changed there.
    ///
    /// # Errors
    ///
    /// [`Error::Store`], [`Error::Record`], [`Error::NoRandomness`].
    pub fn open(store: Store, authentication: Authentication) -> Result<Authority> {
        let directory = read(&store)?;
        let decoys = match read_decoys(&store)? {
            Some(decoys) => decoys,
            // Kept with the first user: until then there is nobody to be told from the others.
            None => {
                let mut fresh = vec![0; 32];
                getrandom::fill(&mut fresh).map_err(|_| Error::NoRandomness)?;
                fresh
            }
        };
        Ok(Authority {
            store,
            authentication,
            had_users: AtomicBool::new(directory.has_users()),
            directory: ArcSwap::from_pointee(directory),
            changing: Mutex::default(),
            decoys: ArcSwap::from_pointee(decoys),
            throttle: Throttle::new(),
        })
    }

    /// Reads the users and roles again, because the store follows another one and entries of that have changed them: what they
    /// allow is in force when this returns. After an error it is what it was.
    ///
    /// # Errors
    ///
    /// [`Error::Store`], [`Error::Record`].
    pub fn refresh(&self) -> Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(decoys) = read_decoys(&self.store)? {
            self.decoys.store(Arc::new(decoys));
        }
        self.show(read(&self.store)?);
        Ok(())
    }

    /// Has these be the users and roles from now on.
    fn show(&self, directory: Directory) {
        if directory.has_users() {
            self.had_users.store(true, Ordering::Release);
        }
        self.directory.store(Arc::new(directory));
    }

    /// Whether clients have to log in now.
    #[must_use]
    pub fn is_required(&self) -> bool {
        match self.authentication {
            Authentication::Required => true,
            Authentication::OnceThereAreUsers => self.had_users.load(Ordering::Acquire),
            Authentication::Off => false,
        }
    }

    /// Whether there are users.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.directory.load().has_users()
    }

    /// Whether somebody may do something now.
    ///
    /// Everybody may do everything while nobody has to log in, but for the database in which Tailwater keeps what belongs to
    /// itself, which is not for clients.
    #[must_use]
    pub fn may(&self, identity: &Identity, action: Action, resource: Resource<'_>) -> bool {
        if matches!(resource, Resource::Database(database) | Resource::Collection { database, .. } if database == INTERNAL_DATABASE)
        {
            return false;
        }
        if !self.is_required() {
            return true;
        }
        let directory = self.directory.load();
        match &identity.0 {
            // MongoDB manual: *Localhost Exception*.
            Who::Nobody { is_local } => {
                let makes_first = matches!(
                    (action, resource),
                    (Action::CreateUser, Resource::Database(ADMIN)) | (Action::GrantRole, Resource::Database(_))
                );
                *is_local && makes_first && !directory.has_users()
            }
            Who::User { .. } => {
                known(&directory, identity).is_some_and(|(_, privileges)| privileges.allow(action, resource))
            }
        }
    }

    /// Whether somebody has logged in, as a user that is still there, or nobody has to.
    #[must_use]
    pub fn is_known(&self, identity: &Identity) -> bool {
        !self.is_required() || known(&self.directory.load(), identity).is_some()
    }

    /// The user that somebody has logged in as, and what it may do; nothing if nobody has, or it was dropped.
    #[must_use]
    pub fn user_of(&self, identity: &Identity) -> Option<(Arc<User>, Arc<Privileges>)> {
        let directory = self.directory.load();
        known(&directory, identity).map(|(user, privileges)| (Arc::clone(user), Arc::clone(privileges)))
    }

    /// The user of that name.
    #[must_use]
    pub fn user(&self, name: &UserName) -> Option<Arc<User>> {
        self.directory.load().user(name).cloned()
    }

    /// All users, in the order of their names.
    #[must_use]
    pub fn users(&self) -> Vec<Arc<User>> {
        self.directory.load().users().cloned().collect()
    }

    /// The roles, with those that they include, each once.
    #[must_use]
    pub fn inherited_roles(&self, roles: &[RoleName]) -> Vec<RoleName> {
        self.directory.load().inherited(roles)
    }

    /// What roles allow together, with those that they include.
    #[must_use]
    pub fn privileges_of_roles(&self, roles: &[RoleName]) -> Privileges {
        self.directory.load().granted_by(roles)
    }

    /// The role of that name, of whatever kind, and whether every store has it.
    #[must_use]
    pub fn role(&self, name: &RoleName) -> Option<(Arc<Role>, bool)> {
        let directory = self.directory.load();
        let made = directory.role(name).map(|role| (Arc::clone(role), false));
        made.or_else(|| {
            let role = Role {
                name: name.clone(),
                privileges: crate::role::built_in(name)?,
                roles: Vec::new(),
            };
            Some((Arc::new(role), true))
        })
    }

    /// The names of the roles of a database; with those that every store has if asked for.
    #[must_use]
    pub fn role_names(&self, database: &str, with_built_in: bool) -> Vec<RoleName> {
        let directory = self.directory.load();
        let made = directory.roles().map(|role| &role.name);
        let mut names: Vec<RoleName> = made.filter(|name| name.database == database).cloned().collect();
        if with_built_in {
            names.extend(crate::role::built_in_names(database));
        }
        names.sort();
        names
    }

    /// The secret by which users that are not there are made up.
    pub(crate) fn decoys(&self) -> Arc<Vec<u8>> {
        self.decoys.load_full()
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

/// The user that somebody has logged in as, if it is still that one.
fn known<'a>(directory: &'a Directory, identity: &Identity) -> Option<(&'a Arc<User>, &'a Arc<Privileges>)> {
    let Who::User { name, id } = &identity.0 else {
        return None;
    };
    let user = directory.user(name).filter(|user| user.id == *id)?;
    Some((user, directory.privileges_of(name)?))
}

/// The users and roles that a store has.
fn read(store: &Store) -> Result<Directory> {
    Ok(Directory::new(
        read_all(store, records::USERS, records::user_from_document)?,
        read_all(store, records::ROLES, records::role_from_document)?,
    ))
}

/// The secret by which users that are not there are made up, if it is kept.
fn read_decoys(store: &Store) -> Result<Option<Vec<u8>>> {
    let kept = store
        .collection(INTERNAL_DATABASE, records::SECRETS)?
        .find_one(&rawdoc! { "_id": DECOYS })?;
    Ok(kept.and_then(|secret| secret.get_binary("bytes").ok().map(|binary| binary.bytes.to_vec())))
}

fn read_all<T>(store: &Store, collection: &'static str, of: fn(&RawDocument) -> Option<T>) -> Result<Vec<T>> {
    let documents = store
        .collection(INTERNAL_DATABASE, collection)?
        .find(&RawDocumentBuf::new())?;
    documents
        .map(|document| {
            let document = document?;
            of(&document).ok_or_else(|| Error::Record {
                collection,
                key: document.get_str("_id").unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

/// The address as limits for each address see it: of an IPv6 network the part that one client may have to itself.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(prefix.into())
        }
        address => address,
    }
}

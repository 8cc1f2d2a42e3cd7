//! Changes of users and roles. Each is checked against what there is, written in one transaction, and read back, under one lock.

use std::sync::PoisonError;

use bson::{RawDocumentBuf, Uuid, rawdoc};
use tailwater::{Durability, INTERNAL_DATABASE, ReplaceOptions, TransactionOptions};

use super::{Authority, DECOYS, ROLES_MAX, USERS_MAX, read};
use crate::credentials::{Credential, Mechanism};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::identity::{Identity, Who};
use crate::name::{RoleName, UserName};
use crate::records::{self, ROLES, SECRETS, USERS};
use crate::resource::Pattern;
use crate::role::{self, ADMIN, Role};
use crate::user::{User, UserChange, UserId};

/// One document of the internal database.
enum Record {
    Put(&'static str, RawDocumentBuf),
    Delete(&'static str, String),
}

impl Record {
    fn user(user: &User) -> Record {
        Record::Put(USERS, records::user_to_document(user))
    }

    fn role(role: &Role) -> Record {
        Record::Put(ROLES, records::role_to_document(role))
    }
}

impl Authority {
    /// Makes a user, who may log in from now on.
    ///
    /// # Errors
    ///
    /// [`Error::UserExists`], also for whoever has made the first user without having logged in and makes another;
    /// [`Error::Name`], [`Error::EmptyPassword`], [`Error::PasswordCharacters`], [`Error::NoMechanisms`], [`Error::NoSuchRole`],
    /// [`Error::TooMany`], [`Error::Store`].
    pub fn create_user(&self, by: &Identity, name: &UserName, user: &UserChange) -> Result<()> {
        let credentials = credentials(
            name,
            user.password.as_deref().unwrap_or_default(),
            user.mechanisms.as_deref(),
        )?;
        self.change(|directory| {
            let is_first = !directory.has_users();
            let nobody = matches!(by.0, Who::Nobody { .. });
            if directory.user(name).is_some() || (nobody && !is_first && self.is_required()) {
                return Err(Error::UserExists(name.clone()));
            }
            check_name(name)?;
            check_room("users", directory.users().len(), USERS_MAX)?;
            let roles = user.roles.clone().unwrap_or_default();
            check_roles(directory, &roles)?;
            let user = User {
                name: name.clone(),
                id: UserId(Uuid::new()),
                roles,
                custom_data: user.custom_data.clone(),
                credentials,
            };
            let mut records = vec![Record::user(&user)];
            if is_first {
                records.push(Record::Put(
                    SECRETS,
                    records::secret_to_document(DECOYS, &self.decoys()),
                ));
            }
            Ok((records, ()))
        })
    }

    /// Changes of a user what the change names.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchUser`], [`Error::MechanismNeedsPassword`], and those of [`Authority::create_user`].
    pub fn update_user(&self, name: &UserName, change: &UserChange) -> Result<()> {
        let password = change.password.as_deref();
        let fresh = password.map(|password| credentials(name, password, change.mechanisms.as_deref()));
        let fresh = fresh.transpose()?;
        self.change_user(name, |user, directory| {
            match (fresh, &change.mechanisms) {
                (Some(fresh), _) => user.credentials = fresh,
                (None, Some(mechanisms)) => {
                    let missing = mechanisms
                        .iter()
                        .find(|mechanism| user.credential(**mechanism).is_none());
                    if let Some(added) = missing {
                        return Err(Error::MechanismNeedsPassword { added: added.name() });
                    }
                    if mechanisms.is_empty() {
                        return Err(Error::NoMechanisms);
                    }
                    user.credentials.retain(|kept| mechanisms.contains(&kept.mechanism));
                }
                (None, None) => {}
            }
            if let Some(roles) = &change.roles {
                check_roles(directory, roles)?;
                user.roles.clone_from(roles);
            }
            if let Some(data) = &change.custom_data {
                user.custom_data = Some(data.clone());
            }
            Ok(())
        })
    }

    /// Drops a user, who is logged out wherever it was logged in.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchUser`], [`Error::Store`].
    pub fn drop_user(&self, name: &UserName) -> Result<()> {
        self.change(|directory| match directory.user(name) {
            Some(_) => Ok((vec![Record::Delete(USERS, name.key())], ())),
            None => Err(Error::NoSuchUser(name.clone())),
        })
    }

    /// Drops all users of a database; how many there were.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn drop_users_of(&self, database: &str) -> Result<usize> {
        self.change(|directory| {
            let doomed = directory.users().filter(|user| user.name.database == database);
            let records: Vec<Record> = doomed.map(|user| Record::Delete(USERS, user.name.key())).collect();
            let count = records.len();
            Ok((records, count))
        })
    }

    /// Gives a user roles beside those it has.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchUser`], [`Error::NoSuchRole`], [`Error::Store`].
    pub fn grant_roles(&self, name: &UserName, roles: &[RoleName]) -> Result<()> {
        self.change_user(name, |user, directory| {
            check_roles(directory, roles)?;
            for role in roles {
                if !user.roles.contains(role) {
                    user.roles.push(role.clone());
                }
            }
            Ok(())
        })
    }

    /// Takes roles from a user.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchUser`], [`Error::NoSuchRole`], [`Error::Store`].
    pub fn revoke_roles(&self, name: &UserName, roles: &[RoleName]) -> Result<()> {
        self.change_user(name, |user, directory| {
            check_roles(directory, roles)?;
            user.roles.retain(|role| !roles.contains(role));
            Ok(())
        })
    }

    /// Makes a role.
    ///
    /// # Errors
    ///
    /// [`Error::RoleExists`], [`Error::Name`], [`Error::NoSuchRole`], [`Error::OtherDatabase`], [`Error::Cycle`],
    /// [`Error::TooMany`], [`Error::Store`].
    pub fn create_role(&self, role: &Role) -> Result<()> {
        self.change(|directory| {
            if directory.has_role(&role.name) {
                return Err(Error::RoleExists(role.name.clone()));
            }
            check_name(&role.name)?;
            check_room("roles", directory.roles().len(), ROLES_MAX)?;
            check_role(directory, role)?;
            Ok((vec![Record::role(role)], ()))
        })
    }

    /// Changes a role that users have made.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchRole`], [`Error::BuiltInRole`], [`Error::OtherDatabase`], [`Error::Cycle`], [`Error::Store`].
    pub fn update_role(&self, name: &RoleName, change: impl FnOnce(&mut Role)) -> Result<()> {
        self.change(|directory| {
            let mut role = Role::clone(made(directory, name)?);
            change(&mut role);
            check_role(directory, &role)?;
            Ok((vec![Record::role(&role)], ()))
        })
    }

    /// Drops a role, and takes it from whoever has it.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchRole`], [`Error::BuiltInRole`], [`Error::Store`].
    pub fn drop_role(&self, name: &RoleName) -> Result<()> {
        self.change(|directory| {
            made(directory, name)?;
            Ok((without_roles(directory, &|role| role == name), ()))
        })
    }

    /// Drops all roles of a database that users have made, and takes them from whoever has them; how many there were.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn drop_roles_of(&self, database: &str) -> Result<usize> {
        self.change(|directory| {
            let is_doomed = |role: &RoleName| role.database == database && directory.role(role).is_some();
            let count = directory.roles().filter(|role| is_doomed(&role.name)).count();
            Ok((without_roles(directory, &is_doomed), count))
        })
    }

    fn change_user(&self, name: &UserName, change: impl FnOnce(&mut User, &Directory) -> Result<()>) -> Result<()> {
        self.change(|directory| {
            let user = directory.user(name).ok_or_else(|| Error::NoSuchUser(name.clone()))?;
            let mut user = User::clone(user);
            change(&mut user, directory)?;
            Ok((vec![Record::user(&user)], ()))
        })
    }

    /// Carries out a change: checks it and works out what is to be written, writes that, and takes it up.
    fn change<T>(&self, decide: impl FnOnce(&Directory) -> Result<(Vec<Record>, T)>) -> Result<T> {
        // Whoever panicked here has not changed anything but the store, in one step.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (records, outcome) = decide(&self.directory())?;
        let written = self.write(&records);
        // Also after an error: what was written and is not known to be durable is there.
        let directory = read(&self.store)?;
        self.show(directory);
        written.map(|()| outcome)
    }

    fn write(&self, records: &[Record]) -> Result<()> {
        let options = TransactionOptions {
            durability: Some(Durability::Disk),
            ..TransactionOptions::default()
        };
        let upsert = ReplaceOptions {
            upsert: true,
            ..ReplaceOptions::default()
        };
        let transaction = self.store.transaction_with(&options)?;
        for record in records {
            match record {
                Record::Put(collection, document) => {
                    let key = document.get_str("_id").unwrap_or_default();
                    let collection = transaction.collection(INTERNAL_DATABASE, collection)?;
                    collection.replace_one_with(&rawdoc! { "_id": key }, document, &upsert)?;
                }
                Record::Delete(collection, key) => {
                    let collection = transaction.collection(INTERNAL_DATABASE, collection)?;
                    collection.delete_one(&rawdoc! { "_id": key.as_str() })?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// What is to be written so that some roles are gone.
fn without_roles(directory: &Directory, is_doomed: &dyn Fn(&RoleName) -> bool) -> Vec<Record> {
    let mut records = Vec::new();
    for role in directory.roles() {
        if is_doomed(&role.name) {
            records.push(Record::Delete(ROLES, role.name.key()));
        } else if role.roles.iter().any(is_doomed) {
            let mut role = Role::clone(role);
            role.roles.retain(|included| !is_doomed(included));
            records.push(Record::role(&role));
        }
    }
    for user in directory.users().filter(|user| user.roles.iter().any(is_doomed)) {
        let mut user = User::clone(user);
        user.roles.retain(|granted| !is_doomed(granted));
        records.push(Record::user(&user));
    }
    records
}

/// The keys of a new password.
fn credentials(name: &UserName, password: &str, mechanisms: Option<&[Mechanism]>) -> Result<Vec<Credential>> {
    if password.is_empty() {
        return Err(Error::EmptyPassword);
    }
    let mechanisms = mechanisms.unwrap_or(&Mechanism::ALL);
    if mechanisms.is_empty() {
        return Err(Error::NoMechanisms);
    }
    let wanted = Mechanism::ALL
        .into_iter()
        .filter(|mechanism| mechanisms.contains(mechanism));
    wanted
        .map(|mechanism| Credential::new(mechanism, &name.name, password))
        .collect()
}

fn check_name(name: &UserName) -> Result<()> {
    match name.is_valid() {
        true => Ok(()),
        false => Err(Error::Name(name.clone())),
    }
}

fn check_room(what: &'static str, count: usize, max: usize) -> Result<()> {
    match count < max {
        true => Ok(()),
        false => Err(Error::TooMany { what, max }),
    }
}

/// Whether all of the roles are there.
fn check_roles(directory: &Directory, roles: &[RoleName]) -> Result<()> {
    match roles.iter().find(|role| !directory.has_role(role)) {
        None => Ok(()),
        Some(missing) => Err(Error::NoSuchRole(missing.clone())),
    }
}

/// The role, if users have made it.
fn made<'a>(directory: &'a Directory, name: &RoleName) -> Result<&'a Role> {
    match directory.role(name) {
        Some(role) => Ok(role),
        None if role::built_in(name).is_some() => Err(Error::BuiltInRole(name.clone())),
        None => Err(Error::NoSuchRole(name.clone())),
    }
}

/// Whether a role is about what it may be about, includes roles that are there, and not itself.
fn check_role(directory: &Directory, role: &Role) -> Result<()> {
    check_roles(directory, &role.roles)?;
    if role.name.database != ADMIN {
        let other_database = |other: &str| Error::OtherDatabase {
            role: role.name.clone(),
            other: other.to_owned(),
        };
        let in_home = |pattern: &Pattern| matches!(pattern, Pattern::Namespace { database, .. } if *database == role.name.database);
        if let Some(privilege) = role.privileges.iter().find(|privilege| !in_home(&privilege.resource)) {
            return Err(other_database(privilege.resource.home()));
        }
        if let Some(included) = role
            .roles
            .iter()
            .find(|included| included.database != role.name.database)
        {
            return Err(other_database(&included.to_string()));
        }
    }
    for included in &role.roles {
        if directory.inherited(std::slice::from_ref(included)).contains(&role.name) {
            return Err(Error::Cycle {
                role: role.name.clone(),
                included: included.clone(),
            });
        }
    }
    Ok(())
}

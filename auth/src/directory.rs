//! All users and roles as they are at one moment, with what each may do worked out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::name::{RoleName, UserName};
use crate::privilege::Privileges;
use crate::role::{self, Role};
use crate::user::User;

/// Users and roles. See the module documentation.
///
/// Invariant: no role includes itself, through however many others.
#[derive(Clone, Default, Debug)]
pub(crate) struct Directory {
    /// Each with what it may do.
    users: BTreeMap<UserName, (Arc<User>, Arc<Privileges>)>,
    roles: BTreeMap<RoleName, Arc<Role>>,
}

impl Directory {
    pub(crate) fn new(users: Vec<User>, roles: Vec<Role>) -> Directory {
        let mut directory = Directory {
            users: BTreeMap::new(),
            roles: roles
                .into_iter()
                .map(|role| (role.name.clone(), Arc::new(role)))
                .collect(),
        };
        // Many users have the same few roles.
        let mut known = HashMap::new();
        for user in users {
            let privileges = known
                .entry(user.roles.clone())
                .or_insert_with(|| Arc::new(directory.granted_by(&user.roles)));
            let privileges = Arc::clone(privileges);
            directory.users.insert(user.name.clone(), (Arc::new(user), privileges));
        }
        directory
    }

    pub(crate) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    pub(crate) fn user(&self, name: &UserName) -> Option<&Arc<User>> {
        self.users.get(name).map(|(user, _)| user)
    }

    pub(crate) fn users(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.users.values().map(|(user, _)| user)
    }

    pub(crate) fn privileges_of(&self, name: &UserName) -> Option<&Arc<Privileges>> {
        self.users.get(name).map(|(_, privileges)| privileges)
    }

    /// A role that users have made.
    pub(crate) fn role(&self, name: &RoleName) -> Option<&Arc<Role>> {
        self.roles.get(name)
    }

    pub(crate) fn roles(&self) -> impl ExactSizeIterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// Whether there is such a role, of whatever kind.
    pub(crate) fn has_role(&self, name: &RoleName) -> bool {
        self.roles.contains_key(name) || role::built_in(name).is_some()
    }

    /// The roles, and those that they include, each once.
    pub(crate) fn inherited(&self, roles: &[RoleName]) -> Vec<RoleName> {
        let mut seen: HashSet<&RoleName> = HashSet::new();
        let mut found = Vec::new();
        let mut ahead: Vec<&RoleName> = roles.iter().rev().collect();
        while let Some(name) = ahead.pop() {
            if !seen.insert(name) {
                continue;
            }
            found.push(name.clone());
            if let Some(role) = self.roles.get(name) {
                ahead.extend(role.roles.iter().rev());
            }
        }
        found
    }

    /// What the roles grant together, with those that they include. Roles that are no longer there grant nothing.
    pub(crate) fn granted_by(&self, roles: &[RoleName]) -> Privileges {
        let mut privileges = Privileges::default();
        for name in self.inherited(roles) {
            match self.roles.get(&name) {
                Some(role) => privileges.extend(&role.privileges),
                None => privileges.extend(&role::built_in(&name).unwrap_or_default()),
            }
        }
        privileges
    }
}

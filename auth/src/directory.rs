//! All users and roles as they are at one moment, with what each may do worked out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::credentials::Mechanism;
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
    /// How many users have each set of mechanisms.
    mechanisms: BTreeMap<Vec<Mechanism>, u64>,
}

impl Directory {
    pub(crate) fn new(users: Vec<User>, roles: Vec<Role>) -> Directory {
        let mut directory = Directory {
            users: BTreeMap::new(),
            roles: roles
                .into_iter()
                .map(|role| (role.name.clone(), Arc::new(role)))
                .collect(),
            mechanisms: BTreeMap::new(),
        };
        // Many users have the same few roles.
        let mut known = HashMap::new();
        for user in users {
            let privileges = known
                .entry(user.roles.clone())
                .or_insert_with(|| Arc::new(directory.granted_by(&user.roles)));
            let privileges = Arc::clone(privileges);
            *directory.mechanisms.entry(user.mechanisms().collect()).or_default() += 1;
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

    /// The mechanisms of a user that is not there, by a number that is its name's: each set as often among all numbers as among
    /// the users, and all of them as long as there are none.
    pub(crate) fn mechanisms_of_nobody(&self, number: u64) -> Vec<Mechanism> {
        let users: u64 = self.mechanisms.values().sum();
        // Where the number falls when all of them are laid out over the users.
        let mut place = (u128::from(number) * u128::from(users)) >> 64;
        for (mechanisms, &count) in &self.mechanisms {
            match place.checked_sub(u128::from(count)) {
                Some(behind) => place = behind,
                None => return mechanisms.clone(),
            }
        }
        Mechanism::ALL.to_vec()
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

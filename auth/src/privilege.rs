//! Privileges: actions on resources.

use crate::action::{Action, Actions};
use crate::resource::{Pattern, Resource};

/// Actions on what a pattern takes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Privilege {
    /// What they may be done to.
    pub resource: Pattern,
    /// What may be done.
    pub actions: Actions,
}

/// Everything that a user or a role may do: at most one privilege for each pattern.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Privileges(Vec<Privilege>);

impl Privileges {
    /// Whether the action may be done to the resource.
    #[must_use]
    pub fn allow(&self, action: Action, resource: Resource<'_>) -> bool {
        let mut privileges = self.0.iter();
        privileges.any(|privilege| privilege.actions.contains(action) && privilege.resource.matches(resource))
    }

    /// Adds a privilege to what there is for its pattern.
    pub fn add(&mut self, resource: Pattern, actions: Actions) {
        match self.0.iter_mut().find(|privilege| privilege.resource == resource) {
            Some(privilege) => privilege.actions = privilege.actions.union(actions),
            None => self.0.push(Privilege { resource, actions }),
        }
    }

    /// Adds all of another's.
    pub fn extend(&mut self, other: &Privileges) {
        for privilege in &other.0 {
            self.add(privilege.resource.clone(), privilege.actions);
        }
    }

    /// Takes actions away from what there is for exactly that pattern.
    pub fn remove(&mut self, resource: &Pattern, actions: Actions) {
        for privilege in self.0.iter_mut().filter(|privilege| privilege.resource == *resource) {
            privilege.actions = privilege.actions.without(actions);
        }
        self.0.retain(|privilege| !privilege.actions.is_empty());
    }

    /// One after the other, in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Privilege> {
        self.0.iter()
    }
}

impl FromIterator<Privilege> for Privileges {
    fn from_iter<I: IntoIterator<Item = Privilege>>(privileges: I) -> Privileges {
        let mut all = Privileges::default();
        for privilege in privileges {
            all.add(privilege.resource, privilege.actions);
        }
        all
    }
}

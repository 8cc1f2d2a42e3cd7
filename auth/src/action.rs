//! What can be done, under MongoDB's names (manual: *Privilege Actions*). A role grants actions on resources, a command needs them.

/// Declares the actions with their names.
macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $action:ident = $name:literal,)+) => {
        /// One thing that a privilege allows.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum Action {
            $($(#[doc = $doc])+ $action,)+
        }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Action] = &[$(Action::$action,)+];

            /// Its name, as roles have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Action::$action => $name,)+
                }
            }
        }
    };
}

actions! {
    /// Read documents.
    Find = "find",
    /// Insert documents.
    Insert = "insert",
    /// Update and replace documents.
    Update = "update",
    /// Delete documents.
    Remove = "remove",
    /// Watch changes; reading them takes [`Action::Find`] as well.
    ChangeStream = "changeStream",
    /// Create a collection.
    CreateCollection = "createCollection",
    /// Drop a collection.
    DropCollection = "dropCollection",
    /// Rename a collection within its database.
    RenameCollectionSameDb = "renameCollectionSameDB",
    /// Change a collection's options.
    CollMod = "collMod",
    /// See how large a collection is.
    CollStats = "collStats",
    /// Compare a collection's indexes with its documents.
    Validate = "validate",
    /// Write documents that a validator would refuse.
    BypassDocumentValidation = "bypassDocumentValidation",
    /// Create indexes.
    CreateIndex = "createIndex",
    /// Drop indexes.
    DropIndex = "dropIndex",
    /// List indexes.
    ListIndexes = "listIndexes",
    /// Let go of one's own cursors.
    KillCursors = "killCursors",
    /// List a database's collections.
    ListCollections = "listCollections",
    /// See how large a database is.
    DbStats = "dbStats",
    /// Drop a database.
    DropDatabase = "dropDatabase",
    /// Create users.
    CreateUser = "createUser",
    /// Drop users.
    DropUser = "dropUser",
    /// See users.
    ViewUser = "viewUser",
    /// Change anybody's password.
    ChangePassword = "changePassword",
    /// Change anybody's custom data.
    ChangeCustomData = "changeCustomData",
    /// Change one's own password.
    ChangeOwnPassword = "changeOwnPassword",
    /// Change one's own custom data.
    ChangeOwnCustomData = "changeOwnCustomData",
    /// Create roles.
    CreateRole = "createRole",
    /// Drop roles.
    DropRole = "dropRole",
    /// Grant a role of the database, or privileges on it.
    GrantRole = "grantRole",
    /// Take a role of the database from whoever has it.
    RevokeRole = "revokeRole",
    /// See roles.
    ViewRole = "viewRole",
    /// List all databases.
    ListDatabases = "listDatabases",
    /// See how the server is: counters, metrics, the dashboard.
    ServerStatus = "serverStatus",
    /// See the machine.
    HostInfo = "hostInfo",
    /// See how the server was started.
    GetCmdLineOpts = "getCmdLineOpts",
    /// See the server's settings.
    GetParameter = "getParameter",
    /// Read the server's log lines.
    GetLog = "getLog",
    /// See how the replica set is.
    ReplSetGetStatus = "replSetGetStatus",
    /// See the replica set's members.
    ReplSetGetConfig = "replSetGetConfig",
    /// Have another member of the replica set be the primary.
    ReplSetStateChange = "replSetStateChange",
    /// See what is running.
    InProg = "inprog",
    /// End what is running.
    KillOp = "killop",
    /// Let go of anybody's cursors.
    KillAnyCursor = "killAnyCursor",
    /// End anybody's sessions.
    KillAnySession = "killAnySession",
    /// Make everything that was written durable.
    Fsync = "fsync",
    /// Have commands fail, on a server for tests; Tailwater's own.
    ConfigureFailPoint = "configureFailPoint",
    /// Follow the log as a member; Tailwater's own.
    Replicate = "replicate",
}

impl Action {
    /// The action of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Action> {
        Action::ALL.iter().copied().find(|action| action.name() == name)
    }
}

/// A set of actions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Actions(u64);

// Each has a bit of its own.
const _: () = assert!(Action::ALL.len() <= 64);

impl Actions {
    /// None.
    pub const NONE: Actions = Actions(0);

    /// Every action.
    pub const ALL: Actions = Actions::of(Action::ALL);

    /// Those listed.
    #[must_use]
    pub const fn of(actions: &[Action]) -> Actions {
        let (mut bits, mut at) = (0, 0);
        while at < actions.len() {
            bits |= 1 << actions[at] as u32;
            at += 1;
        }
        Actions(bits)
    }

    /// Whether the action is one of them.
    #[must_use]
    pub const fn contains(self, action: Action) -> bool {
        self.0 & (1 << action as u32) != 0
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Actions) -> Actions {
        Actions(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One after the other, in the order of [`Action::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.iter().copied().filter(move |action| self.contains(*action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_found_by_its_name_and_is_in_the_set_of_itself_alone() {
        for &action in Action::ALL {
            assert_eq!(Action::from_name(action.name()), Some(action));
            let set = Actions::of(&[action]);
            assert_eq!(set.iter().collect::<Vec<_>>(), [action]);
            assert!(Actions::ALL.contains(action));
            assert!(!Actions::ALL.without(set).contains(action));
        }
        assert_eq!(Action::from_name("anyAction"), None);
        assert!(Actions::NONE.is_empty());
    }
}

//! Roles: named privileges, and other roles that they include.
//!
//! The roles of this file's table are there in every store (MongoDB manual: *Built-In Roles*); users make the others. A role of a
//! database other than `admin` is about that database alone.

use crate::action::Action::{self, *};
use crate::action::Actions;
use crate::name::RoleName;
use crate::privilege::Privileges;
use crate::resource::Pattern;

/// A role that users have made.
#[derive(Clone, PartialEq, Debug)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// What it grants by itself.
    pub privileges: Privileges,
    /// The roles whose privileges it grants as well.
    pub roles: Vec<RoleName>,
}

/// The database that roles about more than one database belong to.
pub(crate) const ADMIN: &str = "admin";

const READ: &[Action] = &[
    Find,
    ChangeStream,
    CollStats,
    DbStats,
    KillCursors,
    ListCollections,
    ListIndexes,
];

const WRITE: &[Action] = &[
    Insert,
    Update,
    Remove,
    CreateCollection,
    DropCollection,
    RenameCollectionSameDb,
    CreateIndex,
    DropIndex,
];

const DB_ADMIN: &[Action] = &[
    BypassDocumentValidation,
    CollMod,
    CollStats,
    CreateCollection,
    CreateIndex,
    DbStats,
    DropCollection,
    DropDatabase,
    DropIndex,
    KillCursors,
    ListCollections,
    ListIndexes,
    RenameCollectionSameDb,
    Validate,
];

const USER_ADMIN: &[Action] = &[
    CreateUser,
    DropUser,
    ViewUser,
    ChangePassword,
    ChangeCustomData,
    CreateRole,
    DropRole,
    GrantRole,
    RevokeRole,
    ViewRole,
];

const MONITOR: &[Action] = &[
    ListDatabases,
    ServerStatus,
    HostInfo,
    GetCmdLineOpts,
    GetParameter,
    GetLog,
    ReplSetGetStatus,
    ReplSetGetConfig,
    InProg,
];

/// What says how much there is, and nothing of what stands in it.
const SIZES: &[Action] = &[CollStats, DbStats, ListCollections, ListIndexes];

/// What says which member is the primary.
const MANAGE_SET: &[Action] = &[ReplSetStateChange];

/// What has the commands of others fail, on a server for tests.
const MANAGE_TESTS: &[Action] = &[ConfigureFailPoint];

const MANAGE_HOST: &[Action] = &[Fsync, KillOp, KillAnyCursor, KillAnySession];

/// What a role of the table allows on what a pattern takes in: lists of actions together.
type Grant = (Pattern, Vec<&'static [Action]>);

/// Where a role of the table can be found.
#[derive(PartialEq)]
enum Home {
    /// In every database, about that one.
    Each,
    /// In `admin` alone.
    Admin,
}

/// A role that every store has.
struct BuiltIn {
    name: &'static str,
    home: Home,
    /// Its privileges in a database; for those of `admin` the database is not looked at.
    privileges: fn(&str) -> Vec<Grant>,
}

static BUILT_IN: [BuiltIn; 15] = [
    BuiltIn {
        name: "read",
        home: Home::Each,
        privileges: |database| vec![(Pattern::database(database), vec![READ])],
    },
    BuiltIn {
        name: "readWrite",
        home: Home::Each,
        privileges: |database| vec![(Pattern::database(database), vec![READ, WRITE])],
    },
    BuiltIn {
        name: "dbAdmin",
        home: Home::Each,
        privileges: |database| vec![(Pattern::database(database), vec![DB_ADMIN])],
    },
    BuiltIn {
        name: "userAdmin",
        home: Home::Each,
        privileges: |database| vec![(Pattern::database(database), vec![USER_ADMIN])],
    },
    BuiltIn {
        name: "dbOwner",
        home: Home::Each,
        privileges: |database| vec![(Pattern::database(database), vec![READ, WRITE, DB_ADMIN, USER_ADMIN])],
    },
    BuiltIn {
        name: "readAnyDatabase",
        home: Home::Admin,
        privileges: |_| vec![on_any(vec![READ]), on_cluster(vec![&[ListDatabases]])],
    },
    BuiltIn {
        name: "readWriteAnyDatabase",
        home: Home::Admin,
        privileges: |_| vec![on_any(vec![READ, WRITE]), on_cluster(vec![&[ListDatabases]])],
    },
    BuiltIn {
        name: "dbAdminAnyDatabase",
        home: Home::Admin,
        privileges: |_| vec![on_any(vec![DB_ADMIN]), on_cluster(vec![&[ListDatabases]])],
    },
    BuiltIn {
        name: "userAdminAnyDatabase",
        home: Home::Admin,
        privileges: |_| vec![on_any(vec![USER_ADMIN]), on_cluster(vec![&[ListDatabases]])],
    },
    BuiltIn {
        name: "clusterMonitor",
        home: Home::Admin,
        privileges: |_| {
            vec![
                on_cluster(vec![MONITOR]),
                on_any(vec![SIZES]),
                (Pattern::database("config"), vec![SIZES]),
                (Pattern::database("local"), vec![SIZES]),
            ]
        },
    },
    BuiltIn {
        name: "hostManager",
        home: Home::Admin,
        privileges: |_| vec![on_cluster(vec![MANAGE_HOST])],
    },
    BuiltIn {
        name: "clusterAdmin",
        home: Home::Admin,
        privileges: |_| {
            vec![
                on_cluster(vec![MONITOR, MANAGE_HOST, MANAGE_SET, MANAGE_TESTS]),
                on_any(vec![SIZES, &[DropDatabase]]),
                (Pattern::database("config"), vec![SIZES]),
                (Pattern::database("local"), vec![SIZES]),
            ]
        },
    },
    BuiltIn {
        name: "backup",
        home: Home::Admin,
        privileges: |_| {
            vec![
                on_any(vec![SIZES, &[Find]]),
                (Pattern::database("config"), vec![SIZES, &[Find]]),
                (Pattern::database("local"), vec![SIZES, &[Find]]),
                on_cluster(vec![&[ListDatabases, ServerStatus, GetParameter, ReplSetGetStatus]]),
            ]
        },
    },
    BuiltIn {
        name: "replicator",
        home: Home::Admin,
        privileges: |_| {
            vec![on_cluster(vec![&[
                Replicate,
                ReplSetGetStatus,
                ReplSetGetConfig,
                ServerStatus,
            ]])]
        },
    },
    BuiltIn {
        name: "root",
        home: Home::Admin,
        privileges: |_| vec![(Pattern::Anything, vec![Action::ALL])],
    },
];

fn on_any(actions: Vec<&'static [Action]>) -> Grant {
    (Pattern::database(""), actions)
}

fn on_cluster(actions: Vec<&'static [Action]>) -> Grant {
    (Pattern::Cluster, actions)
}

/// The privileges of a role of the table, if there is one of that name in that database.
pub(crate) fn built_in(name: &RoleName) -> Option<Privileges> {
    let role = BUILT_IN
        .iter()
        .find(|role| role.name == name.name && role.is_in(&name.database))?;
    let mut privileges = Privileges::default();
    for (resource, actions) in (role.privileges)(&name.database) {
        for actions in actions {
            privileges.add(resource.clone(), Actions::of(actions));
        }
    }
    Some(privileges)
}

/// The names of the table's roles in a database.
pub(crate) fn built_in_names(database: &str) -> impl Iterator<Item = RoleName> {
    let there = BUILT_IN.iter().filter(move |role| role.is_in(database));
    there.map(move |role| RoleName::new(database, role.name))
}

impl BuiltIn {
    fn is_in(&self, database: &str) -> bool {
        self.home == Home::Each || database == ADMIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;

    #[test]
    fn roles_of_a_database_are_about_it_alone_and_those_about_more_are_in_admin() {
        let may = |role: &RoleName, action, database| {
            let privileges = built_in(role).unwrap_or_default();
            privileges.allow(action, Resource::Database(database))
        };
        let read = RoleName::new("shop", "read");
        assert!(may(&read, Find, "shop") && !may(&read, Find, "blog") && !may(&read, Insert, "shop"));
        let any = RoleName::new("admin", "readWriteAnyDatabase");
        assert!(may(&any, Find, "shop") && may(&any, Insert, "blog") && !may(&any, CreateUser, "shop"));
        assert_eq!(built_in(&RoleName::new("shop", "readWriteAnyDatabase")), None);
        assert_eq!(built_in(&RoleName::new("shop", "nothing")), None);
    }

    /// `local.oplog.rs` has every document of every database.
    #[test]
    fn only_roles_that_say_so_read_the_oplog_and_what_belongs_to_the_deployment() {
        let readers = [
            ("admin", "backup", "config local"),
            ("admin", "root", "config local"),
            ("config", "read", "config"),
            ("config", "readWrite", "config"),
            ("config", "dbOwner", "config"),
            ("local", "read", "local"),
            ("local", "readWrite", "local"),
            ("local", "dbOwner", "local"),
        ];
        for home in ["admin", "config", "local", "shop"] {
            for name in built_in_names(home) {
                let privileges = built_in(&name).unwrap();
                for (database, collection) in [("config", "settings"), ("local", "oplog.rs")] {
                    let may = [Find, ChangeStream]
                        .map(|action| privileges.allow(action, Resource::Collection { database, collection }));
                    let expected = readers
                        .iter()
                        .any(|(of, reader, read)| *of == home && *reader == name.name && read.contains(database));
                    assert_eq!(may[0], expected, "{name} on {database}");
                    assert!(expected || !may[1], "{name} watches {database}");
                }
            }
        }
    }

    #[test]
    fn root_may_do_everything_and_only_members_and_root_may_replicate() {
        for name in built_in_names("admin") {
            let privileges = built_in(&name).unwrap();
            let is_root = name.name == "root";
            let all = Action::ALL
                .iter()
                .all(|&action| privileges.allow(action, Resource::Cluster));
            assert_eq!(all, is_root, "{name}");
            let replicates = privileges.allow(Replicate, Resource::Cluster);
            assert_eq!(replicates, is_root || name.name == "replicator", "{name}");
        }
    }
}

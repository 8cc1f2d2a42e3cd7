//! The table of commands: the one source for what can be run, for `listCommands`, and for the compatibility page.
//!
//! One file for each command, or for a few that are one thing. A command reads every field of its request that
//! `Request::arguments` gives, and refuses those it does not know.

mod aggregate;
mod bulk;
mod bulk_write;
mod coll_mod;
mod count;
mod create;
mod current_op;
mod cursors;
mod delete;
mod describe;
mod diagnostics;
mod distinct;
mod drop;
mod explain;
mod fail_point;
mod find;
mod find_and_modify;
mod hello;
mod indexes;
mod insert;
mod list_collections;
mod list_databases;
mod oplog_commands;
mod rename;
mod replica_set;
mod roles;
mod sasl;
mod sessions;
mod stats;
mod transactions;
mod update;
mod users;
mod validate;

pub(crate) use crate::command::{Command, Kind, Runs};
pub(crate) use crate::needs::Needs;
use crate::request::Request;

/// All commands, by name.
static COMMANDS: [Command; 68] = [
    transactions::ABORT,
    aggregate::AGGREGATE,
    describe::BUILD_INFO,
    bulk_write::BULK_WRITE,
    coll_mod::COLL_MOD,
    stats::COLL_STATS,
    transactions::COMMIT,
    fail_point::CONFIGURE_FAIL_POINT,
    describe::CONNECTION_STATUS,
    count::COUNT,
    create::CREATE,
    indexes::CREATE_INDEXES,
    roles::CREATE_ROLE,
    users::CREATE_USER,
    current_op::CURRENT_OP,
    stats::DB_STATS,
    delete::DELETE,
    distinct::DISTINCT,
    drop::DROP,
    roles::DROP_ALL_ROLES,
    users::DROP_ALL_USERS,
    drop::DROP_DATABASE,
    indexes::DROP_INDEXES,
    roles::DROP_ROLE,
    users::DROP_USER,
    sessions::END_SESSIONS,
    explain::EXPLAIN,
    find::FIND,
    find_and_modify::FIND_AND_MODIFY,
    diagnostics::FSYNC,
    describe::GET_CMD_LINE_OPTS,
    diagnostics::GET_LOG,
    cursors::GET_MORE,
    describe::GET_PARAMETER,
    roles::GRANT_PRIVILEGES,
    roles::GRANT_ROLES,
    users::GRANT_ROLES,
    hello::HELLO,
    diagnostics::HOST_INFO,
    insert::INSERT,
    cursors::KILL_CURSORS,
    current_op::KILL_OP,
    sessions::KILL_SESSIONS,
    list_collections::LIST_COLLECTIONS,
    describe::LIST_COMMANDS,
    list_databases::LIST_DATABASES,
    indexes::LIST_INDEXES,
    sasl::LOGOUT,
    describe::PING,
    sessions::REFRESH_SESSIONS,
    rename::RENAME_COLLECTION,
    replica_set::REPL_SET_GET_CONFIG,
    replica_set::REPL_SET_GET_STATUS,
    replica_set::REPL_SET_STEP_UP,
    roles::REVOKE_PRIVILEGES,
    roles::REVOKE_ROLES,
    users::REVOKE_ROLES,
    roles::ROLES_INFO,
    sasl::SASL_CONTINUE,
    sasl::SASL_START,
    diagnostics::SERVER_STATUS,
    sessions::START_SESSION,
    update::UPDATE,
    roles::UPDATE_ROLE,
    users::UPDATE_USER,
    users::USERS_INFO,
    validate::VALIDATE,
    describe::WHATSMYURI,
];

/// The command of that name.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.is_called(name))
}

/// Whether a command of that name is the first of a connection.
pub(crate) fn is_hello(name: &str) -> bool {
    hello::HELLO.is_called(name)
}

/// Whether a command that reads writes what it has read into a collection.
pub(crate) fn writes_elsewhere(request: &Request<'_>) -> bool {
    aggregate::AGGREGATE.is_called(request.name) && aggregate::writes(request)
}

/// Names and sentences of all commands, in the order of their names.
pub fn help() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMANDS.iter().map(|command| (command.name, command.help))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_sorted_and_no_name_stands_for_two() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name.to_ascii_lowercase()));
        let mut names = BTreeSet::new();
        for command in &COMMANDS {
            for name in command.aliases.iter().chain([&command.name]) {
                assert!(names.insert(*name), "{name}");
            }
        }
    }
}

//! Every command is refused without each of the actions it needs, and goes with exactly them.

use crate::common;

use std::collections::BTreeSet;

use bson::{Document, doc};
use common::{Client, Running, batch, cursor_id, until};

/// What a command needs.
enum Needs {
    /// Nothing.
    Nothing,
    /// To be logged in.
    Login,
    /// These privileges, each an action on a resource.
    All(Vec<(&'static str, Document)>),
}

struct Case {
    database: &'static str,
    command: Document,
    needs: Needs,
}

fn on(database: &str, collection: &str) -> Document {
    doc! { "db": database, "collection": collection }
}

fn cluster() -> Document {
    doc! { "cluster": true }
}

fn nothing(command: Document) -> Case {
    Case {
        database: "shop",
        command,
        needs: Needs::Nothing,
    }
}

fn login(database: &'static str, command: Document) -> Case {
    Case {
        database,
        command,
        needs: Needs::Login,
    }
}

fn needs(database: &'static str, command: Document, needs: &[(&'static str, Document)]) -> Case {
    Case {
        database,
        command,
        needs: Needs::All(needs.to_vec()),
    }
}

/// A command on the collection `shop.orders` that needs actions on it.
fn orders(command: Document, actions: &[&'static str]) -> Case {
    let all: Vec<_> = actions.iter().map(|action| (*action, on("shop", "orders"))).collect();
    needs("shop", command, &all)
}

/// A command on the database `shop` that needs an action on all of it.
fn shop(command: Document, action: &'static str) -> Case {
    needs("shop", command, &[(action, on("shop", ""))])
}

fn server(command: Document, action: &'static str) -> Case {
    needs("admin", command, &[(action, cluster())])
}

fn aggregate(stages: &[Document]) -> Document {
    doc! { "aggregate": "orders", "pipeline": stages, "cursor": {} }
}

fn cases() -> Vec<Case> {
    let privilege = doc! { "resource": on("shop", "orders"), "actions": ["find"] };
    let roles = doc! { "role": "read", "db": "blog" };
    let watch = |options: Document| doc! { "$changeStream": options };
    let both = |resource: Document| [("find", resource.clone()), ("changeStream", resource)];
    let dump = |stage: Document| aggregate(&[stage]);
    vec![
        nothing(doc! { "buildInfo": 1 }),
        nothing(doc! { "connectionStatus": 1 }),
        nothing(doc! { "hello": 1 }),
        nothing(doc! { "listCommands": 1 }),
        nothing(doc! { "ping": 1 }),
        nothing(doc! { "saslStart": 1 }),
        nothing(doc! { "saslContinue": 1 }),
        nothing(doc! { "whatsmyuri": 1 }),
        login("shop", doc! { "abortTransaction": 1 }),
        login("shop", doc! { "commitTransaction": 1 }),
        login("shop", doc! { "endSessions": [] }),
        login("shop", doc! { "getMore": 1_i64, "collection": "orders" }),
        login("shop", doc! { "killCursors": "orders", "cursors": [1_i64] }),
        login("shop", doc! { "killSessions": [] }),
        login("admin", doc! { "listDatabases": 1 }),
        login(
            "shop",
            doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true },
        ),
        login("shop", doc! { "refreshSessions": [] }),
        login("shop", doc! { "startSession": 1 }),
        login(
            "shop",
            doc! { "aggregate": 1, "pipeline": [{ "$documents": [] }], "cursor": {} },
        ),
        // Reading.
        orders(doc! { "find": "orders" }, &["find"]),
        orders(doc! { "count": "orders" }, &["find"]),
        orders(doc! { "distinct": "orders", "key": "a" }, &["find"]),
        orders(dump(doc! { "$match": {} }), &["find"]),
        orders(dump(doc! { "$collStats": { "count": {} } }), &["collStats"]),
        orders(doc! { "explain": { "find": "orders" } }, &["find"]),
        orders(
            doc! { "explain": { "aggregate": "orders", "pipeline": [], "cursor": {} } },
            &["find"],
        ),
        orders(
            doc! { "aggregate": "orders", "pipeline": [], "explain": true },
            &["find"],
        ),
        orders(
            doc! { "insert": "orders", "documents": [{}], "bypassDocumentValidation": true },
            &["insert", "bypassDocumentValidation"],
        ),
        orders(
            doc! { "explain": { "update": "orders", "updates": [{ "q": {}, "u": {} }] } },
            &["find", "update"],
        ),
        orders(
            doc! { "explain": { "delete": "orders", "deletes": [{ "q": {} }] } },
            &["find", "remove"],
        ),
        // What else a pipeline reads and writes.
        needs(
            "shop",
            aggregate(&[doc! { "$lookup": { "from": "people", "localField": "a", "foreignField": "a", "as": "b" } }]),
            &[("find", on("shop", "orders")), ("find", on("shop", "people"))],
        ),
        needs(
            "shop",
            aggregate(&[doc! { "$facet": { "x": [{ "$unionWith": { "coll": "people", "pipeline": [] } }] } }]),
            &[("find", on("shop", "orders")), ("find", on("shop", "people"))],
        ),
        needs(
            "shop",
            aggregate(&[doc! { "$out": { "db": "blog", "coll": "posts" } }]),
            &[
                ("find", on("shop", "orders")),
                ("insert", on("blog", "posts")),
                ("remove", on("blog", "posts")),
            ],
        ),
        needs(
            "shop",
            aggregate(&[doc! { "$merge": "people" }]),
            &[
                ("find", on("shop", "orders")),
                ("insert", on("shop", "people")),
                ("update", on("shop", "people")),
            ],
        ),
        // Watching.
        needs("shop", aggregate(&[watch(doc! {})]), &both(on("shop", "orders"))),
        needs(
            "shop",
            doc! { "aggregate": 1, "pipeline": [watch(doc! {})], "cursor": {} },
            &both(on("shop", "")),
        ),
        needs(
            "admin",
            doc! { "aggregate": 1, "pipeline": [watch(doc! { "allChangesForCluster": true })], "cursor": {} },
            &both(on("", "")),
        ),
        // Writing.
        orders(doc! { "insert": "orders", "documents": [{ "a": 1 }] }, &["insert"]),
        orders(
            doc! { "update": "orders", "updates": [{ "q": {}, "u": { "$set": { "a": 1 } } }] },
            &["update"],
        ),
        orders(
            doc! { "update": "orders", "updates": [{ "q": { "a": 9 }, "u": { "b": 1 }, "upsert": true }] },
            &["update", "insert"],
        ),
        orders(
            doc! { "delete": "orders", "deletes": [{ "q": { "a": 1 }, "limit": 1 }] },
            &["remove"],
        ),
        orders(
            doc! { "findAndModify": "orders", "query": {}, "remove": true },
            &["find", "remove"],
        ),
        orders(
            doc! { "findAndModify": "orders", "query": { "a": 9 }, "update": { "a": 9 }, "upsert": true },
            &["find", "update", "insert"],
        ),
        // Definitions.
        orders(doc! { "create": "orders" }, &["createCollection"]),
        orders(doc! { "collMod": "orders" }, &["collMod"]),
        orders(doc! { "collStats": "orders" }, &["collStats"]),
        orders(doc! { "validate": "orders" }, &["validate"]),
        orders(
            doc! { "createIndexes": "orders", "indexes": [{ "key": { "a": 1 }, "name": "a_1" }] },
            &["createIndex"],
        ),
        orders(doc! { "listIndexes": "orders" }, &["listIndexes"]),
        orders(doc! { "dropIndexes": "orders", "index": "a_1" }, &["dropIndex"]),
        orders(doc! { "drop": "nothing" }, &[]).on_collection("nothing", "dropCollection"),
        shop(doc! { "listCollections": 1 }, "listCollections"),
        shop(doc! { "dbStats": 1 }, "dbStats"),
        needs(
            "empty",
            doc! { "dropDatabase": 1 },
            &[("dropDatabase", on("empty", ""))],
        ),
        needs(
            "admin",
            doc! { "renameCollection": "shop.a", "to": "shop.b", "dropTarget": true },
            &[
                ("renameCollectionSameDB", on("shop", "a")),
                ("renameCollectionSameDB", on("shop", "b")),
                ("dropCollection", on("shop", "b")),
            ],
        ),
        needs(
            "admin",
            doc! { "renameCollection": "shop.a", "to": "blog.a" },
            &[
                ("find", on("shop", "a")),
                ("dropCollection", on("shop", "a")),
                ("createCollection", on("blog", "a")),
                ("insert", on("blog", "a")),
                ("createIndex", on("blog", "a")),
            ],
        ),
        // Users and roles.
        needs(
            "shop",
            doc! { "createUser": "x", "pwd": "", "roles": [roles.clone()] },
            &[("createUser", on("shop", "")), ("grantRole", on("blog", ""))],
        ),
        shop(doc! { "updateUser": "x", "pwd": "y" }, "changePassword"),
        shop(doc! { "updateUser": "x", "customData": {} }, "changeCustomData"),
        needs(
            "shop",
            doc! { "updateUser": "x", "roles": [roles.clone()] },
            &[("grantRole", on("blog", "")), ("revokeRole", on("shop", ""))],
        ),
        shop(doc! { "dropUser": "x" }, "dropUser"),
        needs(
            "empty",
            doc! { "dropAllUsersFromDatabase": 1 },
            &[("dropUser", on("empty", ""))],
        ),
        shop(doc! { "usersInfo": 1 }, "viewUser"),
        needs(
            "shop",
            doc! { "usersInfo": { "forAllDBs": true } },
            &[("viewUser", on("", ""))],
        ),
        needs(
            "shop",
            doc! { "grantRolesToUser": "x", "roles": [roles.clone()] },
            &[("grantRole", on("blog", ""))],
        ),
        needs(
            "shop",
            doc! { "revokeRolesFromUser": "x", "roles": [roles.clone()] },
            &[("revokeRole", on("blog", ""))],
        ),
        needs(
            "blog",
            doc! { "createRole": "read", "privileges": [privilege.clone()], "roles": [roles.clone()] },
            &[
                ("createRole", on("blog", "")),
                ("grantRole", on("shop", "")),
                ("grantRole", on("blog", "")),
            ],
        ),
        needs(
            "blog",
            doc! { "updateRole": "x", "privileges": [privilege.clone()] },
            &[("revokeRole", on("blog", "")), ("grantRole", on("shop", ""))],
        ),
        shop(doc! { "dropRole": "x" }, "dropRole"),
        needs(
            "empty",
            doc! { "dropAllRolesFromDatabase": 1 },
            &[("dropRole", on("empty", ""))],
        ),
        shop(doc! { "rolesInfo": 1 }, "viewRole"),
        needs(
            "blog",
            doc! { "grantPrivilegesToRole": "x", "privileges": [privilege.clone()] },
            &[("grantRole", on("shop", ""))],
        ),
        needs(
            "blog",
            doc! { "revokePrivilegesFromRole": "x", "privileges": [privilege] },
            &[("revokeRole", on("shop", ""))],
        ),
        needs(
            "shop",
            doc! { "grantRolesToRole": "x", "roles": [roles.clone()] },
            &[("grantRole", on("blog", ""))],
        ),
        needs(
            "shop",
            doc! { "revokeRolesFromRole": "x", "roles": [roles] },
            &[("revokeRole", on("blog", ""))],
        ),
        // Also where they give or take nothing.
        shop(doc! { "grantRolesToUser": "x", "roles": [] }, "grantRole"),
        shop(doc! { "revokeRolesFromUser": "x", "roles": [] }, "revokeRole"),
        shop(doc! { "grantRolesToRole": "x", "roles": [] }, "grantRole"),
        shop(doc! { "revokeRolesFromRole": "x", "roles": [] }, "revokeRole"),
        shop(doc! { "grantPrivilegesToRole": "x", "privileges": [] }, "grantRole"),
        shop(doc! { "revokePrivilegesFromRole": "x", "privileges": [] }, "revokeRole"),
        // Several collections.
        needs(
            "admin",
            doc! {
                "bulkWrite": 1,
                "ops": [
                    { "insert": 0, "document": {} },
                    { "update": 1, "filter": {}, "updateMods": { "$set": { "a": 1 } }, "upsert": true },
                    { "delete": 1, "filter": {} },
                ],
                "nsInfo": [{ "ns": "shop.orders" }, { "ns": "shop.people" }],
            },
            &[
                ("insert", on("shop", "orders")),
                ("update", on("shop", "people")),
                ("insert", on("shop", "people")),
                ("remove", on("shop", "people")),
            ],
        ),
        needs(
            "local",
            doc! { "find": "oplog.rs", "limit": 1 },
            &[("find", on("local", "oplog.rs"))],
        ),
        // The server.
        server(doc! { "currentOp": 1 }, "inprog"),
        login("admin", doc! { "currentOp": 1, "$ownOps": true }),
        server(
            doc! { "aggregate": 1, "pipeline": [{ "$currentOp": {} }], "cursor": {} },
            "inprog",
        ),
        server(doc! { "killOp": 1, "op": 1_000_000 }, "killop"),
        server(
            doc! { "configureFailPoint": "failCommand", "mode": "off" },
            "configureFailPoint",
        ),
        server(doc! { "fsync": 1 }, "fsync"),
        server(doc! { "getCmdLineOpts": 1 }, "getCmdLineOpts"),
        server(doc! { "getLog": "*" }, "getLog"),
        server(doc! { "getParameter": "*" }, "getParameter"),
        server(doc! { "hostInfo": 1 }, "hostInfo"),
        server(doc! { "replSetGetConfig": 1 }, "replSetGetConfig"),
        server(doc! { "replSetGetStatus": 1 }, "replSetGetStatus"),
        server(doc! { "replSetStepUp": 1 }, "replSetStateChange"),
        server(doc! { "serverStatus": 1 }, "serverStatus"),
        // Last: whoever has logged out has no more rights to try.
        nothing(doc! { "logout": 1 }),
    ]
}

impl Case {
    fn on_collection(mut self, collection: &str, action: &'static str) -> Case {
        self.needs = Needs::All(vec![(action, on("shop", collection))]);
        self
    }
}

fn code(client: &mut Client, case: &Case) -> Option<i32> {
    client.run_on(case.database, case.command.clone()).get_i32("code").ok()
}

#[test]
fn every_command_is_refused_without_what_it_needs_and_goes_with_exactly_that() {
    let running = Running::guarded();
    let mut root = running.root();
    root.admin(doc! { "createRole": "probe", "privileges": [], "roles": [] });
    root.admin(doc! { "createUser": "probe", "pwd": "p", "roles": ["probe"] });
    for collection in ["orders", "people"] {
        root.run_on("shop", doc! { "create": collection });
    }
    let (mut probe, mut nobody) = (running.client(), running.client());
    probe.login("probe", "p");
    let mut allow = |privileges: &[(&str, Document)]| {
        let privilege = |(action, resource): &(&str, Document)| doc! { "resource": resource, "actions": [*action] };
        let privileges: Vec<Document> = privileges.iter().map(privilege).collect();
        root.admin(doc! { "updateRole": "probe", "privileges": privileges });
    };
    let mut seen = BTreeSet::new();
    for case in cases() {
        seen.insert(case.command.keys().next().unwrap().clone());
        let what = &case.command;
        allow(&[]);
        match &case.needs {
            Needs::Nothing => assert_ne!(code(&mut nobody, &case), Some(13), "{what}"),
            Needs::Login => {
                assert_eq!(code(&mut nobody, &case), Some(13), "{what}");
                assert_ne!(code(&mut probe, &case), Some(13), "{what}");
            }
            Needs::All(all) => {
                assert_eq!(code(&mut nobody, &case), Some(13), "{what}");
                for left_out in 0..all.len() {
                    let mut others = all.clone();
                    let (action, _) = others.remove(left_out);
                    allow(&others);
                    assert_eq!(code(&mut probe, &case), Some(13), "{what} without {action}");
                }
                allow(all);
                let answer = probe.run_on(case.database, what.clone());
                assert_ne!(answer.get_i32("code").ok(), Some(13), "{what}: {answer}");
            }
        }
    }
    let all: BTreeSet<String> = tailwater_server::help().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(seen, all, "every command has a case");
}

#[test]
fn a_watcher_sees_what_it_may_watch_until_it_may_no_more() {
    let running = Running::guarded();
    let (mut root, mut watcher) = (running.root(), running.client());
    let resource = on("shop", "orders");
    root.admin(doc! {
        "createRole": "watcher", "roles": [],
        "privileges": [{ "resource": resource, "actions": ["find", "changeStream"] }],
    });
    root.admin(doc! { "createUser": "watcher", "pwd": "p", "roles": ["watcher"] });
    watcher.login("watcher", "p");
    let watch = doc! { "aggregate": "orders", "pipeline": [{ "$changeStream": {} }], "cursor": {} };
    let cursor = cursor_id(&watcher.run_on("shop", watch.clone()));
    let mut other = watch;
    other.insert("aggregate", "people");
    assert_eq!(watcher.run_on("shop", other).get_i32("code").ok(), Some(13));
    root.run_on("shop", doc! { "insert": "orders", "documents": [{ "_id": 1 }] });
    let more = doc! { "getMore": cursor, "collection": "orders" };
    let events = until("the event of the write", || {
        let events = batch(&watcher.run_on("shop", more.clone()));
        (!events.is_empty()).then_some(events)
    });
    assert_eq!(events[0].get_str("operationType").unwrap(), "insert");
    root.admin(doc! { "updateRole": "watcher", "privileges": [] });
    let answer = watcher.run_on("shop", more);
    assert_eq!(answer.get_i32("code").ok(), Some(13), "{answer}");
}

#[test]
fn what_was_renamed_is_read_by_nobody_who_could_not_read_it_before() {
    let running = Running::guarded();
    let (mut root, mut ada) = (running.root(), running.client());
    root.run_on("shop", doc! { "create": "secret" });
    root.admin(doc! { "createRole": "renamer", "roles": [], "privileges": [] });
    root.admin(doc! { "createUser": "ada", "pwd": "p", "roles": ["renamer"] });
    ada.login("ada", "p");
    let rename = ("renameCollectionSameDB", on("shop", ""));
    let find = |collection: &str| ("find", on("shop", collection));
    for (privileges, may) in [
        (vec![find("secret"), find("open")], false),
        (vec![rename.clone(), find("open")], false),
        (vec![rename.clone(), find("secret"), find("open")], true),
        (vec![rename.clone(), find("secret")], true),
        (vec![rename], true),
    ] {
        let privileges = privileges
            .iter()
            .map(|(action, resource)| doc! { "resource": resource, "actions": [*action] });
        let privileges: Vec<Document> = privileges.collect();
        root.admin(doc! { "updateRole": "renamer", "privileges": privileges.clone() });
        let answer = ada.run_on("admin", doc! { "renameCollection": "shop.secret", "to": "shop.open" });
        assert_eq!(answer.get_i32("code").ok() != Some(13), may, "{privileges:?}: {answer}");
        if may {
            root.admin(doc! { "renameCollection": "shop.open", "to": "shop.secret" });
        }
    }
}

/// The log has every document of every database.
#[test]
fn roles_that_see_how_the_server_is_do_not_read_the_oplog() {
    let running = Running::guarded();
    let mut root = running.root();
    let find = doc! { "find": "oplog.rs", "limit": 1 };
    let cases = [
        ("clusterMonitor", "admin", false),
        ("clusterAdmin", "admin", false),
        ("replicator", "admin", false),
        ("readWriteAnyDatabase", "admin", false),
        ("dbOwner", "admin", false),
        ("backup", "admin", true),
        ("read", "local", true),
    ];
    for (n, (role, database, may)) in cases.into_iter().enumerate() {
        let user = format!("user{n}");
        root.admin(doc! { "createUser": user.as_str(), "pwd": "p", "roles": [{ "role": role, "db": database }] });
        let mut client = running.client();
        client.login(&user, "p");
        let answer = client.run_on("local", find.clone());
        assert_eq!(answer.get_i32("code").ok() != Some(13), may, "{role}: {answer}");
    }
}

#[test]
fn rights_that_were_taken_are_taken_from_every_cursor() {
    let running = Running::guarded();
    let (mut root, mut ada) = (running.root(), running.client());
    for collection in ["orders", "people"] {
        root.run_on(
            "shop",
            doc! { "insert": collection, "documents": [{ "_id": 1 }, { "_id": 2 }] },
        );
    }
    root.admin(doc! { "createRole": "reader", "roles": [], "privileges": [] });
    root.admin(doc! { "createUser": "ada", "pwd": "p", "roles": ["reader"] });
    ada.login("ada", "p");
    let lookup = doc! { "$lookup": { "from": "people", "localField": "a", "foreignField": "a", "as": "b" } };
    let one = doc! { "batchSize": 1 };
    let tail = doc! { "find": "oplog.rs", "tailable": true, "awaitData": true, "batchSize": 1 };
    let find = |collection: &str| ("find", on("shop", collection));
    for (database, command, collection, taken) in [
        (
            "shop",
            doc! { "find": "orders", "batchSize": 1 },
            "orders",
            find("orders"),
        ),
        (
            "shop",
            doc! { "aggregate": "orders", "pipeline": [lookup], "cursor": one },
            "orders",
            find("people"),
        ),
        (
            "local",
            doc! { "find": "oplog.rs", "batchSize": 1 },
            "oplog.rs",
            ("find", on("local", "oplog.rs")),
        ),
        ("local", tail, "oplog.rs", ("find", on("local", "oplog.rs"))),
    ] {
        let all = [find("orders"), find("people"), ("find", on("local", "oplog.rs"))];
        let of = |privileges: &[(&str, Document)]| {
            let privilege = |(action, resource): &(&str, Document)| doc! { "resource": resource, "actions": [*action] };
            privileges.iter().map(privilege).collect::<Vec<Document>>()
        };
        root.admin(doc! { "updateRole": "reader", "privileges": of(&all) });
        let answer = ada.run_on(database, command.clone());
        assert_eq!(batch(&answer).len(), 1, "{answer}");
        let more = doc! { "getMore": cursor_id(&answer), "collection": collection };
        let left: Vec<_> = all.into_iter().filter(|privilege| *privilege != taken).collect();
        root.admin(doc! { "updateRole": "reader", "privileges": of(&left) });
        let answer = ada.run_on(database, more);
        assert_eq!(answer.get_i32("code").ok(), Some(13), "{command}: {answer}");
    }
}

/// Each field of `updateUser` needs something of its own. Without one nothing would be asked, and the answer would say which users
/// there are.
#[test]
fn an_update_of_a_user_without_a_field_is_refused_and_tells_nothing() {
    let running = Running::guarded();
    let mut root = running.root();
    root.admin(doc! { "createUser": "nobody", "pwd": "p", "roles": [] });
    let mut client = running.client();
    client.login("nobody", "p");
    let before = running.store.applied();
    let mut answers = ["root", "nobody", "someone"].map(|name| {
        [doc! {}, doc! { "digestPassword": true }].map(|nothing| {
            let mut command = doc! { "updateUser": name };
            command.extend(nothing);
            let mut answer = client.run_on("admin", command);
            for time in ["operationTime", "$clusterTime"] {
                answer.remove(time);
            }
            answer
        })
    });
    let first = answers[0][0].clone();
    assert_eq!(first.get_i32("code").ok(), Some(2), "{first}");
    assert!(answers.iter_mut().flatten().all(|answer| *answer == first));
    assert_eq!(running.store.applied(), before, "nothing was written");
}

/// A fail point that closes connections would lock everybody out.
#[test]
fn fail_points_are_for_administrators_of_the_cluster() {
    let running = Running::guarded_with(|options| options.test_commands = true);
    let mut root = running.root();
    let command = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    for (role, may) in [
        ("readWriteAnyDatabase", false),
        ("clusterMonitor", false),
        ("clusterAdmin", true),
    ] {
        root.admin(doc! { "createUser": role, "pwd": "p", "roles": [role] });
        let mut client = running.client();
        client.login(role, "p");
        let answer = client.run_on("admin", command.clone());
        assert_eq!(answer.get_i32("code").ok(), (!may).then_some(13), "{role}: {answer}");
    }
    root.admin(command);
}

#[test]
fn cursors_and_sessions_belong_to_the_user_that_made_them() {
    let running = Running::guarded();
    let mut root = running.root();
    for user in ["ada", "bob"] {
        root.admin(doc! { "createUser": user, "pwd": "p", "roles": ["readWriteAnyDatabase"] });
    }
    let (mut ada, mut bob) = (running.client(), running.client());
    ada.login("ada", "p");
    bob.login("bob", "p");
    ada.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }] });
    let lsid = common::session();
    let cursor = cursor_id(&ada.ok(doc! { "find": "c", "batchSize": 1, "lsid": lsid.clone() }));
    let more = doc! { "getMore": cursor, "collection": "c", "lsid": lsid.clone() };
    let kill = doc! { "killCursors": "c", "cursors": [cursor] };
    assert_eq!(bob.refused(more.clone()).0, 13);
    assert_eq!(bob.refused(kill.clone()).0, 13);

    // A session of the same name is another one: it neither sees a transaction nor ends it.
    let part = |first: bool, id: i32| {
        let mut insert = doc! {
            "insert": "c", "documents": [{ "_id": id }],
            "lsid": lsid.clone(), "txnNumber": 1_i64, "autocommit": false,
        };
        if first {
            insert.insert("startTransaction", true);
        }
        insert
    };
    ada.ok(part(true, 3));
    assert_eq!(bob.refused(part(false, 4)).0, 251);
    bob.ok(doc! { "killSessions": [lsid.clone()] });
    ada.ok(part(false, 5));
    ada.admin(doc! { "commitTransaction": 1, "lsid": lsid.clone(), "txnNumber": 1_i64, "autocommit": false });
    assert_eq!(batch(&ada.ok(more)).len(), 1);
    // Who may let go of anybody's cursors may.
    let cursor = cursor_id(&ada.ok(doc! { "find": "c", "batchSize": 1 }));
    root.ok(doc! { "killCursors": "c", "cursors": [cursor] });
}

#[test]
fn what_belongs_to_the_server_itself_is_refused_to_everybody() {
    for running in [Running::new(), Running::guarded()] {
        let mut client = running.client();
        if running.has_users() {
            client.login("root", "root's");
        }
        client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }] });
        let internal = tailwater::INTERNAL_DATABASE;
        for command in [
            doc! { "find": "users" },
            doc! { "insert": "users", "documents": [{ "_id": 1 }] },
            doc! { "aggregate": "users", "pipeline": [], "cursor": {} },
            doc! { "aggregate": "users", "pipeline": [{ "$changeStream": {} }], "cursor": {} },
            doc! { "listCollections": 1 },
            doc! { "dropDatabase": 1 },
        ] {
            let answer = client.run_on(internal, command.clone());
            assert_eq!(answer.get_i32("code").ok(), Some(13), "{command}: {answer}");
        }
        for stage in ["$out", "$merge"] {
            let target = doc! { "db": internal, "coll": "users" };
            let target = if stage == "$out" {
                target
            } else {
                doc! { "into": target }
            };
            let pipeline = doc! { "aggregate": "c", "pipeline": [{ stage: target }], "cursor": {} };
            assert_eq!(client.refused(pipeline).0, 13);
        }
        for (from, to) in [("test.c", "tailwater.users"), ("tailwater.users", "test.users")] {
            let answer = client.run_on("admin", doc! { "renameCollection": from, "to": to });
            assert_eq!(answer.get_i32("code").ok(), Some(13), "{answer}");
        }
        let databases = client.admin(doc! { "listDatabases": 1, "nameOnly": true });
        assert_eq!(
            databases.get_array("databases").unwrap(),
            &[doc! { "name": "test" }.into()]
        );
    }
}

#[test]
fn who_may_not_list_everything_is_shown_what_it_may_use() {
    let running = Running::guarded();
    let (mut root, mut ada) = (running.root(), running.client());
    for (database, collection) in [("shop", "orders"), ("shop", "people"), ("blog", "posts")] {
        root.run_on(database, doc! { "create": collection });
    }
    let resource = on("shop", "orders");
    root.admin(doc! {
        "createRole": "some", "roles": [], "privileges": [{ "resource": resource, "actions": ["find"] }],
    });
    root.admin(doc! { "createUser": "ada", "pwd": "p", "roles": ["some"] });
    ada.login("ada", "p");
    let databases = ada.admin(doc! { "listDatabases": 1, "nameOnly": true });
    assert_eq!(
        databases.get_array("databases").unwrap(),
        &[doc! { "name": "shop" }.into()]
    );
    let list = doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true };
    let collections = batch(&ada.run_on("shop", list));
    assert_eq!(collections, [doc! { "name": "orders", "type": "collection" }]);
}

/// What is asked of one field must not be carried out for another of the same name.
#[test]
fn a_name_that_stands_for_two_fields_is_refused() {
    let running = Running::guarded();
    let mut root = running.root();
    root.admin(doc! { "createUser": "me", "pwd": "p", "roles": [] });
    let mut me = running.client();
    me.login("me", "p");
    let twice = |name: &str, first: bson::Bson, second: bson::Bson, rest: Document| {
        let mut bytes = bson::RawDocumentBuf::new();
        for (name, value) in rest
            .into_iter()
            .chain([(name.to_owned(), first), (name.to_owned(), second)])
        {
            let name = bson::raw::CString::try_from(name).unwrap();
            bytes.append(&name, bson::RawBson::try_from(value).unwrap());
        }
        bytes
    };
    let root_role = doc! { "role": "root", "db": "admin" };
    let everything = doc! { "$changeStream": { "allChangesForCluster": true } };
    for body in [
        twice(
            "roles",
            bson::bson!([]),
            bson::bson!([root_role]),
            doc! { "grantRolesToUser": "me" },
        ),
        twice(
            "pipeline",
            bson::bson!([]),
            bson::bson!([everything]),
            doc! { "aggregate": 1, "cursor": {} },
        ),
    ] {
        let answer = me.run_raw("admin", &body);
        assert_eq!(answer.get_i32("code").ok(), Some(40413), "{answer}");
    }
    // The same within what a privilege is about.
    root.admin(doc! { "createRole": "helper", "roles": [], "privileges": [] });
    root.admin(doc! { "grantRolesToUser": "me", "roles": [{ "role": "userAdmin", "db": "shop" }] });
    let resource = twice("db", "shop".into(), "admin".into(), doc! { "collection": "" });
    let privilege = bson::rawdoc! { "resource": resource, "actions": ["grantRole"] };
    for command in ["grantPrivilegesToRole", "revokePrivilegesFromRole"] {
        let mut body = bson::RawDocumentBuf::new();
        body.append(bson::raw::CString::try_from(command).unwrap(), "helper");
        body.append(
            bson::raw::cstr!("privileges"),
            bson::RawArrayBuf::from_iter([privilege.clone()]),
        );
        let answer = me.run_raw("admin", &body);
        assert_eq!(answer.get_i32("code").ok(), Some(40413), "{answer}");
    }
    // Where a number says no, it does so for both.
    let change = doc! { "findAndModify": "orders", "remove": 0.0, "update": { "$set": { "a": 1 } } };
    root.admin(doc! { "createRole": "remover", "roles": [], "privileges": [
        { "resource": on("shop", "orders"), "actions": ["find", "remove"] },
    ] });
    root.admin(doc! { "grantRolesToUser": "me", "roles": ["remover"] });
    assert_eq!(me.run_on("shop", change).get_i32("code").ok(), Some(13));
}

//! Logging in, and what is there before and after it.

use crate::common;

use bson::{Document, doc};
use common::scram::{Begun, binary};
use common::{Client, Running};
use tailwater_auth::Authentication;

fn code(answer: &Document) -> Option<i32> {
    answer.get_i32("code").ok()
}

/// Who is logged in, by `connectionStatus`.
fn who(client: &mut Client) -> Vec<String> {
    let status = client.admin(doc! { "connectionStatus": 1 });
    let users = status.get_document("authInfo").unwrap().get_array("authenticatedUsers");
    let name = |user: &bson::Bson| user.as_document().unwrap().get_str("user").unwrap().to_owned();
    users.unwrap().iter().map(name).collect()
}

#[test]
fn nothing_but_the_handshake_goes_before_a_login_and_all_that_is_allowed_after_it() {
    let running = Running::guarded();
    let mut client = running.client();
    client.admin(doc! { "hello": 1 });
    client.admin(doc! { "ping": 1 });
    let find = doc! { "find": "c" };
    let refused = client.run(find.clone());
    assert_eq!(code(&refused), Some(13));
    assert_eq!(
        refused.get_str("errmsg").unwrap(),
        "Command find requires authentication"
    );
    client.login("root", "root's");
    assert_eq!(who(&mut client), ["root"]);
    client.ok(find.clone());
    client.admin(doc! { "logout": 1 });
    assert_eq!(who(&mut client), Vec::<String>::new());
    assert_eq!(code(&client.run(find)), Some(13));
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let running = Running::guarded();
    let mut client = running.client();
    let wrong = client.try_login("admin", "root", "guess");
    let unknown = client.try_login("admin", "nobody", "guess");
    let elsewhere = client.try_login("test", "root", "root's");
    let said = |answer: &Document| (code(answer), answer.get_str("errmsg").unwrap().to_owned());
    assert_eq!(said(&wrong), (Some(18), "Authentication failed.".to_owned()));
    assert_eq!(said(&unknown), said(&wrong));
    assert_eq!(said(&elsewhere), said(&wrong));
    let hello = |user: &str| {
        let answer = running
            .client()
            .admin(doc! { "hello": 1, "saslSupportedMechs": format!("admin.{user}") });
        answer.get_array("saslSupportedMechs").unwrap().clone()
    };
    assert_eq!(hello("root"), hello("nobody"));
}

#[test]
fn a_login_begins_with_the_handshake_and_ends_with_an_empty_message_where_the_client_wants_that() {
    let running = Running::guarded();
    let mut client = running.client();
    let begun = Begun::new("root", "root's");
    let mut start = begun.start(false);
    start.insert("db", "admin");
    let hello = client.admin(doc! { "hello": 1, "speculativeAuthenticate": start });
    let answer = client.admin(begun.prove(hello.get_document("speculativeAuthenticate").unwrap()));
    assert!(!answer.get_bool("done").unwrap());
    assert_eq!(who(&mut client), Vec::<String>::new());
    let end = client.admin(doc! { "saslContinue": 1, "conversationId": 1, "payload": binary("") });
    assert!(end.get_bool("done").unwrap());
    assert_eq!(who(&mut client), ["root"]);
}

#[test]
fn a_speculation_that_cannot_be_is_left_out_of_the_handshake() {
    let running = Running::guarded();
    let mut client = running.client();
    for start in [
        doc! { "saslStart": 1, "mechanism": "MONGODB-X509", "payload": binary(""), "db": "admin" },
        doc! { "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": binary("?"), "db": "admin" },
        doc! { "authenticate": 1, "db": "$external" },
    ] {
        let hello = client.admin(doc! { "hello": 1, "speculativeAuthenticate": start });
        assert!(!hello.contains_key("speculativeAuthenticate"));
    }
}

#[test]
fn a_mechanism_that_a_user_does_not_have_is_not_begun_so_that_drivers_take_the_one_it_has() {
    let running = Running::guarded();
    let (mut root, mut client) = (running.root(), running.client());
    root.admin(doc! { "createUser": "old", "pwd": "p", "roles": [], "mechanisms": ["SCRAM-SHA-1"] });
    let mut start = Begun::new("old", "p").start(true);
    start.insert("db", "admin");
    let hello = doc! { "hello": 1, "saslSupportedMechs": "admin.old", "speculativeAuthenticate": start };
    let hello = client.admin(hello);
    assert_eq!(hello.get_array("saslSupportedMechs").unwrap(), &["SCRAM-SHA-1".into()]);
    assert!(!hello.contains_key("speculativeAuthenticate"));
}

#[test]
fn a_conversation_that_was_begun_with_an_old_password_is_not_ended_with_it() {
    let running = Running::guarded();
    let (mut root, mut client) = (running.root(), running.client());
    root.admin(doc! { "createUser": "ada", "pwd": "old", "roles": [] });
    let begun = Begun::new("ada", "old");
    let answer = client.admin(begun.start(true));
    root.admin(doc! { "updateUser": "ada", "pwd": "new" });
    assert_eq!(code(&client.run_on("admin", begun.prove(&answer))), Some(18));
    assert_eq!(who(&mut client), Vec::<String>::new());
}

#[test]
fn a_conversation_that_is_out_of_order_is_refused() {
    let running = Running::guarded();
    let mut client = running.client();
    let mut go_on = |id: i32, payload: &str| {
        let command = doc! { "saslContinue": 1, "conversationId": id, "payload": binary(payload) };
        code(&client.run_on("admin", command))
    };
    assert_eq!(go_on(1, ""), Some(17));
    let begun = Begun::new("root", "root's");
    let mut client = running.client();
    let answer = client.admin(begun.start(true));
    let mut proof = begun.prove(&answer);
    proof.insert("conversationId", 2);
    assert_eq!(code(&client.run_on("admin", proof)), Some(17));
    // What was begun is over with that.
    assert_eq!(code(&client.run_on("admin", begun.prove(&answer))), Some(17));
    let unknown = doc! { "saslStart": 1, "mechanism": "PLAIN", "payload": binary("x") };
    assert_eq!(code(&client.run_on("admin", unknown)), Some(334));
}

#[test]
fn only_this_machine_makes_the_first_user_and_only_that_one() {
    let running = Running::authenticating(Authentication::Required, |_| {});
    let mut client = running.client();
    assert_eq!(code(&client.run(doc! { "find": "c" })), Some(13));
    let user = |name: &str| doc! { "createUser": name, "pwd": "p", "roles": ["root"] };
    assert_eq!(code(&client.run(user("elsewhere"))), Some(13));
    client.admin(user("first"));
    assert_eq!(code(&client.run_on("admin", user("second"))), Some(13));
    client.login("first", "p");
    client.admin(user("second"));
}

#[test]
fn what_a_user_may_changes_while_it_is_logged_in() {
    let running = Running::guarded();
    let (mut root, mut client) = (running.root(), running.client());
    root.admin(doc! { "createUser": "ada", "pwd": "p", "roles": [] });
    client.login("ada", "p");
    let find = doc! { "find": "c" };
    assert_eq!(code(&client.run(find.clone())), Some(13));
    root.admin(doc! { "grantRolesToUser": "ada", "roles": [{ "role": "read", "db": "test" }] });
    client.ok(find.clone());
    root.admin(doc! { "dropUser": "ada" });
    assert_eq!(code(&client.run(find.clone())), Some(13));
    // One of the same name is another.
    root.admin(doc! { "createUser": "ada", "pwd": "p", "roles": [{ "role": "read", "db": "test" }] });
    assert_eq!(code(&client.run(find)), Some(13));
}

#[test]
fn users_change_their_own_password_where_they_may() {
    let running = Running::guarded();
    let (mut root, mut client) = (running.root(), running.client());
    root.admin(doc! { "createUser": "ada", "pwd": "old", "roles": [] });
    client.login("ada", "old");
    let change = doc! { "updateUser": "ada", "pwd": "new" };
    assert_eq!(code(&client.run_on("admin", change.clone())), Some(13));
    let privilege = doc! { "resource": { "db": "admin", "collection": "" }, "actions": ["changeOwnPassword"] };
    root.admin(doc! { "createRole": "own", "privileges": [privilege], "roles": [] });
    root.admin(doc! { "grantRolesToUser": "ada", "roles": ["own"] });
    client.admin(change);
    let other = doc! { "updateUser": "root", "pwd": "mine" };
    assert_eq!(code(&client.run_on("admin", other)), Some(13));
    let roles = doc! { "updateUser": "ada", "roles": ["root"] };
    assert_eq!(code(&client.run_on("admin", roles)), Some(13));
    running.client().login("ada", "new");
}

#[test]
fn users_and_roles_are_shown_without_keys() {
    let running = Running::guarded();
    let mut root = running.root();
    let privilege = doc! { "resource": { "db": "test", "collection": "c" }, "actions": ["find", "changeStream"] };
    let role = doc! { "createRole": "watcher", "privileges": [privilege.clone()], "roles": [] };
    root.ok(role);
    root.ok(doc! { "createUser": "ada", "pwd": "p", "roles": ["watcher"], "customData": { "team": 7 } });
    let info = root.ok(doc! { "usersInfo": "ada", "showPrivileges": true });
    let user = info.get_array("users").unwrap()[0].as_document().unwrap();
    assert_eq!(user.get_document("customData").unwrap(), &doc! { "team": 7 });
    assert_eq!(
        user.get_array("inheritedPrivileges").unwrap(),
        &[privilege.clone().into()]
    );
    assert!(!info.to_string().contains("storedKey"));
    let refused = root.run(doc! { "usersInfo": "ada", "showCredentials": true });
    assert_eq!(code(&refused), Some(238));
    let info = root.ok(doc! { "rolesInfo": 1, "showPrivileges": true });
    let role = info.get_array("roles").unwrap()[0].as_document().unwrap();
    assert_eq!(role.get_array("privileges").unwrap(), &[privilege.into()]);
    let all = root.ok(doc! { "rolesInfo": 1, "showBuiltinRoles": true });
    assert_eq!(all.get_array("roles").unwrap().len(), 6);
}

//! Servers of one replica set: what a secondary answers, what writers wait for, and a promotion while clients are connected.

use crate::common;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Document, Timestamp, doc};
use common::{Client, PATIENCE, batch, cursor_id, session};
use tailwater::Store;
use tailwater::replication::{Error, FollowerEvent, Selection};
use tailwater_auth::{Authentication, Authority};
use tailwater_server::{Member, MemberEvent, MemberOptions, Server, ServerHandle, ServerOptions};
use tailwater_wire::MsgFlags;
use tempfile::TempDir;

/// A member with its server.
struct Node {
    member: Arc<Member>,
    address: SocketAddr,
    handle: ServerHandle,
    events: Receiver<MemberEvent>,
    thread: Option<JoinHandle<()>>,
    dir: Option<TempDir>,
}

/// How clients reach members, of which nobody has to be there.
const HOSTS: [(&str, &str); 2] = [("a", "127.0.0.1:1"), ("b", "127.0.0.1:2")];

fn options(name: &str, members: &[&str]) -> MemberOptions {
    let mut options = MemberOptions::new(name);
    options.members = members.iter().map(|&member| member.to_owned()).collect();
    options.hosts = HOSTS.map(|(name, host)| (name.to_owned(), host.to_owned())).to_vec();
    // Nobody is to be given up whom a busy machine has kept waiting: who ends is seen by its closed connection.
    options.heartbeat = Duration::from_secs(1);
    options
}

impl Node {
    fn lead(members: &[&str]) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Node::lead_with(&store, dir, members)
    }

    /// Begins to lead with a store that is there.
    fn lead_with(store: &Store, dir: TempDir, members: &[&str]) -> Node {
        let (say, events) = channel();
        let member = Member::lead(options("a", members), store, move |event| {
            say.send(event).unwrap_or_default();
        });
        Node::serve(member.unwrap(), dir, events)
    }

    fn follow(primary: &Node, members: &[&str]) -> Node {
        Node::follow_as("b", primary, members)
    }

    fn follow_as(name: &str, primary: &Node, members: &[&str]) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let (say, events) = channel();
        let from = primary.member.address().unwrap().to_string();
        let mut options = options(name, members);
        options.fence = vec![from.clone()];
        let member = Member::follow(options, dir.path(), &from, move |event| {
            say.send(event).unwrap_or_default();
        });
        Node::serve(member.unwrap(), dir, events)
    }

    fn serve(member: Member, dir: TempDir, events: Receiver<MemberEvent>) -> Node {
        let member = Arc::new(member);
        let store = loop {
            match member.store() {
                Some(store) => break store,
                None => assert_ne!(next_event(&events), MemberEvent::Ended, "{:?}", member.failure()),
            }
        };
        let authority = Arc::new(Authority::open(store.clone(), Authentication::default()).unwrap());
        let options = ServerOptions {
            bind: "127.0.0.1:0".parse().unwrap(),
            member: Some(Arc::clone(&member)),
            ..ServerOptions::default()
        };
        let server = Server::bind(store, authority, options).unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        let thread = Some(std::thread::spawn(move || server.run().unwrap()));
        Node {
            member,
            address,
            handle,
            events,
            thread,
            dir: Some(dir),
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    fn election(&self) -> ObjectId {
        let hello = self.client().admin(doc! { "hello": 1 });
        hello.get_object_id("electionId").unwrap()
    }

    /// Ends it without a word to the others; its directory.
    fn end(mut self) -> Option<TempDir> {
        self.stop();
        self.dir.take()
    }

    fn stop(&mut self) {
        self.handle.stop();
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
        self.member.stop();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

const BOTH: &[&str] = &["a", "b"];

fn pair() -> (Node, Node) {
    let primary = Node::lead(BOTH);
    let follower = Node::follow(&primary, BOTH);
    (primary, follower)
}

/// `command`, for a secondary.
fn anywhere(mut command: Document) -> Document {
    command.insert("$readPreference", doc! { "mode": "secondaryPreferred" });
    command
}

/// `command`, not before what was read or written elsewhere by then.
fn after(command: Document, answer: &Document) -> Document {
    let mut command = anywhere(command);
    let time = answer.get_timestamp("operationTime").unwrap();
    command.insert("readConcern", doc! { "afterClusterTime": time });
    command
}

/// Looks until it is so.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What becomes of a member next.
#[track_caller]
fn next_event(events: &Receiver<MemberEvent>) -> MemberEvent {
    events.recv_timeout(PATIENCE).expect("nothing becomes of the member")
}

fn ids(answer: &Document) -> Vec<i32> {
    batch(answer)
        .iter()
        .map(|document| document.get_i32("_id").unwrap())
        .collect()
}

fn insert(id: i32) -> Document {
    doc! { "insert": "c", "documents": [{ "_id": id }] }
}

#[test]
fn hello_says_who_is_primary_and_where_all_are() {
    let (primary, follower) = pair();
    primary.client().ok(insert(1));
    for (node, me, is_primary) in [(&primary, HOSTS[0].1, true), (&follower, HOSTS[1].1, false)] {
        let mut client = node.client();
        let written = primary.client().ok(doc! { "ping": 1 });
        client.ok(after(doc! { "find": "c" }, &written));
        let hello = client.admin(doc! { "hello": 1 });
        assert_eq!(hello.get_bool("isWritablePrimary").unwrap(), is_primary);
        assert_eq!(hello.get_bool("secondary").unwrap(), !is_primary);
        assert_eq!(hello.get_str("setName").unwrap(), "rs0");
        assert_eq!(
            hello.get_array("hosts").unwrap(),
            &vec![HOSTS[0].1.into(), HOSTS[1].1.into()]
        );
        assert_eq!(
            (hello.get_str("me").unwrap(), hello.get_str("primary").unwrap()),
            (me, HOSTS[0].1)
        );
        assert_eq!(hello.contains_key("electionId"), is_primary);
        let old = client.admin(doc! { "isMaster": 1 });
        assert_eq!(old.get_bool("ismaster").unwrap(), is_primary);
        let config = client.admin(doc! { "replSetGetConfig": 1 });
        let members = config
            .get_document("config")
            .unwrap()
            .get_array("members")
            .unwrap()
            .clone();
        assert_eq!(members.len(), 2);
    }
}

#[test]
fn a_secondary_refuses_writes_and_reads_of_who_has_not_said_that_it_will_do() {
    let (primary, follower) = pair();
    let written = primary.client().ok(insert(1));
    let mut client = follower.client();
    // By then it knows what a majority holds.
    let mut read = after(doc! { "find": "c" }, &written);
    read.get_document_mut("readConcern")
        .unwrap()
        .insert("level", "majority");
    client.ok(read);
    for write in [
        insert(2),
        doc! { "update": "c", "updates": [{ "q": {}, "u": { "$set": { "a": 1 } } }] },
        doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }] },
        doc! { "findAndModify": "c", "remove": true },
        doc! { "create": "d" },
        doc! { "drop": "c" },
        doc! { "createIndexes": "c", "indexes": [{ "key": { "a": 1 }, "name": "a" }] },
        doc! { "createUser": "u", "pwd": "p", "roles": [] },
    ] {
        assert_eq!(
            client.refused(anywhere(write)),
            (10107, "NotWritablePrimary".to_owned())
        );
    }
    // It would write what it has read.
    let out = anywhere(doc! { "aggregate": "c", "pipeline": [{ "$out": "d" }], "cursor": {} });
    assert_eq!(client.refused(out).0, 10107);
    for read in [
        doc! { "find": "c" },
        doc! { "aggregate": "c", "pipeline": [], "cursor": {} },
        doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} },
        doc! { "count": "c" },
        doc! { "distinct": "c", "key": "_id" },
        doc! { "listCollections": 1 },
        doc! { "listIndexes": "c" },
        doc! { "explain": { "find": "c" } },
        doc! { "dbStats": 1 },
    ] {
        assert_eq!(
            client.refused(read.clone()),
            (13435, "NotPrimaryNoSecondaryOk".to_owned())
        );
        let mut primary_only = read.clone();
        primary_only.insert("$readPreference", doc! { "mode": "primary" });
        assert_eq!(client.refused(primary_only).0, 13435);
        client.ok(anywhere(read));
    }
    // What each member has for itself every member shows.
    let oplog = client.run_on("local", doc! { "find": "oplog.rs" });
    assert_eq!(oplog.get_f64("ok").unwrap(), 1.0, "{oplog}");
    let linearizable = doc! { "find": "c", "readConcern": { "level": "linearizable" } };
    assert_eq!(client.refused(anywhere(linearizable)).0, 10107);
    assert_eq!(
        client
            .refused(doc! { "find": "c", "$readPreference": { "mode": "tertiary" } })
            .0,
        9
    );
}

#[test]
fn errors_of_a_secondary_say_what_drivers_do_next() {
    let (_primary, follower) = pair();
    let mut client = follower.client();
    let labels = |answer: &Document| -> Vec<String> {
        let labels = answer.get_array("errorLabels").cloned().unwrap_or_default();
        labels.iter().map(|label| label.as_str().unwrap().to_owned()).collect()
    };
    let mut write = insert(1);
    write.insert("lsid", session());
    write.insert("txnNumber", 1_i64);
    let refused = client.run(write.clone());
    assert_eq!(labels(&refused), ["RetryableWriteError"]);
    assert!(refused.contains_key("topologyVersion"), "{refused}");
    write.insert("startTransaction", true);
    write.insert("autocommit", false);
    assert_eq!(labels(&client.run(write)), ["TransientTransactionError"]);
    let watch = doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {} };
    assert_eq!(client.refused(watch).0, 13435);
}

#[test]
fn a_read_after_a_write_elsewhere_waits_for_it() {
    let (primary, follower) = pair();
    let (mut writer, mut reader) = (primary.client(), follower.client());
    for id in 0..50 {
        let mut write = insert(id);
        write.insert("writeConcern", doc! { "w": 1 });
        let written = writer.ok(write);
        let found = reader.ok(after(doc! { "find": "c", "filter": { "_id": id } }, &written));
        assert_eq!(ids(&found), [id]);
    }
    // What will not come before the time is over.
    let future = Timestamp {
        time: u32::MAX,
        increment: 1,
    };
    let mut read = anywhere(doc! { "find": "c", "maxTimeMS": 50 });
    read.insert("readConcern", doc! { "afterClusterTime": future });
    assert_eq!(reader.refused(read).0, 50);
}

#[test]
fn a_stream_of_one_member_goes_on_at_another() {
    let (primary, follower) = pair();
    let watch = |token: Option<Document>| {
        let options = token.map_or_else(Document::new, |token| doc! { "resumeAfter": token });
        anywhere(doc! { "aggregate": "c", "pipeline": [{ "$changeStream": options }], "cursor": {} })
    };
    let (mut here, mut there) = (primary.client(), follower.client());
    here.ok(insert(0));
    let stream = here.ok(watch(None));
    (1..=4).for_each(|id| drop(here.ok(insert(id))));
    let next = |client: &mut Client, id: i64| {
        common::until("an event", || {
            let more = client.ok(doc! { "getMore": id, "collection": "c", "batchSize": 1 });
            batch(&more).first().cloned()
        })
    };
    let key = |event: &Document| event.get_document("documentKey").unwrap().get_i32("_id").unwrap();
    let first = next(&mut here, cursor_id(&stream));
    assert_eq!(key(&first), 1);
    let stream = there.ok(watch(Some(first.get_document("_id").unwrap().clone())));
    let second = batch(&stream)
        .first()
        .cloned()
        .unwrap_or_else(|| next(&mut there, cursor_id(&stream)));
    assert_eq!(key(&second), 2);
    here.ok(watch(Some(second.get_document("_id").unwrap().clone())));
}

#[test]
fn writers_wait_for_as_many_members_as_they_ask_for() {
    let primary = Node::lead(BOTH);
    let mut client = primary.client();
    let written = |client: &mut Client, id: i32, concern: Document| {
        let mut write = insert(id);
        write.insert("writeConcern", concern);
        let answer = client.ok(write);
        assert_eq!(answer.get_i32("n").unwrap(), 1, "{answer}");
        answer
            .get_document("writeConcernError")
            .ok()
            .map(|error| error.get_i32("code").unwrap())
    };
    // Nobody else is there, and two are a majority of two.
    for (id, concern, expected) in [
        (1, doc! { "w": 1 }, None),
        (2, doc! { "w": 0 }, None),
        (3, doc! { "w": 1, "j": true }, None),
        (4, doc! { "w": 2, "wtimeout": 20 }, Some(64)),
        (5, doc! { "w": "majority", "wtimeout": 20 }, Some(64)),
        (6, doc! { "wtimeout": 20 }, Some(64)),
        (7, doc! { "w": 3 }, Some(100)),
    ] {
        assert_eq!(written(&mut client, id, concern), expected, "{id}");
    }
    assert_eq!(
        client
            .refused(doc! { "insert": "c", "documents": [{ "_id": 8 }], "writeConcern": { "w": 51 } })
            .0,
        9
    );
    // Nor does anybody hold what is read.
    let read = doc! { "find": "c", "readConcern": { "level": "majority" }, "maxTimeMS": 20 };
    assert_eq!(client.refused(read.clone()).0, 50);

    let follower = Node::follow(&primary, BOTH);
    for (id, concern) in [(10, doc! { "w": 2 }), (11, doc! { "w": "majority" }), (12, doc! {})] {
        assert_eq!(written(&mut client, id, concern), None, "{id}");
        let mut read = anywhere(doc! { "find": "c", "filter": { "_id": id } });
        read.insert("readConcern", doc! { "level": "majority" });
        assert_eq!(ids(&client.ok(read)), [id]);
    }
    follower.end();
    // A commit waits, too.
    let (lsid, number) = (session(), 1_i64);
    let part = |mut command: Document| {
        command.extend(doc! { "lsid": lsid.clone(), "txnNumber": number, "autocommit": false });
        command
    };
    let mut begin = part(insert(20));
    begin.insert("startTransaction", true);
    client.ok(begin);
    let commit = part(doc! { "commitTransaction": 1, "writeConcern": { "w": "majority", "wtimeout": 20 } });
    let committed = client.admin(commit);
    assert_eq!(
        committed
            .get_document("writeConcernError")
            .unwrap()
            .get_i32("code")
            .unwrap(),
        64
    );
}

#[test]
fn a_watch_in_the_first_moments_of_a_primary_waits_for_a_majority() {
    let primary = Node::lead(BOTH);
    let mut client = primary.client();
    let mut write = insert(1);
    write.insert("writeConcern", doc! { "w": 1 });
    client.ok(write);
    let watch = |millis: i32| {
        let stages = [doc! { "$changeStream": {} }];
        doc! { "aggregate": "c", "pipeline": stages.to_vec(), "cursor": {}, "maxTimeMS": millis }
    };
    assert_eq!(client.refused(watch(20)).0, 50);
    let watching = std::thread::spawn(move || client.ok(watch(50_000)));
    let _follower = Node::follow(&primary, BOTH);
    watching.join().unwrap();
}

#[test]
fn a_primary_that_has_been_cut_off_does_not_read_what_is_to_be_the_newest_of_all() {
    let (primary, follower) = pair();
    let mut client = primary.client();
    client.ok(insert(1));
    let read = |level: &str, millis: i32| doc! { "find": "c", "readConcern": { "level": level }, "maxTimeMS": millis };
    assert_eq!(ids(&client.ok(read("linearizable", 50_000))), [1]);
    follower.end();
    // A majority has held it. Nobody is there to say that none has written since.
    assert_eq!(ids(&client.ok(read("majority", 50_000))), [1]);
    assert_eq!(client.refused(read("linearizable", 50)).0, 50);
}

#[test]
fn the_status_says_how_members_stand() {
    let (primary, follower) = pair();
    let written = primary.client().ok(insert(1));
    follower.client().ok(after(doc! { "find": "c" }, &written));
    let states = |node: &Node| -> Vec<(String, i32)> {
        let status = node.client().admin(doc! { "replSetGetStatus": 1 });
        let members = status.get_array("members").unwrap();
        let members = members.iter().map(|member| member.as_document().unwrap());
        members
            .map(|member| {
                (
                    member.get_str("name").unwrap().to_owned(),
                    member.get_i32("state").unwrap(),
                )
            })
            .collect()
    };
    let expected = [(HOSTS[0].1.to_owned(), 1), (HOSTS[1].1.to_owned(), 2)];
    for node in [&primary, &follower] {
        until(|| states(node) == expected);
    }
    follower.end();
    until(|| states(&primary)[1].1 == 8);
}

#[test]
fn a_follower_is_promoted_while_clients_are_connected() {
    let (primary, follower) = pair();
    let written = primary.client().ok(insert(1));
    let mut client = follower.client();
    client.ok(after(doc! { "find": "c" }, &written));
    let before = client.admin(doc! { "hello": 1 });
    let known = before.get_document("topologyVersion").unwrap().clone();
    // Somebody who watches for another version.
    let mut watching = follower.client();
    let wait = doc! { "hello": 1, "topologyVersion": known, "maxAwaitTimeMS": 600_000, "$db": "admin" };
    watching.send(&wait, MsgFlags::default(), Vec::new());
    let election = primary.election();
    primary.end();

    let (refused, _) = follower.client().refused(doc! { "replSetStepUp": 1, "force": true });
    assert_eq!(refused, 40415);
    let followed_at = follower.member.address();
    client.admin(doc! { "replSetStepUp": 1 });
    // Who follows it need not look for it elsewhere.
    assert_eq!(follower.member.address(), followed_at);
    assert_eq!(
        client
            .run_on("admin", doc! { "replSetStepUp": 1 })
            .get_i32("code")
            .unwrap(),
        125
    );
    // The promotion may have been told of twice.
    let (mut hello, ..) = watching.receive();
    if !hello.get_bool("isWritablePrimary").unwrap() {
        hello = watching.admin(doc! { "hello": 1 });
    }
    assert!(hello.get_bool("isWritablePrimary").unwrap(), "{hello}");
    assert_eq!(hello.get_str("primary").unwrap(), HOSTS[1].1);
    assert!(hello.get_object_id("electionId").unwrap() > election);
    let mut write = insert(2);
    write.insert("writeConcern", doc! { "w": 1 });
    client.ok(write);
    assert_eq!(ids(&client.ok(doc! { "find": "c" })), [1, 2]);
}

/// A promotion takes as long as unique indexes take that the follower has not completed; here, as long as its thread takes to end.
#[test]
fn a_promotion_that_takes_long_holds_nobody_up() {
    let primary = Node::lead(BOTH);
    let dir = tempfile::tempdir().unwrap();
    let ((say, events), (ended, has_ended)) = (channel(), channel());
    let (go_on, may_go_on) = channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let from = primary.member.address().unwrap().to_string();
    let member = Member::follow(options("b", BOTH), dir.path(), &from, move |event| {
        if event == MemberEvent::Ended {
            ended.send(()).unwrap_or_default();
            may_go_on.lock().unwrap().recv().unwrap_or_default();
        }
        say.send(event).unwrap_or_default();
    });
    let follower = Node::serve(member.unwrap(), dir, events);
    primary.client().ok(insert(1));
    let mut client = follower.client();
    until(|| ids(&client.ok(anywhere(doc! { "find": "c" }))) == [1]);
    let mut asking = follower.client();
    let ask = doc! { "replSetStepUp": 1, "$db": "admin" };
    asking.send(&ask, MsgFlags::default(), Vec::new());
    has_ended.recv_timeout(PATIENCE).unwrap();

    // It is neither the one nor the other yet, and answers as the follower that it was.
    let hello = client.admin(doc! { "hello": 1 });
    assert!(hello.get_bool("secondary").unwrap(), "{hello}");
    assert_eq!(
        client.admin(doc! { "replSetGetStatus": 1 }).get_i32("myState").ok(),
        Some(2)
    );
    assert_eq!(ids(&client.ok(anywhere(doc! { "find": "c" }))), [1]);
    assert_eq!(client.run(insert(2)).get_i32("code").ok(), Some(10107));
    let again = client.run_on("admin", doc! { "replSetStepUp": 1 });
    assert_eq!(again.get_i32("code").ok(), Some(125), "{again}");
    assert!(follower.member.store().is_some() && follower.member.failure().is_none());
    // Whoever stops it does not wait; it ends when it is the primary.
    follower.member.stop();
    drop(go_on);
    let (promoted, ..) = asking.receive();
    assert_eq!(promoted.get_f64("ok").ok(), Some(1.0), "{promoted}");
    until(|| follower.member.failure().is_some());
}

#[test]
fn users_of_the_primary_are_users_of_its_followers_and_who_is_dropped_is_gone_there() {
    let (primary, follower) = pair();
    let mut root = primary.client();
    root.admin(doc! { "createUser": "root", "pwd": "root's", "roles": ["root"] });
    root.login("root", "root's");
    root.admin(doc! { "createUser": "ada", "pwd": "ada's", "roles": ["readAnyDatabase"] });
    let mut there = follower.client();
    // As soon as they have come.
    until(|| there.run(anywhere(doc! { "find": "c" })).get_i32("code").ok() == Some(13));
    there.login("root", "root's");
    until(|| {
        let ada = there.admin(anywhere(doc! { "usersInfo": "ada" }));
        !ada.get_array("users").unwrap().is_empty()
    });
    let mut ada = follower.client();
    ada.login("ada", "ada's");
    ada.ok(anywhere(doc! { "find": "c" }));
    root.admin(doc! { "dropUser": "ada" });
    until(|| ada.run(anywhere(doc! { "find": "c" })).get_f64("ok").unwrap() == 0.0);
}

#[test]
fn a_primary_whose_place_another_has_taken_says_so() {
    let (primary, follower) = pair();
    let mut client = primary.client();
    client.ok(insert(1));
    let counter = |answer: &Document| {
        let version = answer.get_document("topologyVersion").unwrap();
        version.get_i64("counter").unwrap()
    };
    let known = counter(&client.admin(doc! { "hello": 1 }));
    follower.member.promote().unwrap();
    // It is told by the one that has taken it.
    while primary.member.failure().is_none() {
        next_event(&primary.events);
    }
    let refused = client.run(insert(2));
    assert_eq!(refused.get_i32("code").unwrap(), 10107);
    // Drivers take no notice of one whose version they know.
    assert!(counter(&refused) > known, "{refused}");
    let hello = client.admin(doc! { "hello": 1 });
    assert!(hello.get_str("primary").is_err(), "{hello}");
    assert!(
        !hello.get_bool("isWritablePrimary").unwrap() && !hello.contains_key("electionId"),
        "{hello}"
    );
}

#[test]
fn an_old_primary_that_is_started_again_is_not_the_one_that_drivers_believe() {
    let three = &["a", "b", "c"];
    let primary = Node::lead(three);
    let follower = Node::follow(&primary, three);
    primary.client().ok(insert(1));
    let store = primary.member.store().unwrap();
    until(|| store.term().is_elected());
    let first = primary.election();
    let dir = primary.end().unwrap();
    follower.member.promote().unwrap();
    assert!(follower.election() > first);
    let behind = Node::follow_as("c", &follower, three);
    let promoted = follower.member.store().unwrap();
    until(|| promoted.term().is_elected());
    // Each time it begins a term of its own, in the end one with a larger number, but nobody has agreed to it.
    let mut again = Node::lead_with(&store, dir, three);
    while store.term() < promoted.term() {
        let dir = again.end().unwrap();
        again = Node::lead_with(&store, dir, three);
    }
    let (now, old) = (follower.election(), again.election());
    assert!(now > old && old > first, "{now} {old} {first}");
    behind.end();
}

#[test]
fn a_majority_is_not_what_is_durable_here_where_others_have_the_log_as_well() {
    let primary = Node::lead(BOTH);
    let store = primary.member.store().unwrap();
    let _dir = primary.end();
    // As a store is served whose program leads its members itself, or nobody does.
    let authority = Arc::new(Authority::open(store.clone(), Authentication::default()).unwrap());
    let options = ServerOptions {
        bind: "127.0.0.1:0".parse().unwrap(),
        ..ServerOptions::default()
    };
    let server = Server::bind(store.clone(), authority, options).unwrap();
    let (mut client, handle) = (Client::connect(server.local_addr()), server.handle());
    let thread = std::thread::spawn(move || server.run().unwrap());
    let mut id = 0;
    let mut error_of = |concern: Document| {
        id += 1;
        let mut write = insert(id);
        write.insert("writeConcern", concern);
        let answer = client.ok(write);
        let error = answer.get_document("writeConcernError").ok();
        error.map(|error| error.get_i32("code").unwrap())
    };
    assert_eq!(error_of(doc! { "w": 1 }), None);
    assert_eq!(error_of(doc! { "w": "majority" }), Some(100));
    assert_eq!(error_of(doc! {}), Some(100));
    let leading = store.primary("a").members(BOTH.to_vec()).start().unwrap();
    assert_eq!(error_of(doc! { "w": "majority", "wtimeout": 20 }), Some(64));
    leading.stop();
    assert_eq!(error_of(doc! { "w": "majority" }), Some(100));
    handle.stop();
    thread.join().unwrap();
}

#[test]
fn what_is_kept_for_who_follows_is_what_a_member_was_told() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(here.path()).unwrap();
    let mut options = options("a", &[]);
    (options.lag_bytes_max, options.copy_lag_bytes_max) = (123 << 20, 456 << 20);
    let member = Member::lead(options, &store, |_| {}).unwrap();
    let cap = |store: &Store| {
        let slots = store.slots();
        let slot = slots.iter().find(|slot| slot.name == "follower.b");
        slot.map(|slot| slot.max_lag_bytes)
    };
    let while_copied = Arc::new(Mutex::new(None));
    let (note, looked_at) = (Arc::clone(&while_copied), store.clone());
    let from = member.address().unwrap().to_string();
    let follower = Store::follower(there.path(), "b", from).on_event(move |event| {
        if let FollowerEvent::Copying { .. } = event {
            *note.lock().unwrap() = cap(&looked_at);
        }
    });
    let _follower = follower.start().unwrap();
    until(|| cap(&store) == Some(123 << 20));
    assert_eq!(*while_copied.lock().unwrap(), Some(456 << 20));
    member.stop();
}

#[test]
fn a_member_with_more_to_roll_back_than_it_may_ends_and_cuts_nothing() {
    let primary = Node::lead(&[]);
    let following = Node::follow(&primary, &[]);
    let written = primary.client().ok(insert(1));
    following.client().ok(after(doc! { "find": "c" }, &written));
    let store = primary.member.store().unwrap();
    let dir = primary.end().unwrap();
    // What nobody else has.
    let things = store.collection("test", "c").unwrap();
    things.insert_one(&bson::rawdoc! { "_id": 2 }).unwrap();
    drop(things);
    store.close().unwrap();
    following.member.promote().unwrap();
    let from = following.member.address().unwrap().to_string();
    for (bytes, is_cut) in [(1, false), (1 << 20, true)] {
        let mut options = options("a", &[]);
        options.rollback_bytes_max = bytes;
        let (say, events) = channel();
        let member = Member::follow(options, dir.path(), &from, move |event| {
            say.send(event).unwrap_or_default();
        });
        let member = member.unwrap();
        match is_cut {
            false => {
                until(|| next_event(&events) == MemberEvent::Ended);
                let failure = member.failure();
                assert!(
                    matches!(failure, Some(Error::RollbackTooLarge { max: 1, .. })),
                    "{failure:?}"
                );
                assert!(!dir.path().join("rollback").exists());
            }
            true => until(|| dir.path().join("rollback").exists()),
        }
        member.stop();
    }
}

#[test]
fn a_partial_copy_answers_what_it_has_and_is_not_promoted() {
    let primary = Node::lead(BOTH);
    let users = doc! { "createUser": "root", "pwd": "root's", "roles": ["root"], "writeConcern": { "w": 1 } };
    let mut client = primary.client();
    client.admin(users);
    client.login("root", "root's");
    let one =
        |id: i32| doc! { "insert": "c", "documents": [{ "_id": id, "tenant": id % 2 }], "writeConcern": { "w": 1 } };
    (0..4).for_each(|id| drop(client.ok(one(id))));
    client.ok(doc! { "insert": "left-out", "documents": [{ "_id": 1 }], "writeConcern": { "w": 1 } });

    let dir = tempfile::tempdir().unwrap();
    let (say, events) = channel();
    let mut options = options("part", BOTH);
    options.selection = Some(Selection::new(["test.c", "tailwater.*"], &bson::rawdoc! {}).unwrap());
    let from = primary.member.address().unwrap().to_string();
    let member = Member::follow(options, dir.path(), &from, move |event| {
        say.send(event).unwrap_or_default();
    });
    let part = Node::serve(member.unwrap(), dir, events);
    let mut reader = part.client();
    // The users came with it.
    until(|| reader.run(anywhere(doc! { "find": "c" })).get_i32("code").ok() == Some(13));
    reader.login("root", "root's");
    let written = client.ok(one(4));
    assert_eq!(
        ids(&reader.ok(after(doc! { "find": "c", "sort": { "_id": 1 } }, &written))),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(ids(&reader.ok(anywhere(doc! { "find": "left-out" }))), [0; 0]);
    // It holds nothing for anybody, and leads nobody; asking does not end it.
    let mut alone = one(5);
    alone.insert("writeConcern", doc! { "w": 2, "wtimeout": 20 });
    let answer = client.ok(alone);
    let error = answer.get_document("writeConcernError").unwrap();
    assert_eq!(error.get_i32("code").unwrap(), 64, "{error}");
    let refused = reader.run_on("admin", doc! { "replSetStepUp": 1 });
    assert_eq!(refused.get_i32("code").unwrap(), 125, "{refused}");
    let written = client.ok(one(6));
    let read = doc! { "find": "c", "filter": { "_id": 6 } };
    assert_eq!(ids(&reader.ok(after(read, &written))), [6]);
}

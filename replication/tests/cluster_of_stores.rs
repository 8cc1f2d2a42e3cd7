//! Real stores over loopback, in one process: copies, failovers, rollbacks, broken and silent connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::rawdoc;
use tailwater_oplog::{Durability, OpId};
use tailwater_replication::{Error, Follower, FollowerBuilder, FollowerEvent, Primary, WriteConcern};
use tailwater_storage::{ErrorCode, IndexModel, Store, StoreOptions};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_millis(100);
const MEMBERS: [&str; 3] = ["a", "b", "c"];

fn options() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.oplog.segment_bytes = 1 << 20;
    options
}

fn open(dir: &Path) -> Store {
    options().open(dir).unwrap()
}

/// Writes `count` documents of some hundred bytes, with updates and deletions between them; returns the last entry.
fn write(store: &Store, from: i32, count: i32) -> OpId {
    let things = store
        .collection("shop", "things")
        .unwrap()
        .with_durability(Durability::Memory);
    for number in from..from + count {
        let text = "x".repeat(usize::try_from(number % 700).unwrap());
        things
            .insert_one(&rawdoc! { "_id": number, "group": number % 7, "text": text })
            .unwrap();
        if number % 3 == 0 {
            let id = rawdoc! { "_id": number - number % 2 };
            things.update_one(&id, &rawdoc! { "$inc": { "group": 1 } }).unwrap();
        }
        if number % 11 == 0 {
            things.delete_one(&rawdoc! { "_id": number }).unwrap();
        }
    }
    store.sync().unwrap();
    store.log().watermarks().durable
}

fn primary(store: &Store, name: &str, members: &[&str]) -> Primary {
    let builder = Primary::builder(store.clone(), name).members(members.iter().copied());
    builder.heartbeat(HEARTBEAT).start().unwrap()
}

fn follower(dir: &Path, name: &str, from: SocketAddr, members: &[&str]) -> FollowerBuilder {
    let builder = Follower::builder(dir, name, from.to_string()).members(members.iter().copied());
    builder.heartbeat(HEARTBEAT).store_options(options())
}

/// Both have the same state at the same entry, which is the one given.
fn assert_same(follower: &Follower, store: &Store, last: OpId) {
    let copy = follower.wait_for(last, LONG).unwrap();
    assert_eq!(copy.digest().unwrap(), store.digest().unwrap());
}

/// Every segment that both have whole is the same, but for the slots in which each notes what its own disk has.
fn assert_same_segments(a: &TempDir, b: &TempDir) {
    let mut compared = 0;
    for entry in std::fs::read_dir(b.path().join("oplog")).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_str().unwrap();
        if name.ends_with(".seg") && !name.starts_with("torn") {
            let read = |dir: &TempDir| {
                let mut bytes = std::fs::read(dir.path().join("oplog").join(name)).unwrap();
                bytes[512..1536].fill(0);
                bytes
            };
            assert!(read(a) == read(b), "{name} differs");
            compared += 1;
        }
    }
    assert!(compared > 0);
}

#[test]
fn a_follower_copies_the_state_while_writes_go_on_and_then_follows() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let things = store.collection("shop", "things").unwrap();
    things.create_index(&IndexModel::new("group", 1)).unwrap();
    write(&store, 0, 2000);
    // What the copy covers need not be in the log any more.
    store.trim_log(store.log().watermarks().durable).unwrap();
    assert!(store.log().watermarks().oldest > OpId::FIRST);

    let serving = primary(&store, "a", &[]);
    let writing = Arc::new(AtomicBool::new(true));
    let writer = {
        let (store, writing) = (store.clone(), Arc::clone(&writing));
        std::thread::spawn(move || {
            let mut from = 10_000;
            while writing.load(Ordering::SeqCst) {
                write(&store, from, 20);
                from += 20;
            }
        })
    };
    let copied = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&copied);
    let following = follower(b.path(), "b", serving.address(), &[])
        .on_event(move |event| {
            if let FollowerEvent::Copying { bytes, .. } = event {
                *seen.lock().unwrap() = *bytes;
            }
        })
        .start()
        .unwrap();
    following.wait_for(store.log().watermarks().durable, LONG).unwrap();
    writing.store(false, Ordering::SeqCst);
    writer.join().unwrap();
    assert!(*copied.lock().unwrap() > 0);

    let last = write(&store, 5000, 300);
    assert_same(&following, &store, last);
    let copy = following.store().unwrap();
    let refused = copy
        .collection("shop", "things")
        .unwrap()
        .insert_one(&rawdoc! { "_id": -1 })
        .unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::NotWritablePrimary));
    assert_eq!(refused.code().unwrap().number(), 10107);

    // Across a restart of both.
    drop(copy);
    following.stop();
    drop(following);
    drop(serving);
    let last = write(&store, 6000, 100);
    let serving = primary(&store, "a", &[]);
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    assert_same(&following, &store, last);
    following.stop();
    drop((following, serving, things));
    store.close().unwrap();
    assert_same_segments(&a, &b);
}

#[test]
fn a_majority_holds_what_is_acknowledged_and_a_failover_keeps_it() {
    let [a, b, c] = [(); 3].map(|()| TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &MEMBERS);
    let of_b = follower(b.path(), "b", serving.address(), &MEMBERS).start().unwrap();
    let of_c = follower(c.path(), "c", serving.address(), &MEMBERS).start().unwrap();
    let last = write(&store, 0, 50);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    let timeout = serving.wait(last, WriteConcern::members(4).unwrap(), Duration::from_millis(10));
    assert!(matches!(timeout, Err(Error::WriteConcernTimeout { .. })));
    assert!(serving.term().is_elected());

    // The primary goes on, but nobody hears it.
    of_b.stop();
    of_c.stop();
    drop(of_c);
    write(&store, 1000, 20);
    let promoted = of_b.promote().unwrap();
    let now_serving = primary(&promoted, "b", &MEMBERS);
    let of_c = follower(c.path(), "c", now_serving.address(), &MEMBERS)
        .start()
        .unwrap();
    let last = write(&promoted, 2000, 30);
    now_serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    assert_same(&of_c, &promoted, last);

    // Nothing is acknowledged at majority over there any more; and the first who knows better tells it.
    let alone = write(&store, 1100, 1);
    let unheard = serving.wait(alone, WriteConcern::Majority, Duration::from_millis(50));
    assert!(matches!(unheard, Err(Error::WriteConcernTimeout { .. })));
    of_c.stop();
    drop(of_c);
    let visitor = follower(c.path(), "c", serving.address(), &MEMBERS).start().unwrap();
    let deposed = serving.wait(alone, WriteConcern::Majority, LONG);
    assert!(
        matches!(deposed, Err(Error::NotPrimary { promised: Some(_) })),
        "{deposed:?}"
    );
    assert!(!serving.is_primary());
    let things = store.collection("shop", "things").unwrap();
    assert!(things.insert_one(&rawdoc! { "_id": -1 }).is_err());
    drop(things);
    visitor.stop();
    drop(visitor);

    // The old primary comes back: what only it had goes into a file.
    drop(serving);
    store.close().unwrap();
    let rolled_back = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&rolled_back);
    let of_a = follower(a.path(), "a", now_serving.address(), &MEMBERS)
        .on_event(move |event| {
            if let FollowerEvent::RolledBack { file, .. } = event {
                *seen.lock().unwrap() = Some(file.clone());
            }
        })
        .start()
        .unwrap();
    let of_c = follower(c.path(), "c", now_serving.address(), &MEMBERS)
        .start()
        .unwrap();
    let last = write(&promoted, 3000, 10);
    now_serving.wait(last, WriteConcern::members(3).unwrap(), LONG).unwrap();
    assert_same(&of_a, &promoted, last);
    assert_same(&of_c, &promoted, last);
    let file = rolled_back.lock().unwrap().take().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.lines().count() >= 20);
    assert!(text.contains(r#""_id":{"$numberInt":"1003"}"#), "{text}");
    assert_eq!(
        promoted
            .collection("shop", "things")
            .unwrap()
            .find_one(&rawdoc! { "_id": 1003 })
            .unwrap(),
        None
    );
}

#[test]
fn a_primary_that_died_comes_back_as_a_follower_and_deposes_nobody() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let serving = primary(&store, "a", &["a", "b"]);
    let of_b = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    let last = write(&store, 0, 20);
    serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    of_b.stop();
    write(&store, 500, 5);
    // It dies without having heard of anything.
    drop(serving);
    store.close().unwrap();

    let promoted = of_b.promote().unwrap();
    let now_serving = primary(&promoted, "b", &["a", "b"]);
    let of_a = follower(a.path(), "a", now_serving.address(), &["a", "b"])
        .start()
        .unwrap();
    let last = write(&promoted, 1000, 20);
    now_serving.wait(last, WriteConcern::Majority, LONG).unwrap();
    assert_same(&of_a, &promoted, last);
    assert!(now_serving.is_primary() && of_a.directory().join("rollback").exists());
}

#[test]
fn a_follower_that_was_away_too_long_says_so_and_copies_again_if_it_may() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    let first = write(&store, 0, 20);
    let serving = Primary::builder(store.clone(), "a")
        .heartbeat(HEARTBEAT)
        .lag_bytes_max(1)
        .start()
        .unwrap();
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    following.wait_for(first, LONG).unwrap();
    following.stop();
    drop(following);

    write(&store, 1000, 6000);
    store.trim_log(store.log().watermarks().durable).unwrap();
    assert!(
        store.log().watermarks().oldest > first.next(),
        "the slot is beyond its cap"
    );
    let following = follower(b.path(), "b", serving.address(), &[]).start().unwrap();
    assert!(matches!(following.join(), Err(Error::ResyncNeeded { .. })));
    drop(following);
    let following = follower(b.path(), "b", serving.address(), &[])
        .resync()
        .start()
        .unwrap();
    let last = write(&store, 20_000, 10);
    assert_same(&following, &store, last);
}

#[test]
fn a_listed_member_is_not_replaced_by_a_copy() {
    let dir = TempDir::new().unwrap();
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let refused = follower(dir.path(), "b", nobody, &["a", "b"]).resync().start();
    assert!(
        matches!(refused, Err(Error::InvalidOption { option: "resync", .. })),
        "{refused:?}"
    );
}

/// A connection in between that can be cut, or made silent without being closed.
struct Proxy {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (silent_now, open_now) = (Arc::clone(&silent), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(near), Ok(far)) = (stream, TcpStream::connect(target)) else {
                    continue;
                };
                open_now
                    .lock()
                    .unwrap()
                    .extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (mut from, mut to) in [
                    (near.try_clone().unwrap(), far.try_clone().unwrap()),
                    (far.try_clone().unwrap(), near.try_clone().unwrap()),
                ] {
                    let silent = Arc::clone(&silent_now);
                    std::thread::spawn(move || {
                        let mut bytes = vec![0; 64 << 10];
                        while let Ok(count @ 1..) = from.read(&mut bytes) {
                            while silent.load(Ordering::SeqCst) {
                                std::thread::sleep(Duration::from_millis(5));
                            }
                            if to.write_all(&bytes[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Proxy { address, silent, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn connections_that_break_or_fall_silent_are_made_anew() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(a.path());
    write(&store, 0, 3000);
    let serving = primary(&store, "a", &["a", "b"]);
    let proxy = Proxy::to(serving.address());
    let following = follower(b.path(), "b", proxy.address, &["a", "b"]).start().unwrap();
    // Also while the copy is fetched.
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(20 * round));
        proxy.cut();
    }
    let mut from = 10_000;
    for round in 0..4 {
        let last = write(&store, from, 100);
        from += 100;
        match round % 2 {
            0 => proxy.cut(),
            _ => {
                // Both sides give it up by themselves.
                proxy.silent.store(true, Ordering::SeqCst);
                while serving.followers() > 0 {
                    std::thread::sleep(Duration::from_millis(10));
                }
                proxy.silent.store(false, Ordering::SeqCst);
            }
        }
        serving.wait(last, WriteConcern::Majority, LONG).unwrap();
        assert_same(&following, &store, last);
    }
}

#[test]
fn strangers_are_refused_by_name() {
    let (a, b, c) = (
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    let store = open(a.path());
    let last = write(&store, 0, 5);
    let serving = primary(&store, "a", &["a", "b"]);

    let other_members = follower(b.path(), "b", serving.address(), &["a", "b", "c"])
        .start()
        .unwrap();
    assert!(matches!(other_members.join(), Err(Error::Refused { .. })));
    drop(other_members);
    let right = follower(b.path(), "b", serving.address(), &["a", "b"]).start().unwrap();
    right.wait_for(last, LONG).unwrap();

    drop(open(c.path()));
    let other_log = follower(c.path(), "c", serving.address(), &["a", "b"]).start().unwrap();
    assert!(matches!(other_log.join(), Err(Error::Refused { .. })));

    let mut garbage = TcpStream::connect(serving.address()).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    garbage.read_to_end(&mut answer).unwrap();
    assert!(answer.len() <= 12, "a preface and nothing else");

    let elsewhere = Primary::builder(store.clone(), "a")
        .listen("0.0.0.0:0".parse().unwrap())
        .start();
    assert!(matches!(elsewhere, Err(Error::Plaintext { .. })));
    let unlisted = Primary::builder(open(&c.path().join("new")), "z").start().unwrap();
    assert!(matches!(
        unlisted.wait(OpId::FIRST, WriteConcern::Majority, LONG),
        Err(Error::NoMembers)
    ));
}

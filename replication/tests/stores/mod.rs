//! What the tests of real stores over loopback share.

mod proxy;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bson::rawdoc;
use tailwater_oplog::{Durability, OpId};
use tailwater_replication::{Follower, FollowerBuilder, Primary};
use tailwater_storage::{Store, StoreOptions};
use tempfile::TempDir;

pub(crate) use proxy::{End, Proxy};

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(crate) const MEMBERS: [&str; 3] = ["a", "b", "c"];

pub(crate) fn options() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.oplog.segment_bytes = 1 << 20;
    options
}

pub(crate) fn open(dir: &Path) -> Store {
    options().open(dir).unwrap()
}

/// Writes `count` documents of some hundred bytes, with updates and deletions between them; returns the last entry.
pub(crate) fn write(store: &Store, from: i32, count: i32) -> OpId {
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

pub(crate) fn primary(store: &Store, name: &str, members: &[&str]) -> Primary {
    let builder = Primary::builder(store.clone(), name).members(members.iter().copied());
    builder.heartbeat(HEARTBEAT).start().unwrap()
}

pub(crate) fn follower(dir: &Path, name: &str, from: SocketAddr, members: &[&str]) -> FollowerBuilder {
    let builder = Follower::builder(dir, name, from.to_string()).members(members.iter().copied());
    builder.heartbeat(HEARTBEAT).store_options(options())
}

/// An address of this machine that nobody has, and that nobody else is given: for what comes back where it was.
pub(crate) fn own_address() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Process ids have 22 bits at most, and all of 127.0.0.0/8 is this machine's. The port is none that the system gives out.
    let host = std::process::id() << 2 & 0x00ff_ffff;
    let port = 7100 + u16::try_from(GIVEN.fetch_add(1, Ordering::SeqCst)).unwrap();
    SocketAddr::from((Ipv4Addr::from(127 << 24 | host), port))
}

/// Both have the same state at the same entry, which is the one given, or one behind it with which an elected term has begun
/// meanwhile.
pub(crate) fn assert_same(follower: &Follower, store: &Store, mut last: OpId) {
    loop {
        let copy = follower.wait_for(last, LONG).unwrap().digest().unwrap();
        let own = store.digest().unwrap();
        if copy.op_id >= own.op_id {
            assert_eq!(copy, own);
            return;
        }
        last = own.op_id;
    }
}

/// Every segment that both have whole is the same, but for the slots in which each notes what its own disk has.
pub(crate) fn assert_same_segments(a: &TempDir, b: &TempDir) {
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

/// Waits until something holds that needs nothing else to happen.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

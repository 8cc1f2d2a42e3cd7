//! A replica set of servers: drivers find all members from one, read from secondaries, and go on when the primary is killed and
//! another member promoted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tailwater_tests::binary::tailwater;
use tailwater_tests::ports::Port;
use tailwater_tests::served::Served;

use crate::client::{Driver, Watcher, run};
use crate::resume::assert_complete;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three members: `a` is the primary, `b` follows it, and `c` follows `b`.
struct ReplicaSet {
    members: [Served; 3],
    /// Where each is followed.
    followed: [Port; 3],
    hosts: String,
}

impl ReplicaSet {
    fn start() -> ReplicaSet {
        let addresses = NAMES.map(|_| Port::free());
        let followed = NAMES.map(|_| Port::free());
        let hosts: Vec<String> = NAMES
            .iter()
            .zip(&addresses)
            .map(|(name, port)| format!("{name}={}", port.address()))
            .collect();
        let hosts = hosts.join(",");
        let mut at: usize = 0;
        let members = addresses.map(|address| {
            let from = at.checked_sub(1).map(|before| &followed[before]);
            let member = Served::start_at(address, arguments(at, &hosts, &followed[at], from));
            at += 1;
            member
        });
        ReplicaSet {
            members,
            followed,
            hosts,
        }
    }

    /// How a client finds the set by one of its members.
    fn uri(&self, seed: usize, options: &str) -> String {
        format!("mongodb://{}/?replicaSet=rs0{options}", self.members[seed].address())
    }

    fn stop(self) {
        // Whoever follows goes first.
        self.members.into_iter().rev().for_each(Served::stop);
    }
}

fn arguments(member: usize, hosts: &str, listen: &Port, from: Option<&Port>) -> Vec<String> {
    let listen = listen.address().to_string();
    let mut arguments = vec!["--name", NAMES[member], "--members", "a,b,c", "--hosts", hosts];
    arguments.extend(["--replicate", &listen, "--heartbeat", "200"]);
    let from = from.map(|from| from.address().to_string());
    if let Some(from) = &from {
        arguments.extend(["--follow", from]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

/// `tailwater promote`, while the server runs.
fn promote(served: &Served) {
    let promote = Command::new(tailwater())
        .args(["promote", "--name", "b", "--members", "a,b,c", "--dir"])
        .arg(served.dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&promote.stdout);
    assert!(promote.status.success() && said.contains("\"term\""), "{promote:?}");
}

/// What a member answers over HTTP, all of it.
fn get(served: &Served, path: &str) -> String {
    let mut answer = String::new();
    ask(served, path).read_to_string(&mut answer).unwrap();
    answer
}

/// Asks it over HTTP.
fn ask(served: &Served, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.http()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream
}

#[test]
fn drivers_find_all_members_and_read_from_secondaries() {
    let set = ReplicaSet::start();
    for (seed, driver) in [Driver::Python, Driver::Node].into_iter().enumerate() {
        let alone = format!("mongodb://{}/", set.members[2].address());
        run(driver.task("members").args([set.uri(seed, ""), alone]));
    }
    // HTTP is served by every member, and a primary shows who follows it.
    assert!(get(&set.members[1], "/v1/stats").contains("\"following\":true"));
    assert!(get(&set.members[0], "/v1/stats").contains("\"follower.b\""));
    let events = BufReader::new(ask(&set.members[2], "/v1/watch/node/things?from=oldest")).lines();
    let mut events = events.map(Result::unwrap);
    assert!(events.any(|line| line.contains("\"operationType\":\"insert\"")));
    set.stop();
}

#[test]
fn drivers_go_on_when_the_primary_is_killed_and_a_follower_promoted() {
    const COUNT: u64 = 2000;
    let mut set = ReplicaSet::start();
    let preferences = ["&readPreference=secondary", "&readPreference=secondaryPreferred", ""];
    let watchers = Driver::ALL.map(|driver| {
        let mut command = driver.task("watch");
        command.arg(set.uri(1, preferences[driver as usize]));
        (driver, Watcher::start(command))
    });
    let mut writer = Driver::Python.task("write_one");
    writer.args([set.uri(2, ""), COUNT.to_string()]);
    let mut writing = writer.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(writing.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "half");
    set.members[0].kill();
    promote(&set.members[1]);
    assert!(writing.wait().unwrap().success());
    for (driver, watcher) in watchers {
        assert_complete(&format!("{driver:?}"), &watcher.numbers(), COUNT);
    }
    // The old primary comes back as a follower of the new one.
    let back = arguments(0, &set.hosts, &set.followed[0], Some(&set.followed[1]));
    set.members[0].start_again_with(back);
    let alone = format!("mongodb://{}/?directConnection=true", set.members[0].address());
    run(Driver::Python.task("secondary").args([alone, COUNT.to_string()]));
    set.stop();
}

//! Scripts with their expected output, in `tests/scenarios`: one file for each case of `docs/replication.md`.
//!
//! A script is a sequence of blocks: commands, a line `----`, what they print, an empty line. `TAILWATER_REWRITE=1` writes what
//! they print now into the files; look at the difference before keeping it.

#[allow(dead_code, unused_imports, reason = "the simulation uses the rest")]
mod cluster;

use std::fmt::Write as _;
use std::path::Path;

use cluster::{Cluster, Role};

/// Carries one command out; what it prints is in the cluster's trace.
fn command(cluster: &mut Cluster, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let node = |name: &str| {
        let found = cluster.nodes.iter().position(|node| node.name == name);
        found.unwrap_or_else(|| panic!("no node {name} in {line:?}"))
    };
    let number = |text: &str| {
        text.parse::<u64>()
            .unwrap_or_else(|_| panic!("no number {text} in {line:?}"))
    };
    match words[..] {
        // Those behind a `/` are on nobody's list.
        ["cluster", ref names @ ..] => {
            let listed = names.iter().position(|name| *name == "/").unwrap_or(names.len());
            let names: Vec<&str> = names.iter().copied().filter(|name| *name != "/").collect();
            *cluster = Cluster::new(&names, listed);
        }
        ["unlisted", ref names @ ..] => *cluster = Cluster::new(names, 0),
        // From its next start on it is followed while it follows.
        ["relay", name] => {
            let at = node(name);
            cluster.nodes[at].listens = true;
        }
        ["start", name] => cluster.start(node(name)),
        ["promote", name] => cluster.promote(node(name)),
        ["kill", name] => cluster.kill(node(name), 0),
        ["connect", follower, primary] => cluster.connect(node(follower), node(primary)),
        ["break", name] => {
            let peer = cluster.nodes[node(name)].connection;
            cluster.break_connection(peer.expect("not connected"));
        }
        ["write", name, count] => {
            let (at, count) = (node(name), number(count));
            for value in 0..count {
                if !cluster.write(at, value + 1) {
                    cluster.trace.push(format!("{name}: refuses to write"));
                    break;
                }
            }
        }
        ["sync", name] => cluster.sync(node(name)),
        ["deliver", name, way] => {
            let peer = cluster.nodes[node(name)].connection.expect("not connected");
            assert!(cluster.deliver(peer, way == "up"), "nothing to deliver");
        }
        // The next message comes a second time.
        ["again", name, way] => {
            let peer = cluster.nodes[node(name)].connection.expect("not connected");
            cluster.duplicate(peer, way == "up", 0);
        }
        // One end of a follower's connection goes, and the other does not know.
        ["leave", name, end] => {
            let peer = cluster.nodes[node(name)].connection.expect("not connected");
            cluster.leave_end(peer, end == "follower");
        }
        ["send", name] => {
            let peer = cluster.nodes[node(name)].connection.expect("not connected");
            cluster.send(peer, 5);
        }
        ["trim", name, last] => cluster.trim(node(name), number(last) as usize),
        ["settle"] => cluster.settle(),
        ["logs"] => {
            for at in 0..cluster.nodes.len() {
                let line = log_of(cluster, at);
                cluster.trace.push(line);
            }
        }
        _ => panic!("unknown command {line:?}"),
    }
}

/// `a primary: 1..3 in 128, 4..4 in 129; promised 129`
fn log_of(cluster: &Cluster, at: usize) -> String {
    let node = &cluster.nodes[at];
    let role = match &node.role {
        Role::Down => "down",
        Role::Primary(_) => "primary",
        Role::Follower(_) => "follower",
    };
    let mut text = format!("{} {role}:", node.name);
    let mut from = node.disk.trimmed;
    while let Some(first) = node.disk.log.get(from) {
        let run = node.disk.log[from..]
            .iter()
            .take_while(|entry| entry.term == first.term)
            .count();
        let _ = write!(text, " {}..{} in {},", from + 1, from + run, first.term);
        from += run;
    }
    let _ = write!(text, " durable {}, promised {}", node.disk.durable, node.disk.promised);
    text
}

/// Runs a script; returns it with what it prints now.
fn run(script: &str) -> String {
    let mut cluster = Cluster::new(&[], 0);
    let mut out = String::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        if line == "----" {
            // What was expected is in the script; what comes is written here.
            for _ in lines.by_ref().take_while(|line| !line.is_empty()) {}
            out.push_str("----\n");
            for line in cluster.trace.drain(..) {
                let _ = writeln!(out, "{line}");
            }
            out.push('\n');
        } else {
            let _ = writeln!(out, "{line}");
            if !line.is_empty() && !line.starts_with('#') {
                command(&mut cluster, line);
            }
        }
    }
    out
}

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let rewrite = std::env::var_os("TAILWATER_REWRITE").is_some();
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 15);
    for path in scripts {
        let script = std::fs::read_to_string(&path).unwrap();
        let now = run(&script);
        if rewrite {
            std::fs::write(&path, now).unwrap();
        } else {
            assert_eq!(now.trim_end(), script.trim_end(), "{}", path.display());
        }
    }
}

//! What a browser does: an `EventSource` whose server is killed under it, npm's and that of a real Chromium, and the dashboard.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tailwater_tests::packages::{Language, Packages};
use tailwater_tests::served::Served;

use crate::client::{Watcher, run, write_numbers};

fn script(name: &str) -> Command {
    let packages = Packages {
        name: "browser",
        language: Language::Node,
        sources: &Path::new(env!("CARGO_MANIFEST_DIR")).join("browser"),
        files: &[
            "package.json",
            "package-lock.json",
            "chromium.mjs",
            "eventsource.mjs",
            "dashboard.mjs",
        ],
        below: Path::new(env!("CARGO_TARGET_TMPDIR")),
    };
    packages.script(name)
}

/// Has a client watch so many documents while they are written, between which the server is killed and started again.
fn every_event_comes_once_and_in_order(mut client: Command, more: &[PathBuf], rounds: u64, count: u64) {
    let mut served = Served::start();
    let watched = "/v1/watch/numbers/numbers?operations=insert&from=oldest";
    client.arg(format!("http://{}{watched}", served.http())).args(more);
    let watcher = Watcher::start(client);
    for round in 0..rounds {
        let last = if round + 1 == rounds { "last" } else { "more" };
        write_numbers(&served, count / rounds * round, count / rounds * (round + 1), last);
        if round + 1 < rounds {
            // Wherever the client is by now.
            served.kill();
            served.start_again();
        }
    }
    let numbers = watcher.numbers();
    assert_eq!(numbers.len() as u64, count);
    assert!(numbers.into_iter().eq(0..count), "out of order");
    served.stop();
}

#[test]
fn an_event_source_gets_every_event_once_and_in_order_while_the_server_is_killed_and_started_again() {
    every_event_comes_once_and_in_order(script("eventsource.mjs"), &[], 4, 20_000);
}

#[test]
fn chromium_s_event_source_gets_every_event_once_and_in_order_while_the_server_is_killed_and_started_again() {
    every_event_comes_once_and_in_order(script("chromium.mjs"), &[chromium()], 3, 6_000);
}

/// The browser of the system, or the one that `CHROMIUM` names.
fn chromium() -> PathBuf {
    let named = env::var_os("CHROMIUM").map(PathBuf::from);
    let known = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/bin/google-chrome",
    ]
    .map(PathBuf::from);
    let found = named.into_iter().chain(known).find(|path| path.exists());
    found.expect("this test needs Chromium: install the package chromium, or name the program by the variable CHROMIUM")
}

#[test]
fn the_dashboard_works_in_chromium() {
    let served = Served::start();
    write_numbers(&served, 0, 1000, "last");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    fs::create_dir_all(&pictures).unwrap();
    let mut dashboard = script("dashboard.mjs");
    dashboard.arg(format!("http://{}/", served.http()));
    run(dashboard.arg(chromium()).arg(&pictures));
    served.stop();
}

//! What a browser does: an `EventSource` whose server is killed under it, and the dashboard in a real Chromium.

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
        files: &["package.json", "package-lock.json", "eventsource.mjs", "dashboard.mjs"],
        below: Path::new(env!("CARGO_TARGET_TMPDIR")),
    };
    packages.script(name)
}

#[test]
fn an_event_source_gets_every_event_once_and_in_order_while_the_server_is_killed_and_started_again() {
    const COUNT: u64 = 20_000;
    const ROUNDS: u64 = 4;
    let mut served = Served::start();
    let mut command = script("eventsource.mjs");
    command.arg(format!(
        "http://{}/v1/watch/numbers/numbers?operations=insert&from=oldest",
        served.http()
    ));
    let watcher = Watcher::start(command);
    for round in 0..ROUNDS {
        let last = if round + 1 == ROUNDS { "last" } else { "more" };
        write_numbers(&served, COUNT / ROUNDS * round, COUNT / ROUNDS * (round + 1), last);
        if round + 1 < ROUNDS {
            // Wherever the client is by now.
            served.kill();
            served.start_again();
        }
    }
    let numbers = watcher.numbers();
    assert_eq!(numbers.len() as u64, COUNT);
    assert!(numbers.into_iter().eq(0..COUNT), "out of order");
    served.stop();
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

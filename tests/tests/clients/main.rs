//! Real clients against a real server: the official drivers for Node, Python and Rust, Mongoose and the shell, as their users use
//! them, watchers whose server is killed under them, members of a
//! replica set, and browsers.
//!
//! The first run installs the clients from their registries, pinned by the lock files in `tests/clients/`; later ones do not.

mod browser;
mod client;
mod crowd;
mod members;
mod resume;
mod security;

use tailwater_tests::served::Served;

use client::{Driver, run, shell, uris};

/// Has a driver carry out a task at each of a server's addresses.
fn works(driver: Driver, tasks: &[&str]) {
    let served = Served::start();
    for uri in uris(&served) {
        for task in tasks {
            run(driver.task(task).arg(&uri));
        }
    }
    served.stop();
}

#[test]
fn the_driver_for_node_works_as_with_mongodb() {
    works(Driver::Node, &["driver", "streams"]);
}

#[test]
fn mongoose_works_as_with_mongodb() {
    works(Driver::Node, &["mongoose"]);
}

#[test]
fn the_driver_for_python_works_as_with_mongodb() {
    works(Driver::Python, &["driver", "streams"]);
}

#[test]
fn the_driver_for_rust_works_as_with_mongodb() {
    let served = Served::start();
    // It was compiled without compressors.
    run(Driver::Rust.task("driver").arg(&uris(&served)[0]));
    let set = format!("mongodb://{}/?replicaSet=rs0", served.address());
    run(Driver::Rust.task("driver").arg(set));
    served.stop();
}

#[test]
fn the_shell_works_as_with_mongodb() {
    let served = Served::start();
    for uri in uris(&served) {
        for script in ["shell.js", "streams.js"] {
            let said = run(&mut shell(script, &uri));
            assert!(said.trim_end().ends_with("done"), "{said}");
        }
    }
    served.stop();
}

#[test]
fn tools_that_tail_the_oplog_find_one() {
    let served = Served::start();
    run(Driver::Python.task("oplog").arg(&uris(&served)[0]));
    served.stop();
}

#[test]
fn what_mongodump_asks_for_with_the_oplog_can_be_restored() {
    let served = Served::start();
    run(Driver::Python.task("mongodump").arg(&uris(&served)[0]));
    served.stop();
}

#[test]
fn a_driver_resumes_and_retries_what_its_specifications_say() {
    let served = Served::start_with(&["--test-commands"]);
    run(Driver::Python.task("fail_points").arg(&uris(&served)[0]));
    served.stop();
}

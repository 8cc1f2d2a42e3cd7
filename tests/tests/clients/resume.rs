//! Watchers whose server is killed and started again under them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use tailwater_tests::served::Served;

use crate::client::{Driver, Watcher, run, shell, uris, write_numbers};

/// Asserts that a watcher was told of each number once, in order.
pub(crate) fn assert_complete(name: &str, numbers: &[u64], count: u64) {
    let different: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(
        numbers.len() as u64,
        count,
        "{name}: {} different ones",
        different.len()
    );
    assert!(numbers.iter().copied().eq(0..count), "{name}: out of order");
}

#[test]
fn watchers_get_every_event_once_and_in_order_while_the_server_is_killed_and_started_again() {
    const COUNT: u64 = 100_000;
    let mut served = Served::start();
    let [uri, _] = uris(&served);
    let watchers = Driver::ALL.map(|driver| {
        let mut command = driver.task("watch");
        command.arg(&uri);
        (driver, Watcher::start(command))
    });
    write_numbers(&served, 0, COUNT / 2, "more");
    served.kill();
    served.start_again();
    write_numbers(&served, COUNT / 2, COUNT, "last");
    for (driver, watcher) in watchers {
        assert_complete(&format!("{driver:?}"), &watcher.numbers(), COUNT);
    }
    served.stop();
}

#[test]
fn a_watcher_in_the_shell_goes_on_behind_its_last_event() {
    const COUNT: u64 = 4000;
    let mut served = Served::start();
    let watcher = Watcher::start(shell("watch.js", &uris(&served)[0]));
    write_numbers(&served, 0, COUNT / 2, "more");
    served.kill();
    served.start_again();
    write_numbers(&served, COUNT / 2, COUNT, "last");
    assert_complete("the shell", &watcher.numbers(), COUNT);
    served.stop();
}

#[test]
fn watchers_of_mongoose_whose_error_handlers_reconnect_miss_nothing() {
    const COUNT: usize = 60;
    let mut served = Served::start();
    let [uri, _] = uris(&served);
    let mut command = Driver::Node.task("reconnect");
    command.arg(&uri);
    let mut watcher = Watcher::start(command);
    let write = |from: usize, to: usize, last: &str| {
        let mut writer = Driver::Node.task("users");
        run(writer.args([&uri, &from.to_string(), &to.to_string(), last]));
    };
    write(0, COUNT / 2, "more");
    served.kill();
    // Away until both handlers were told of it, however much they were told of before.
    let (mut said, mut errors) = (Vec::new(), BTreeSet::new());
    while errors.len() < 2 {
        let line = watcher.next_line();
        match line.strip_prefix("error ") {
            Some(name) => drop(errors.insert(name.to_owned())),
            None => said.push(line),
        }
    }
    served.start_again();
    write(COUNT / 2, COUNT, "last");
    said.extend(watcher.lines());
    let of = |kind: &str| {
        said.iter()
            .filter_map(|line| line.strip_prefix(kind))
            .collect::<Vec<_>>()
    };
    let mut numbers: Vec<String> = (0..COUNT).map(|n| n.to_string()).collect();
    assert_eq!(of("insert "), numbers);
    numbers[COUNT - 1] = "last".to_owned();
    assert_eq!(of("status "), numbers);
    served.stop();
}

#[test]
fn a_write_whose_answer_a_killed_server_took_along_is_carried_out_once() {
    let mut served = Served::start();
    let mut command = Driver::Python.task("retry");
    command.arg(served.address().to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut again = child.stdin.take().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kills = lines
        .inspect(|line| {
            assert_eq!(line.as_deref().unwrap(), "kill");
            served.kill();
            served.start_again();
            writeln!(again, "again").unwrap();
        })
        .count();
    assert!(child.wait().unwrap().success());
    assert_eq!(kills, 7);
    served.stop();
}

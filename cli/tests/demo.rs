//! The demo proves what it claims, and notices when it does not hold.

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
    command.args(["demo", "--fast"]).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn a_sound_run_proves_that_nothing_was_lost() {
    let output = demo(&[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("SIGKILL to writer"), "{text}");
    // The watchers' events do not depend on when the kills came.
    for (watcher, digest) in [("hot", "7e1c3231"), ("downpour", "5fe1f8c4"), ("changes", "f39b8a99")] {
        let line = text
            .lines()
            .find(|line| line.starts_with(watcher) && line.contains(digest));
        assert!(
            line.is_some_and(|line| line.trim_end().ends_with("ok")),
            "{watcher}: {text}"
        );
    }
}

#[test]
fn tampering_with_what_a_watcher_received_is_noticed() {
    for sabotage in ["drop", "duplicate", "reorder", "alter"] {
        let output = demo(&["--sabotage", sabotage]);
        assert_eq!(output.status.code(), Some(5), "{sabotage}: {}", text(&output));
    }
}

#[test]
fn a_directory_in_use_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter.txt"), "dear demo").unwrap();
    let output = demo(&["--dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

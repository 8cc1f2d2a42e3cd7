//! Promise: another process watches a live store by reading its files, without the store's help. Here the other process
//! is this program, started once more.

use std::process::{Command, Stdio};
use std::time::Duration;

use tailwater::{LogView, Scope, Store, Watch, bson::rawdoc, log_directory};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(dir) = std::env::args_os().nth(1) {
        return watch(dir.as_ref());
    }
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let tasks = store.collection("team", "tasks")?;
    let watcher = Command::new(std::env::current_exe()?)
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()?;
    for id in 1..=100 {
        tasks.insert_one(&rawdoc! { "_id": id, "urgent": id % 10 == 0 })?;
    }
    let output = watcher.wait_with_output()?;
    assert!(output.status.success());
    Ok(())
}

/// The other process: sees ten of the hundred, in order, while they are being written.
fn watch(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let view = LogView::open(log_directory(dir))?;
    let scope = Scope::Collection {
        database: "team".into(),
        collection: "tasks".into(),
    };
    let mut urgent = Watch::new(view, scope)
        .filter("urgent is true")
        .start_at_oldest()
        .start()?;
    for expected in (10..=100).step_by(10) {
        let event = urgent
            .wait_next(Some(Duration::from_secs(30)))?
            .ok_or("no event in time")?;
        assert_eq!(event.document_key(), Some(rawdoc! { "_id": expected }));
    }
    Ok(())
}

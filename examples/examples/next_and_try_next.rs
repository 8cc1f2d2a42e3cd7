//! Promise: a change stream is read as a cursor is: `wait_next` for the next event, `next_if_any` for what is there, and a stop from
//! another thread.

use std::thread;
use std::time::Duration;

use tailwater::{Store, bson::rawdoc};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let users = store.collection("mydb", "users")?;
    let mut stream = users.watch().start()?;

    // Without waiting: there may be nothing yet.
    assert!(stream.next_if_any()?.is_none());
    users.insert_one(&rawdoc! { "_id": 1, "name": "Ada" })?;
    let event = stream.next_if_any()?.expect("a user was written");
    assert_eq!(event.operation_type().name(), "insert");

    // With a time to wait at most: nothing comes.
    assert!(stream.wait_next(Some(Duration::from_millis(10)))?.is_none());

    // In a loop, until somebody stops it.
    let stopper = stream.stopper();
    let audit = thread::spawn(move || -> Result<Vec<String>, tailwater::WatchError> {
        let mut lines = Vec::new();
        while let Some(event) = stream.wait_next(None)? {
            let line = format!("{} on {}", event.operation_type().name(), event.collection());
            lines.push(line);
            if lines.len() == 2 {
                stopper.stop();
            }
        }
        Ok(lines)
    });
    users.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "name": "Ada L." } })?;
    users.delete_one(&rawdoc! { "_id": 1 })?;
    let lines = audit.join().expect("the auditor does not panic")?;
    assert_eq!(lines, ["update on users", "delete on users"]);
    Ok(())
}

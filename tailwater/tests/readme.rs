//! The code of `README.md`, which opens a store in the directory that it is run in: therefore by itself. That nothing of it is
//! missing here is what `documentation` looks for.

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[test]
fn readme() -> Outcome {
    let directory = tempfile::tempdir()?;
    std::env::set_current_dir(directory.path())?;

    use tailwater::{Store, bson::rawdoc};

    let store = Store::open("./store")?;
    let people = store.collection("town", "people")?;
    let (handle, adults) = people.watch().filter("age > 18").subscribe()?;

    people.insert_one(&rawdoc! { "name": "Ada", "age": 36 })?; // durable when it returns
    people.insert_one(&rawdoc! { "name": "Bo", "age": 7 })?;

    let event = adults.recv()?; // Ada; Bo is not delivered
    let place = event.resume_token().to_string(); // keep it; go on from here after a crash
    drop(handle); // ends the watch

    assert_eq!(event.full_document().ok_or("no document")?.get_str("name")?, "Ada");
    assert!(adults.recv().is_err());
    let mut resumed = people.watch().resume_after(place.parse()?).start()?;
    let bo = resumed.next_if_any()?.ok_or("no event")?;
    assert_eq!(bo.full_document().ok_or("no document")?.get_str("name")?, "Bo");
    Ok(())
}

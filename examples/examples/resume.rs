//! Promise: a consumer that keeps its token misses nothing, and sees nothing twice, across restarts of everything.

use tailwater::{OperationType, Store, bson::rawdoc};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;

    // The first life: one event is dealt with, and its token kept.
    let store = Store::open(dir.path())?;
    let orders = store.collection("shop", "orders")?;
    let mut stream = orders.watch().start()?;
    orders.insert_one(&rawdoc! { "_id": 1 })?;
    orders.insert_one(&rawdoc! { "_id": 2 })?;
    let first = stream.wait_next(None)?.expect("two orders were written");
    assert_eq!(first.document_key(), Some(rawdoc! { "_id": 1 }));
    let kept = first.resume_token().to_string();
    drop(stream);
    drop(orders);
    store.close()?;

    // The second life: more happens before the consumer comes back.
    let store = Store::open(dir.path())?;
    let orders = store.collection("shop", "orders")?;
    orders.delete_one(&rawdoc! { "_id": 1 })?;

    let mut stream = orders.watch().resume_after(kept.parse()?).start()?;
    let mut seen = Vec::new();
    while let Some(event) = stream.next_if_any()? {
        seen.push((
            event.operation_type(),
            event.document_key().expect("a document's event"),
        ));
    }
    assert_eq!(
        seen,
        [
            (OperationType::Insert, rawdoc! { "_id": 2 }),
            (OperationType::Delete, rawdoc! { "_id": 1 })
        ]
    );

    // A token of another log is refused by name, not followed.
    let elsewhere = tempfile::tempdir()?;
    let stranger = Store::open(elsewhere.path())?;
    let refused = stranger.watch().resume_after(kept.parse()?).start().unwrap_err();
    assert!(refused.to_string().contains("belongs to log"), "{refused}");
    Ok(())
}

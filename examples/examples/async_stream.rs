//! Promise: a change stream is a `futures::Stream`, in whatever runtime.

use futures::StreamExt;
use tailwater::{Durability, Store, bson::rawdoc};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    // `Memory` returns at once, so it does not block the runtime; the log syncs within 50 ms.
    let readings = store.collection("lab", "readings")?.with_durability(Durability::Memory);

    let hot = readings.watch().filter("celsius >= 30").start()?;
    let watcher = tokio::spawn(async move {
        let events = hot
            .take(3)
            .map(|event| event.map(|e| e.full_document().map(ToOwned::to_owned)));
        events.collect::<Vec<_>>().await
    });
    for (id, celsius) in [21, 30, 12, 35, 29, 31, 40].into_iter().enumerate() {
        readings.insert_one(&rawdoc! { "_id": i32::try_from(id)?, "celsius": celsius })?;
        tokio::task::yield_now().await;
    }

    let mut seen = Vec::new();
    for document in watcher.await? {
        seen.push(document?.expect("an insert carries its document").get_i32("celsius")?);
    }
    assert_eq!(seen, [30, 35, 31]);
    Ok(())
}

//! Promise: an event that is too large for one document comes in fragments, and a watcher goes on between them.

use std::collections::BTreeMap;

use tailwater::bson::{Bson, Document, doc, rawdoc};
use tailwater::{CollectionOptions, FullDocument, FullDocumentBeforeChange, Store, Watch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let mut options = CollectionOptions::default();
    options.pre_and_post_images = true;
    store.create_collection_with("shop", "reports", &options)?;
    let reports = store.collection("shop", "reports")?;
    let text = |letter: &str| letter.repeat(9 << 20);
    reports.insert_one(&rawdoc! { "_id": 1, "text": text("a") })?;

    let watch = || -> Watch {
        let watch = reports.watch().full_document(FullDocument::Required);
        let watch = watch.full_document_before_change(FullDocumentBeforeChange::Required);
        watch.pipeline([doc! { "$changeStreamSplitLargeEvent": {} }])
    };
    let mut stream = watch().start()?;
    reports.update_one(&rawdoc! { "_id": 1 }, &rawdoc! { "$set": { "text": text("b") } })?;

    // What came is put together by the names of its fields; the place is kept with it.
    let mut event: BTreeMap<String, Bson> = BTreeMap::new();
    let mut fragments = 0;
    while let Some(fragment) = stream.wait_next(None)? {
        let split = fragment.split_event().expect("it is too large for one document");
        event.extend(Document::try_from(fragment.to_document().as_ref())?);
        fragments += 1;
        if split.fragment == split.of {
            break;
        }
        // As after a crash: with the token alone.
        stream = watch().resume_after(fragment.resume_token()).start()?;
    }
    assert_eq!(fragments, 3);
    let shown = |name: &str| {
        event[name]
            .as_document()
            .and_then(|document| document.get_str("text").ok())
    };
    assert_eq!(shown("fullDocumentBeforeChange"), Some(text("a").as_str()));
    assert_eq!(shown("fullDocument"), Some(text("b").as_str()));
    assert_eq!(event["operationType"], Bson::from("update"));
    Ok(())
}

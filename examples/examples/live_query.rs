//! Promise: a query's result can be kept up to date, with its order and within its limit.

use tailwater::bson::{RawDocumentBuf, rawdoc};
use tailwater::{FindOptions, LiveEvent, LiveStream, Store};

/// Applies the changes that there are by now to what a screen shows.
fn refresh(screen: &mut Vec<RawDocumentBuf>, live: &mut LiveStream) -> Result<(), Box<dyn std::error::Error>> {
    let at = |screen: &[RawDocumentBuf], key: &RawDocumentBuf| {
        let found = screen
            .iter()
            .position(|shown| shown.get_str("_id").ok() == key.get_str("_id").ok());
        found.expect("only what is shown is named")
    };
    while let Some(event) = live.next_if_any()? {
        match event {
            LiveEvent::Removed { document_key } => drop(screen.remove(at(screen, &document_key))),
            LiveEvent::Added { document, before } => {
                let place = before.map_or(screen.len(), |before| at(screen, &before));
                screen.insert(place, document);
            }
            LiveEvent::Changed { document, before } => {
                let key = rawdoc! { "_id": document.get_str("_id")? };
                screen.remove(at(screen, &key));
                let place = before.map_or(screen.len(), |before| at(screen, &before));
                screen.insert(place, document);
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let scores = store.collection("game", "scores")?;
    for (name, points) in [("ada", 30), ("bo", 20), ("cy", 10), ("di", 5)] {
        scores.insert_one(&rawdoc! { "_id": name, "points": points })?;
    }
    let top = FindOptions {
        sort: Some(rawdoc! { "points": -1 }),
        limit: Some(3),
        ..FindOptions::default()
    };
    let mut live = scores.find_with(&rawdoc! { "points": { "$gt": 0 } }, &top)?.live()?;
    let mut screen = Vec::new();
    let names = |screen: &[RawDocumentBuf]| -> Vec<String> {
        screen
            .iter()
            .map(|shown| shown.get_str("_id").unwrap_or_default().to_owned())
            .collect()
    };
    refresh(&mut screen, &mut live)?;
    assert_eq!(names(&screen), ["ada", "bo", "cy"]);

    // One overtakes, one falls out of the filter, and the next one comes in.
    scores.update_one(&rawdoc! { "_id": "cy" }, &rawdoc! { "$set": { "points": 40 } })?;
    scores.update_one(&rawdoc! { "_id": "ada" }, &rawdoc! { "$set": { "points": 0 } })?;
    refresh(&mut screen, &mut live)?;
    assert_eq!(names(&screen), ["cy", "bo", "di"]);
    Ok(())
}

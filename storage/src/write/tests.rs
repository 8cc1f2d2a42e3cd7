//! What a write promises where only this crate can look.

use bson::{DateTime, rawdoc};

use super::{Modification, Reach, Writer};
use crate::Store;
use crate::catalog::Namespace;
use crate::collection::{UpdateOptions, WriteOutcome};

/// `$$NOW` of the filter and what the change takes for the time are one moment, whenever the write is carried out.
#[test]
fn filter_and_change_have_one_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let people = store.collection("town", "people").unwrap();
    let then = DateTime::from_millis(1_000);
    people.insert_one(&rawdoc! { "_id": 1, "until": then }).unwrap();
    let now = rawdoc! { "$expr": { "$eq": ["$until", "$$NOW"] } };
    let updates = [
        vec![rawdoc! { "$set": { "seen": "$$NOW" } }].into(),
        rawdoc! { "$currentDate": { "seen": true } }.into(),
    ];
    for update in updates {
        people
            .update_one(&rawdoc! {}, rawdoc! { "$unset": { "seen": "" } })
            .unwrap();
        let modification =
            Modification::update(&now, Reach::First, &update, &UpdateOptions::default(), None, then).unwrap();
        let namespace = Namespace::new("town", "people");
        let mut outcome = WriteOutcome::default();
        let writer = Writer::new(store.core(), &namespace);
        writer.modify(&modification, &mut outcome).unwrap();
        assert_eq!(outcome.modified, 1, "{update:?}");
        let seen = people.find_one(&rawdoc! {}).unwrap().unwrap();
        assert_eq!(seen.get_datetime("seen").unwrap(), then, "{update:?}");
    }
}

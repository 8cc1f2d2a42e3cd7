//! Live queries: a result, and then every change of it.
//!
//! The model: whoever applies the events has, behind each write, what the query finds then. A schedule is made from a seed, which
//! a failure names. `TAILWATER_SEEDS=17..18` runs one, `0..10000` many.

use crate::common;

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Dice, Home, Named, PATIENCE, seeds, small};
use futures::StreamExt;
use tailwater::bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater::{Collection, FindOptions, Hint, LiveEvent, LiveStream, ReadConcern, WatchError};

/// A result that follows events.
#[derive(Default, Debug)]
struct Screen(Vec<RawDocumentBuf>);

fn key(document: &RawDocument) -> RawDocumentBuf {
    rawdoc! { "_id": document.get_i32("_id").unwrap() }
}

impl Screen {
    fn at(&self, wanted: &RawDocument) -> Option<usize> {
        self.0.iter().position(|document| *key(document) == *wanted)
    }

    /// Applies an event, strictly.
    fn apply(&mut self, event: LiveEvent, limit: usize) {
        let insert = |screen: &mut Screen, document: RawDocumentBuf, before: Option<RawDocumentBuf>| {
            let at = before.map_or(screen.0.len(), |before| {
                screen.at(&before).expect("a document to come before")
            });
            screen.0.insert(at, document);
        };
        match event {
            LiveEvent::Added { document, before } => {
                assert!(self.at(&key(&document)).is_none(), "added twice: {document:?}");
                insert(self, document, before);
            }
            LiveEvent::Changed { document, before } => {
                let at = self.at(&key(&document)).expect("a document that changes");
                self.0.remove(at);
                insert(self, document, before);
            }
            LiveEvent::Removed { document_key } => {
                let at = self.at(&document_key).expect("a document that goes");
                self.0.remove(at);
            }
        }
        assert!(self.0.len() <= limit, "more than the limit");
    }

    fn follow(&mut self, live: &mut LiveStream, limit: usize) {
        while let Some(event) = live.next_if_any().unwrap() {
            self.apply(event, limit);
        }
    }
}

fn scores(home: &Home) -> Collection {
    home.store.collection("game", "scores").unwrap()
}

fn insert(scores: &Collection, id: i32, points: i32) {
    scores.insert_one(&rawdoc! { "_id": id, "points": points }).unwrap();
}

fn set(scores: &Collection, id: i32, points: i32) {
    let update = rawdoc! { "$set": { "points": points } };
    scores.update_one(&rawdoc! { "_id": id }, &update).unwrap();
}

#[test]
fn it_sees_writes_before_they_are_durable_where_it_is_to() {
    let mut options = small();
    options.oplog.sync_interval = Duration::from_secs(24 * 3600);
    let home = Home::with(&options);
    let scores = scores(&home);
    let find = || scores.find(&rawdoc! {}).unwrap();
    let mut at_once = find().read_concern(ReadConcern::Local).live().unwrap();
    let mut durable = find().live().unwrap();
    insert(&scores, 1, 3);
    assert!(matches!(at_once.next_if_any().unwrap(), Some(LiveEvent::Added { .. })));
    assert!(durable.next_if_any().unwrap().is_none());
    home.store.sync().unwrap();
    assert!(matches!(durable.next_if_any().unwrap(), Some(LiveEvent::Added { .. })));
}

fn next(live: &mut LiveStream) -> LiveEvent {
    live.wait_next(Some(PATIENCE)).unwrap().expect("a change in time")
}

#[test]
fn an_update_moves_documents_into_the_filter_and_out_of_it() {
    let home = Home::new();
    let scores = scores(&home);
    insert(&scores, 1, 10);
    insert(&scores, 2, 3);
    let mut live = scores
        .find(&rawdoc! { "points": { "$gte": 5 } })
        .unwrap()
        .live()
        .unwrap();
    let added = |id: i32, points: i32, before: Option<RawDocumentBuf>| LiveEvent::Added {
        document: rawdoc! { "_id": id, "points": points },
        before,
    };
    assert_eq!(next(&mut live), added(1, 10, None));
    assert!(live.next_if_any().unwrap().is_none());
    assert!(live.is_loaded());

    set(&scores, 2, 7);
    set(&scores, 1, 9);
    set(&scores, 1, 1);
    scores.delete_one(&rawdoc! { "_id": 2 }).unwrap();
    insert(&scores, 3, 2);
    insert(&scores, 0, 8);
    home.store.sync().unwrap();
    assert_eq!(next(&mut live), added(2, 7, None));
    let changed = LiveEvent::Changed {
        document: rawdoc! { "_id": 1, "points": 9 },
        before: Some(rawdoc! { "_id": 2 }),
    };
    assert_eq!(next(&mut live), changed);
    for id in [1, 2] {
        let document_key = rawdoc! { "_id": id };
        assert_eq!(next(&mut live), LiveEvent::Removed { document_key });
    }
    assert_eq!(next(&mut live), added(0, 8, None));
    assert!(live.next_if_any().unwrap().is_none());
}

#[test]
fn when_a_document_leaves_a_limited_result_the_next_one_comes_in() {
    let home = Home::new();
    let scores = scores(&home);
    for id in 0..20 {
        insert(&scores, id, id);
    }
    let options = FindOptions {
        sort: Some(rawdoc! { "points": -1 }),
        limit: Some(3),
        ..FindOptions::default()
    };
    let mut live = scores.find_with(&rawdoc! {}, &options).unwrap().live().unwrap();
    let mut screen = Screen::default();
    screen.follow(&mut live, 3);
    // Further than what is kept behind the limit.
    for id in (4..20).rev() {
        scores.delete_one(&rawdoc! { "_id": id }).unwrap();
        home.store.sync().unwrap();
        screen.follow(&mut live, 3);
        let points: Vec<_> = screen
            .0
            .iter()
            .map(|document| document.get_i32("points").unwrap())
            .collect();
        assert_eq!(points, [id - 1, id - 2, id - 3]);
    }
}

#[test]
fn dropping_and_renaming_the_collection_changes_the_result() {
    let home = Home::new();
    let scores = scores(&home);
    insert(&scores, 1, 1);
    let mut live = scores.find(&rawdoc! {}).unwrap().live().unwrap();
    let mut screen = Screen::default();
    screen.follow(&mut live, 9);
    assert_eq!(screen.0.len(), 1);
    home.store.drop_collection("game", "scores").unwrap();
    home.store.sync().unwrap();
    screen.follow(&mut live, 9);
    assert!(screen.0.is_empty());

    let elsewhere = home.store.collection("attic", "old").unwrap();
    insert(&elsewhere, 7, 7);
    home.store
        .rename_collection(("attic", "old"), ("game", "scores"), true)
        .unwrap();
    insert(&scores, 8, 8);
    home.store.sync().unwrap();
    screen.follow(&mut live, 9);
    assert_eq!(screen.0.len(), 2);
}

#[test]
fn what_cannot_be_live_is_refused() {
    let home = Home::new();
    let scores = scores(&home);
    let refused = |options: FindOptions| scores.find_with(&rawdoc! {}, &options).unwrap().live().unwrap_err();
    let plain = FindOptions::default;
    let cases = [
        ("skip", FindOptions { skip: 1, ..plain() }),
        (
            "projection",
            FindOptions {
                projection: Some(rawdoc! { "points": 1 }),
                ..plain()
            },
        ),
        (
            "hint",
            FindOptions {
                hint: Some(Hint::Name("_id_".into())),
                ..plain()
            },
        ),
        (
            "collation",
            FindOptions {
                collation: Some(rawdoc! { "locale": "en", "strength": 2 }),
                ..plain()
            },
        ),
    ];
    for (name, options) in cases {
        assert!(
            matches!(refused(options), WatchError::LiveUnsupported { option } if option == name),
            "{name}"
        );
    }
    let large = FindOptions {
        limit: Some(100_001),
        ..FindOptions::default()
    };
    assert!(matches!(refused(large), WatchError::LiveTooLarge { .. }));
}

#[tokio::test]
async fn it_is_a_futures_stream() {
    let home = Home::new();
    let scores = scores(&home);
    insert(&scores, 1, 1);
    let mut live = scores.find(&rawdoc! {}).unwrap().live().unwrap();
    assert!(matches!(live.next().await, Some(Ok(LiveEvent::Added { .. }))));
    set(&scores, 1, 2);
    home.store.sync().unwrap();
    assert!(matches!(live.next().await, Some(Ok(LiveEvent::Changed { .. }))));
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let home = Home::new();
    let scores = scores(&home);
    for _ in 0..dice.roll(30) {
        let _ = scores.insert_one(&rawdoc! { "_id": dice.number(40), "points": dice.number(12) });
    }
    if dice.once_in(2) {
        scores
            .create_indexes(&[&rawdoc! { "key": { "points": 1 }, "name": "points" }])
            .unwrap();
    }
    let limit = [None, Some(1), Some(3), Some(8)][dice.roll(4)];
    let sorts = [
        rawdoc! {},
        rawdoc! { "points": 1 },
        rawdoc! { "points": -1 },
        rawdoc! { "points": 1, "_id": -1 },
    ];
    let sort = sorts[dice.roll(sorts.len())].clone();
    let filter = rawdoc! { "points": { "$lt": 3 + dice.number(9) } };
    let options = FindOptions {
        sort: Some(sort.clone()),
        limit,
        ..FindOptions::default()
    };
    let mut live = scores.find_with(&filter, &options).unwrap().live().unwrap();
    // The same order, with no two documents alike in it.
    let last = match sort.iter().next() {
        Some(Ok((_, direction))) => direction.as_i32().unwrap(),
        _ => 1,
    };
    let mut whole = sort.clone();
    if whole.get("_id").unwrap().is_none() {
        whole.append(tailwater::bson::raw::cstr!("_id"), last);
    }
    let exact = FindOptions {
        sort: Some(whole),
        ..options
    };
    let mut screen = Screen::default();
    let most = limit.map_or(usize::MAX, |limit| limit as usize);
    for _ in 0..120 {
        for _ in 0..dice.roll(3) {
            let id = dice.number(40);
            match dice.roll(5) {
                0..=1 => drop(scores.delete_one(&rawdoc! { "_id": id }).unwrap()),
                2 => set(&scores, id, dice.number(12)),
                // Refused where it is there.
                _ => drop(scores.insert_one(&rawdoc! { "_id": id, "points": dice.number(12) })),
            }
        }
        if dice.once_in(2) {
            home.store.sync().unwrap();
            screen.follow(&mut live, most);
            let found: Vec<_> = scores.find_with(&filter, &exact).unwrap().map(Result::unwrap).collect();
            assert_eq!(screen.0, found);
        } else if let Some(event) = live.next_if_any().unwrap() {
            screen.apply(event, most);
        }
    }
}

#[test]
fn applying_the_events_gives_what_the_query_finds() {
    for seed in seeds(40) {
        let _named = Named(seed);
        run(seed);
    }
}

#[test]
fn a_task_does_not_wait_for_the_disk_when_the_query_is_asked_again() {
    let mut options = small();
    // Nothing is synced but by the test.
    options.oplog.sync_interval = Duration::from_secs(3600);
    let home = Home::with(&options);
    let scores = scores(&home);
    for id in 1..=9 {
        scores.insert_one(&rawdoc! { "_id": id }).unwrap();
    }
    let first = FindOptions {
        limit: Some(1),
        ..FindOptions::default()
    };
    let mut live = scores.find_with(&rawdoc! {}, &first).unwrap().live().unwrap();
    let (mut screen, mut context) = (Screen::default(), Context::from_waker(Waker::noop()));
    screen.follow(&mut live, 1);
    // More goes than is kept, and this is durable; what the query finds then is not.
    for id in 1..=5 {
        scores.delete_one(&rawdoc! { "_id": id }).unwrap();
    }
    home.store.sync().unwrap();
    scores.delete_one(&rawdoc! { "_id": 6 }).unwrap();
    let durable = || home.store.log().watermarks().durable;
    let before = durable();
    let mut follow = |screen: &mut Screen| {
        while let Poll::Ready(event) = live.poll_next_unpin(&mut context) {
            screen.apply(event.unwrap().unwrap(), 1);
        }
    };
    follow(&mut screen);
    assert_eq!(durable(), before, "nobody has synced");
    assert_ne!(screen.0, [rawdoc! { "_id": 7 }]);
    home.store.sync().unwrap();
    follow(&mut screen);
    assert_eq!(screen.0, [rawdoc! { "_id": 7 }]);
}

//! Look-ups by prefix against a model, at whatever snapshot is still around: none sees what was before or after its commit,
//! however often it asks, and whoever asked in between.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::{Engine, EngineBatch, EngineSnapshot, Slice, StateKey};
use super::{
    ANSWER_BYTES_MAX, ANSWER_KEYS_MAX, Answer, CommitNumber, INDEXES_MAX, LENGTHS_MAX, PREFIX_BYTES_MAX, PrefixCache,
    beginning,
};
use crate::overlay::after_prefix;

const CACHE_BYTES: u64 = 8 << 20;
const INDEXES: [u32; 2] = [3, 4];

/// Keys that begin alike often, also with the greatest byte, which has no successor.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, 7, 254, 255]), 1..5)
}

fn index() -> impl Strategy<Value = u32> {
    prop::sample::select(INDEXES.to_vec())
}

#[derive(Clone, Debug)]
enum Step {
    /// Puts, and deletions where there is no value.
    Commit(Vec<(u32, Vec<u8>, Option<u8>)>),
    /// What is left of a dropped index goes.
    Drop(u32),
    /// Makes tables of what is in memory.
    Flush,
    /// Keeps the snapshot of now.
    Hold,
    /// Asks one of the snapshots that are held.
    Look {
        held: prop::sample::Index,
        index: u32,
        prefix: Vec<u8>,
        descending: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let look = (any::<prop::sample::Index>(), index(), key(), any::<bool>());
    prop_oneof![
        3 => prop::collection::vec((index(), key(), prop::option::weighted(0.7, any::<u8>())), 1..8).prop_map(Step::Commit),
        1 => index().prop_map(Step::Drop),
        1 => Just(Step::Flush),
        2 => Just(Step::Hold),
        12 => look.prop_map(|(held, index, prefix, descending)| Step::Look { held, index, prefix, descending }),
    ]
}

type Model = BTreeMap<(u32, Vec<u8>), Vec<u8>>;

/// A value that is long for some, so that answers are too long to be kept.
fn value(byte: u8) -> Vec<u8> {
    vec![byte; if byte.is_multiple_of(16) { 3000 } else { 4 }]
}

fn look(snapshot: &EngineSnapshot, index: u32, prefix: &[u8], descending: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let to = after_prefix(prefix);
    let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let scan = snapshot.scan(index, Bound::Included(prefix), to);
    let owned =
        |entry: Result<(StateKey, Slice), _>| entry.map(|(key, value)| (key.key().to_vec(), value.to_vec())).unwrap();
    if descending {
        scan.rev().map(owned).collect()
    } else {
        scan.map(owned).collect()
    }
}

fn expected(model: &Model, index: u32, prefix: &[u8], descending: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let found = model
        .iter()
        .filter(|((of, key), _)| *of == index && key.starts_with(prefix));
    let mut found: Vec<_> = found.map(|((_, key), value)| (key.clone(), value.clone())).collect();
    if descending {
        found.reverse();
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn every_snapshot_sees_its_own_state_however_often_it_asks(steps in prop::collection::vec(step(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path(), CACHE_BYTES).unwrap();
        let mut model = Model::new();
        let mut held = vec![(engine.snapshot(), model.clone())];
        let mut applied = 0;
        for step in steps {
            match step {
                Step::Commit(changes) => {
                    applied += 1;
                    let mut batch = EngineBatch::new();
                    for (index, key, byte) in changes {
                        match byte {
                            Some(byte) => {
                                batch.put(StateKey::new(index, &key), Slice::new(&value(byte)));
                                model.insert((index, key), value(byte));
                            }
                            None => {
                                batch.delete(StateKey::new(index, &key));
                                model.remove(&(index, key));
                            }
                        }
                    }
                    engine.commit(batch, applied).unwrap();
                }
                Step::Drop(index) => {
                    while engine.drop_collection_chunk(index, 3).unwrap() > 0 {}
                    model.retain(|(of, _), _| *of != index);
                }
                Step::Flush => engine.spaces.documents.rotate_memtable_and_wait().unwrap(),
                Step::Hold => held.push((engine.snapshot(), model.clone())),
                Step::Look { held: which, index, prefix, descending } => {
                    let (snapshot, then) = which.get(&held);
                    let found = look(snapshot, index, &prefix, descending);
                    prop_assert_eq!(found, expected(then, index, &prefix, descending));
                    let found = look(&engine.snapshot(), index, &prefix, descending);
                    prop_assert_eq!(found, expected(&model, index, &prefix, descending));
                }
            }
        }
    }
}

/// Keys of one index hold the number of the commit that has put them all there, so each look-up must find one number.
#[test]
fn looking_while_commits_are_made_finds_whole_commits() {
    const KEYS: u8 = 5;
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(Engine::open(dir.path(), CACHE_BYTES).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let snapshot = engine.snapshot();
                    for length in 1..3 {
                        let found = look(&snapshot, 3, &vec![9; length], false);
                        let count = if snapshot.applied() == 0 { 0 } else { usize::from(KEYS) };
                        assert_eq!(found.len(), count);
                        let expected = snapshot.applied().to_le_bytes();
                        assert!(
                            found.iter().all(|(_, value)| *value == expected),
                            "{found:?} {expected:?}"
                        );
                    }
                }
            });
        }
        for applied in 1..2_000u64 {
            let mut batch = EngineBatch::new();
            for key in 0..KEYS {
                batch.put(StateKey::new(3, &[9, 9, key]), Slice::new(&applied.to_le_bytes()));
            }
            engine.commit(batch, applied).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn short_answers_are_kept_and_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), CACHE_BYTES).unwrap();
    let mut batch = EngineBatch::new();
    for i in 0..=ANSWER_KEYS_MAX as u8 {
        batch.put(StateKey::new(3, &[1, i]), Slice::new(b"many"));
    }
    batch.put(StateKey::new(3, &[2, 0]), Slice::new(b"one"));
    engine.commit(batch, 1).unwrap();
    let snapshot = engine.snapshot();
    let kept = |prefix: &[u8]| engine.prefixes.get(&StateKey::new(3, prefix), snapshot.commit());
    for _ in 0..2 {
        assert_eq!(look(&snapshot, 3, &[1], false).len(), ANSWER_KEYS_MAX + 1);
        assert_eq!(look(&snapshot, 3, &[2], false), [(vec![2, 0], b"one".to_vec())]);
        assert_eq!(look(&snapshot, 3, &[3], false), []);
        assert!(matches!(kept(&[1]), Some(Answer::Long)));
        assert!(matches!(kept(&[2]), Some(Answer::Whole(_))));
        // What is not there is what inserts look for, and put there at once.
        assert!(kept(&[3]).is_none());
    }
    let mut batch = EngineBatch::new();
    batch.put(StateKey::new(3, &[2, 1]), Slice::new(b"two"));
    engine.commit(batch, 2).unwrap();
    assert!(matches!(kept(&[2]), None | Some(Answer::Whole(_))));
    assert!(
        engine
            .prefixes
            .get(&StateKey::new(3, &[2]), engine.snapshot().commit())
            .is_none()
    );
}

#[test]
fn a_length_counts_from_the_commit_after_it_is_registered() {
    let cache = PrefixCache::new(CACHE_BYTES);
    let (prefix, first) = (StateKey::new(3, b"p"), CommitNumber::default());
    let second = first.next();
    let entry = [(StateKey::new(3, b"pq"), Slice::new(b"v"))];
    // This commit has begun without knowing of the length.
    let changes = cache.begin(second);
    cache.keep(&prefix, first, Some(&entry));
    changes.key(&StateKey::new(3, b"pq").0);
    assert!(
        cache.get(&prefix, first).is_none(),
        "it could not be told from a stale one"
    );
    cache.keep(&prefix, second, Some(&entry));
    assert!(cache.get(&prefix, second).is_some());
    assert!(cache.get(&prefix, first).is_none(), "it is younger than the snapshot");
    // An older answer does not take its place, be it one that could be kept.
    let third = second.next();
    let changes = cache.begin(third);
    changes.key(&StateKey::new(3, b"pq").0);
    for older in [first, second] {
        cache.keep(&prefix, third, Some(&entry));
        cache.keep(&prefix, older, Some(&entry));
        assert!(cache.get(&prefix, third).is_some());
    }
}

#[test]
fn answers_of_whatever_length_are_kept_and_are_never_stale() {
    let cache = PrefixCache::new(CACHE_BYTES);
    let (first, second) = (CommitNumber::default(), CommitNumber::default().next());
    let prefixes = |byte: u8| (1..6 * LENGTHS_MAX).map(move |length| StateKey::new(3, &vec![byte; length]));
    for prefix in prefixes(b'p').chain(prefixes(b'q')) {
        cache.keep(&prefix, first, Some(&[(prefix.clone(), Slice::new(b""))]));
        assert!(cache.get(&prefix, first).is_some(), "{}", prefix.len());
    }
    let changes = cache.begin(second);
    changes.key(&StateKey::new(3, &[b'p'; 6 * LENGTHS_MAX]).0);
    for (changed, other) in prefixes(b'p').zip(prefixes(b'q')) {
        assert!(cache.get(&changed, second).is_none(), "{}", changed.len());
        assert!(cache.get(&other, second).is_some(), "{}", other.len());
    }
}

#[test]
fn indexes_that_are_gone_make_room_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), CACHE_BYTES).unwrap();
    let cache = &engine.prefixes;
    let number = |index: usize| u32::try_from(index).unwrap();
    let keep = |index: u32| {
        let prefix = StateKey::new(index, b"p");
        // Whatever has begun is over.
        let at = CommitNumber::default().next();
        cache.keep(&prefix, at, None);
        cache.get(&prefix, at).is_some()
    };
    assert!((0..INDEXES_MAX).all(|index| keep(number(index))));
    assert!(!keep(number(INDEXES_MAX)));
    assert_eq!(engine.drop_collection_chunk(7, 100).unwrap(), 0);
    assert!(keep(number(INDEXES_MAX)));
}

#[test]
fn lengths_and_bytes_are_bounded() {
    const BYTES: u64 = 1 << 20;
    let cache = PrefixCache::new(BYTES);
    let at = CommitNumber::default();
    for length in 1..PREFIX_BYTES_MAX {
        cache.keep(&StateKey::new(3, &vec![b'p'; length]), at, None);
    }
    // As they are, and four for each power of two.
    let lengths = cache.registered.lock().unwrap().lengths[&3].len();
    assert!(lengths <= LENGTHS_MAX + 4 * 10, "{lengths}");
    for i in 0..20_000u32 {
        let prefix = StateKey::new(4, &i.to_be_bytes());
        cache.keep(&prefix, at, Some(&[(prefix.clone(), Slice::new(&[0; 100]))]));
    }
    assert!(cache.answers.weight() <= BYTES);
    assert!(cache.answers.len() > 1000);
}

/// So many keys are one answer, and one more are none, of which only that is kept; either way all are found.
#[test]
fn an_answer_has_so_many_keys_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), CACHE_BYTES).unwrap();
    // Of each key and each value the length stands before it; the prefix is left out.
    let whole = ANSWER_BYTES_MAX - (2 + 1 + 2);
    let cases = [
        (1, ANSWER_KEYS_MAX, 1, true),
        (2, ANSWER_KEYS_MAX + 1, 1, false),
        (3, 1, whole, true),
        (4, 1, whole + 1, false),
        // Of which some are still to be read when it is known that there are too many.
        (5, ANSWER_KEYS_MAX + 5, 1, false),
    ];
    let mut batch = EngineBatch::new();
    for (first, keys, bytes, _) in cases {
        for key in 0..u8::try_from(keys).unwrap() {
            batch.put(StateKey::new(3, &[first, key]), Slice::new(&vec![key; bytes]));
        }
    }
    engine.commit(batch, 1).unwrap();
    let snapshot = engine.snapshot();
    for (first, keys, bytes, is_whole) in cases {
        let expected: Vec<_> = (0..u8::try_from(keys).unwrap())
            .map(|key| (vec![first, key], vec![key; bytes]))
            .collect();
        let backward: Vec<_> = expected.iter().rev().cloned().collect();
        for _ in 0..2 {
            assert_eq!(look(&snapshot, 3, &[first], false), expected);
            assert_eq!(look(&snapshot, 3, &[first], true), backward);
            let kept = engine.prefixes.get(&StateKey::new(3, &[first]), snapshot.commit());
            match (kept, is_whole) {
                (Some(Answer::Whole(packed)), true) => {
                    let found = packed.unpack(&StateKey::new(3, &[first]));
                    let found: Vec<_> = found
                        .iter()
                        .map(|(key, value)| (key.key().to_vec(), value.to_vec()))
                        .collect();
                    assert_eq!(found, expected);
                }
                (Some(Answer::Long), false) => {}
                _ => panic!("{first}: another answer is kept"),
            }
        }
    }
}

/// Whoever has asked before a change is not told of the state before it afterwards, whatever the engine was told to change.
#[test]
fn every_kind_of_change_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), CACHE_BYTES).unwrap();
    let change = |applied: u64, change: &dyn Fn(&mut EngineBatch)| {
        let mut batch = EngineBatch::new();
        change(&mut batch);
        engine.commit(batch, applied).unwrap();
    };
    let (prefix, key) = (StateKey::new(3, &[1]), StateKey::new(3, &[1, 1]));
    let is_kept = || engine.prefixes.get(&prefix, engine.snapshot().commit()).is_some();
    let put = |applied: u64| change(applied, &|batch| batch.put(key.clone(), Slice::new(b"v")));
    let ask = || look(&engine.snapshot(), 3, &[1], false).len();
    // The first who asks registers the length; from the next commit on answers are kept.
    put(1);
    assert_eq!(ask(), 1);
    put(2);
    assert_eq!(ask(), 1);
    assert!(is_kept());
    put(3);
    assert!(!is_kept(), "a document was put");
    assert_eq!(ask(), 1);
    assert!(is_kept());
    change(4, &|batch| batch.delete(key.clone()));
    assert!(!is_kept(), "a document was deleted");
    put(5);
    assert_eq!(ask(), 1);
    assert!(is_kept());
    assert_eq!(engine.drop_collection_chunk(3, 10).unwrap(), 1);
    assert!(!is_kept(), "a collection was dropped");
    assert_eq!(ask(), 0);
}

#[test]
fn long_prefixes_are_not_kept() {
    let cache = PrefixCache::new(CACHE_BYTES);
    let at = CommitNumber::default();
    let longest = PREFIX_BYTES_MAX - StateKey::new(3, &[]).len();
    for (bytes, is_kept) in [(longest, true), (longest + 1, false)] {
        let prefix = StateKey::new(3, &vec![1; bytes]);
        cache.keep(&prefix, at, None);
        assert_eq!(cache.get(&prefix, at).is_some(), is_kept, "{bytes}");
    }
}

/// At least three quarters of a prefix count, and of each power of two there are four lengths.
#[test]
fn beginnings_are_of_few_lengths() {
    for (length, expected) in [
        (0, 0),
        (1, 1),
        (7, 7),
        (8, 8),
        (9, 8),
        (15, 14),
        (16, 16),
        (19, 16),
        (20, 20),
        (31, 28),
        (100, 96),
        (511, 448),
        (512, 512),
    ] {
        assert_eq!(beginning(length), expected, "{length}");
    }
}

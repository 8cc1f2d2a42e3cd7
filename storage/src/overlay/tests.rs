//! A generation against a model: whatever was put as a run and whatever one by one, a reader sees the newest version that is
//! old enough.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::prelude::*;
use tailwater_oplog::OpId;

use super::{Generation, GenerationScan, KeyRange, Version, VersionKey};
use crate::catalog::CollectionNumber;
use crate::engine::{Slice, StateKey};

const COLLECTION: CollectionNumber = CollectionNumber(7);

/// A batch of inserts that begins with a key and goes on in steps, or one version of a key.
#[derive(Clone, Debug)]
enum Write {
    Inserts { from: u8, step: u8, count: u8 },
    Put(u8),
    Delete(u8),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (any::<u8>(), 1..4u8, 1..40u8).prop_map(|(from, step, count)| Write::Inserts { from, step, count }),
        any::<u8>().prop_map(Write::Put),
        any::<u8>().prop_map(Write::Delete),
    ]
}

/// What a key has become by which entry; nothing where it was deleted.
type Model = BTreeMap<u8, BTreeMap<u64, Option<Vec<u8>>>>;

fn fill(writes: &[Write]) -> (Generation, Model, u64) {
    let (generation, mut model, mut op_id) = (Generation::new(), Model::new(), 0);
    for write in writes {
        let first = op_id + 1;
        match *write {
            Write::Inserts { from, step, count } => {
                let keys: Vec<u8> = (0..count)
                    .map_while(|i| from.checked_add(step.checked_mul(i)?))
                    .collect();
                let document = |key: u8| vec![key; 30];
                generation.put_all(
                    OpId::new(first),
                    keys.iter().map(|key| StateKey::new(COLLECTION.0, &[*key])).collect(),
                    keys.iter().map(|key| Slice::new(&document(*key))).collect(),
                );
                for key in keys {
                    op_id += 1;
                    model.entry(key).or_default().insert(op_id, Some(document(key)));
                }
            }
            Write::Put(key) => {
                op_id += 1;
                let document = op_id.to_le_bytes().to_vec();
                generation.put(
                    COLLECTION,
                    &[key],
                    OpId::new(op_id),
                    Version::Put(Slice::new(&document)),
                );
                model.entry(key).or_default().insert(op_id, Some(document));
            }
            Write::Delete(key) => {
                op_id += 1;
                generation.put(COLLECTION, &[key], OpId::new(op_id), Version::Deleted);
                model.entry(key).or_default().insert(op_id, None);
            }
        }
    }
    // A neighbour on either side, which no scan may reach.
    for other in [COLLECTION.0 - 1, COLLECTION.0 + 1] {
        generation.put(CollectionNumber(other), &[9], OpId::new(1), Version::Deleted);
    }
    (generation, model, op_id)
}

fn visible(model: &Model, at: u64) -> impl Iterator<Item = (u8, Option<Vec<u8>>)> {
    model.iter().filter_map(move |(key, versions)| {
        let (_, version) = versions.range(..=at).next_back()?;
        Some((*key, version.clone()))
    })
}

fn found(version: &Version) -> Option<Vec<u8>> {
    version.document().map(<[u8]>::to_vec)
}

proptest! {
    #[test]
    fn a_generation_agrees_with_the_model(
        writes in proptest::collection::vec(write(), 0..30),
        at in 0.0..1.2f64,
        from in any::<u8>(),
        to in any::<u8>(),
        descending in any::<bool>(),
    ) {
        let (generation, model, last) = fill(&writes);
        let generation = Arc::new(generation);
        let at = (last as f64 * at) as u64;

        for key in 0..=u8::MAX {
            let sought = VersionKey::at(StateKey::new(COLLECTION.0, &[key]), OpId::new(at));
            let expected = model.get(&key).and_then(|versions| versions.range(..=at).next_back());
            prop_assert_eq!(generation.get(&sought).map(|version| found(&version)), expected.map(|(_, version)| version.clone()));
            let changed = model.get(&key).is_some_and(|versions| versions.range(at + 1..).next().is_some());
            prop_assert_eq!(generation.has_any_since(&[sought.key().clone()], OpId::new(at)), changed);
        }

        let range = KeyRange { from: Bound::Excluded(vec![from]), to: Bound::Included(vec![to]), descending };
        let mut expected: Vec<_> = visible(&model, at).filter(|(key, _)| from < *key && *key <= to).collect();
        if descending {
            expected.reverse();
        }
        let mut scan = GenerationScan::new(Arc::clone(&generation), COLLECTION, range, OpId::new(at));
        let scanned = std::iter::from_fn(|| {
            scan.prepare();
            scan.take().map(|(key, version)| (key.key()[0], found(&version)))
        });
        prop_assert_eq!(scanned.collect::<Vec<_>>(), expected);

        let mut newest = Vec::new();
        generation.newest_versions(|key, version| newest.push((key.clone(), found(version))));
        prop_assert!(newest.is_sorted_by(|a, b| a.0 < b.0));
        let own = newest.iter().filter(|(key, _)| *key >= StateKey::new(COLLECTION.0, &[]) && *key < StateKey::new(COLLECTION.0 + 1, &[]));
        let own: Vec<_> = own.map(|(key, version)| (key.key()[0], version.clone())).collect();
        prop_assert_eq!(own, visible(&model, u64::MAX).collect::<Vec<_>>());
    }
}

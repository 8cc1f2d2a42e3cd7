//! The order in which the documents of a capped collection came (MongoDB manual: *Capped Collections*).
//!
//! Two hidden indexes keep it, each the other's way round, so that the oldest document is found without a search and a
//! deleted one takes its place in the order with it. The OpID of the insert is the place; an update leaves a document where it
//! is.

use tailwater_oplog::OpId;

use crate::catalog::Natural;
use crate::error::{Error, Result};
use crate::overlay::{Generation, KeyRange, Version};
use crate::reading::{Reading, ReadingScan};
use crate::state::Layers;

const PLACE_BYTES: usize = size_of::<u64>();

/// Puts a document that was inserted by `op_id` at the end.
pub(crate) fn add(natural: Natural, generation: &Generation, key: &[u8], op_id: OpId) {
    let place = op_id.get().to_be_bytes();
    let key_bytes = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let by_order = [&place, key].concat();
    let by_key = [key, &place].concat();
    generation.put(natural.by_order, &by_order, op_id, Version::Indexed(u64::BITS / 8));
    generation.put(natural.by_key, &by_key, op_id, Version::Indexed(key_bytes));
}

/// Takes out a document that was deleted by `op_id`.
pub(crate) fn remove(natural: Natural, layers: &Layers, key: &[u8], op_id: OpId) -> Result<()> {
    let before = OpId::new(op_id.get() - 1);
    let generation = &layers.generations[0];
    for found in layers.scan(natural.by_key, KeyRange::prefix(key), before) {
        let (entry, _) = found?;
        if let Some(place) = place_in(&entry, key) {
            generation.put(natural.by_order, &[place, key].concat(), op_id, Version::Deleted);
            generation.put(natural.by_key, &entry, op_id, Version::Deleted);
        }
    }
    Ok(())
}

/// The place in an entry that says which one a document's key has.
pub(crate) fn place_in<'e>(entry: &'e [u8], key: &[u8]) -> Option<&'e [u8]> {
    entry.strip_prefix(key).filter(|place| place.len() == PLACE_BYTES)
}

/// The keys of the documents, oldest first; newest first when `descending`.
pub(crate) fn keys(natural: Natural, reading: &Reading, descending: bool) -> NaturalKeys {
    let range = KeyRange {
        descending,
        ..KeyRange::all()
    };
    NaturalKeys(reading.scan(natural.by_order, range))
}

/// See [`keys`].
#[derive(Debug)]
pub(crate) struct NaturalKeys(ReadingScan);

impl Iterator for NaturalKeys {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.0.next()?;
        Some(found.and_then(|(entry, _)| {
            let key = entry.get(PLACE_BYTES..).ok_or(Error::Inconsistent {
                op_id: OpId::ZERO,
                what: "an entry of the natural order is malformed",
            })?;
            Ok(key.to_vec())
        }))
    }
}

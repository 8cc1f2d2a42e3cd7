//! Which part of a filter is indexed.
//!
//! A filter is read as alternatives of conjuncts, each a necessary condition on one path. Of every alternative one conjunct
//! is indexed, its *access*: the one that the fewest events satisfy, as far as is known. The others are left to the filter
//! itself. A filter with an alternative that has nothing to index is not indexed at all.

use bson::RawBsonRef;
use tailwater_matcher::{Conjunct, Path, RangeOperator, encode_key, key_class, key_place};

use crate::plan::Plan;

/// How many alternatives a filter may have and be indexed.
const ALTERNATIVES_MAX: usize = 64;

/// How many values an `$in` may list and be indexed by them.
const VALUES_MAX: usize = 1024;

/// Of a key at most so many bytes are hashed: values that differ only further back are told apart by the filter.
const KEY_BYTES_HASHED: usize = 128;

/// A value's sortable key: the same for all values that are equal to MongoDB, `1` and `1.0` among them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn set(&mut self, value: RawBsonRef<'_>) -> &Key {
        self.0.clear();
        encode_key(value, &mut self.0);
        self
    }

    pub(crate) fn of(value: RawBsonRef<'_>) -> Key {
        let mut key = Key::default();
        key.set(value);
        key
    }

    pub(crate) fn hashed(&self) -> &[u8] {
        &self.0[..self.0.len().min(KEY_BYTES_HASHED)]
    }

    pub(crate) fn class(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    /// As [`key_place`] has it.
    pub(crate) fn place(&self) -> u64 {
        padded(self.0.get(1..).unwrap_or(&[]), 0)
    }

    /// The place of another value, which may cost this key.
    pub(crate) fn place_of(&mut self, value: RawBsonRef<'_>) -> u64 {
        key_place(value, &mut self.0)
    }
}

/// The first eight bytes as a number that sorts as they do.
fn padded(bytes: &[u8], padding: u8) -> u64 {
    let mut place = [padding; 8];
    let length = bytes.len().min(8);
    place[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(place)
}

/// One thing that an event must have for a filter to hold.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    /// A value with this key.
    Equal(Key),
    /// A value of the class whose place is within the bounds; or, values of the class on both sides of them.
    Range { class: u8, low: u64, high: u64 },
    /// Any value.
    Exists,
}

impl Demand {
    /// The class and the places of the values that satisfy it; `None` when it is no matter of that.
    fn span(&self) -> Option<(u8, u64, u64)> {
        match self {
            Demand::Equal(key) => Some((key.class(), key.place(), key.place())),
            Demand::Range { class, low, high } => Some((*class, *low, *high)),
            Demand::Exists => None,
        }
    }
}

/// What one conjunct demands at its path: any of these.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) path: Path,
    pub(crate) demands: Vec<Demand>,
}

impl Part {
    /// The class and the span of places that hold whatever satisfies the part; `None` when there is more than one class.
    pub(crate) fn span(&self) -> Option<(u8, u64, u64)> {
        let mut spans = self.demands.iter().map(Demand::span);
        let first = spans.next()??;
        spans.try_fold(first, |(class, low, high), span| {
            let (other, from, to) = span?;
            (other == class).then_some((class, low.min(from), high.max(to)))
        })
    }
}

/// The alternatives of a plan's filter, each with what could be indexed of it; nothing when one has nothing.
pub(crate) fn alternatives(plan: &Plan) -> Option<Vec<Vec<Part>>> {
    let of_condition = plan.pipeline.condition.alternatives(ALTERNATIVES_MAX);
    let of_filter = plan.filter.as_ref().map(|filter| filter.alternatives(ALTERNATIVES_MAX));
    let parts = |alternatives: &[Vec<Conjunct<'_>>]| -> Vec<Vec<Part>> {
        alternatives.iter().map(|conjuncts| parts(conjuncts)).collect()
    };
    let mut all = parts(&of_condition);
    if let Some(of_filter) = of_filter {
        let more = parts(&of_filter);
        // Both must hold; where both are disjunctions, either by itself is a necessary condition.
        match (all.as_mut_slice(), more.as_slice()) {
            ([one], [other]) => one.extend_from_slice(other),
            ([one], _) if one.is_empty() => all = more,
            ([one], _) => {
                let one = one.clone();
                all = more;
                all.iter_mut()
                    .for_each(|alternative| alternative.extend_from_slice(&one));
            }
            (several, [other]) => several
                .iter_mut()
                .for_each(|alternative| alternative.extend_from_slice(other)),
            _ => {}
        }
    }
    (!all.iter().any(Vec::is_empty)).then_some(all)
}

fn parts(conjuncts: &[Conjunct<'_>]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for conjunct in conjuncts {
        let Some(demands) = demands(conjunct) else { continue };
        let path = conjunct.path();
        // Two bounds on one path are one interval: one value may lie above the one and another below the other, so an event
        // satisfies both exactly when the span of its values overlaps it.
        if let [Demand::Range { class, low, high }] = demands.as_slice()
            && let Some(same) = parts.iter_mut().find_map(|part| match part.demands.as_mut_slice() {
                [
                    Demand::Range {
                        class: other,
                        low,
                        high,
                    },
                ] if other == class && part.path == *path => Some((low, high)),
                _ => None,
            })
        {
            (*same.0, *same.1) = ((*same.0).max(*low), (*same.1).min(*high));
            continue;
        }
        let path = Path::clone(path);
        parts.push(Part { path, demands });
    }
    parts
}

fn demands(conjunct: &Conjunct<'_>) -> Option<Vec<Demand>> {
    Some(match conjunct {
        Conjunct::Equal { value, .. } => vec![Demand::Equal(Key::of(*value))],
        Conjunct::In { values, .. } if values.len() <= VALUES_MAX => {
            values.iter().map(|value| Demand::Equal(Key::of(value))).collect()
        }
        Conjunct::Range { operator, bound, .. } => {
            let (class, place) = (key_class(*bound), key_place(*bound, &mut Vec::new()));
            let (low, high) = match operator {
                RangeOperator::Gt | RangeOperator::Gte => (place, u64::MAX),
                RangeOperator::Lt | RangeOperator::Lte => (0, place),
            };
            vec![Demand::Range { class, low, high }]
        }
        Conjunct::Prefix { prefix, regex, .. } if !prefix.contains('\0') => {
            let class = key_class(RawBsonRef::String(prefix));
            let text = prefix.as_bytes();
            let (low, high) = (padded(text, 0), padded(text, u8::MAX));
            let regex = Key::of(regex.as_raw_bson_ref());
            vec![Demand::Range { class, low, high }, Demand::Equal(regex)]
        }
        Conjunct::Type { .. } | Conjunct::Exists { .. } | Conjunct::Prefix { .. } => vec![Demand::Exists],
        // A long list may hold null, which a value that is not there satisfies: nothing can be demanded.
        _ => return None,
    })
}

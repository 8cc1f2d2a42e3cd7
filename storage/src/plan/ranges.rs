//! From bounds to ranges of an index's keys.

use std::ops::Bound;

use super::bounds::Bounds;
use super::interval::{End, Interval};
use crate::index::{Direction, IndexField};
use crate::overlay::{KeyRange, after_prefix};

/// The ranges that the bounds mean, in ascending order of the index's keys and apart from each other.
///
/// A key string is never the beginning of another, so a bound of one field is the beginning of exactly the keys that have that
/// value there.
pub(crate) fn of(bounds: &Bounds<'_>, fields: &[IndexField]) -> Vec<KeyRange> {
    let mut prefixes = vec![Vec::new()];
    for (intervals, field) in bounds.fields.iter().zip(fields).take(bounds.points) {
        let values: Vec<Vec<u8>> = in_order(intervals, field.direction)
            .map(|interval| inverted(&interval.low.key, field.direction))
            .collect();
        let appended = |prefix: &Vec<u8>, value: &Vec<u8>| [prefix.as_slice(), value].concat();
        prefixes = prefixes
            .iter()
            .flat_map(|prefix| values.iter().map(move |value| appended(prefix, value)))
            .collect();
    }
    if !bounds.range {
        return prefixes.iter().map(|prefix| KeyRange::prefix(prefix)).collect();
    }
    let (intervals, field) = (&bounds.fields[bounds.points], &fields[bounds.points]);
    let behind = |prefix: &Vec<u8>, interval: &Interval<'_>| between(prefix, interval, field.direction);
    prefixes
        .iter()
        .flat_map(|prefix| in_order(intervals, field.direction).map(move |interval| behind(prefix, interval)))
        .collect()
}

fn in_order<'i, 'a>(
    intervals: &'i [Interval<'a>],
    direction: Direction,
) -> Box<dyn Iterator<Item = &'i Interval<'a>> + 'i> {
    match direction {
        Direction::Ascending => Box::new(intervals.iter()),
        Direction::Descending => Box::new(intervals.iter().rev()),
    }
}

fn inverted(key: &[u8], direction: Direction) -> Vec<u8> {
    match direction {
        Direction::Ascending => key.to_vec(),
        Direction::Descending => key.iter().map(|byte| !byte).collect(),
    }
}

fn between(prefix: &[u8], interval: &Interval<'_>, direction: Direction) -> KeyRange {
    let (first, last) = match direction {
        Direction::Ascending => (&interval.low, &interval.high),
        Direction::Descending => (&interval.high, &interval.low),
    };
    let at = |end: &End<'_>| [prefix, &inverted(&end.key, direction)].concat();
    let (from, to) = (at(first), at(last));
    let from = if first.inclusive {
        Bound::Included(from)
    } else {
        after_prefix(&from).map_or(Bound::Excluded(from), Bound::Included)
    };
    let to = if last.inclusive {
        after_prefix(&to).map_or(Bound::Unbounded, Bound::Excluded)
    } else {
        Bound::Excluded(to)
    };
    KeyRange {
        from,
        to,
        descending: false,
    }
}

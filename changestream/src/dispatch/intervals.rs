//! Which intervals overlap a value: the index of range predicates on one path and one class of values.
//!
//! Bounds and values are the first eight bytes of their sortable keys. The map from values to those is monotone, so an
//! interval that holds a value is always found; intervals whose bounds differ from the value only further back are found,
//! too, and the predicate itself sorts them out.
//!
//! # Structure
//!
//! The logarithmic method: sorted runs, each an implicit balanced tree with the largest upper bound of every subtree, and
//! in front of them a short unsorted run. A full front is sorted and merged with the runs that are no longer than it, so n
//! insertions cost O(n log² n) altogether and none of them rebuilds everything every time. A query asks every run: O(log² n + hits).
//! A removed interval leaves a tombstone; when half of a structure is tombstones it is rebuilt.

/// How many intervals the unsorted run takes.
const FRONT: usize = 64;

/// What a tombstone carries.
const NOBODY: u32 = u32::MAX;

/// The values from `low` to `high`, both included, of whoever `owner` is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Interval {
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) owner: u32,
}

impl Interval {
    fn overlaps(&self, low: u64, high: u64) -> bool {
        self.low <= high && low <= self.high && self.owner != NOBODY
    }
}

/// A sorted run. The tree is implicit: the root of `[from, to)` stands in its middle.
#[derive(Debug, Default)]
struct Run {
    intervals: Vec<Interval>,
    /// The largest `high` of the subtree rooted at each place.
    highest: Vec<u64>,
}

impl Run {
    fn new(mut intervals: Vec<Interval>) -> Run {
        intervals.sort_unstable();
        intervals.shrink_to_fit();
        let mut run = Run {
            highest: vec![0; intervals.len()],
            intervals,
        };
        run.raise(0, run.intervals.len());
        run
    }

    /// Fills `highest`; as deep as the tree, which is balanced.
    fn raise(&mut self, from: usize, to: usize) -> u64 {
        if from == to {
            return 0;
        }
        let middle = usize::midpoint(from, to);
        let below = self.raise(from, middle).max(self.raise(middle + 1, to));
        self.highest[middle] = below.max(self.intervals[middle].high);
        self.highest[middle]
    }

    fn each(&self, (from, to): (usize, usize), (low, high): (u64, u64), found: &mut dyn FnMut(u32)) {
        if from == to {
            return;
        }
        let middle = usize::midpoint(from, to);
        if self.highest[middle] < low {
            return;
        }
        self.each((from, middle), (low, high), found);
        let interval = &self.intervals[middle];
        if interval.low > high {
            return;
        }
        if interval.overlaps(low, high) {
            found(interval.owner);
        }
        self.each((middle + 1, to), (low, high), found);
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    front: Vec<Interval>,
    /// The longest first.
    runs: Vec<Run>,
    tombstones: usize,
}

impl Intervals {
    pub(crate) fn insert(&mut self, interval: Interval) {
        self.front.push(interval);
        if self.front.len() >= FRONT {
            let mut merged = std::mem::take(&mut self.front);
            while let Some(run) = self.runs.pop_if(|run| run.intervals.len() <= merged.len()) {
                merged.extend(run.intervals.into_iter().filter(|interval| interval.owner != NOBODY));
            }
            self.runs.push(Run::new(merged));
            self.tombstones = self
                .runs
                .iter()
                .flat_map(|run| &run.intervals)
                .filter(|i| i.owner == NOBODY)
                .count();
        }
    }

    /// Removes one that was inserted.
    pub(crate) fn remove(&mut self, interval: Interval) {
        if let Some(at) = self.front.iter().position(|other| *other == interval) {
            self.front.swap_remove(at);
            return;
        }
        for run in &mut self.runs {
            // A tombstone keeps its bounds, so the order of the bounds still holds.
            let bounds = (interval.low, interval.high);
            let from = run.intervals.partition_point(|other| (other.low, other.high) < bounds);
            let same = run.intervals[from..]
                .iter_mut()
                .take_while(|other| (other.low, other.high) == bounds);
            if let Some(found) = same.into_iter().find(|other| other.owner == interval.owner) {
                found.owner = NOBODY;
                self.tombstones += 1;
                break;
            }
        }
        let total: usize = self.runs.iter().map(|run| run.intervals.len()).sum();
        if self.tombstones * 2 > total {
            let runs = std::mem::take(&mut self.runs);
            let left = runs
                .into_iter()
                .flat_map(|run| run.intervals)
                .filter(|i| i.owner != NOBODY);
            let left: Vec<_> = left.collect();
            if !left.is_empty() {
                self.runs.push(Run::new(left));
            }
            self.tombstones = 0;
        }
    }

    /// Calls `found` with the owner of every interval that overlaps the values from `low` to `high`.
    pub(crate) fn each_overlapping(&self, low: u64, high: u64, found: &mut dyn FnMut(u32)) {
        for interval in &self.front {
            if interval.overlaps(low, high) {
                found(interval.owner);
            }
        }
        for run in &self.runs {
            run.each((0, run.intervals.len()), (low, high), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            steps in prop::collection::vec((0u64..60, 0u64..20, any::<bool>(), 0usize..1000), 0..600),
            queries in prop::collection::vec((0u64..90, 0u64..5), 1..20),
        ) {
            let mut intervals = Intervals::default();
            let mut plain: Vec<Interval> = Vec::new();
            for (owner, (low, length, remove, pick)) in steps.into_iter().enumerate() {
                if remove && !plain.is_empty() {
                    intervals.remove(plain.swap_remove(pick % plain.len()));
                } else {
                    let interval = Interval { low, high: low + length, owner: owner as u32 };
                    intervals.insert(interval);
                    plain.push(interval);
                }
            }
            for (low, length) in queries {
                let mut found = Vec::new();
                intervals.each_overlapping(low, low + length, &mut |owner| found.push(owner));
                found.sort_unstable();
                let expected: Vec<u32> = {
                    let hits = plain.iter().filter(|i| i.overlaps(low, low + length));
                    let mut hits: Vec<_> = hits.map(|i| i.owner).collect();
                    hits.sort_unstable();
                    hits
                };
                prop_assert_eq!(found, expected);
            }
            for interval in plain {
                intervals.remove(interval);
            }
            prop_assert!(intervals.front.is_empty() && intervals.runs.is_empty());
        }
    }
}

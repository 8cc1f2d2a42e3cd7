//! How often hashed values occur, roughly and in bounded memory: a count-min sketch (Cormode and Muthukrishnan).
//!
//! An estimate is never too low. It decides only which part of a filter is indexed, never what a watcher gets.

const ROW_BITS: u32 = 14;
const ROW: usize = 1 << ROW_BITS;

/// After so many occurrences all counts are halved, so that the past fades.
const TOTAL_MAX: u32 = 1 << 20;

/// Counts of hashed values; 128 KiB once something was counted.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    counts: Vec<u32>,
    total: u32,
}

impl Sketch {
    fn places(hash: u64) -> [usize; 2] {
        let mask = ROW as u64 - 1;
        [(hash & mask) as usize, ROW + (hash >> (64 - ROW_BITS)) as usize]
    }

    pub(crate) fn count(&mut self, hash: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; 2 * ROW];
        }
        for place in Sketch::places(hash) {
            self.counts[place] += 1;
        }
    }

    /// Notes one more of what the shares are of: an event, or a filter.
    pub(crate) fn turn(&mut self) {
        self.total += 1;
        if self.total == TOTAL_MAX {
            self.total /= 2;
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Of the turns taken, the share in which the value occurred.
    pub(crate) fn share(&self, hash: u64) -> f64 {
        if self.counts.is_empty() {
            return 0.0;
        }
        let count = Sketch::places(hash).map(|place| self.counts[place]).into_iter().min();
        f64::from(count.unwrap_or(0)) / f64::from(self.total.max(1))
    }
}

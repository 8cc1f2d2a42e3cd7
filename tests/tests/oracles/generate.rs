//! Random cases from a seed. Few names and few values, so that what is asked for is often there.
//!
//! Values are those that all implementations have: null, booleans, numbers that a double holds exactly, text, dates, arrays and
//! documents; in [`typed`] and [`upserts`] ObjectIds as well, in [`decimals`] Decimal128. What else only BSON has is for the suites
//! that follow the manual.

mod decimals;
mod expressions;
mod filters;
mod pipelines;
mod projections;
mod sorts;
mod typed;
mod updates;
mod upserts;

use bson::{Bson, DateTime, Document, doc};

pub(crate) use sorts::reached;

use crate::case::Case;

/// A source of choices.
pub(crate) struct Random(fastrand::Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(fastrand::Rng::with_seed(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn integer(&mut self) -> i32 {
        self.0.i32(-2..6)
    }

    fn number(&mut self) -> Bson {
        match self.below(6) {
            0 => Bson::Double(f64::from(self.integer()) / 2.0),
            1 => Bson::Double(f64::from(self.integer())),
            2 => Bson::Int64(self.integer().into()),
            _ => Bson::Int32(self.integer()),
        }
    }

    fn text(&mut self) -> String {
        self.pick(&["", "a", "ab", "b", "B", "x y", "abc"]).to_owned()
    }

    fn date(&mut self) -> DateTime {
        // A leap day, the last moment of a year, one before 1970, one in the middle.
        DateTime::from_millis(self.pick(&[951_782_400_000, 1_609_459_199_999, -86_400_000, 1_500_000_123_456]))
    }

    fn scalar(&mut self) -> Bson {
        match self.below(8) {
            0 => Bson::Null,
            1 => Bson::Boolean(self.one_in(2)),
            2 => Bson::DateTime(self.date()),
            3 | 4 => Bson::String(self.text()),
            _ => self.number(),
        }
    }

    /// Any value, with at most so many levels below it.
    fn value(&mut self, levels: usize) -> Bson {
        match self.below(if levels == 0 { 3 } else { 6 }) {
            0..3 => self.scalar(),
            3 => Bson::Document(self.embedded(levels - 1)),
            _ => Bson::Array((0..self.below(4)).map(|_| self.value(levels - 1)).collect()),
        }
    }

    fn embedded(&mut self, levels: usize) -> Document {
        let mut document = Document::new();
        for name in ["a", "b", "c"] {
            if self.one_in(2) {
                document.insert(name, self.value(levels));
            }
        }
        document
    }

    fn document(&mut self, id: usize) -> Document {
        let mut document = doc! { "_id": i32::try_from(id).unwrap() };
        document.extend(self.embedded(3));
        document
    }
}

/// A filter and documents of any shape.
pub(crate) fn find(random: &mut Random) -> Case {
    let documents = (0..8).map(|id| random.document(id)).collect();
    Case::Find {
        filter: filters::filter(random, 2),
        documents,
    }
}

/// An update and a document that it is made for.
pub(crate) fn update(random: &mut Random) -> Case {
    updates::update(random)
}

/// A filter on ObjectIds, dates and other scalars.
pub(crate) fn typed_find(random: &mut Random) -> Case {
    typed::find(random)
}

/// A projection and documents of any shape.
pub(crate) fn project(random: &mut Random) -> Case {
    projections::project(random)
}

/// An order, and documents of any shape.
pub(crate) fn sort(random: &mut Random) -> Case {
    sorts::sort(random)
}

/// An update that inserts where nothing matches.
pub(crate) fn upsert(random: &mut Random) -> Case {
    upserts::upsert(random)
}

/// An expression of one type or another, computed for one document.
pub(crate) fn expression(random: &mut Random) -> Case {
    Case::Aggregate {
        pipeline: vec![doc! { "$project": { "v": expressions::any(random, 2) } }],
        documents: vec![expressions::document(random)],
        others: Vec::new(),
    }
}

/// A comparison, an order, an update or an expression on decimals and other numbers.
pub(crate) fn decimals(random: &mut Random) -> Case {
    decimals::decimals(random)
}

/// A pipeline of a few stages.
pub(crate) fn pipeline(random: &mut Random) -> Case {
    pipelines::pipeline(random)
}

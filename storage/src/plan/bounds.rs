//! From what a filter asks of an index's fields to the stretches of the index that can hold its documents.
//!
//! Bounds are put on a prefix of the fields: points as long as there are points, then one range. What comes behind is read and
//! left to the filter.
//!
//! # Arrays
//!
//! A multikey index has several keys of one document, and two conditions on one path may be satisfied by two of them. So there
//! only one conjunct bounds a field; and a field is not bounded when one before it, whose path begins with the same name, is:
//! both may go through one array, and the conditions be satisfied by two of its elements.

use tailwater_matcher::{Collation, Conjunct, IN_VALUES_MAX};

use super::interval::{self, Interval, Intervals};
use super::partial::excludes_missing;
use crate::index::IndexField;
use crate::index::keys::position;

/// Most stretches of one scan; where more would be needed, fewer fields are bounded. One `$in` of arrays always fits.
const STRETCHES_MAX: usize = 2 * IN_VALUES_MAX;

/// For each field of an index the intervals of its values.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Bounds<'a> {
    pub(crate) fields: Vec<Intervals<'a>>,
    /// How many fields are bounded by points.
    pub(crate) points: usize,
    /// Whether the field behind them is bounded by a range.
    pub(crate) range: bool,
}

impl<'a> Bounds<'a> {
    /// The whole of an index with so many fields.
    pub(crate) fn whole(fields: usize) -> Bounds<'a> {
        Bounds {
            fields: vec![vec![Interval::whole()]; fields],
            points: 0,
            range: false,
        }
    }

    /// What the conjuncts say of an index on these fields, which has strings in the order of a collation, or of their bytes.
    pub(crate) fn new(
        fields: &[IndexField],
        multikey: bool,
        conjuncts: &[Conjunct<'a>],
        order: Option<&Collation>,
    ) -> Bounds<'a> {
        let mut bounds = Bounds::whole(fields.len());
        let mut stretches = 1;
        for (i, field) in fields.iter().enumerate() {
            let first = field.components.first();
            if multikey && fields[..i].iter().any(|before| before.components.first() == first) {
                break;
            }
            let Some(intervals) = of_field(field, multikey, conjuncts, order) else {
                break;
            };
            stretches *= intervals.len();
            if stretches > STRETCHES_MAX {
                break;
            }
            let points = intervals.iter().all(Interval::is_point);
            bounds.fields[i] = intervals;
            if !points {
                bounds.range = true;
                break;
            }
            bounds.points += 1;
        }
        bounds
    }

    /// Whether no document can be there.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.iter().any(Vec::is_empty)
    }

    /// Whether the whole index is to be read.
    pub(crate) fn is_whole(&self) -> bool {
        self.points == 0 && !self.range
    }

    /// Whether a field has the same value in everything that is read.
    pub(crate) fn is_pinned(&self, field: usize) -> bool {
        matches!(&*self.fields[field], [only] if only.is_point())
    }
}

fn of_field<'a>(
    field: &IndexField,
    multikey: bool,
    conjuncts: &[Conjunct<'a>],
    order: Option<&Collation>,
) -> Option<Intervals<'a>> {
    // Such a path has the key of one element, and may be missing from another.
    let may_be_missing = multikey && field.components.iter().skip(1).any(|name| position(name).is_some());
    let bounds = |conjunct: &&Conjunct<'a>| !may_be_missing || excludes_missing(conjunct);
    let here = conjuncts
        .iter()
        .filter(|conjunct| *conjunct.path() == field.path)
        .filter(bounds);
    let mut each = here.filter_map(|conjunct| interval::of_conjunct(conjunct, order));
    if multikey {
        // Points before ranges, few before many.
        return each.min_by_key(|intervals| (!intervals.iter().all(Interval::is_point), intervals.len()));
    }
    let first = each.next()?;
    Some(each.fold(first, |all, next| interval::intersect(&all, &next)))
}

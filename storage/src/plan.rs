//! How the documents that a filter can match are found: by `_id`, by an index, or by looking at all of them.
//!
//! A plan only says where to look. Whoever follows it still asks the filter about every document, so a plan is sound when it
//! leaves none out; what makes it so is said in [`bounds`] and [`partial`].
//!
//! # Which index
//!
//! No statistics are kept. Of the indexes that have all documents the filter can match, and one of whose bounds or whose order
//! is of use, the one comes first that has
//!
//! 1. `_id` bounded by points;
//! 2. more fields bounded by points (`$eq`, `$in`);
//! 3. a field bounded by a range behind them;
//! 4. the order that is asked for, so that nothing needs to be sorted;
//! 5. a guarantee of uniqueness;
//! 6. fewer fields; and of those that are alike the one that was created first.
//!
//! Where no index bounds a field by points, and the filter is of alternatives (`$or`), each of them may be looked for by an
//! index of its own; see [`union`].
//!
//! An index bounds comparisons with strings, and has an order, only where its collation is the question's.
//!
//! A hint overrules this. Only indexes that are complete take part, and hidden ones do not.

mod bounds;
mod interval;
mod partial;
mod ranges;
mod union;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::LazyLock;

use bson::{RawBsonRef, RawDocument};
use tailwater_matcher::{Collation, Conjunct, Expression, compare};

use crate::catalog::{CollectionInfo, IndexInfo, IndexState};
use crate::error::{Error, Result};
use crate::index::{Direction, ID_INDEX, IndexField};
use crate::overlay::KeyRange;
use crate::query::Hint;
use crate::reading::Reading;
use crate::sort::SortPattern;

pub(crate) use bounds::Bounds;
pub(crate) use interval::{Edge, End, Interval};
pub(crate) use partial::implies;
pub(crate) use union::QueryPlan;

/// The order of the documents themselves.
pub(crate) static ID_FIELDS: LazyLock<Vec<IndexField>> = LazyLock::new(|| {
    vec![IndexField {
        path: tailwater_matcher::Path::new("_id").expect("a name is a path"),
        components: vec!["_id".into()],
        direction: Direction::Ascending,
    }]
});

/// Where to look for documents, and in which direction.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The index to read; none for the documents themselves, in the order of their `_id`s.
    pub(crate) index: Option<&'a IndexInfo>,
    pub(crate) bounds: Bounds<'a>,
    /// Whether the index may have several keys of one document.
    pub(crate) multikey: bool,
    pub(crate) descending: bool,
    /// Whether documents are found in the order that was asked for.
    pub(crate) sorted: bool,
    /// Whether all documents are to be looked at in the order that the collection keeps, which need not be that of `_id`.
    pub(crate) natural: bool,
}

/// What the documents are to be, and in which order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) filter: &'a Expression,
    /// By what the filter compares strings, if not by their bytes.
    pub(crate) collation: Option<&'a Collation>,
    pub(crate) sort: Option<&'a SortPattern>,
}

impl<'a> Question<'a> {
    /// Those that match a filter that compares strings by their bytes, in any order.
    pub(crate) fn unsorted(filter: &'a Expression) -> Question<'a> {
        Question {
            filter,
            collation: None,
            sort: None,
        }
    }

    fn asked(self) -> Asked<'a> {
        Asked {
            conjuncts: self.filter.indexable_by(self.collation),
            question: self,
        }
    }
}

impl<'a> Plan<'a> {
    /// The plan for a question to a collection.
    ///
    /// # Errors
    ///
    /// [`Error::BadHint`].
    pub(crate) fn choose(
        reading: &Reading,
        info: &'a CollectionInfo,
        question: Question<'a>,
        hint: Option<&Hint>,
    ) -> Result<Plan<'a>> {
        let asked = question.asked();
        match hint {
            Some(hint) => hinted(reading, info, &asked, hint),
            None => Ok(asked.best(reading, info)),
        }
    }

    /// The plan that reads the documents of an index that a filter can match, whether or not the index has all of them.
    pub(crate) fn along_index(reading: &Reading, index: &'a IndexInfo, filter: &'a Expression) -> Plan<'a> {
        Question::unsorted(filter).asked().by_index(reading, index)
    }

    /// The fields whose order it follows.
    pub(crate) fn fields(&self) -> &[IndexField] {
        self.index.map_or(&ID_FIELDS, |index| &index.definition.fields)
    }

    /// Whether it looks at every document, in the order of their `_id`s.
    pub(crate) fn is_collection_scan(&self) -> bool {
        self.index.is_none() && self.bounds.is_whole()
    }

    /// The keys of the only documents to look at, in the order in which to do so; nothing when it is not known which they are.
    pub(crate) fn id_points(&self) -> Option<Vec<Vec<u8>>> {
        if self.index.is_some() || self.bounds.points == 0 {
            return None;
        }
        let points = self.bounds.fields[0].iter().map(|point| point.low.key.clone());
        Some(if self.descending {
            points.rev().collect()
        } else {
            points.collect()
        })
    }

    /// Whether a document may be found more than once. Under one value of all fields it is once at most.
    pub(crate) fn may_repeat(&self) -> bool {
        self.multikey && !(0..self.fields().len()).all(|field| self.bounds.is_pinned(field))
    }

    /// The ranges of keys to read, in the order in which to read them.
    pub(crate) fn ranges(&self) -> Vec<KeyRange> {
        let mut ranges = ranges::of(&self.bounds, self.fields());
        if self.descending {
            ranges.reverse();
            ranges.iter_mut().for_each(|range| range.descending = true);
        }
        ranges
    }

    fn rank(&self, order: usize) -> Rank {
        (
            self.index.is_none() && self.bounds.points > 0,
            self.bounds.points,
            self.bounds.range,
            self.sorted,
            self.index.is_none_or(|index| index.definition.unique),
            Reverse(self.fields().len()),
            Reverse(order),
        )
    }
}

/// See the module documentation.
type Rank = (bool, usize, bool, bool, bool, Reverse<usize>, Reverse<usize>);

/// What a query asks for.
struct Asked<'a> {
    question: Question<'a>,
    /// What the filter asks of single paths, strings by the question's collation.
    conjuncts: Vec<Conjunct<'a>>,
}

impl<'a> Asked<'a> {
    /// The plan that comes first by the module's rules.
    fn best(&self, reading: &Reading, info: &'a CollectionInfo) -> Plan<'a> {
        let by_id = self.by_id();
        if by_id.bounds.points > 0 || info.indexes.is_empty() {
            return self.naturally(by_id);
        }
        let usable = info.indexes.iter().filter(|index| is_usable(index)).enumerate();
        let plans = usable.filter_map(|(order, index)| {
            let plan = self.by_index(reading, index);
            let conjuncts = self.conjuncts_by(index.definition.collation.as_ref());
            let complete = partial::has_all(&index.definition, self.question.filter, &conjuncts);
            let of_use = complete && self.is_use(&plan);
            of_use.then(|| (plan.rank(order), plan))
        });
        let best = plans.max_by_key(|(rank, _)| *rank);
        match best {
            Some((rank, plan)) if !self.is_use(&by_id) || rank > by_id.rank(info.indexes.len()) => plan,
            _ => self.naturally(by_id),
        }
    }

    fn by_id(&self) -> Plan<'a> {
        let conjuncts = self.conjuncts_by(None);
        self.along(None, Bounds::new(&ID_FIELDS, false, &conjuncts, None), false)
    }

    /// What an index can conclude that has strings in the order of this collation.
    fn conjuncts_by(&self, order: Option<&Collation>) -> Cow<'_, [Conjunct<'a>]> {
        if order == self.question.collation {
            return Cow::Borrowed(&self.conjuncts);
        }
        let strings_apart = self.conjuncts.iter().filter_map(Conjunct::without_strings);
        Cow::Owned(strings_apart.collect())
    }

    fn by_index(&self, reading: &Reading, index: &'a IndexInfo) -> Plan<'a> {
        let multikey = index.multikey || reading.has_staged_arrays(index.number);
        let order = index.definition.collation.as_ref();
        let bounds = Bounds::new(&index.definition.fields, multikey, &self.conjuncts_by(order), order);
        self.along(Some(index), bounds, multikey)
    }

    fn along(&self, index: Option<&'a IndexInfo>, bounds: Bounds<'a>, multikey: bool) -> Plan<'a> {
        let fields = index.map_or(&*ID_FIELDS, |index| &index.definition.fields);
        let order = index.and_then(|index| index.definition.collation.as_ref());
        let direction = match self.question.sort {
            Some(sort) if !multikey => sort.direction_along(fields, order, |field| bounds.is_pinned(field)),
            _ => None,
        };
        Plan {
            index,
            bounds,
            multikey,
            descending: direction == Some(Direction::Descending),
            sorted: self.question.sort.is_none() || direction.is_some(),
            natural: false,
        }
    }

    /// Where no order is asked for, all documents come in the one that the collection keeps.
    fn naturally(&self, by_id: Plan<'a>) -> Plan<'a> {
        Plan {
            natural: by_id.bounds.is_whole() && self.question.sort.is_none(),
            ..by_id
        }
    }

    /// Whether a plan is better than looking at everything: it has bounds or the order, or its index leaves documents out and
    /// the filter asks for its first field.
    fn is_use(&self, plan: &Plan<'_>) -> bool {
        let asked_for = |index: &IndexInfo| {
            let first = &index.definition.fields[0].path;
            let selective = index.definition.sparse || index.definition.partial.is_some();
            selective && self.conjuncts.iter().any(|conjunct| conjunct.path() == first)
        };
        !plan.bounds.is_whole() || (self.question.sort.is_some() && plan.sorted) || plan.index.is_some_and(asked_for)
    }
}

fn is_usable(index: &IndexInfo) -> bool {
    index.state == IndexState::Ready && !index.definition.hidden
}

fn hinted<'a>(reading: &Reading, info: &'a CollectionInfo, asked: &Asked<'a>, hint: &Hint) -> Result<Plan<'a>> {
    let id_key = bson::rawdoc! { "_id": 1 };
    let is_id = |key: &RawDocument| compare(RawBsonRef::Document(key), RawBsonRef::Document(&id_key)).is_eq();
    let bad = |what| Error::BadHint {
        hint: hint.to_string(),
        what,
    };
    let found = match hint {
        Hint::Natural(direction) => {
            let mut plan = asked.along(None, Bounds::whole(1), false);
            let descending = *direction < 0;
            let by_id = info.natural.is_none() && plan.sorted && plan.descending == descending;
            plan.sorted = asked.question.sort.is_none() || by_id;
            plan.descending = descending;
            plan.natural = true;
            return Ok(plan);
        }
        Hint::Name(name) if name == ID_INDEX => return Ok(asked.by_id()),
        Hint::Key(key) if is_id(key) => return Ok(asked.by_id()),
        Hint::Name(name) => info.index(name),
        Hint::Key(key) => {
            let usable = |index: &&IndexInfo| is_usable(index) && index.definition.has_key(key);
            let mut found = info.indexes.iter().filter(usable);
            let first = found.next();
            // Which one is meant decides over the documents that are found: a sparse one has not all.
            if found.next().is_some() {
                return Err(bad("several indexes have that key: hint by name"));
            }
            first
        }
    };
    let index = found.filter(|index| is_usable(index));
    let index = index.ok_or_else(|| bad("there is no such index, or it is hidden or still being built"))?;
    // A hint may ask for a sparse index at the price of documents that are not in it, as in MongoDB.
    let sparse_only = index.definition.partial.is_none();
    let conjuncts = asked.conjuncts_by(index.definition.collation.as_ref());
    if sparse_only || partial::has_all(&index.definition, asked.question.filter, &conjuncts) {
        return Ok(asked.by_index(reading, index));
    }
    Err(bad(
        "the filter does not say that the index's partialFilterExpression holds",
    ))
}

//! Stretches of the values of one field, as an index sees them: by their key strings.
//!
//! All bounds here are ascending keys; [`super::ranges`] turns them round for descending fields. A bound may be a class byte
//! alone, which stands before all keys of its class, or the byte behind it, which stands after them; so a range keeps to the
//! class of its bound, as comparisons do.

use bson::RawBsonRef;
use tailwater_matcher::{Collation, Conjunct, RangeOperator, encode_key};

use crate::overlay::after_prefix;

/// One end of an interval.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct End<'a> {
    pub(crate) key: Vec<u8>,
    pub(crate) inclusive: bool,
    pub(crate) edge: Edge<'a>,
}

/// What an end is, for those who look at it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Edge<'a> {
    /// Before everything.
    Least,
    /// After everything.
    Greatest,
    /// Before the values of this one's class.
    ClassLeast(RawBsonRef<'a>),
    /// After the values of this one's class.
    ClassGreatest(RawBsonRef<'a>),
    Value(RawBsonRef<'a>),
    /// Something else, and how it is shown.
    Shown(String),
}

/// Values from `low` to `high`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Interval<'a> {
    pub(crate) low: End<'a>,
    pub(crate) high: End<'a>,
}

/// Intervals of one field, in order and apart from each other.
pub(crate) type Intervals<'a> = Vec<Interval<'a>>;

impl<'a> Interval<'a> {
    /// Every value.
    pub(crate) fn whole() -> Interval<'a> {
        Interval {
            low: End {
                key: Vec::new(),
                inclusive: true,
                edge: Edge::Least,
            },
            high: End {
                // No class is as high.
                key: vec![u8::MAX],
                inclusive: false,
                edge: Edge::Greatest,
            },
        }
    }

    pub(crate) fn point(value: RawBsonRef<'a>, order: Option<&Collation>) -> Interval<'a> {
        let end = End {
            key: key_of(value, order),
            inclusive: true,
            edge: Edge::Value(value),
        };
        Interval {
            low: end.clone(),
            high: end,
        }
    }

    pub(crate) fn is_point(&self) -> bool {
        self.low.inclusive && self.high.inclusive && self.low.key == self.high.key
    }

    fn is_empty(&self) -> bool {
        match self.low.key.cmp(&self.high.key) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => !(self.low.inclusive && self.high.inclusive),
            std::cmp::Ordering::Greater => true,
        }
    }

    /// Whether every value in here is in `other`.
    pub(crate) fn is_within(&self, other: &Interval<'_>) -> bool {
        let above = (&self.low.key, !self.low.inclusive) >= (&other.low.key, !other.low.inclusive);
        above && (&self.high.key, self.high.inclusive) <= (&other.high.key, other.high.inclusive)
    }

    fn intersection(&self, other: &Interval<'a>) -> Option<Interval<'a>> {
        let later = (&self.low.key, !self.low.inclusive) >= (&other.low.key, !other.low.inclusive);
        let earlier = (&self.high.key, self.high.inclusive) <= (&other.high.key, other.high.inclusive);
        let both = Interval {
            low: if later { &self.low } else { &other.low }.clone(),
            high: if earlier { &self.high } else { &other.high }.clone(),
        };
        (!both.is_empty()).then_some(both)
    }
}

/// What lies in both.
pub(crate) fn intersect<'a>(a: &[Interval<'a>], b: &[Interval<'a>]) -> Intervals<'a> {
    let mut both = Vec::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(left), Some(right)) = (a.get(i), b.get(j)) {
        both.extend(left.intersection(right));
        if (&left.high.key, left.high.inclusive) <= (&right.high.key, right.high.inclusive) {
            i += 1;
        } else {
            j += 1;
        }
    }
    both
}

/// Where an index on the conjunct's path has a key of every document that satisfies it; nothing when that may be anywhere.
///
/// An array as a constant is sought as a whole, which is its key inside another array, and by its first element, which is one
/// of the keys of a document that has it at the path; the key of an empty array there is `undefined`. The index has strings in
/// this order, by which the conjunct compares them, too.
pub(crate) fn of_conjunct<'a>(conjunct: &Conjunct<'a>, order: Option<&Collation>) -> Option<Intervals<'a>> {
    match conjunct {
        Conjunct::Equal { value, .. } => Some(points([*value], order)),
        Conjunct::In { values, .. } => Some(points(values.iter(), order)),
        Conjunct::Range {
            operator: _,
            bound: RawBsonRef::Array(_),
            ..
        } => None,
        Conjunct::Range { operator, bound, .. } => Some(range(*operator, *bound, order)),
        Conjunct::Prefix { prefix, regex, .. } => Some(prefixed(prefix, regex.as_raw_bson_ref())),
        _ => None,
    }
}

fn points<'a>(values: impl IntoIterator<Item = RawBsonRef<'a>>, order: Option<&Collation>) -> Intervals<'a> {
    let mut points = Vec::new();
    for value in values {
        points.push(Interval::point(value, order));
        if let RawBsonRef::Array(array) = value {
            let first = array.into_iter().next().and_then(Result::ok);
            points.push(Interval::point(first.unwrap_or(RawBsonRef::Undefined), order));
        }
    }
    points.sort_by(|a, b| a.low.key.cmp(&b.low.key));
    points.dedup_by(|b, a| a.low.key == b.low.key);
    points
}

fn range<'a>(operator: RangeOperator, bound: RawBsonRef<'a>, order: Option<&Collation>) -> Intervals<'a> {
    let key = key_of(bound, order);
    let nan = key_of(RawBsonRef::Double(f64::NAN), None);
    if key == nan {
        // Nothing is above or below it.
        return Vec::new();
    }
    let class = key[0];
    let at = |inclusive| End {
        key: key.clone(),
        inclusive,
        edge: Edge::Value(bound),
    };
    // Not a number is the least of the numbers, and below none of them.
    let (least, least_inclusive) = if nan[0] == class {
        (nan, false)
    } else {
        (vec![class], true)
    };
    let low = End {
        key: least,
        inclusive: least_inclusive,
        edge: Edge::ClassLeast(bound),
    };
    let high = End {
        key: vec![class + 1],
        inclusive: false,
        edge: Edge::ClassGreatest(bound),
    };
    let interval = match operator {
        RangeOperator::Gt => Interval { low: at(false), high },
        RangeOperator::Gte => Interval { low: at(true), high },
        RangeOperator::Lt => Interval { low, high: at(false) },
        RangeOperator::Lte => Interval { low, high: at(true) },
    };
    if interval.is_empty() {
        Vec::new()
    } else {
        vec![interval]
    }
}

/// The texts that begin so, and the regular expression that asks for them.
fn prefixed<'a>(prefix: &str, regex: RawBsonRef<'_>) -> Intervals<'a> {
    let shown = |text: String, key, inclusive| End {
        key,
        inclusive,
        edge: Edge::Shown(text),
    };
    let mut low = key_of(RawBsonRef::String(prefix), None);
    // Without the two bytes that end a text.
    low.truncate(low.len() - 2);
    let mut behind: Vec<char> = prefix.chars().collect();
    if let Some(last) = behind.last_mut() {
        *last = char::from_u32(*last as u32 + 1).unwrap_or(char::MAX);
    }
    let texts = Interval {
        high: shown(
            format!("{:?}", behind.iter().collect::<String>()),
            after_prefix(&low).unwrap_or_else(|| vec![u8::MAX]),
            false,
        ),
        low: shown(format!("{prefix:?}"), low, true),
    };
    let end = shown(regex_text(regex), key_of(regex, None), true);
    let itself = Interval {
        low: end.clone(),
        high: end,
    };
    vec![texts, itself]
}

fn regex_text(regex: RawBsonRef<'_>) -> String {
    match regex {
        RawBsonRef::RegularExpression(regex) => format!("/{}/{}", regex.pattern.as_str(), regex.options.as_str()),
        other => format!("{other:?}"),
    }
}

fn key_of(value: RawBsonRef<'_>, order: Option<&Collation>) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    match order {
        Some(collation) => collation.encode_key(value, &mut key),
        None => encode_key(value, &mut key),
    }
    key
}

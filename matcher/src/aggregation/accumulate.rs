//! Accumulators of `$group`: values gathered over many documents.
//!
//! An [`Accumulator`] is parsed once; each group has an [`AccumulatorState`], which owns what it
//! keeps, so it outlives the documents it was fed. [`AccumulatorState::bytes`] says how much that is:
//! whoever groups holds many states and sets the limit.
//!
//! Missing values do not count for `$push` and `$addToSet`, null ones neither for `$min`, `$max` and
//! their relatives; elsewhere missing becomes null.

use std::collections::HashSet;

use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument};

use super::array::count_of;
use super::error::SyntaxErrorKind as Syntax;
use super::numeric::Number;
use super::order::Comparer;
use super::percentile::{self, Quantiles};
use super::sort::SortPattern;
use super::statistic::Deviation;
use super::sum::Sum;
use super::value::Value;
use super::{AggregationError, Field, Parser, ValueExpression, Variables, encode_fields};
use crate::error::ParseError;
use crate::evaluate::EvaluateError;
use crate::expression::ParseOptions;
use crate::validate::validate;

/// What to gather, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulator {
    method: Method,
    input: ValueExpression,
}

#[derive(Clone, Debug, PartialEq)]
enum Method {
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    Push,
    AddToSet,
    Count,
    MergeObjects,
    StdDevPop,
    StdDevSamp,
    Percentile(Quantiles),
    FirstN(usize),
    LastN(usize),
    MinN(usize),
    MaxN(usize),
    /// The first `n` in the order of the pattern, or the last; alone or as an array.
    Ordered {
        pattern: SortPattern,
        count: usize,
        last: bool,
        alone: bool,
    },
}

/// What an accumulator has gathered for one group.
#[derive(Clone, Debug)]
pub struct AccumulatorState {
    gathered: Gathered,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Gathered {
    Sum {
        sum: Sum,
        count: u64,
    },
    Deviation(Deviation),
    /// Every number there was.
    Numbers(Vec<f64>),
    One(Option<RawBson>),
    Many(std::collections::VecDeque<RawBson>),
    Set {
        seen: HashSet<Vec<u8>>,
        values: Vec<RawBson>,
    },
    Merged(RawBson),
    Ordered(Vec<(Vec<RawBson>, RawBson)>),
}

/// What a kept value costs beside its bytes.
const VALUE_OVERHEAD: usize = size_of::<RawBson>();

impl Accumulator {
    /// Compiles an accumulator: a document whose only field is the operator with its argument.
    pub fn parse(source: &RawDocument) -> Result<Accumulator, ParseError> {
        Accumulator::parse_with(source, &ParseOptions::default())
    }

    /// As [`parse`](Accumulator::parse), with options: variables that its expression may use, and how it compares strings.
    pub fn parse_with(source: &RawDocument, options: &ParseOptions) -> Result<Accumulator, ParseError> {
        validate(source.as_bytes())?;
        let parser = Parser::at("");
        let fields = parser.fields(source)?;
        let [(operator, argument)] = fields[..] else {
            return Err(parser.wrong_value("accumulator", "an accumulator has exactly one operator", 40238));
        };
        let mut accumulator = Accumulator::parse_operator(&parser, operator, argument, options)?;
        if accumulator.method == Method::Count {
            accumulator.input = ValueExpression::parse(RawBsonRef::Int32(1))?;
        }
        Ok(accumulator)
    }

    fn parse_operator(
        parser: &Parser,
        operator: &str,
        argument: RawBsonRef<'_>,
        options: &ParseOptions,
    ) -> Result<Accumulator, ParseError> {
        let simple = |method| {
            // In a group an array is one value; only `[x]` with one element stands for its element.
            let input = match argument {
                RawBsonRef::Array(array) if array.into_iter().count() != 1 => {
                    let (expected, found) = ("exactly 1".to_owned(), array.into_iter().count());
                    return Err(parser.error(operator, Syntax::Arguments { expected, found }));
                }
                RawBsonRef::Array(array) => array.get(0).ok().flatten().unwrap_or(RawBsonRef::Null),
                other => other,
            };
            let input = ValueExpression::parse_at(operator, input, options)?;
            Ok(Accumulator { method, input })
        };
        match operator {
            "$sum" => simple(Method::Sum),
            "$avg" => simple(Method::Avg),
            "$min" => simple(Method::Min),
            "$max" => simple(Method::Max),
            "$first" => simple(Method::First),
            "$last" => simple(Method::Last),
            "$push" => simple(Method::Push),
            "$addToSet" => simple(Method::AddToSet),
            "$mergeObjects" => simple(Method::MergeObjects),
            "$stdDevPop" => simple(Method::StdDevPop),
            "$stdDevSamp" => simple(Method::StdDevSamp),
            "$count" => match argument {
                RawBsonRef::Document(empty) if empty.is_empty() => simple(Method::Count),
                other => Err(parser.wrong_type(operator, "an empty document", other, 6_507_501)),
            },
            "$firstN" | "$lastN" | "$minN" | "$maxN" | "$top" | "$topN" | "$bottom" | "$bottomN" => {
                Accumulator::parse_counted(parser, operator, argument, options)
            }
            "$median" => Accumulator::parse_percentile(parser, operator, argument, 7_436_100, options),
            "$percentile" => Accumulator::parse_percentile(parser, operator, argument, 7_429_703, options),
            _ => Err(parser.error(operator, Syntax::UnknownOperator)),
        }
    }

    fn parse_percentile(
        parser: &Parser,
        operator: &str,
        argument: RawBsonRef<'_>,
        not_a_document: i32,
        options: &ParseOptions,
    ) -> Result<Accumulator, ParseError> {
        let arguments = percentile::Arguments::read(parser, operator, argument, not_a_document)?;
        let input = ValueExpression::parse_at("input", arguments.input, options)?;
        let p = arguments.p.map(|p| ValueExpression::parse_at("p", p, options));
        let p = p.transpose()?;
        let p = p.as_ref().and_then(ValueExpression::constant);
        let method = Method::Percentile(arguments.quantiles(parser, operator, p.as_ref())?);
        Ok(Accumulator { method, input })
    }

    fn parse_counted(
        parser: &Parser,
        operator: &str,
        argument: RawBsonRef<'_>,
        options: &ParseOptions,
    ) -> Result<Accumulator, ParseError> {
        let (mut n, mut input, mut pattern) = (None, None, None);
        let ordered = operator.starts_with("$top") || operator.starts_with("$bottom");
        let alone = matches!(operator, "$top" | "$bottom");
        let source = if ordered { "output" } else { "input" };
        for (name, value) in parser.arguments(operator, argument, 5_788_001)? {
            match name {
                "n" if !alone => n = Some(ValueExpression::parse_at("n", value, &ParseOptions::default())?),
                "sortBy" if ordered => pattern = Some(SortPattern::parse(parser, operator, value)?),
                name if name == source => input = Some(ValueExpression::parse_at(name, value, options)?),
                name => return Err(parser.unknown_argument(operator, name, 5_788_002)),
            }
        }
        let input = input.ok_or_else(|| parser.missing_argument(operator, source, 5_788_004))?;
        let count = match n {
            None if alone => 1,
            None => return Err(parser.missing_argument(operator, "n", 5_788_003)),
            Some(n) => {
                let constant = n.constant().map(|n| count_of(&n));
                match constant {
                    Some(Ok(count)) => count,
                    _ => {
                        let problem = "n must be a constant whole number above zero";
                        return Err(parser.wrong_value(operator, problem, 5_787_902));
                    }
                }
            }
        };
        let method = match operator {
            "$firstN" => Method::FirstN(count),
            "$lastN" => Method::LastN(count),
            "$minN" => Method::MinN(count),
            "$maxN" => Method::MaxN(count),
            _ => Method::Ordered {
                pattern: pattern.ok_or_else(|| parser.missing_argument(operator, "sortBy", 5_788_005))?,
                count,
                last: operator.starts_with("$bottom"),
                alone,
            },
        };
        Ok(Accumulator { method, input })
    }

    /// The state of a group that has seen no document yet.
    #[must_use]
    pub fn start(&self) -> AccumulatorState {
        let gathered = match &self.method {
            Method::Sum | Method::Avg | Method::Count => Gathered::Sum {
                sum: Sum::default(),
                count: 0,
            },
            Method::StdDevPop | Method::StdDevSamp => Gathered::Deviation(Deviation::default()),
            Method::Percentile(_) => Gathered::Numbers(Vec::new()),
            Method::Min | Method::Max | Method::First | Method::Last => Gathered::One(None),
            Method::Push | Method::FirstN(_) | Method::LastN(_) | Method::MinN(_) | Method::MaxN(_) => {
                Gathered::Many(std::collections::VecDeque::new())
            }
            Method::AddToSet => Gathered::Set {
                seen: HashSet::new(),
                values: Vec::new(),
            },
            Method::MergeObjects => Gathered::Merged(RawBson::Document(bson::RawDocumentBuf::new())),
            Method::Ordered { .. } => Gathered::Ordered(Vec::new()),
        };
        AccumulatorState { gathered, bytes: 0 }
    }

    /// Adds what the document in `variables` contributes to a state this accumulator started.
    pub fn add(&self, state: &mut AccumulatorState, variables: &Variables<'_>) -> Result<(), EvaluateError> {
        Ok(self.gather(state, variables)?)
    }

    fn gather(&self, state: &mut AccumulatorState, variables: &Variables<'_>) -> Result<(), AggregationError> {
        let value = self.input.compute(variables)?;
        let comparer = self.input.comparer();
        let bytes = &mut state.bytes;
        match (&mut state.gathered, &self.method) {
            (Gathered::Sum { sum, count }, _) => {
                if let Some(number) = Number::of(&value) {
                    sum.add(&number);
                    *count += 1;
                }
            }
            (Gathered::Deviation(deviation), _) => {
                if let Some(number) = Number::of(&value) {
                    deviation.add(number.to_f64());
                }
            }
            (Gathered::Numbers(numbers), _) => {
                numbers.extend(percentile::counted(&value));
                *bytes = numbers.capacity() * size_of::<f64>();
            }
            (Gathered::One(kept), method) => {
                if replaces(kept.as_ref(), &value, method, comparer) {
                    *bytes = value.bytes() + VALUE_OVERHEAD;
                    *kept = Some(owned(&value)?);
                }
            }
            (Gathered::Many(kept), method) => {
                let nullish = value.is_nullish();
                let skipped = match method {
                    Method::Push => value.is_missing(),
                    Method::FirstN(count) => kept.len() >= *count,
                    Method::MinN(_) | Method::MaxN(_) => nullish,
                    _ => false,
                };
                if !skipped {
                    *bytes += value.bytes() + VALUE_OVERHEAD;
                    keep(kept, owned(&value)?, method, comparer, bytes);
                }
            }
            (Gathered::Set { seen, values }, _) => {
                if let Some(value) = value.encode()? {
                    let mut key = Vec::new();
                    comparer.encode_key(value.as_raw_bson_ref(), &mut key);
                    let added = key.len() + Value::Raw(value.as_raw_bson_ref()).bytes() + 2 * VALUE_OVERHEAD;
                    if seen.insert(key) {
                        *bytes += added;
                        values.push(value);
                    }
                }
            }
            (Gathered::Merged(merged), _) => {
                let mut fields: Vec<Field<'_>> = match merged.as_raw_bson_ref() {
                    RawBsonRef::Document(document) => super::fields_of(document),
                    _ => Vec::new(),
                };
                let add = super::object::merge_into(&mut fields, &value);
                add.map_err(|kind| AggregationError::new("$mergeObjects", kind))?;
                let document = encode_fields(&fields)?;
                *bytes = document.as_bytes().len();
                *merged = RawBson::Document(document);
            }
            (
                Gathered::Ordered(kept),
                Method::Ordered {
                    pattern, count, last, ..
                },
            ) => {
                let root = variables.root.document();
                let key = pattern.key(&Value::Raw(RawBsonRef::Document(&root)), comparer);
                keep_ordered(kept, (&key, &value), pattern, comparer, bytes)?;
                if kept.len() > *count {
                    let at = if *last { 0 } else { kept.len() - 1 };
                    let (key, value) = kept.remove(at);
                    let freed: usize = key.iter().chain([&value]).map(cost).sum();
                    *bytes = bytes.saturating_sub(freed);
                }
            }
            (Gathered::Ordered(_), _) => {}
        }
        Ok(())
    }

    /// The result; what has seen nothing yields null, an empty array, an empty document or zero.
    #[must_use]
    pub fn finish(&self, state: AccumulatorState) -> RawBson {
        let encoded = |value: Value<'_>| value.encode().ok().flatten().unwrap_or(RawBson::Null);
        let number = |number: Option<Number>| encoded(number.map_or(Value::NULL, Number::into_value));
        match (state.gathered, &self.method) {
            (Gathered::Sum { sum, count }, Method::Avg) => number((count > 0).then(|| sum.mean(count))),
            (Gathered::Sum { sum, .. }, _) => number(Some(sum.total())),
            (Gathered::Deviation(deviation), Method::StdDevSamp) => number(deviation.sample().map(Number::Double)),
            (Gathered::Deviation(deviation), _) => number(deviation.population().map(Number::Double)),
            (Gathered::Numbers(numbers), Method::Percentile(quantiles)) => {
                encoded(quantiles.of(numbers).unwrap_or(Value::NULL))
            }
            // No other method keeps them.
            (Gathered::Numbers(_), _) => RawBson::Null,
            (Gathered::One(value), _) => value.unwrap_or(RawBson::Null),
            (Gathered::Many(values), _) => array(values),
            (Gathered::Set { values, .. }, _) => array(values),
            (Gathered::Merged(document), _) => document,
            (Gathered::Ordered(values), Method::Ordered { alone: true, .. }) => {
                values.into_iter().next().map_or(RawBson::Null, |(_, value)| value)
            }
            (Gathered::Ordered(values), _) => array(values.into_iter().map(|(_, value)| value)),
        }
    }
}

impl AccumulatorState {
    /// How many bytes the state holds, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<AccumulatorState>() + self.bytes
    }
}

/// Whether a value takes the place of the one that is kept.
fn replaces(kept: Option<&RawBson>, value: &Value<'_>, method: &Method, comparer: Comparer<'_>) -> bool {
    let order = |kept: &RawBson| comparer.order(value, &Value::Raw(kept.as_raw_bson_ref()));
    match (method, kept) {
        (Method::First, Some(_)) => false,
        (Method::First | Method::Last, _) => true,
        _ if value.is_nullish() => false,
        (_, None) => true,
        (Method::Min, Some(kept)) => order(kept).is_lt(),
        (_, Some(kept)) => order(kept).is_gt(),
    }
}

/// Puts a value where its key belongs; among equals the earlier stays in front.
fn keep_ordered(
    kept: &mut Vec<(Vec<RawBson>, RawBson)>,
    (key, value): (&[Value<'_>], &Value<'_>),
    pattern: &SortPattern,
    comparer: Comparer<'_>,
    bytes: &mut usize,
) -> Result<(), AggregationError> {
    let mut owned_key = Vec::with_capacity(key.len());
    for part in key {
        *bytes += part.bytes() + VALUE_OVERHEAD;
        owned_key.push(owned(part)?);
    }
    *bytes += value.bytes() + VALUE_OVERHEAD;
    let above = |(other, _): &(Vec<RawBson>, RawBson)| pattern.compare(&views(other), key, comparer).is_le();
    let at = kept.partition_point(above);
    kept.insert(at, (owned_key, owned(value)?));
    Ok(())
}

/// Puts a value where the method wants it and lets go of what is then too much.
fn keep(
    kept: &mut std::collections::VecDeque<RawBson>,
    value: RawBson,
    method: &Method,
    comparer: Comparer<'_>,
    bytes: &mut usize,
) {
    let too_many = |kept: &std::collections::VecDeque<RawBson>, count: usize| kept.len() > count;
    let dropped = match method {
        Method::LastN(count) => {
            kept.push_back(value);
            if too_many(kept, *count) { kept.pop_front() } else { None }
        }
        Method::MinN(count) | Method::MaxN(count) => {
            let smallest = matches!(method, Method::MinN(_));
            let new = Value::Raw(value.as_raw_bson_ref());
            let at = kept.partition_point(|other| {
                let order = comparer.order(&Value::Raw(other.as_raw_bson_ref()), &new);
                if smallest { order.is_le() } else { order.is_ge() }
            });
            kept.insert(at, value);
            if too_many(kept, *count) { kept.pop_back() } else { None }
        }
        _ => {
            kept.push_back(value);
            None
        }
    };
    if let Some(dropped) = dropped {
        *bytes = bytes.saturating_sub(cost(&dropped));
    }
}

fn cost(value: &RawBson) -> usize {
    Value::Raw(value.as_raw_bson_ref()).bytes() + VALUE_OVERHEAD
}

fn owned(value: &Value<'_>) -> Result<RawBson, AggregationError> {
    Ok(value.encode()?.unwrap_or(RawBson::Null))
}

fn views(key: &[RawBson]) -> Vec<Value<'_>> {
    key.iter().map(|part| Value::Raw(part.as_raw_bson_ref())).collect()
}

fn array(values: impl IntoIterator<Item = RawBson>) -> RawBson {
    RawBson::Array(values.into_iter().collect::<RawArrayBuf>())
}

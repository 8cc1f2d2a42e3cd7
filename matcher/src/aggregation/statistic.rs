//! Accumulators used as expressions: `$sum`, `$avg`, `$min`, `$max`, `$stdDevPop`, `$stdDevSamp`.
//!
//! A single argument that is an array stands for its items; of several arguments each counts as it
//! is. What is not a number does not count, except for `$min` and `$max`, which order everything
//! but null.

use super::error::AggregationErrorKind as Kind;
use super::numeric::Number;
use super::operator::{Operator, any, comparing};
use super::sum::Sum;
use super::value::Value;
use crate::steps;

pub(crate) const OPERATORS: &[Operator] = &[
    any("$sum", |values| {
        let mut sum = Sum::default();
        each(values, |value| {
            if let Some(number) = Number::of(value) {
                sum.add(&number);
            }
        })?;
        Ok(sum.total().into_value())
    }),
    any("$avg", |values| {
        let (mut sum, mut count) = (Sum::default(), 0);
        each(values, |value| {
            if let Some(number) = Number::of(value) {
                sum.add(&number);
                count += 1;
            }
        })?;
        Ok(if count == 0 {
            Value::NULL
        } else {
            sum.mean(count).into_value()
        })
    }),
    comparing("$min", (0, usize::MAX), |values, comparer| {
        best(values, |new, old| comparer.order(new, old).is_lt())
    }),
    comparing("$max", (0, usize::MAX), |values, comparer| {
        best(values, |new, old| comparer.order(new, old).is_gt())
    }),
    any("$stdDevPop", |values| deviation(values, Deviation::population)),
    any("$stdDevSamp", |values| deviation(values, Deviation::sample)),
];

fn each<'a>(values: &[Value<'a>], visit: impl FnMut(&Value<'a>)) -> Result<(), Kind> {
    if let [one] = values
        && let Some(items) = one.items()
    {
        steps::take(items.len() as u64)?;
        items.iter().for_each(visit);
    } else {
        values.iter().for_each(visit);
    }
    Ok(())
}

fn best<'a>(values: &[Value<'a>], better: impl Fn(&Value<'_>, &Value<'_>) -> bool) -> Result<Value<'a>, Kind> {
    let mut best: Option<Value<'a>> = None;
    each(values, |value| {
        if !value.is_nullish() && best.as_ref().is_none_or(|best| better(value, best)) {
            best = Some(value.clone());
        }
    })?;
    Ok(best.unwrap_or(Value::NULL))
}

fn deviation<'a>(values: &[Value<'a>], finish: fn(&Deviation) -> Option<f64>) -> Result<Value<'a>, Kind> {
    let mut deviation = Deviation::default();
    each(values, |value| {
        if let Some(number) = Number::of(value) {
            deviation.add(number.to_f64());
        }
    })?;
    Ok(finish(&deviation).map_or(Value::NULL, Value::double))
}

/// A running standard deviation, by Welford's method, which does not cancel large means away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deviation {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Deviation {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let from_old = value - self.mean;
        self.mean += from_old / self.count;
        self.squares += from_old * (value - self.mean);
    }

    pub(crate) fn population(&self) -> Option<f64> {
        (self.count > 0.0).then(|| (self.squares / self.count).sqrt())
    }

    pub(crate) fn sample(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.squares / (self.count - 1.0)).sqrt())
    }
}

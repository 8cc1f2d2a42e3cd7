//! Sums over numbers of mixed types.
//!
//! The result has the widest type among the summands, and a wider one when it does not fit: an int
//! becomes a long, a long a double. Integers are summed exactly, so the order does not matter;
//! doubles with the rounding errors carried along, so that it hardly does.

use super::numeric::Number;
use crate::decimal::arithmetic::Decimal;

/// A running sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    widest: Width,
    whole: i128,
    double: Doubles,
    decimal: Option<Decimal>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    #[default]
    Int,
    Long,
    Double,
    Decimal,
}

impl Sum {
    pub(crate) fn add(&mut self, number: &Number) {
        let width = match number {
            Number::Int(int) => {
                self.whole += i128::from(*int);
                Width::Int
            }
            Number::Long(long) => {
                self.whole += i128::from(*long);
                Width::Long
            }
            Number::Double(double) => {
                self.double.add(*double);
                Width::Double
            }
            Number::Decimal(decimal) => {
                self.decimal = Some(self.decimal.map_or(*decimal, |sum| sum.add(decimal)));
                Width::Decimal
            }
        };
        self.widest = self.widest.max(width);
    }

    pub(crate) fn total(&self) -> Number {
        match self.widest {
            Width::Int => integer(self.whole),
            Width::Long => i64::try_from(self.whole).map_or(Number::Double(self.whole as f64), Number::Long),
            Width::Double => Number::Double(self.total_f64()),
            Width::Decimal => Number::Decimal(self.total_decimal()),
        }
    }

    /// The total divided by `count`, which is not zero: a double, or a decimal if any summand is.
    pub(crate) fn mean(&self, count: u64) -> Number {
        match self.widest {
            Width::Decimal => Number::Decimal(self.total_decimal().divide(&Decimal::from(i128::from(count)))),
            _ => Number::Double(self.total_f64() / count as f64),
        }
    }

    fn total_f64(&self) -> f64 {
        let mut double = self.double;
        double.add(self.whole as f64);
        double.total()
    }

    /// The total as a decimal. What doubles came to is taken as it is, and not to 15 digits as a single one would be: this is
    /// how MongoDB's `$sum` and `$avg` do it, and `$add` with what stands before the first decimal.
    pub(crate) fn total_decimal(&self) -> Decimal {
        let mut total = Decimal::from(self.whole);
        if self.double.used {
            let (sum, lost) = self.double.parts();
            total = total.add(&Decimal::exactly(sum).add(&Decimal::exactly(lost)));
        }
        self.decimal.map_or(total, |decimal| decimal.add(&total))
    }
}

/// An int if it fits, else a long, else a double.
pub(crate) fn integer(whole: i128) -> Number {
    match (i32::try_from(whole), i64::try_from(whole)) {
        (Ok(int), _) => Number::Int(int),
        (_, Ok(long)) => Number::Long(long),
        _ => Number::Double(whole as f64),
    }
}

/// A sum of doubles beside the sum of what rounding took from it.
#[derive(Clone, Copy, Debug, Default)]
struct Doubles {
    sum: f64,
    lost: f64,
    used: bool,
}

impl Doubles {
    fn add(&mut self, double: f64) {
        self.used = true;
        let sum = self.sum + double;
        let taken = sum - self.sum;
        self.lost += (self.sum - (sum - taken)) + (double - taken);
        self.sum = sum;
    }

    fn total(&self) -> f64 {
        let (sum, lost) = self.parts();
        sum + lost
    }

    /// What the sum is, and what rounding took from it.
    fn parts(&self) -> (f64, f64) {
        // Where an infinity takes part, what was lost is not a number.
        (self.sum, if self.lost.is_nan() { 0.0 } else { self.lost })
    }
}

//! Functions of one number (`$abs` to `$trunc`), `$pow`, `$log`, trigonometry and `$rand`.
//!
//! Null and missing yield null. Roots, logarithms and trigonometry yield doubles; on decimals only
//! the square root and whole powers are offered.

use super::error::AggregationErrorKind as Kind;
use super::numeric::{Number, whole_i32};
use super::operator::{Operator, between, exactly, special};
use super::sum::integer;
use super::tree::Body;
use super::value::Value;
use crate::decimal::arithmetic::Decimal;
use crate::decimal::rounding::Rounding;

/// The error of operations that are not offered for decimals.
const UNSUPPORTED: Kind = Kind::Unsupported {
    feature: "this operation on a decimal; convert it with $toDouble",
};

/// The greatest exponent of a decimal's power, which is multiplied out.
const DECIMAL_POWER_MAX: u64 = 10_000;

pub(crate) const OPERATORS: &[Operator] = &[
    exactly("$abs", 1, |values| unary(values, abs)),
    exactly("$ceil", 1, |values| {
        unary(values, |n| whole(n, Rounding::Ceiling, f64::ceil))
    }),
    exactly("$floor", 1, |values| {
        unary(values, |n| whole(n, Rounding::Floor, f64::floor))
    }),
    between("$round", 1, 2, |values| rounded(values, Rounding::HalfEven)),
    between("$trunc", 1, 2, |values| rounded(values, Rounding::Down)),
    exactly("$sqrt", 1, |values| unary(values, sqrt)),
    exactly("$exp", 1, |values| real(values, f64::exp)),
    exactly("$ln", 1, |values| logarithm(values, f64::ln, 28766)),
    exactly("$log10", 1, |values| logarithm(values, f64::log10, 28761)),
    exactly("$log", 2, log),
    exactly("$pow", 2, pow),
    exactly("$sin", 1, |values| real(values, f64::sin)),
    exactly("$cos", 1, |values| real(values, f64::cos)),
    exactly("$tan", 1, |values| real(values, f64::tan)),
    exactly("$asin", 1, |values| bounded(values, f64::asin, -1.0, 1.0)),
    exactly("$acos", 1, |values| bounded(values, f64::acos, -1.0, 1.0)),
    exactly("$atan", 1, |values| real(values, f64::atan)),
    exactly("$atan2", 2, atan2),
    exactly("$sinh", 1, |values| real(values, f64::sinh)),
    exactly("$cosh", 1, |values| real(values, f64::cosh)),
    exactly("$tanh", 1, |values| real(values, f64::tanh)),
    exactly("$asinh", 1, |values| real(values, f64::asinh)),
    exactly("$acosh", 1, |values| bounded(values, f64::acosh, 1.0, f64::INFINITY)),
    exactly("$atanh", 1, |values| bounded(values, f64::atanh, -1.0, 1.0)),
    exactly("$degreesToRadians", 1, |values| real(values, f64::to_radians)),
    exactly("$radiansToDegrees", 1, |values| real(values, f64::to_degrees)),
    special("$rand", |parser, operator, value| {
        if parser.arguments(operator, value, 3_040_501)?.is_empty() {
            Ok(Body::Random)
        } else {
            Err(parser.wrong_value(operator, "takes no arguments", 3_040_501))
        }
    }),
];

fn unary<'a>(values: &[Value<'a>], compute: impl FnOnce(Number) -> Result<Number, Kind>) -> Result<Value<'a>, Kind> {
    if values[0].is_nullish() {
        return Ok(Value::NULL);
    }
    compute(number(&values[0], 28765)?).map(Number::into_value)
}

/// A function of doubles, on whatever number.
fn real<'a>(values: &[Value<'a>], compute: fn(f64) -> f64) -> Result<Value<'a>, Kind> {
    unary(values, |number| Ok(Number::Double(compute(double(&number)?))))
}

fn bounded<'a>(values: &[Value<'a>], compute: fn(f64) -> f64, least: f64, most: f64) -> Result<Value<'a>, Kind> {
    unary(values, |number| {
        let double = double(&number)?;
        if double < least || double > most {
            let problem = "the number is outside of the function's domain";
            return Err(Kind::WrongValue { problem, code: 50989 });
        }
        Ok(Number::Double(compute(double)))
    })
}

fn number(value: &Value<'_>, code: i32) -> Result<Number, Kind> {
    Number::of(value).ok_or_else(|| Kind::wrong(code, "a number", value))
}

fn double(number: &Number) -> Result<f64, Kind> {
    if number.is_decimal() {
        Err(UNSUPPORTED)
    } else {
        Ok(number.to_f64())
    }
}

fn abs(number: Number) -> Result<Number, Kind> {
    Ok(match number {
        Number::Int(int) => integer(i128::from(int).abs()),
        Number::Long(long) => Number::Long(long.checked_abs().ok_or(Kind::WrongValue {
            problem: "the smallest long has no absolute value",
            code: 28680,
        })?),
        Number::Double(double) => Number::Double(double.abs()),
        Number::Decimal(decimal) => Number::Decimal(decimal.abs()),
    })
}

fn whole(number: Number, mode: Rounding, round: fn(f64) -> f64) -> Result<Number, Kind> {
    Ok(match number {
        Number::Double(double) => Number::Double(round(double)),
        Number::Decimal(decimal) => Number::Decimal(decimal.round_at(0, mode)),
        whole => whole,
    })
}

fn rounded<'a>(values: &[Value<'a>], mode: Rounding) -> Result<Value<'a>, Kind> {
    let place = match values.get(1) {
        None => 0,
        Some(place) if place.is_nullish() => return Ok(Value::NULL),
        Some(place) => {
            number(place, 51081)?;
            let problem = "the place must be a whole number";
            let place = whole_i32(place).ok_or(Kind::WrongValue { problem, code: 51082 })?;
            if !(-20..=100).contains(&place) {
                let problem = "the place must be from -20 to 100";
                return Err(Kind::WrongValue { problem, code: 51083 });
            }
            place
        }
    };
    if values[0].is_nullish() {
        return Ok(Value::NULL);
    }
    let rounded = match number(&values[0], 51081)? {
        Number::Decimal(decimal) => Number::Decimal(decimal.round_at(place, mode)),
        Number::Double(double) if !double.is_finite() => Number::Double(double),
        Number::Double(double) if place == 0 && mode == Rounding::Down => Number::Double(double.trunc()),
        Number::Double(double) if place == 0 => Number::Double(double.round_ties_even()),
        Number::Double(double) => {
            let decimal = Decimal::exactly(double);
            Number::Double(decimal.round_at(place, mode).to_f64())
        }
        Number::Int(int) => integer(round_integer(i128::from(int), place, mode)),
        Number::Long(long) => {
            let rounded = round_integer(i128::from(long), place, mode);
            Number::Long(i64::try_from(rounded).map_err(|_| Kind::WrongValue {
                problem: "the rounded number does not fit a long",
                code: 51080,
            })?)
        }
    };
    Ok(rounded.into_value())
}

/// Rounds before the point: 1234 at -2 is 1200. A place after the point changes nothing.
fn round_integer(value: i128, place: i32, mode: Rounding) -> i128 {
    if place >= 0 {
        return value;
    }
    // At most 10^20, which is ten times what a long can be.
    let unit = 10i128.pow(place.unsigned_abs().min(20));
    let (quotient, remainder) = (value / unit, value % unit);
    let up = match (remainder.abs() * 2).cmp(&unit) {
        _ if mode == Rounding::Down => false,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    (quotient + if up { value.signum() } else { 0 }) * unit
}

fn sqrt(number: Number) -> Result<Number, Kind> {
    let negative = match &number {
        Number::Decimal(decimal) => decimal.is_negative(),
        number => number.to_f64() < 0.0,
    };
    if negative {
        let problem = "needs a number that is not negative";
        return Err(Kind::WrongValue { problem, code: 28714 });
    }
    Ok(match number {
        Number::Decimal(decimal) => Number::Decimal(decimal.sqrt()),
        number => Number::Double(number.to_f64().sqrt()),
    })
}

fn logarithm<'a>(values: &[Value<'a>], compute: fn(f64) -> f64, code: i32) -> Result<Value<'a>, Kind> {
    unary(values, |number| {
        let double = double(&number)?;
        if double <= 0.0 {
            let problem = "needs a number above zero";
            return Err(Kind::WrongValue { problem, code });
        }
        Ok(Number::Double(compute(double)))
    })
}

fn log<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values.iter().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let argument = double(&number(&values[0], 28756)?)?;
    let base = double(&number(&values[1], 28757)?)?;
    if argument <= 0.0 {
        let problem = "needs a number above zero";
        return Err(Kind::WrongValue { problem, code: 28758 });
    }
    if base <= 0.0 || base == 1.0 {
        let problem = "needs a base above zero and other than one";
        return Err(Kind::WrongValue { problem, code: 28759 });
    }
    Ok(Value::double(argument.ln() / base.ln()))
}

fn pow<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values.iter().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let base = number(&values[0], 28762)?;
    let exponent = number(&values[1], 28763)?;
    let zero = match &base {
        Number::Decimal(decimal) => decimal.is_zero(),
        number => number.to_f64() == 0.0,
    };
    if zero && exponent.to_f64() < 0.0 {
        let problem = "zero has no negative powers";
        return Err(Kind::WrongValue { problem, code: 28764 });
    }
    if base.is_decimal() || exponent.is_decimal() {
        let whole = exponent
            .whole()
            .filter(|whole| whole.unsigned_abs() <= DECIMAL_POWER_MAX);
        let power = base.to_decimal().power(whole.ok_or(UNSUPPORTED)?);
        return Ok(Number::Decimal(power).into_value());
    }
    let inexact = Value::double(base.to_f64().powf(exponent.to_f64()));
    let (Some(b), Some(e)) = (base.integer(), exponent.integer()) else {
        return Ok(inexact);
    };
    // One and minus one have whole powers of every sign.
    let power = match (b, u32::try_from(e)) {
        (1, _) => Some(1),
        (-1, _) => Some(if e % 2 == 0 { 1 } else { -1 }),
        (b, Ok(e)) => i128::from(b).checked_pow(e),
        _ => None,
    };
    let ints = matches!((&base, &exponent), (Number::Int(_), Number::Int(_)));
    Ok(match power.map(|power| (power, i64::try_from(power))) {
        Some((power, Ok(_))) if ints => integer(power).into_value(),
        Some((_, Ok(long))) => Number::Long(long).into_value(),
        _ => inexact,
    })
}

fn atan2<'a>(values: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    if values.iter().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let y = double(&number(&values[0], 51044)?)?;
    let x = double(&number(&values[1], 51045)?)?;
    Ok(Value::double(y.atan2(x)))
}

//! Types and conversions: `$type`, `$isNumber`, `$convert`, `$toBool` … `$toString`, `$binarySize`,
//! `$bsonSize`.

use std::str::FromStr;

use bson::RawBsonRef;
use bson::oid::ObjectId;

use super::calendar::instant_of;
use super::error::AggregationErrorKind as Kind;
use super::numeric::{Number, is_number, whole_i64};
use super::operator::{Operator, exactly, special};
use super::parse::Parser;
use super::tree::{Body, Tree};
use super::value::Value;
use super::{date_format, date_parse};
use crate::decimal::arithmetic::Decimal;
use crate::error::ParseError;

pub(crate) const OPERATORS: &[Operator] = &[
    exactly("$type", 1, |values| {
        Ok(Value::Raw(RawBsonRef::String(values[0].type_name())))
    }),
    exactly("$isNumber", 1, |values| Ok(Value::bool(is_number(&values[0])))),
    special("$convert", parse_convert),
    exactly("$toBool", 1, |values| shorthand(&values[0], Target::Bool)),
    exactly("$toInt", 1, |values| shorthand(&values[0], Target::Int)),
    exactly("$toLong", 1, |values| shorthand(&values[0], Target::Long)),
    exactly("$toDouble", 1, |values| shorthand(&values[0], Target::Double)),
    exactly("$toDecimal", 1, |values| shorthand(&values[0], Target::Decimal)),
    exactly("$toString", 1, |values| shorthand(&values[0], Target::String)),
    exactly("$toDate", 1, |values| shorthand(&values[0], Target::Date)),
    exactly("$toObjectId", 1, |values| shorthand(&values[0], Target::ObjectId)),
    exactly("$binarySize", 1, |values| match &values[0] {
        value if value.is_nullish() => Ok(Value::NULL),
        Value::Raw(RawBsonRef::Binary(binary)) => Ok(Value::integer(binary.bytes.len() as i64)),
        value => match value.as_str() {
            Some(text) => Ok(Value::integer(text.len() as i64)),
            None => Err(Kind::wrong(51276, "a string or binary data", value)),
        },
    }),
    exactly("$bsonSize", 1, |values| match &values[0] {
        value if value.is_nullish() => Ok(Value::NULL),
        value if value.is_document() => Ok(Value::integer(value.bytes() as i64)),
        value => Err(Kind::wrong(31393, "a document", value)),
    }),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Double,
    String,
    ObjectId,
    Bool,
    Date,
    Int,
    Long,
    Decimal,
}

impl Target {
    /// Reads a type's name or number.
    fn of(to: &Value<'_>) -> Result<Target, Kind> {
        let unknown = Kind::Unsupported {
            feature: "conversion to this type",
        };
        if let Some(name) = to.as_str() {
            return Ok(match name {
                "double" => Target::Double,
                "string" => Target::String,
                "objectId" => Target::ObjectId,
                "bool" => Target::Bool,
                "date" => Target::Date,
                "int" => Target::Int,
                "long" => Target::Long,
                "decimal" => Target::Decimal,
                "object"
                | "array"
                | "binData"
                | "undefined"
                | "null"
                | "regex"
                | "dbPointer"
                | "javascript"
                | "symbol"
                | "javascriptWithScope"
                | "timestamp"
                | "minKey"
                | "maxKey" => return Err(unknown),
                _ => {
                    return Err(Kind::WrongValue {
                        problem: "the type to convert to is not known",
                        code: 2,
                    });
                }
            });
        }
        let problem = "the type to convert to must be a name or a number";
        match whole_i64(to).ok_or(Kind::WrongValue { problem, code: 9 })? {
            1 => Ok(Target::Double),
            2 => Ok(Target::String),
            7 => Ok(Target::ObjectId),
            8 => Ok(Target::Bool),
            9 => Ok(Target::Date),
            16 => Ok(Target::Int),
            18 => Ok(Target::Long),
            19 => Ok(Target::Decimal),
            _ => Err(unknown),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Target::Double => "double",
            Target::String => "string",
            Target::ObjectId => "objectId",
            Target::Bool => "bool",
            Target::Date => "date",
            Target::Int => "int",
            Target::Long => "long",
            Target::Decimal => "decimal",
        }
    }
}

fn parse_convert(parser: &mut Parser, operator: &'static str, value: RawBsonRef<'_>) -> Result<Body, ParseError> {
    let (mut input, mut to, mut on_error, mut on_null): (_, _, _, Option<Tree>) = (None, None, None, None);
    for (name, value) in parser.arguments(operator, value, 9)? {
        let argument = match name {
            "input" => &mut input,
            "to" => &mut to,
            "onError" => &mut on_error,
            "onNull" => &mut on_null,
            _ => return Err(parser.unknown_argument(operator, name, 9)),
        };
        *argument = Some(parser.inside(name, |parser| parser.expression(value))?);
    }
    Ok(Body::Convert {
        input: input.ok_or_else(|| parser.missing_argument(operator, "input", 9))?,
        to: to.ok_or_else(|| parser.missing_argument(operator, "to", 9))?,
        on_error,
        on_null,
    })
}

/// `$convert` of values that are there.
pub(crate) fn convert<'a>(input: &Value<'a>, to: &Value<'_>) -> Result<Value<'a>, Kind> {
    // `{ type: "int" }` is the newer spelling.
    let inner = to.field("type");
    into(input, Target::of(if inner.is_missing() { to } else { &inner })?)
}

fn shorthand<'a>(input: &Value<'a>, target: Target) -> Result<Value<'a>, Kind> {
    if input.is_nullish() {
        Ok(Value::NULL)
    } else {
        into(input, target)
    }
}

fn into<'a>(input: &Value<'a>, target: Target) -> Result<Value<'a>, Kind> {
    let fail = |problem| Kind::Conversion {
        from: input.type_name(),
        to: target.name(),
        problem,
    };
    let unsupported = || fail("there is no such conversion");
    match target {
        Target::Bool => Ok(Value::bool(input.is_true())),
        Target::String => match input.as_raw() {
            Some(RawBsonRef::String(_) | RawBsonRef::Symbol(_)) => Ok(input.clone()),
            Some(raw) => Value::text(&to_text(raw).map_err(|_| unsupported())?),
            None => Err(unsupported()),
        },
        Target::ObjectId => match (input, input.as_str()) {
            (Value::Raw(RawBsonRef::ObjectId(_)), _) => Ok(input.clone()),
            (_, Some(text)) => {
                let id = ObjectId::from_str(text).map_err(|_| fail("an ObjectId has 24 hexadecimal digits"))?;
                Ok(Value::Raw(RawBsonRef::ObjectId(id)))
            }
            _ => Err(unsupported()),
        },
        Target::Date => match (input, input.as_str(), Number::of(input)) {
            (_, Some(text), _) => date_parse::to_raw(text).map(Value::Raw),
            (_, _, Some(Number::Int(_))) => Err(unsupported()),
            (_, _, Some(number)) => {
                let millis = truncated(&number).ok_or_else(|| fail("the number is out of range"))?;
                Ok(Value::date(millis))
            }
            _ => instant_of(input, 241).map(Value::date).map_err(|_| unsupported()),
        },
        Target::Int => {
            let long = to_long(input, &fail)?;
            let int = i32::try_from(long).map_err(|_| fail("the number does not fit an int"))?;
            // Dates become longs and no ints.
            match input {
                Value::Raw(RawBsonRef::DateTime(_)) => Err(unsupported()),
                _ => Ok(Value::int(int)),
            }
        }
        Target::Long => to_long(input, &fail).map(|long| Value::Raw(RawBsonRef::Int64(long))),
        Target::Double => {
            if let Some(text) = input.as_str() {
                let plain = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
                let special = matches!(text, "NaN" | "Infinity" | "inf" | "nan");
                let double = text.parse().ok().filter(|_| plain || special);
                return double
                    .map(Value::double)
                    .ok_or_else(|| fail("the text is not a number"));
            }
            let number = scalar_number(input).ok_or_else(unsupported)?;
            let double = number.to_f64();
            if double.is_infinite() && matches!(&number, Number::Decimal(Decimal::Finite(_))) {
                return Err(fail("the number does not fit a double"));
            }
            Ok(Value::double(double))
        }
        Target::Decimal => {
            if let Some(text) = input.as_str() {
                let decimal = Decimal::parse(text).ok_or_else(|| fail("the text is not a number"))?;
                return Ok(Number::Decimal(decimal).into_value());
            }
            let number = scalar_number(input).ok_or_else(unsupported)?;
            Ok(Number::Decimal(number.to_decimal()).into_value())
        }
    }
}

/// Numbers, booleans as 0 and 1, and dates as milliseconds.
fn scalar_number(input: &Value<'_>) -> Option<Number> {
    match input {
        Value::Raw(RawBsonRef::Boolean(value)) => Some(Number::Int(i32::from(*value))),
        Value::Raw(RawBsonRef::DateTime(date)) => Some(Number::Long(date.timestamp_millis())),
        input => Number::of(input),
    }
}

fn to_long(input: &Value<'_>, fail: &impl Fn(&'static str) -> Kind) -> Result<i64, Kind> {
    if let Some(text) = input.as_str() {
        // Whole numbers in base ten only.
        return text
            .parse()
            .map_err(|_| fail("the text is not a whole number that fits"));
    }
    let number = scalar_number(input).ok_or_else(|| fail("there is no such conversion"))?;
    truncated(&number).ok_or_else(|| fail("the number is not finite or does not fit"))
}

/// The integer part, if it fits.
fn truncated(number: &Number) -> Option<i64> {
    match number {
        Number::Double(double) => Number::Double(double.trunc()).whole(),
        Number::Decimal(decimal) => decimal.truncated(),
        number => number.integer(),
    }
}

/// A scalar as `$toString` writes it.
pub(crate) fn to_text(raw: RawBsonRef<'_>) -> Result<String, Kind> {
    Ok(match raw {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => text.to_owned(),
        RawBsonRef::Boolean(value) => value.to_string(),
        RawBsonRef::Int32(int) => int.to_string(),
        RawBsonRef::Int64(int) => int.to_string(),
        RawBsonRef::Double(double) => double_text(double),
        RawBsonRef::Decimal128(decimal) => decimal.to_string(),
        RawBsonRef::ObjectId(id) => id.to_hex(),
        RawBsonRef::DateTime(_) => date_format::iso(raw)?,
        RawBsonRef::Binary(binary) if binary.bytes.len() == 16 && u8::from(binary.subtype) == 4 => {
            uuid_text(binary.bytes)
        }
        raw => return Err(Kind::wrong(241, "a scalar", &Value::Raw(raw))),
    })
}

/// The shortest text that reads back as the same double.
fn double_text(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        return if double < 0.0 { "-Infinity" } else { "Infinity" }.to_owned();
    }
    let magnitude = double.abs();
    if magnitude != 0.0 && !(1e-5..1e21).contains(&magnitude) {
        let text = format!("{double:e}");
        // An exponent always has a sign.
        return if text.contains("e-") {
            text
        } else {
            text.replace('e', "e+")
        };
    }
    format!("{double}")
}

fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

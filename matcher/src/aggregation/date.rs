//! Dates: their parts, arithmetic, and to and from text.
//!
//! All take a `timezone`, an offset or an Olson name, and UTC without one. Where a date is expected,
//! timestamps and ObjectIds serve with the second they hold. Null arguments make the result null.

use std::borrow::Cow;

use bson::{RawBsonRef, Timestamp};
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Weekday};

use super::calendar::{self, OUT_OF_RANGE, Unit, Zone, instant_of, week_start};
use super::date_format::{self, ISO, ISO_LOCAL};
use super::date_parse;
use super::error::AggregationErrorKind as Kind;
use super::numeric::whole_i64;
use super::operator::{Argument, Form, Operator, exactly, named, optional, required};
use super::tree::Named;
use super::value::Value;

const PART: &[Argument] = &[required("date", 40539), optional("timezone")];
const TO_STRING: &[Argument] = &[
    required("date", 18628),
    optional("timezone"),
    optional("format"),
    optional("onNull"),
];
const FROM_STRING: &[Argument] = &[
    required("dateString", 40542),
    optional("timezone"),
    optional("format"),
    optional("onNull"),
    optional("onError"),
];
const TO_PARTS: &[Argument] = &[required("date", 40522), optional("timezone"), optional("iso8601")];
const FROM_PARTS: &[Argument] = &[
    optional("year"),
    optional("month"),
    optional("day"),
    optional("hour"),
    optional("minute"),
    optional("second"),
    optional("millisecond"),
    optional("timezone"),
    optional("isoWeekYear"),
    optional("isoWeek"),
    optional("isoDayOfWeek"),
];
const SHIFT: &[Argument] = &[
    required("startDate", 5_166_402),
    required("unit", 5_166_402),
    required("amount", 5_166_402),
    optional("timezone"),
];
const DIFFERENCE: &[Argument] = &[
    required("startDate", 5_166_303),
    required("endDate", 5_166_304),
    required("unit", 5_166_305),
    optional("timezone"),
    optional("startOfWeek"),
];
const TRUNCATE: &[Argument] = &[
    required("date", 5_439_009),
    required("unit", 5_439_010),
    optional("binSize"),
    optional("timezone"),
    optional("startOfWeek"),
];

pub(crate) const OPERATORS: &[Operator] = &[
    part("$year", |values| part_of(values, Datelike::year)),
    part("$month", |values| part_of(values, |t| t.month() as i32)),
    part("$dayOfMonth", |values| part_of(values, |t| t.day() as i32)),
    part("$dayOfWeek", |values| {
        part_of(values, |t| t.weekday().number_from_sunday() as i32)
    }),
    part("$dayOfYear", |values| part_of(values, |t| t.ordinal() as i32)),
    part("$hour", |values| part_of(values, |t| t.hour() as i32)),
    part("$minute", |values| part_of(values, |t| t.minute() as i32)),
    part("$second", |values| part_of(values, |t| t.second() as i32)),
    part("$millisecond", |values| part_of(values, |t| millisecond(t) as i32)),
    part("$week", |values| part_of(values, |t| week_of_year(t) as i32)),
    part("$isoWeek", |values| part_of(values, |t| t.iso_week().week() as i32)),
    part("$isoWeekYear", |values| part_of(values, |t| t.iso_week().year())),
    part("$isoDayOfWeek", |values| {
        part_of(values, |t| t.weekday().number_from_monday() as i32)
    }),
    named("$dateToString", TO_STRING, (18629, 18534), to_string),
    named("$dateFromString", FROM_STRING, (40540, 40541), from_string),
    named("$dateToParts", TO_PARTS, (40524, 40520), to_parts),
    named("$dateFromParts", FROM_PARTS, (40519, 40518), from_parts),
    named("$dateAdd", SHIFT, (5_166_400, 5_166_401), |values| shift(values, false)),
    named("$dateSubtract", SHIFT, (5_166_400, 5_166_401), |values| {
        shift(values, true)
    }),
    named("$dateDiff", DIFFERENCE, (5_166_301, 5_166_302), difference),
    named("$dateTrunc", TRUNCATE, (5_439_007, 5_439_008), truncate),
    exactly("$tsSecond", 1, |values| {
        timestamp_part(&values[0], 5_687_301, |timestamp| timestamp.time)
    }),
    exactly("$tsIncrement", 1, |values| {
        timestamp_part(&values[0], 5_687_302, |timestamp| timestamp.increment)
    }),
];

/// A part of a timestamp, as a long.
fn timestamp_part<'a>(value: &Value<'a>, code: i32, part: fn(&Timestamp) -> u32) -> Result<Value<'a>, Kind> {
    match value {
        value if value.is_nullish() => Ok(Value::NULL),
        Value::Raw(RawBsonRef::Timestamp(timestamp)) => Ok(Value::Raw(RawBsonRef::Int64(part(timestamp).into()))),
        other => Err(Kind::wrong(code, "a timestamp", other)),
    }
}

/// An operator on a date alone, or on a date and a time zone by name.
const fn part(name: &'static str, apply: for<'a> fn(&[Option<Value<'a>>]) -> Result<Value<'a>, Kind>) -> Operator {
    Operator {
        name,
        form: Form::Named {
            arguments: PART,
            bare: true,
            codes: (40539, 40535),
            apply: Named::Plain(apply),
        },
    }
}

fn part_of<'a>(values: &[Option<Value<'a>>], part: fn(&NaiveDateTime) -> i32) -> Result<Value<'a>, Kind> {
    let [Some(date), zone] = values else {
        return Ok(Value::NULL);
    };
    if date.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(zone) = Zone::from_argument(zone.as_ref())? else {
        return Ok(Value::NULL);
    };
    Ok(Value::int(part(&zone.local(instant_of(date, 16006)?)?)))
}

fn millisecond(time: &NaiveDateTime) -> u32 {
    time.nanosecond() / 1_000_000
}

/// Weeks begin on Sundays; days before the first Sunday are in week zero.
pub(crate) fn week_of_year(time: &NaiveDateTime) -> u32 {
    (time.ordinal0() + 7 - time.weekday().num_days_from_sunday()) / 7
}

fn to_string<'a>(values: &[Option<Value<'a>>]) -> Result<Value<'a>, Kind> {
    let [Some(date), zone, format, on_null] = values else {
        return Ok(Value::NULL);
    };
    if format.as_ref().is_some_and(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    if date.is_nullish() {
        return Ok(on_null.clone().unwrap_or(Value::NULL));
    }
    let Some(parsed) = Zone::from_argument(zone.as_ref())? else {
        return Ok(Value::NULL);
    };
    let format = match format {
        Some(format) => format
            .as_str()
            .ok_or_else(|| Kind::wrong(18533, "a string as format", format))?,
        None if matches!(parsed, Zone::Fixed(0)) => ISO,
        None => ISO_LOCAL,
    };
    Value::text(&date_format::format(instant_of(date, 16006)?, parsed, format)?)
}

fn from_string<'a>(values: &[Option<Value<'a>>]) -> Result<Value<'a>, Kind> {
    let [Some(text), zone, format, on_null, on_error] = values else {
        return Ok(Value::NULL);
    };
    if text.is_nullish() {
        return Ok(on_null.clone().unwrap_or(Value::NULL));
    }
    let Some(parsed) = Zone::from_argument(zone.as_ref())? else {
        return Ok(Value::NULL);
    };
    let format = match format {
        None => None,
        Some(format) if format.is_nullish() => return Ok(Value::NULL),
        Some(format) => {
            let wrong = || Kind::wrong(40684, "a string as format", format);
            Some(format.as_str().ok_or_else(wrong)?)
        }
    };
    let parsed = match text.as_str() {
        Some(text) => date_parse::parse(text, format, zone.as_ref().map(|_| parsed)),
        None => Err(Kind::Conversion {
            from: text.type_name(),
            to: "date",
            problem: "only strings can be read",
        }),
    };
    match (parsed, on_error) {
        (Err(Kind::Conversion { .. }), Some(on_error)) => Ok(on_error.clone()),
        (parsed, _) => parsed.map(Value::date),
    }
}

fn to_parts<'a>(values: &[Option<Value<'a>>]) -> Result<Value<'a>, Kind> {
    let [Some(date), zone, iso] = values else {
        return Ok(Value::NULL);
    };
    let iso = match iso {
        None | Some(Value::Raw(RawBsonRef::Boolean(false))) => false,
        Some(Value::Raw(RawBsonRef::Boolean(true))) => true,
        Some(value) if value.is_nullish() => return Ok(Value::NULL),
        Some(value) => return Err(Kind::wrong(40521, "a boolean as iso8601", value)),
    };
    let Some(zone) = Zone::from_argument(zone.as_ref())? else {
        return Ok(Value::NULL);
    };
    if date.is_nullish() {
        return Ok(Value::NULL);
    }
    let time = zone.local(instant_of(date, 16006)?)?;
    let day = if iso {
        let week = time.iso_week();
        let weekday = time.weekday().number_from_monday();
        [
            ("isoWeekYear", week.year()),
            ("isoWeek", week.week() as i32),
            ("isoDayOfWeek", weekday as i32),
        ]
    } else {
        [
            ("year", time.year()),
            ("month", time.month() as i32),
            ("day", time.day() as i32),
        ]
    };
    let clock = [
        ("hour", time.hour() as i32),
        ("minute", time.minute() as i32),
        ("second", time.second() as i32),
        ("millisecond", millisecond(&time) as i32),
    ];
    let parts = day.into_iter().chain(clock);
    Value::document(
        parts
            .map(|(name, part)| (Cow::Borrowed(name), Value::int(part)))
            .collect(),
    )
}

fn from_parts<'a>(values: &[Option<Value<'a>>]) -> Result<Value<'a>, Kind> {
    let [
        year,
        month,
        day,
        hour,
        minute,
        second,
        milli,
        zone,
        iso_year,
        iso_week,
        iso_day,
    ] = values
    else {
        return Ok(Value::NULL);
    };
    let refuse = |problem, code| Err(Kind::WrongValue { problem, code });
    if year.is_some() == iso_year.is_some() {
        return refuse("needs either year or isoWeekYear", 40516);
    }
    let (calendar_parts, iso_parts) = (
        month.is_some() || day.is_some(),
        iso_week.is_some() || iso_day.is_some(),
    );
    if year.is_some() && iso_parts || iso_year.is_some() && calendar_parts {
        return refuse("parts of the calendar and of ISO weeks cannot be mixed", 40489);
    }
    if values.iter().flatten().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let Some(zone) = Zone::from_argument(zone.as_ref())? else {
        return Ok(Value::NULL);
    };
    let part = |value: &Option<Value<'_>>, default: i64| match value {
        None => Ok(default),
        Some(value) => {
            let whole = whole_i64(value).ok_or_else(|| Kind::wrong(40515, "whole numbers", value))?;
            if !(-32_768..=32_767).contains(&whole) {
                let problem = "parts other than the year must be from -32768 to 32767";
                return Err(Kind::WrongValue { problem, code: 31034 });
            }
            Ok(whole)
        }
    };
    let the_year = |value: &Option<Value<'_>>| {
        let year = part(value, 0)?;
        if !(1..=9999).contains(&year) {
            let problem = "the year must be from 1 to 9999";
            return Err(Kind::WrongValue { problem, code: 40523 });
        }
        i32::try_from(year).map_err(|_| OUT_OF_RANGE)
    };
    // Parts beyond their usual range carry over: month 14 is February of the next year.
    let (first, days) = if year.is_some() {
        let months = i64::from(the_year(year)?) * 12 + part(month, 1)? - 1;
        let year = i32::try_from(months.div_euclid(12)).map_err(|_| OUT_OF_RANGE)?;
        let first = NaiveDate::from_ymd_opt(year, months.rem_euclid(12) as u32 + 1, 1);
        (first, part(day, 1)? - 1)
    } else {
        let first = NaiveDate::from_isoywd_opt(the_year(iso_year)?, 1, Weekday::Mon);
        (first, (part(iso_week, 1)? - 1) * 7 + part(iso_day, 1)? - 1)
    };
    let midnight = first.and_then(|first| first.and_hms_opt(0, 0, 0)).ok_or(OUT_OF_RANGE)?;
    let seconds = ((days * 24 + part(hour, 0)?) * 60 + part(minute, 0)?) * 60 + part(second, 0)?;
    let delta = TimeDelta::try_milliseconds(seconds * 1000 + part(milli, 0)?).ok_or(OUT_OF_RANGE)?;
    let local = midnight.checked_add_signed(delta).ok_or(OUT_OF_RANGE)?;
    zone.instant(local).map(Value::date)
}

fn shift<'a>(values: &[Option<Value<'a>>], back: bool) -> Result<Value<'a>, Kind> {
    if values.iter().flatten().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let [Some(start), Some(unit), Some(amount), zone] = values else {
        return Ok(Value::NULL);
    };
    let start = instant_of(start, 5_166_403)?;
    let unit = Unit::of(unit, 5_166_404)?;
    let amount = whole_i64(amount).ok_or_else(|| Kind::wrong(5_166_405, "a whole number as amount", amount))?;
    let amount = if back {
        amount.checked_neg().ok_or(OUT_OF_RANGE)?
    } else {
        amount
    };
    let Some(zone) = Zone::from_argument(zone.as_ref())? else {
        return Ok(Value::NULL);
    };
    calendar::add(start, unit, amount, zone).map(Value::date)
}

fn difference<'a>(values: &[Option<Value<'a>>]) -> Result<Value<'a>, Kind> {
    if values.iter().flatten().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let [Some(start), Some(end), Some(unit), zone, first] = values else {
        return Ok(Value::NULL);
    };
    let start = instant_of(start, 5_166_307)?;
    let end = instant_of(end, 5_166_307)?;
    let unit = Unit::of(unit, 5_439_013)?;
    let (Some(zone), Some(first)) = (
        Zone::from_argument(zone.as_ref())?,
        week_start(first.as_ref(), 5_439_015)?,
    ) else {
        return Ok(Value::NULL);
    };
    let difference = calendar::difference(start, end, unit, zone, first)?;
    Ok(Value::Raw(RawBsonRef::Int64(difference)))
}

fn truncate<'a>(values: &[Option<Value<'a>>]) -> Result<Value<'a>, Kind> {
    if values.iter().flatten().any(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let [Some(date), Some(unit), size, zone, first] = values else {
        return Ok(Value::NULL);
    };
    let date = instant_of(date, 5_439_012)?;
    let unit = Unit::of(unit, 5_439_013)?;
    let size = match size {
        None => 1,
        Some(size) => {
            let whole = whole_i64(size).ok_or_else(|| Kind::wrong(5_439_017, "a whole number as binSize", size))?;
            let problem = "the bin size must be above zero";
            if whole <= 0 {
                return Err(Kind::WrongValue {
                    problem,
                    code: 5_439_018,
                });
            }
            whole
        }
    };
    let (Some(zone), Some(first)) = (
        Zone::from_argument(zone.as_ref())?,
        week_start(first.as_ref(), 5_439_015)?,
    ) else {
        return Ok(Value::NULL);
    };
    calendar::truncate(date, unit, size, zone, first).map(Value::date)
}

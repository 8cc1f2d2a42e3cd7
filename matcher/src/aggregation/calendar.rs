//! Instants, time zones and units of time.
//!
//! BSON dates are milliseconds since 1970 in UTC. Calendar arithmetic happens on local times:
//! [`Zone::local`] leads there and [`Zone::instant`] back. A local time that a change of clocks
//! skips is read with the offset before it; one that happens twice is the earlier.
//!
//! The calendar is proleptic Gregorian without leap seconds, and ends about 262,000 years from now;
//! dates beyond that are errors here.

use bson::RawBsonRef;
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Weekday};
use chrono_tz::Tz;

use super::error::AggregationErrorKind as Kind;
use super::value::Value;

/// A time zone: an offset in seconds, or rules.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Zone {
    Fixed(i32),
    Named(Tz),
}

pub(crate) const OUT_OF_RANGE: Kind = Kind::WrongValue {
    problem: "the date is out of range",
    code: 15,
};

impl Zone {
    pub(crate) const UTC: Zone = Zone::Fixed(0);

    /// Reads `+hh`, `+hhmm`, `+hh:mm` or a name from the Olson database.
    pub(crate) fn parse(text: &str) -> Option<Zone> {
        if matches!(text, "Z" | "UTC" | "GMT") {
            return Some(Zone::UTC);
        }
        if text.starts_with(['+', '-']) {
            return offset(text).map(Zone::Fixed);
        }
        text.parse().ok().map(Zone::Named)
    }

    /// The zone an argument names: `None` where the argument is null, UTC where there is none.
    pub(crate) fn from_argument(argument: Option<&Value<'_>>) -> Result<Option<Zone>, Kind> {
        match argument {
            None => Ok(Some(Zone::UTC)),
            Some(value) if value.is_nullish() => Ok(None),
            Some(value) => {
                let text = value
                    .as_str()
                    .ok_or_else(|| Kind::wrong(40517, "a string as timezone", value))?;
                let problem = "the timezone is neither an offset nor a name of the Olson database";
                Zone::parse(text)
                    .map(Some)
                    .ok_or(Kind::WrongValue { problem, code: 40485 })
            }
        }
    }

    /// The offset from UTC at an instant, in seconds.
    pub(crate) fn offset_at(self, millis: i64) -> Result<i32, Kind> {
        match self {
            Zone::Fixed(seconds) => Ok(seconds),
            Zone::Named(zone) => {
                let utc = utc(millis)?;
                Ok(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
            }
        }
    }

    /// The local time at an instant.
    pub(crate) fn local(self, millis: i64) -> Result<NaiveDateTime, Kind> {
        let offset = self.offset_at(millis)?;
        shifted(utc(millis)?, i64::from(offset) * 1000)
    }

    /// The instant of a local time.
    pub(crate) fn instant(self, local: NaiveDateTime) -> Result<i64, Kind> {
        let offset = match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Named(zone) => {
                let mut before = local;
                let mut tries = 0;
                loop {
                    if let Some(found) = zone.offset_from_local_datetime(&before).earliest() {
                        break found.fix().local_minus_utc();
                    }
                    // No change of clocks skips more than a day.
                    tries += 1;
                    if tries > 100 {
                        return Err(OUT_OF_RANGE);
                    }
                    before = shifted(before, -30 * 60 * 1000)?;
                }
            }
        };
        Ok(local.and_utc().timestamp_millis() - i64::from(offset) * 1000)
    }
}

fn utc(millis: i64) -> Result<NaiveDateTime, Kind> {
    let instant = DateTime::from_timestamp_millis(millis).ok_or(OUT_OF_RANGE)?;
    Ok(instant.naive_utc())
}

fn shifted(time: NaiveDateTime, millis: i64) -> Result<NaiveDateTime, Kind> {
    let delta = TimeDelta::try_milliseconds(millis).ok_or(OUT_OF_RANGE)?;
    time.checked_add_signed(delta).ok_or(OUT_OF_RANGE)
}

/// Reads an offset in seconds from `+hh`, `+hhmm` or `+hh:mm`.
pub(crate) fn offset(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text.get(1..)?;
    let (hours, minutes) = match digits.len() {
        2 => (digits, "0"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    if !hours.bytes().chain(minutes.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The instant that dates, timestamps and ObjectIds hold, in milliseconds.
pub(crate) fn instant_of(value: &Value<'_>, code: i32) -> Result<i64, Kind> {
    match value {
        Value::Raw(RawBsonRef::DateTime(date)) => Ok(date.timestamp_millis()),
        Value::Raw(RawBsonRef::Timestamp(timestamp)) => Ok(i64::from(timestamp.time) * 1000),
        Value::Raw(RawBsonRef::ObjectId(id)) => Ok(id.timestamp().timestamp_millis()),
        value => Err(Kind::wrong(code, "a date, a timestamp or an ObjectId", value)),
    }
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    /// A unit of fixed length, in milliseconds.
    Fixed(i64),
}

pub(crate) const HOUR: i64 = 3_600_000;

impl Unit {
    pub(crate) fn of(value: &Value<'_>, code: i32) -> Result<Unit, Kind> {
        let text = value
            .as_str()
            .ok_or_else(|| Kind::wrong(code, "a string as unit", value))?;
        Ok(match text {
            "year" => Unit::Year,
            "quarter" => Unit::Quarter,
            "month" => Unit::Month,
            "week" => Unit::Week,
            "day" => Unit::Day,
            "hour" => Unit::Fixed(HOUR),
            "minute" => Unit::Fixed(60_000),
            "second" => Unit::Fixed(1000),
            "millisecond" => Unit::Fixed(1),
            _ => {
                let problem = "the unit is year, quarter, month, week, day, hour, minute, second or millisecond";
                return Err(Kind::WrongValue { problem, code: 9 });
            }
        })
    }
}

/// The day a week begins with: Sunday where nothing is said.
pub(crate) fn week_start(value: Option<&Value<'_>>, code: i32) -> Result<Option<Weekday>, Kind> {
    let Some(value) = value else {
        return Ok(Some(Weekday::Sun));
    };
    if value.is_nullish() {
        return Ok(None);
    }
    let text = value
        .as_str()
        .ok_or_else(|| Kind::wrong(code, "a string as startOfWeek", value))?;
    let problem = "the start of the week is the name of a day, or its first three letters";
    text.parse()
        .map(Some)
        .map_err(|_| Kind::WrongValue { problem, code: 9 })
}

/// The instant `amount` units later. Months end where the target month does; days and longer
/// units keep the local time of day.
pub(crate) fn add(millis: i64, unit: Unit, amount: i64, zone: Zone) -> Result<i64, Kind> {
    let months = |each: i64| {
        let total = amount.checked_mul(each).ok_or(OUT_OF_RANGE)?;
        let count = u32::try_from(total.unsigned_abs()).map_err(|_| OUT_OF_RANGE)?;
        let local = zone.local(millis)?;
        let moved = if total < 0 {
            local.checked_sub_months(Months::new(count))
        } else {
            local.checked_add_months(Months::new(count))
        };
        zone.instant(moved.ok_or(OUT_OF_RANGE)?)
    };
    let days = |each: i64| {
        let total = amount.checked_mul(each).ok_or(OUT_OF_RANGE)?;
        let local = zone.local(millis)?;
        let count = Days::new(total.unsigned_abs());
        let moved = if total < 0 {
            local.checked_sub_days(count)
        } else {
            local.checked_add_days(count)
        };
        zone.instant(moved.ok_or(OUT_OF_RANGE)?)
    };
    match unit {
        Unit::Year => months(12),
        Unit::Quarter => months(3),
        Unit::Month => months(1),
        Unit::Week => days(7),
        Unit::Day => days(1),
        Unit::Fixed(each) => {
            let total = amount.checked_mul(each).and_then(|total| millis.checked_add(total));
            total.ok_or(OUT_OF_RANGE)
        }
    }
}

/// How many boundaries of the unit lie between two instants.
pub(crate) fn difference(start: i64, end: i64, unit: Unit, zone: Zone, first: Weekday) -> Result<i64, Kind> {
    if let Unit::Fixed(each) = unit {
        // Zones that are not whole hours from UTC have their hours begin elsewhere.
        let units = |millis: i64| {
            let shift = i64::from(zone.offset_at(millis)?).rem_euclid(3600) * 1000;
            Ok((millis + shift).div_euclid(each))
        };
        return Ok(units(end)? - units(start)?);
    }
    let (start, end) = (zone.local(start)?.date(), zone.local(end)?.date());
    let months = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
    let weeks = |date: NaiveDate| {
        let into_week = i64::from(date.weekday().days_since(first));
        (days(date) - into_week).div_euclid(7)
    };
    Ok(match unit {
        Unit::Year => i64::from(end.year()) - i64::from(start.year()),
        Unit::Quarter => months(end).div_euclid(3) - months(start).div_euclid(3),
        Unit::Month => months(end) - months(start),
        Unit::Week => weeks(end) - weeks(start),
        Unit::Day | Unit::Fixed(_) => days(end) - days(start),
    })
}

fn days(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce())
}

/// The beginning of the bin of `size` units that the instant is in. Bins are counted from the
/// beginning of the year 2000; weeks from the first that begins in it.
pub(crate) fn truncate(millis: i64, unit: Unit, size: i64, zone: Zone, first: Weekday) -> Result<i64, Kind> {
    let reference = NaiveDate::from_ymd_opt(2000, 1, 1).ok_or(OUT_OF_RANGE)?;
    let midnight = |date: NaiveDate| date.and_hms_opt(0, 0, 0).ok_or(OUT_OF_RANGE);
    if let Unit::Fixed(each) = unit {
        let origin = zone.instant(midnight(reference)?)?;
        let bin = each.checked_mul(size).ok_or(OUT_OF_RANGE)?;
        let since = millis.checked_sub(origin).ok_or(OUT_OF_RANGE)?;
        let whole = since.div_euclid(bin).checked_mul(bin);
        return whole.and_then(|whole| whole.checked_add(origin)).ok_or(OUT_OF_RANGE);
    }
    let date = zone.local(millis)?.date();
    let by_months = |each: i64| {
        let bin = each.checked_mul(size).ok_or(OUT_OF_RANGE)?;
        let since = (i64::from(date.year()) - 2000) * 12 + i64::from(date.month0());
        let months = since.div_euclid(bin).checked_mul(bin).ok_or(OUT_OF_RANGE)?;
        let year = i32::try_from(2000 + months.div_euclid(12)).map_err(|_| OUT_OF_RANGE)?;
        let month = months.rem_euclid(12) as u32 + 1;
        NaiveDate::from_ymd_opt(year, month, 1).ok_or(OUT_OF_RANGE)
    };
    let by_days = |each: i64, origin: NaiveDate| {
        let bin = each.checked_mul(size).ok_or(OUT_OF_RANGE)?;
        let since = (days(date) - days(origin)).div_euclid(bin).checked_mul(bin);
        let delta = since.and_then(TimeDelta::try_days).ok_or(OUT_OF_RANGE)?;
        origin.checked_add_signed(delta).ok_or(OUT_OF_RANGE)
    };
    let start = match unit {
        Unit::Year => by_months(12),
        Unit::Quarter => by_months(3),
        Unit::Month => by_months(1),
        Unit::Week => {
            let wait = first.days_since(reference.weekday());
            by_days(7, reference + Days::new(u64::from(wait)))
        }
        Unit::Day | Unit::Fixed(_) => by_days(1, reference),
    };
    zone.instant(midnight(start?)?)
}

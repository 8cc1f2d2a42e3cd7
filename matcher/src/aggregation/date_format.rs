//! Dates as text: the format language of `$dateToString`.

use std::fmt::Write;

use bson::RawBsonRef;
use chrono::{Datelike, Timelike};

use super::calendar::Zone;
use super::date::week_of_year;
use super::error::AggregationErrorKind as Kind;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The format of dates in UTC where none is given.
pub(crate) const ISO: &str = "%Y-%m-%dT%H:%M:%S.%LZ";

/// The format of dates in another zone where none is given.
pub(crate) const ISO_LOCAL: &str = "%Y-%m-%dT%H:%M:%S.%L";

/// Writes the instant in the zone's time.
pub(crate) fn format(millis: i64, zone: Zone, format: &str) -> Result<String, Kind> {
    let local = zone.local(millis)?;
    let problem = "years from 0 to 9999 can be written";
    if !(0..=9999).contains(&local.year()) {
        return Err(Kind::WrongValue { problem, code: 18537 });
    }
    let mut text = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let Some(specifier) = chars.next() else {
            let problem = "the format ends with a `%` that nothing follows";
            return Err(Kind::WrongValue { problem, code: 18535 });
        };
        // Writing to a string cannot fail.
        let _ = match specifier {
            'Y' => write!(text, "{:04}", local.year()),
            'm' => write!(text, "{:02}", local.month()),
            'd' => write!(text, "{:02}", local.day()),
            'H' => write!(text, "{:02}", local.hour()),
            'M' => write!(text, "{:02}", local.minute()),
            'S' => write!(text, "{:02}", local.second()),
            'L' => write!(text, "{:03}", local.nanosecond() / 1_000_000),
            'j' => write!(text, "{:03}", local.ordinal()),
            'w' => write!(text, "{}", local.weekday().number_from_sunday()),
            'u' => write!(text, "{}", local.weekday().number_from_monday()),
            'U' => write!(text, "{:02}", week_of_year(&local)),
            'V' => write!(text, "{:02}", local.iso_week().week()),
            'G' => write!(text, "{:04}", local.iso_week().year()),
            'b' => write!(text, "{}", &MONTHS[local.month0() as usize][..3]),
            'B' => write!(text, "{}", MONTHS[local.month0() as usize]),
            'z' => {
                let minutes = zone.offset_at(millis)? / 60;
                let sign = if minutes < 0 { '-' } else { '+' };
                let minutes = minutes.abs();
                write!(text, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
            }
            'Z' => write!(text, "{}", zone.offset_at(millis)? / 60),
            '%' => {
                text.push('%');
                Ok(())
            }
            _ => {
                let problem = "the format holds an unknown specifier";
                return Err(Kind::WrongValue { problem, code: 18536 });
            }
        };
    }
    Ok(text)
}

/// The date as `$toString` writes it.
pub(crate) fn iso(date: RawBsonRef<'_>) -> Result<String, Kind> {
    match date {
        RawBsonRef::DateTime(date) => format(date.timestamp_millis(), Zone::UTC, ISO),
        _ => Ok(String::new()),
    }
}

/// Seconds since 1970 as the old string operators write timestamps.
pub(crate) fn timestamp(seconds: i64) -> String {
    format(seconds * 1000, Zone::UTC, "%b %d %H:%M:%S").unwrap_or_default()
}

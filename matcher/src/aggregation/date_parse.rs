//! Dates from text: `$dateFromString`, `$toDate` and `$convert`.
//!
//! Without a format, the forms of ISO 8601 that people write are read: a date, and after `T` or a
//! space hours and minutes, seconds, a fraction, and an offset, `Z` or a zone's name. MongoDB
//! reads many more through a library of its own; those need a format here.

use bson::RawBsonRef;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Weekday};

use super::calendar::{self, Zone};
use super::error::AggregationErrorKind as Kind;

const FAILED: Kind = failed("the text is not a date of this form");

const fn failed(problem: &'static str) -> Kind {
    Kind::Conversion {
        from: "string",
        to: "date",
        problem,
    }
}

/// Reads an instant, in milliseconds. `zone` is that of the argument, which the text may not repeat.
pub(crate) fn parse(text: &str, format: Option<&str>, zone: Option<Zone>) -> Result<i64, Kind> {
    let mut reader = Reader { rest: text.trim() };
    let (local, offset) = match format {
        Some(format) => reader.formatted(format)?,
        None => reader.iso()?,
    };
    if !reader.rest.is_empty() {
        return Err(failed("something follows the date"));
    }
    match (offset, zone) {
        (Some(_), Some(_)) => Err(failed("the text names a time zone, and so does the argument")),
        (Some(zone), None) | (None, Some(zone)) => zone.instant(local),
        (None, None) => Zone::UTC.instant(local),
    }
}

/// The date as a value of the `bson` crate.
pub(crate) fn to_raw<'a>(text: &str) -> Result<RawBsonRef<'a>, Kind> {
    let millis = parse(text, None, None)?;
    Ok(RawBsonRef::DateTime(bson::DateTime::from_millis(millis)))
}

struct Reader<'t> {
    rest: &'t str,
}

/// What a format has filled in so far.
#[derive(Default)]
struct Found {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    ordinal: Option<u32>,
    iso_year: Option<i32>,
    iso_week: Option<u32>,
    iso_day: Option<u32>,
    hour: u32,
    minute: u32,
    second: u32,
    millis: u32,
    zone: Option<Zone>,
}

impl Reader<'_> {
    fn iso(&mut self) -> Result<(NaiveDateTime, Option<Zone>), Kind> {
        let year = self.digits(4, 4)? as i32;
        self.expect('-')?;
        let month = self.digits(1, 2)?;
        self.expect('-')?;
        let day = self.digits(1, 2)?;
        let mut found = Found {
            year: Some(year),
            month: Some(month),
            day: Some(day),
            ..Found::default()
        };
        if self.take('T') || self.take('t') || self.take(' ') {
            found.hour = self.digits(1, 2)?;
            self.expect(':')?;
            found.minute = self.digits(2, 2)?;
            if self.take(':') {
                found.second = self.digits(2, 2)?;
                if self.take('.') || self.take(',') {
                    found.millis = self.fraction()?;
                }
            }
            self.rest = self.rest.trim_start();
        }
        if !self.rest.is_empty() {
            found.zone = Some(self.zone()?);
        }
        Ok((found.local()?, found.zone))
    }

    fn formatted(&mut self, format: &str) -> Result<(NaiveDateTime, Option<Zone>), Kind> {
        let mut found = Found::default();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                self.expect(c)?;
                continue;
            }
            match chars.next() {
                Some('Y') => found.year = Some(self.digits(4, 4)? as i32),
                Some('m') => found.month = Some(self.digits(1, 2)?),
                Some('d') => found.day = Some(self.digits(1, 2)?),
                Some('j') => found.ordinal = Some(self.digits(1, 3)?),
                Some('G') => found.iso_year = Some(self.digits(4, 4)? as i32),
                Some('V') => found.iso_week = Some(self.digits(1, 2)?),
                Some('u') => found.iso_day = Some(self.digits(1, 1)?),
                Some('H') => found.hour = self.digits(1, 2)?,
                Some('M') => found.minute = self.digits(1, 2)?,
                Some('S') => found.second = self.digits(1, 2)?,
                Some('L') => found.millis = self.digits(1, 3)?,
                Some('b') => found.month = Some(self.month(3)?),
                Some('B') => found.month = Some(self.month(usize::MAX)?),
                Some('z') => found.zone = Some(self.zone()?),
                Some('Z') => {
                    let sign = if self.take('-') { -1 } else { 1 };
                    self.take('+');
                    let minutes = self.digits(1, 4)? as i32;
                    found.zone = Some(Zone::Fixed(sign * minutes * 60));
                }
                Some('%') => self.expect('%')?,
                Some(_) => {
                    let problem = "the format holds an unknown specifier";
                    return Err(Kind::WrongValue { problem, code: 18536 });
                }
                None => {
                    let problem = "the format ends with a `%` that nothing follows";
                    return Err(Kind::WrongValue { problem, code: 18535 });
                }
            }
        }
        Ok((found.local()?, found.zone))
    }

    fn take(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), Kind> {
        if self.take(c) { Ok(()) } else { Err(FAILED) }
    }

    fn digits(&mut self, least: usize, most: usize) -> Result<u32, Kind> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return Err(FAILED);
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        digits.parse().map_err(|_| FAILED)
    }

    /// A fraction of a second in milliseconds; further digits are dropped.
    fn fraction(&mut self) -> Result<u32, Kind> {
        let count = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Err(FAILED);
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        let padded = digits.bytes().chain(*b"00").take(3);
        Ok(padded.fold(0, |millis, digit| millis * 10 + u32::from(digit - b'0')))
    }

    fn zone(&mut self) -> Result<Zone, Kind> {
        let part = |c: char| c.is_ascii_alphanumeric() || "+-:_/".contains(c);
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let zone = match text {
            "z" => Some(Zone::UTC),
            text if text.starts_with(['+', '-']) => calendar::offset(text).map(Zone::Fixed),
            text => Zone::parse(text),
        };
        zone.ok_or(failed("the time zone is not known"))
    }

    fn month(&mut self, letters: usize) -> Result<u32, Kind> {
        let end = self
            .rest
            .bytes()
            .take(letters)
            .take_while(u8::is_ascii_alphabetic)
            .count();
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let month: chrono::Month = name.parse().map_err(|_| FAILED)?;
        Ok(month.number_from_month())
    }
}

impl Found {
    fn local(&self) -> Result<NaiveDateTime, Kind> {
        let date = match *self {
            Found {
                iso_year: Some(year), ..
            } => {
                let day = self.iso_day.unwrap_or(1);
                let weekday = u8::try_from(day)
                    .ok()
                    .and_then(|day| Weekday::try_from(day.checked_sub(1)?).ok());
                let weekday = weekday.ok_or(FAILED)?;
                NaiveDate::from_isoywd_opt(year, self.iso_week.unwrap_or(1), weekday)
            }
            Found {
                year: Some(year),
                ordinal: Some(ordinal),
                ..
            } => NaiveDate::from_yo_opt(year, ordinal),
            Found {
                year: Some(year),
                month: Some(month),
                day: Some(day),
                ..
            } => NaiveDate::from_ymd_opt(year, month, day),
            _ => return Err(failed("an incomplete date; year, month and day are needed")),
        };
        let date = date.ok_or(failed("there is no such day"))?;
        // 24:00 is the end of the day.
        if (self.hour, self.minute, self.second, self.millis) == (24, 0, 0, 0) {
            let next = date.and_time(NaiveTime::MIN).checked_add_signed(TimeDelta::days(1));
            return next.ok_or(calendar::OUT_OF_RANGE);
        }
        let time = NaiveTime::from_hms_milli_opt(self.hour, self.minute, self.second, self.millis);
        Ok(date.and_time(time.ok_or(failed("there is no such time of day"))?))
    }
}

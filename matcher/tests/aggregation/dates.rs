//! Dates: their parts, as text, and by the calendar.

use crate::check;

#[test]
fn timestamps_have_two_parts() {
    let on = r#"{"t": {"$timestamp": {"t": 1622731060, "i": 4294967295}}}"#;
    check(&[
        (r#"{"$tsSecond": "$t"}"#, on, r#"{"$numberLong": "1622731060"}"#),
        (r#"{"$tsIncrement": ["$t"]}"#, on, r#"{"$numberLong": "4294967295"}"#),
        (r#"{"$tsSecond": "$missing"}"#, on, "null"),
        (r#"{"$tsIncrement": null}"#, on, "null"),
        (
            r#"{"$tsSecond": {"$date": "2021-06-03T14:37:40Z"}}"#,
            on,
            "error 5687301",
        ),
        (r#"{"$tsIncrement": 1}"#, on, "error 5687302"),
        (r#"{"$tsSecond": ["$t", 1]}"#, on, "error 16020"),
    ]);
}

#[test]
fn dates_have_parts_in_a_zone() {
    let on = r#"{"d": {"$date": "2014-01-01T08:15:39.736Z"}, "s": {"$date": "2017-06-19T15:13:25.713Z"}}"#;
    check(&[
        (r#"{"$year": "$d"}"#, on, "2014"),
        (r#"{"$month": "$d"}"#, on, "1"),
        (r#"{"$dayOfMonth": ["$d"]}"#, on, "1"),
        (r#"{"$hour": "$d"}"#, on, "8"),
        (r#"{"$minute": "$d"}"#, on, "15"),
        (r#"{"$second": "$d"}"#, on, "39"),
        (r#"{"$millisecond": "$d"}"#, on, "736"),
        (r#"{"$dayOfYear": "$d"}"#, on, "1"),
        (r#"{"$dayOfWeek": "$d"}"#, on, "4"),
        (r#"{"$week": "$d"}"#, on, "0"),
        (r#"{"$isoWeek": "$d"}"#, on, "1"),
        (
            r#"{"$isoWeekYear": {"date": {"$date": "2016-01-01T00:00:00Z"}}}"#,
            on,
            "2015",
        ),
        (r#"{"$isoDayOfWeek": "$d"}"#, on, "3"),
        (r#"{"$hour": {"date": "$d", "timezone": "America/New_York"}}"#, on, "3"),
        (r#"{"$hour": {"date": "$d", "timezone": "+0530"}}"#, on, "13"),
        (r#"{"$year": {"date": "$d", "timezone": "-09"}}"#, on, "2013"),
        (r#"{"$hour": {"date": "$d", "timezone": "Nowhere"}}"#, on, "error 40485"),
        (r#"{"$hour": {"date": "$d", "timezone": null}}"#, on, "null"),
        (r#"{"$hour": "$none"}"#, on, "null"),
        (r#"{"$hour": "x"}"#, on, "error 16006"),
        (r#"{"$year": {"$timestamp": {"t": 1388563200, "i": 1}}}"#, on, "2014"),
        (
            r#"{"$dateToParts": {"date": "$s", "timezone": "America/New_York"}}"#,
            on,
            r#"{"year": 2017, "month": 6, "day": 19, "hour": 11, "minute": 13, "second": 25, "millisecond": 713}"#,
        ),
        (
            r#"{"$dateToParts": {"date": "$s", "iso8601": true}}"#,
            on,
            r#"{"isoWeekYear": 2017, "isoWeek": 25, "isoDayOfWeek": 1, "hour": 15, "minute": 13, "second": 25, "millisecond": 713}"#,
        ),
        (
            r#"{"$dateFromParts": {"year": 2017, "month": 2, "day": 8, "hour": 12}}"#,
            on,
            r#"{"$date": "2017-02-08T12:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromParts": {"year": 2017, "month": 14}}"#,
            on,
            r#"{"$date": "2018-02-01T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromParts": {"year": 2017, "month": 0}}"#,
            on,
            r#"{"$date": "2016-12-01T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromParts": {"isoWeekYear": 2017, "isoWeek": 6, "isoDayOfWeek": 3, "hour": 12}}"#,
            on,
            r#"{"$date": "2017-02-08T12:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromParts": {"year": 2016, "month": 12, "day": 31, "hour": 23, "timezone": "America/New_York"}}"#,
            on,
            r#"{"$date": "2017-01-01T04:00:00Z"}"#,
        ),
        (r#"{"$dateFromParts": {"month": 1}}"#, on, "error 40516"),
        (r#"{"$dateFromParts": {"year": 2017, "isoWeek": 1}}"#, on, "error 40489"),
    ]);
}

#[test]
fn dates_as_text() {
    let on = r#"{"d": {"$date": "2014-01-01T08:15:39.736Z"}}"#;
    check(&[
        (
            r#"{"$dateToString": {"date": "$d"}}"#,
            on,
            r#""2014-01-01T08:15:39.736Z""#,
        ),
        (
            r#"{"$dateToString": {"format": "%Y-%m-%d", "date": "$d"}}"#,
            on,
            r#""2014-01-01""#,
        ),
        (
            r#"{"$dateToString": {"format": "%H:%M:%S:%L%z", "date": "$d", "timezone": "America/New_York"}}"#,
            on,
            r#""03:15:39:736-0500""#,
        ),
        (
            r#"{"$dateToString": {"format": "%H:%M:%S:%L%z", "date": "$d", "timezone": "+04:30"}}"#,
            on,
            r#""12:45:39:736+0430""#,
        ),
        (
            r#"{"$dateToString": {"format": "%Z", "date": "$d", "timezone": "+0430"}}"#,
            on,
            r#""270""#,
        ),
        (
            r#"{"$dateToString": {"format": "%j %U %V %G %u %w %%", "date": "$d"}}"#,
            on,
            r#""001 00 01 2014 3 4 %""#,
        ),
        (
            r#"{"$dateToString": {"date": "$none", "onNull": "never"}}"#,
            on,
            r#""never""#,
        ),
        (
            r#"{"$dateToString": {"date": "$d", "format": "%q"}}"#,
            on,
            "error 18536",
        ),
        (r#"{"$dateToString": {"date": "$d", "format": "%"}}"#, on, "error 18535"),
        (
            r#"{"$dateFromString": {"dateString": "2017-02-08T12:10:40.787"}}"#,
            on,
            r#"{"$date": "2017-02-08T12:10:40.787Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "2017-02-08T12:10:40.787", "timezone": "America/New_York"}}"#,
            on,
            r#"{"$date": "2017-02-08T17:10:40.787Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "2017-02-08"}}"#,
            on,
            r#"{"$date": "2017-02-08T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "06-15-2018", "format": "%m-%d-%Y"}}"#,
            on,
            r#"{"$date": "2018-06-15T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "15-6-2018", "format": "%d-%m-%Y"}}"#,
            on,
            r#"{"$date": "2018-06-15T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateFromString": {"dateString": "2017-02-08T12:10:40Z", "timezone": "UTC"}}"#,
            on,
            "error 241",
        ),
        (r#"{"$dateFromString": {"dateString": "not a date"}}"#, on, "error 241"),
        (
            r#"{"$dateFromString": {"dateString": "not a date", "onError": "$d"}}"#,
            on,
            r#"{"$date": "2014-01-01T08:15:39.736Z"}"#,
        ),
        (r#"{"$dateFromString": {"dateString": null, "onNull": 1}}"#, on, "1"),
    ]);
}

#[test]
fn date_arithmetic_follows_the_calendar() {
    check(&[
        (
            r#"{"$dateAdd": {"startDate": {"$date": "2020-10-31T12:00:00Z"}, "unit": "month", "amount": 1}}"#,
            "{}",
            r#"{"$date": "2020-11-30T12:00:00Z"}"#,
        ),
        (
            r#"{"$dateAdd": {"startDate": {"$date": "2021-10-30T12:00:00Z"}, "unit": "day", "amount": 1, "timezone": "Europe/Paris"}}"#,
            "{}",
            r#"{"$date": "2021-10-31T13:00:00Z"}"#,
        ),
        (
            r#"{"$dateAdd": {"startDate": {"$date": "2021-10-30T12:00:00Z"}, "unit": "hour", "amount": 24, "timezone": "Europe/Paris"}}"#,
            "{}",
            r#"{"$date": "2021-10-31T12:00:00Z"}"#,
        ),
        (
            r#"{"$dateSubtract": {"startDate": {"$date": "2021-03-31T00:00:00Z"}, "unit": "quarter", "amount": 1}}"#,
            "{}",
            r#"{"$date": "2020-12-31T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateAdd": {"startDate": null, "unit": "day", "amount": 1}}"#,
            "{}",
            "null",
        ),
        (
            r#"{"$dateAdd": {"startDate": {"$date": "2021-03-31T00:00:00Z"}, "unit": "moon", "amount": 1}}"#,
            "{}",
            "error 9",
        ),
        (
            r#"{"$dateDiff": {"startDate": {"$date": "2020-11-01T23:00:00Z"}, "endDate": {"$date": "2020-11-05T01:00:00Z"}, "unit": "day"}}"#,
            "{}",
            r#"{"$numberLong": "4"}"#,
        ),
        (
            r#"{"$dateDiff": {"startDate": {"$date": "2010-12-31T23:59:59Z"}, "endDate": {"$date": "2011-01-01T00:00:00Z"}, "unit": "year"}}"#,
            "{}",
            r#"{"$numberLong": "1"}"#,
        ),
        (
            r#"{"$dateDiff": {"startDate": {"$date": "2021-01-24T18:30:00Z"}, "endDate": {"$date": "2021-01-25T18:30:00Z"}, "unit": "week", "startOfWeek": "Monday"}}"#,
            "{}",
            r#"{"$numberLong": "1"}"#,
        ),
        (
            r#"{"$dateDiff": {"startDate": {"$date": "2021-01-24T18:30:00Z"}, "endDate": {"$date": "2021-01-25T18:30:00Z"}, "unit": "week", "startOfWeek": "fri"}}"#,
            "{}",
            r#"{"$numberLong": "0"}"#,
        ),
        (
            r#"{"$dateTrunc": {"date": {"$date": "2021-03-20T11:30:05Z"}, "unit": "hour", "binSize": 2}}"#,
            "{}",
            r#"{"$date": "2021-03-20T10:00:00Z"}"#,
        ),
        (
            r#"{"$dateTrunc": {"date": {"$date": "2021-03-20T11:30:05Z"}, "unit": "month"}}"#,
            "{}",
            r#"{"$date": "2021-03-01T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateTrunc": {"date": {"$date": "2021-03-20T11:30:05Z"}, "unit": "week", "startOfWeek": "Monday"}}"#,
            "{}",
            r#"{"$date": "2021-03-15T00:00:00Z"}"#,
        ),
        (
            r#"{"$dateTrunc": {"date": {"$date": "1999-12-31T11:30:05Z"}, "unit": "quarter", "timezone": "America/Los_Angeles"}}"#,
            "{}",
            r#"{"$date": "1999-10-01T07:00:00Z"}"#,
        ),
    ]);
}

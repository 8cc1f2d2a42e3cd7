//! The data set: four years of daily weather in Seattle, carried inside the executable. `cli/data/README.md` says where it
//! comes from.

use bson::{Bson, Document};

use crate::failure::{Exit, Failure, Outcome};

const LINES: &str = include_str!("../../data/seattle-weather.jsonl");

/// The fields in the order in which the file has them; a JSON object has none.
const FIELDS: [&str; 7] = [
    "_id",
    "date",
    "precipitation",
    "temp_max",
    "temp_min",
    "wind",
    "weather",
];

/// One day of the data set.
#[derive(Clone, Debug)]
pub(crate) struct Day {
    /// The document as it is to be inserted.
    pub(crate) document: Document,
    pub(crate) id: String,
    pub(crate) weather: String,
    pub(crate) precipitation: f64,
    pub(crate) temp_max: f64,
    pub(crate) wind: f64,
}

/// Every day, in order.
pub(crate) fn days() -> Outcome<Vec<Day>> {
    let malformed = |number: usize| {
        let message = format!("line {} of the data set in this executable is malformed", number + 1);
        Failure::new(Exit::Failure, message)
    };
    let day = |(number, line)| parse(line).ok_or_else(|| malformed(number));
    LINES.lines().enumerate().map(day).collect()
}

fn parse(line: &str) -> Option<Day> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let Ok(Bson::Document(mut found)) = Bson::try_from(value) else {
        return None;
    };
    let mut document = Document::new();
    for field in FIELDS {
        document.insert(field, found.remove(field)?);
    }
    let number = |field| document.get_f64(field).ok();
    let text = |field| document.get_str(field).map(str::to_owned).ok();
    Some(Day {
        id: text("_id")?,
        weather: text("weather")?,
        precipitation: number("precipitation")?,
        temp_max: number("temp_max")?,
        wind: number("wind")?,
        document,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_there_once_and_in_order() {
        let days = days().unwrap();
        assert_eq!(days.len(), 1461);
        assert!(days.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert_eq!(days[1].document.keys().collect::<Vec<_>>(), FIELDS);
        assert_eq!((days[1].precipitation, days[1].weather.as_str()), (10.9, "rain"));
        assert!(days[0].document.get_datetime("date").is_ok());
    }
}

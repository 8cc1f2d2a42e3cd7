//! Results: what was measured, and how it is printed.

use std::error::Error;

use serde_json::{Map, Value, json};

/// The engine whose figures are the bound: the unavoidable work and nothing else.
pub(crate) const LIMIT: &str = "limit";
/// The engine under measurement.
pub(crate) const TAILWATER: &str = "tailwater";

/// What is counted, and which direction is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    MillionsPerSecond,
    ThousandsPerSecond,
    AppendsPerSecond,
    Microseconds,
    Milliseconds,
    Mebibytes,
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::MillionsPerSecond => "M/s",
            Unit::ThousandsPerSecond => "k/s",
            Unit::AppendsPerSecond => "appends/s",
            Unit::Microseconds => "us",
            Unit::Milliseconds => "ms",
            Unit::Mebibytes => "MiB",
            Unit::Bytes => "B",
        }
    }

    /// How near `value` comes to `limit`: 1 is the limit, more is better.
    fn ratio(self, value: f64, limit: f64) -> f64 {
        match self {
            Unit::MillionsPerSecond | Unit::ThousandsPerSecond | Unit::AppendsPerSecond => value / limit,
            Unit::Microseconds | Unit::Milliseconds | Unit::Mebibytes | Unit::Bytes => limit / value,
        }
    }
}

/// The figures of one engine, one for each round.
#[derive(Clone, Debug)]
pub struct Series {
    /// The engine's name.
    pub engine: &'static str,
    /// The figures, in the workload's unit.
    pub values: Vec<f64>,
}

/// One workload with the figures of everyone who ran it; the limit comes first.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) workload: &'static str,
    pub(crate) unit: Unit,
    pub(crate) series: Vec<Series>,
}

impl Comparison {
    pub(crate) fn new(workload: &'static str, unit: Unit, limit: Vec<f64>, tailwater: Vec<f64>) -> Comparison {
        let series = vec![
            Series {
                engine: LIMIT,
                values: limit,
            },
            Series {
                engine: TAILWATER,
                values: tailwater,
            },
        ];
        Comparison { workload, unit, series }
    }

    fn rows(&self) -> Vec<Row> {
        let limits = self.series.iter().find(|series| series.engine == LIMIT);
        let limit = limits.map(|series| median(&series.values));
        let row = |series: &Series| {
            let median = median(&series.values);
            let ratio = limit
                .filter(|_| series.engine == TAILWATER)
                .map(|limit| self.unit.ratio(median, limit));
            let paired = limits
                .filter(|limits| series.engine == TAILWATER && limits.values.len() == series.values.len())
                .map(|limits| self.paired(&series.values, &limits.values));
            Row {
                workload: self.workload,
                engine: series.engine,
                median,
                min: series.values.iter().copied().fold(f64::INFINITY, f64::min),
                max: series.values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                unit: self.unit.name(),
                ratio,
                paired,
            }
        };
        self.series.iter().map(row).collect()
    }

    /// Median of the ratios of rounds that followed each other: what slows the machine for a while slows both.
    fn paired(&self, values: &[f64], limits: &[f64]) -> f64 {
        let rounds = values.iter().zip(limits);
        median(
            &rounds
                .map(|(&value, &limit)| self.unit.ratio(value, limit))
                .collect::<Vec<_>>(),
        )
    }
}

struct Row {
    workload: &'static str,
    engine: &'static str,
    median: f64,
    min: f64,
    max: f64,
    unit: &'static str,
    /// Of the medians.
    ratio: Option<f64>,
    /// Median of the ratios of the rounds.
    paired: Option<f64>,
}

/// Middle value; of an even number of values, the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

/// Prints results as they come.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    suite: &'static str,
}

impl Printer {
    /// Prints what stands above the figures: comment lines, out of the way of JSON.
    #[expect(clippy::print_stdout, clippy::print_stderr, reason = "the program's output")]
    pub(crate) fn new(json: bool, suite: &'static str, head: &[String]) -> Printer {
        for line in head {
            if json {
                eprintln!("# {line}");
            } else {
                println!("# {line}");
            }
        }
        if !json {
            println!(
                "{:<24} {:<12} {:>10} {:>10} {:>10}  {:<9} {:>6} {:>6}",
                "workload", "engine", "median", "min", "max", "unit", "ratio", "paired"
            );
        }
        Printer { json, suite }
    }

    #[expect(clippy::print_stdout, reason = "the program's output")]
    pub(crate) fn print(&self, comparison: &Comparison) {
        for row in comparison.rows() {
            if self.json {
                println!("{}", self.object(&row));
            } else {
                let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
                println!(
                    "{:<24} {:<12} {:>10} {:>10} {:>10}  {:<9} {:>6} {:>6}",
                    row.workload,
                    row.engine,
                    readable(row.median),
                    readable(row.min),
                    readable(row.max),
                    row.unit,
                    ratio(row.ratio),
                    ratio(row.paired)
                );
            }
        }
    }

    fn object(&self, row: &Row) -> Value {
        let mut object = Map::new();
        object.insert("suite".to_owned(), json!(self.suite));
        object.insert("workload".to_owned(), json!(row.workload));
        object.insert("engine".to_owned(), json!(row.engine));
        object.insert("median".to_owned(), json!(rounded(row.median)));
        object.insert("min".to_owned(), json!(rounded(row.min)));
        object.insert("max".to_owned(), json!(rounded(row.max)));
        object.insert("unit".to_owned(), json!(row.unit));
        if let Some(ratio) = row.ratio {
            object.insert("ratio".to_owned(), json!(rounded(ratio)));
        }
        Value::Object(object)
    }
}

fn readable(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 100.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}

/// To five digits: more would only be noise.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(4 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// Says something on stderr that is neither a result nor a failure.
#[expect(clippy::print_stderr, reason = "the program's output")]
pub(crate) fn notice(text: &str) {
    eprintln!("tailwater-benches: {text}");
}

/// Says on stderr why the run ended.
#[expect(clippy::print_stderr, reason = "the program's output")]
pub(crate) fn complain(error: &dyn Error) {
    eprintln!("tailwater-benches: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  caused by: {cause}");
        source = cause.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_oriented_so_that_more_is_better() {
        assert_eq!(Unit::MillionsPerSecond.ratio(5.0, 10.0), 0.5);
        assert_eq!(Unit::Microseconds.ratio(10.0, 5.0), 0.5);
    }

    #[test]
    fn rounds_are_compared_with_the_rounds_beside_them() {
        let comparison = Comparison::new(
            "w",
            Unit::MillionsPerSecond,
            vec![20.0, 8.0, 20.0],
            vec![5.0, 4.0, 10.0],
        );
        let row = &comparison.rows()[1];
        assert_eq!((row.ratio, row.paired), (Some(0.25), Some(0.5)));
        let uneven = Comparison::new("w", Unit::MillionsPerSecond, vec![1.0], vec![1.0, 2.0]);
        assert_eq!(uneven.rows()[1].paired, None);
    }

    #[test]
    fn the_json_object_has_exactly_the_agreed_keys() {
        let comparison = Comparison::new("w", Unit::Microseconds, vec![2.0, 1.0, 9.0], vec![4.0, 4.0]);
        let printer = Printer {
            json: true,
            suite: "log",
        };
        let lines: Vec<_> = comparison.rows().iter().map(|row| printer.object(row)).collect();
        assert_eq!(
            lines,
            [
                json!({"suite": "log", "workload": "w", "engine": "limit", "median": 2.0, "min": 1.0, "max": 9.0, "unit": "us"}),
                json!({"suite": "log", "workload": "w", "engine": "tailwater", "median": 4.0, "min": 4.0, "max": 4.0, "unit": "us", "ratio": 0.5}),
            ]
        );
    }
}

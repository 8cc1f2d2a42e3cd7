//! Prometheus' text format.

use std::fmt::Write as _;

/// What kind of numbers a family has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text as it grows: families, each with its samples behind it.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
    family: &'static str,
}

impl Text {
    /// Begins a family, whose samples come next.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.family = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.line("", labels, value);
    }

    /// How many values are at or below a bound; all without one.
    pub(super) fn bucket(&mut self, bound: Option<f64>, count: u64) {
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
        self.line("_bucket", &[("le", &bound)], count as f64);
    }

    /// The sum and the number of a histogram's values.
    pub(super) fn totals(&mut self, sum: f64, count: u64) {
        self.line("_sum", &[], sum);
        self.line("_count", &[], count as f64);
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(self.family);
        self.out.push_str(suffix);
        for (i, (name, text)) in labels.iter().enumerate() {
            let begin = if i == 0 { '{' } else { ',' };
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.out, "{begin}{name}=\"{escaped}\"");
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_their_family() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "How many.");
        text.sample(&[("of", "a \"b\"\\\n")], 3.0);
        text.family("b_seconds", Kind::Histogram, "How long.");
        text.bucket(Some(0.001), 2);
        text.bucket(None, 2);
        text.totals(0.0015, 2);
        let expected = "# HELP a_total How many.\n# TYPE a_total counter\na_total{of=\"a \\\"b\\\"\\\\\\n\"} 3\n\
            # HELP b_seconds How long.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.001\"} 2\n\
            b_seconds_bucket{le=\"+Inf\"} 2\nb_seconds_sum 0.0015\nb_seconds_count 2\n";
        assert_eq!(text.finish(), expected);
    }
}

//! The plan: what the writer writes, operation by operation. It follows from the data set alone, so that every process of
//! the demo knows it without being told.
//!
//! The story: an archive takes in the weather week by week. A week later each day is checked, confirmed or recalibrated;
//! two weeks later some days are entered anew; four weeks later the foggy ones are withdrawn.
//!
//! Invariant: each operation changes exactly one document, and so makes exactly one entry in the log. Therefore the number
//! of the collection's entries in the log *is* the writer's place in the plan; see [`writer`](super::writer).

use std::ops::Range;

use bson::{Bson, Document};

use super::dataset::Day;

/// Database that the demo writes.
pub(crate) const DATABASE: &str = "weather";
/// Collection that the demo writes.
pub(crate) const COLLECTION: &str = "seattle";

const DAYS_PER_WEEK: usize = 7;
const WEEKS_UNTIL_CHECKED: usize = 1;
const WEEKS_UNTIL_REPLACED: usize = 2;
const WEEKS_UNTIL_WITHDRAWN: usize = 4;

/// One change of one document.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Operation {
    Insert {
        day: String,
        document: Document,
    },
    /// `{$set: {field: value}}`.
    Set {
        day: String,
        field: &'static str,
        value: Bson,
    },
    /// `{$inc: {field: by}}`.
    Increment {
        day: String,
        field: &'static str,
        by: Bson,
    },
    Replace {
        day: String,
        document: Document,
    },
    Delete {
        day: String,
    },
}

impl Operation {
    /// The operation type of its event.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Operation::Insert { .. } => "insert",
            Operation::Set { .. } | Operation::Increment { .. } => "update",
            Operation::Replace { .. } => "replace",
            Operation::Delete { .. } => "delete",
        }
    }

    /// The `_id` of the document.
    pub(crate) fn day(&self) -> &str {
        match self {
            Operation::Insert { day, .. }
            | Operation::Set { day, .. }
            | Operation::Increment { day, .. }
            | Operation::Replace { day, .. }
            | Operation::Delete { day } => day,
        }
    }
}

/// The operations in order, and how they are handed to the store.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) operations: Vec<Operation>,
    /// Ranges of `operations`, without gaps: one operation, or a week of inserts that are one batch.
    pub(crate) steps: Vec<Range<usize>>,
}

impl Plan {
    /// The plan for these days.
    pub(crate) fn new(days: &[Day]) -> Plan {
        let weeks: Vec<&[Day]> = days.chunks(DAYS_PER_WEEK).collect();
        let mut plan = Plan::default();
        for week in 0..weeks.len() + WEEKS_UNTIL_WITHDRAWN {
            let ago = |count: usize| week.checked_sub(count).and_then(|week| weeks.get(week)).copied();
            plan.take_in(ago(0).unwrap_or_default(), week % 2 == 0);
            plan.check(ago(WEEKS_UNTIL_CHECKED).unwrap_or_default());
            plan.enter_anew(ago(WEEKS_UNTIL_REPLACED).unwrap_or_default());
            plan.withdraw(ago(WEEKS_UNTIL_WITHDRAWN).unwrap_or_default());
        }
        plan
    }

    /// How many of the operations have this name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.operations.iter().filter(|o| o.name() == name).count() as u64
    }

    fn step(&mut self, operations: impl IntoIterator<Item = Operation>) {
        let start = self.operations.len();
        self.operations.extend(operations);
        if self.operations.len() > start {
            self.steps.push(start..self.operations.len());
        }
    }

    fn take_in(&mut self, week: &[Day], as_batch: bool) {
        let inserts = week.iter().map(|day| Operation::Insert {
            day: day.id.clone(),
            document: day.document.clone(),
        });
        if as_batch {
            self.step(inserts);
        } else {
            inserts.for_each(|insert| self.step([insert]));
        }
    }

    fn check(&mut self, week: &[Day]) {
        for day in week {
            let stormy = day.wind > 6.0 || day.precipitation > 30.0;
            self.step([Operation::Set {
                day: day.id.clone(),
                field: "quality",
                value: if stormy { "suspect" } else { "checked" }.into(),
            }]);
            if day.precipitation > 0.0 {
                self.step([Operation::Increment {
                    day: day.id.clone(),
                    field: "confirmations",
                    by: 1.into(),
                }]);
            }
            // Across 25 degrees, so that an update can make a day match that did not match before.
            if (24.5..=27.0).contains(&day.temp_max) {
                self.step([Operation::Increment {
                    day: day.id.clone(),
                    field: "temp_max",
                    by: 0.6.into(),
                }]);
            }
        }
    }

    fn enter_anew(&mut self, week: &[Day]) {
        for day in week {
            let mut document = day.document.clone();
            if day.weather == "drizzle" {
                document.insert("weather", "rain");
            } else if day.precipitation > 20.0 {
                document.insert("precipitation", day.precipitation.round());
            } else {
                continue;
            }
            document.insert("source", "entered anew");
            self.step([Operation::Replace {
                day: day.id.clone(),
                document,
            }]);
        }
    }

    fn withdraw(&mut self, week: &[Day]) {
        for day in week.iter().filter(|day| day.weather == "fog") {
            self.step([Operation::Delete { day: day.id.clone() }]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::days;
    use super::*;

    #[test]
    fn it_is_the_same_each_time() {
        let days = days().unwrap();
        assert_eq!(Plan::new(&days), Plan::new(&days));
    }

    #[test]
    fn it_has_every_kind_of_operation_and_batches() {
        let plan = Plan::new(&days().unwrap());
        assert_eq!(plan.count("insert"), 1461);
        for (name, at_least) in [("update", 2000), ("replace", 80), ("delete", 100)] {
            assert!(plan.count(name) >= at_least, "{name}: {}", plan.count(name));
        }
        assert!((3000..5000).contains(&plan.operations.len()));
        assert!(plan.steps.iter().filter(|step| step.len() == DAYS_PER_WEEK).count() > 100);
    }

    #[test]
    fn the_steps_cover_the_operations_without_gaps() {
        let plan = Plan::new(&days().unwrap());
        let mut next = 0;
        for step in &plan.steps {
            assert_eq!(step.start, next);
            assert!(step.end > step.start);
            next = step.end;
        }
        assert_eq!(next, plan.operations.len());
    }
}

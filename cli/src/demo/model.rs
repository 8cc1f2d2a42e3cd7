//! The plan carried out in memory, in a dozen lines of plain Rust: what the store has to hold in the end, and what each
//! write has to look like in the log.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};

use super::plan::Operation;
use super::written::Written;
use crate::failure::{Exit, Failure, Outcome};

/// A collection as a map.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// The documents by `_id`.
    pub(crate) documents: BTreeMap<String, Document>,
}

impl Model {
    /// Carries an operation out; returns what the log has to say of it.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Outcome<Written> {
        let day = operation.day().to_owned();
        let before = self.documents.remove(&day);
        let (document, diff) = match (operation, before) {
            (Operation::Insert { document, .. }, None) | (Operation::Replace { document, .. }, Some(_)) => {
                (Some(document.clone()), None)
            }
            (Operation::Set { field, value, .. }, Some(before)) => changed(before, field, value.clone()),
            (Operation::Increment { field, by, .. }, Some(before)) => {
                let sum = sum(before.get(field), by).ok_or_else(|| impossible(operation))?;
                changed(before, field, sum)
            }
            (Operation::Delete { .. }, Some(_)) => (None, None),
            _ => return Err(impossible(operation)),
        };
        if let Some(document) = &document {
            self.documents.insert(day.clone(), document.clone());
        }
        Ok(Written {
            operation: operation.name(),
            day,
            document,
            diff,
        })
    }
}

fn changed(mut document: Document, field: &str, value: Bson) -> (Option<Document>, Option<Document>) {
    let removed: [Bson; 0] = [];
    let diff = doc! {
        "updatedFields": { field: value.clone() },
        "removedFields": removed.to_vec(),
        "truncatedArrays": removed.to_vec(),
    };
    document.insert(field, value);
    (Some(document), Some(diff))
}

fn sum(current: Option<&Bson>, by: &Bson) -> Option<Bson> {
    match (current, by) {
        (None, by) => Some(by.clone()),
        (Some(Bson::Int32(current)), Bson::Int32(by)) => Some(Bson::Int32(current.checked_add(*by)?)),
        (Some(Bson::Double(current)), Bson::Double(by)) => Some(Bson::Double(current + by)),
        _ => None,
    }
}

fn impossible(operation: &Operation) -> Failure {
    let message = format!("the plan cannot {} the day {}", operation.name(), operation.day());
    Failure::new(Exit::Failure, message)
}

#[cfg(test)]
mod tests {
    use super::super::dataset::days;
    use super::super::plan::Plan;
    use super::*;

    fn carried_out() -> (Plan, Model, Vec<Written>) {
        let plan = Plan::new(&days().unwrap());
        let mut model = Model::default();
        let written = plan.operations.iter().map(|o| model.apply(o).unwrap()).collect();
        (plan, model, written)
    }

    #[test]
    fn the_plan_can_be_carried_out_and_leaves_all_but_the_foggy_days() {
        let (plan, model, written) = carried_out();
        assert_eq!(written.len(), plan.operations.len());
        assert_eq!(model.documents.len() as u64, 1461 - plan.count("delete"));
        let foggy = |day: &Document| day.get_str("weather").is_ok_and(|weather| weather == "fog");
        assert!(!model.documents.values().any(foggy));
        let second = &model.documents["2012-01-02"];
        assert_eq!(second.get_i32("confirmations").unwrap(), 1);
        assert_eq!(second.get_str("quality").unwrap(), "checked");
    }

    #[test]
    fn every_operation_changes_its_document() {
        let (_, _, written) = carried_out();
        let mut last: BTreeMap<&str, &Written> = BTreeMap::new();
        for write in &written {
            if let Some(before) = last.insert(&write.day, write) {
                assert_ne!(before.document, write.document, "{}", write.day);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut model = Model::default();
        assert!(model.apply(&Operation::Delete { day: "x".into() }).is_err());
        let insert = Operation::Insert {
            day: "x".into(),
            document: doc! { "_id": "x" },
        };
        model.apply(&insert).unwrap();
        assert!(model.apply(&insert).is_err());
    }
}

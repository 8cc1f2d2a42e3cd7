//! When two answers are the same: numbers by their value, whatever their type, and to the precision of a sum in another order;
//! fields in the same order.

use serde_json::Value;

use crate::case::Case;

/// Operators whose arrays are sets: MongoDB leaves the order of the elements open.
const SETS: [&str; 4] = ["$addToSet", "$setUnion", "$setIntersection", "$setDifference"];

/// Relative difference of doubles that were computed in another order.
const TOLERANCE: f64 = 1e-9;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Counts,
    IsOpen,
}

/// Which orders count within a document.
#[derive(Clone, Copy)]
struct Within {
    elements: Order,
    fields: Order,
}

/// See the module documentation.
pub(crate) fn answers(case: &Case, ours: &[Value], theirs: &[Value]) -> bool {
    compare(case, ours, theirs, Order::Counts)
}

/// The same, with the fields in any order.
pub(crate) fn but_for_the_order_of_fields(case: &Case, ours: &[Value], theirs: &[Value]) -> bool {
    compare(case, ours, theirs, Order::IsOpen)
}

fn compare(case: &Case, ours: &[Value], theirs: &[Value], fields: Order) -> bool {
    let elements = match case {
        Case::Aggregate { .. } if SETS.iter().any(|operator| case.uses(operator)) => Order::IsOpen,
        _ => Order::Counts,
    };
    let within = Within { elements, fields };
    // Only a $sort that nothing follows but what keeps its order says what comes first.
    let keeps = |name: &str| ["$sort", "$limit", "$skip", "$project"].contains(&name);
    let outside = match case {
        Case::Aggregate { pipeline, .. } => {
            let names: Vec<&str> = pipeline
                .iter()
                .filter_map(|stage| stage.keys().next())
                .map(String::as_str)
                .collect();
            let sort = names.iter().rposition(|name| *name == "$sort");
            match sort.is_some_and(|sort| names[sort..].iter().all(|name| keeps(name))) {
                true => Order::Counts,
                false => Order::IsOpen,
            }
        }
        _ => Order::Counts,
    };
    lists(ours, theirs, outside, within)
}

fn lists(left: &[Value], right: &[Value], order: Order, within: Within) -> bool {
    if left.len() != right.len() {
        return false;
    }
    if order == Order::Counts {
        return left.iter().zip(right).all(|(left, right)| values(left, right, within));
    }
    let mut rest: Vec<&Value> = right.iter().collect();
    left.iter().all(|left| {
        let found = rest.iter().position(|right| values(left, right, within));
        found.map(|index| rest.swap_remove(index)).is_some()
    })
}

/// The names of fields in their order, but for `_id`, which the others put anywhere.
fn names(object: &serde_json::Map<String, Value>) -> impl Iterator<Item = &String> {
    object.keys().filter(|name| *name != "_id")
}

fn values(left: &Value, right: &Value, within: Within) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else {
                return false;
            };
            (left - right).abs() <= TOLERANCE * left.abs().max(right.abs()).max(1.0)
        }
        (Value::Array(left), Value::Array(right)) => lists(left, right, within.elements, within),
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && (within.fields == Order::IsOpen || names(left).eq(names(right)))
                && left
                    .iter()
                    .all(|(name, left)| right.get(name).is_some_and(|right| values(left, right, within)))
        }
        _ => left == right,
    }
}

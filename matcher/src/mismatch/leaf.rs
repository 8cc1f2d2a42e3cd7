//! What is said of a condition on a field: the condition, the reason, and the values that were considered.

use bson::raw::{RawBsonRef, cstr};
use bson::{RawArray, RawArrayBuf, RawDocument, RawDocumentBuf};

use super::clause::{Clause, holds};
use super::report::Report;
use crate::error::type_name;

/// Most values of a field that are told.
const VALUES_MAX: usize = 10;

/// What an operator says of itself: when it does not hold, when it does although it must not, and which types it is about.
struct Words {
    fails: &'static str,
    holds: &'static str,
    types: &'static [&'static str],
}

const NUMBERS: &[&str] = &["decimal", "double", "int", "long"];

fn words(operator: &str) -> Words {
    let of = |fails, holds, types| Words { fails, holds, types };
    match operator {
        "$ne" => of("comparison succeeded", "comparison failed", &[]),
        "$in" => of("no matching value found in array", "matching value found in array", &[]),
        "$nin" => of("matching value found in array", "no matching value found in array", &[]),
        "$type" => of("type did not match", "type did match", &[]),
        "$regex" => of(
            "regular expression did not match",
            "regular expression did match",
            &["regex", "string", "symbol"],
        ),
        "$mod" => of(
            "$mod did not evaluate to expected remainder",
            "$mod did evaluate to expected remainder",
            NUMBERS,
        ),
        "$size" => of(
            "array length was not equal to given size",
            "array length was equal to given size",
            &["array"],
        ),
        "$all" => of(
            "array did not contain all specified values",
            "array did contain all specified values",
            &[],
        ),
        "$elemMatch" => of(
            "array did not satisfy the child predicate",
            "array did satisfy the child predicate",
            &["array"],
        ),
        "$bitsAllSet" | "$bitsAllClear" | "$bitsAnySet" | "$bitsAnyClear" => of(
            "bitwise operator failed to match",
            "bitwise operator matched successfully",
            &["binData", "decimal", "double", "int", "long"],
        ),
        _ => of("comparison failed", "comparison succeeded", &[]),
    }
}

pub(super) fn describe(
    report: &mut Report,
    clause: &Clause<'_>,
    document: &RawDocument,
    inverted: bool,
) -> RawDocumentBuf {
    let operator = clause.operator.unwrap_or(match clause.argument {
        RawBsonRef::RegularExpression(_) => "$regex",
        _ => "$eq",
    });
    let mut entry = report.entry(operator);
    let source = clause.source();
    report.value(&mut entry, cstr!("specifiedAs"), RawBsonRef::Document(&source));
    if let Err(error) = holds(&source, document) {
        report.text(&mut entry, cstr!("reason"), &format!("failed to evaluate: {error}"));
        return entry;
    }
    if operator == "$exists" {
        // It fails where the path is not as it says; inverted, where it is.
        let wanted = crate::aggregation::is_true(clause.argument);
        let reason = match wanted == inverted {
            true => "path does exist",
            false => "path does not exist",
        };
        report.text(&mut entry, cstr!("reason"), reason);
        return entry;
    }
    let whole = matches!(operator, "$size" | "$all" | "$elemMatch");
    let path: Vec<&str> = clause.name.split('.').collect();
    let mut found = Found::default();
    found.walk(RawBsonRef::Document(document), &path, whole);
    if !found.is_there {
        report.text(&mut entry, cstr!("reason"), "field was missing");
        return entry;
    }
    let words = words(operator);
    let is_unfit = !words.types.is_empty() && !found.types.iter().any(|found| words.types.contains(found));
    if is_unfit && !inverted && !found.types.is_empty() {
        report.text(&mut entry, cstr!("reason"), "type did not match");
        append_types(report, &mut entry, "considered", &found.types);
        append_types(report, &mut entry, "expected", words.types);
    } else {
        let reason = if inverted { words.holds } else { words.fails };
        report.text(&mut entry, cstr!("reason"), reason);
    }
    found.append(report, &mut entry);
    if operator == "$type" {
        append_types(report, &mut entry, "considered", &found.types);
    }
    entry
}

/// `consideredType`, or `consideredTypes` in their alphabetical order.
fn append_types(report: &mut Report, entry: &mut RawDocumentBuf, which: &str, types: &[&'static str]) {
    let (one, several) = match which {
        "expected" => (cstr!("expectedType"), cstr!("expectedTypes")),
        _ => (cstr!("consideredType"), cstr!("consideredTypes")),
    };
    let mut types = types.to_vec();
    types.sort_unstable();
    match &types[..] {
        [] => {}
        [only] => report.text(entry, one, only),
        types => {
            let mut list = RawArrayBuf::new();
            types.iter().for_each(|name| list.push(*name));
            entry.append(several, list);
        }
    }
}

/// The values at a path.
#[derive(Default)]
struct Found<'d> {
    is_there: bool,
    /// The first of them.
    values: Vec<RawBsonRef<'d>>,
    more: bool,
    /// Each type once.
    types: Vec<&'static str>,
}

impl<'d> Found<'d> {
    /// Goes through arrays on the way; of one at the end the elements are considered, unless it is as a whole. It calls itself no
    /// deeper than the path is long.
    fn walk(&mut self, value: RawBsonRef<'d>, path: &[&str], whole: bool) {
        match (value, path.split_first()) {
            (RawBsonRef::Array(array), None) if !whole => {
                self.is_there = true;
                array.into_iter().flatten().for_each(|element| self.add(element));
            }
            (value, None) => self.add(value),
            (RawBsonRef::Document(document), Some((name, rest))) => {
                if let Ok(Some(value)) = document.get(*name) {
                    self.walk(value, rest, whole);
                }
            }
            (RawBsonRef::Array(array), Some((name, rest))) => {
                if let Some(element) = at(array, name) {
                    self.walk(element, rest, whole);
                }
                for element in array.into_iter().flatten() {
                    if let RawBsonRef::Document(document) = element
                        && let Ok(Some(value)) = document.get(*name)
                    {
                        self.walk(value, rest, whole);
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, value: RawBsonRef<'d>) {
        self.is_there = true;
        let name = type_name(value.element_type());
        if !self.types.contains(&name) {
            self.types.push(name);
        }
        if self.values.len() < VALUES_MAX {
            self.values.push(value);
        } else {
            self.more = true;
        }
    }

    fn append(&self, report: &mut Report, entry: &mut RawDocumentBuf) {
        if let [value] = self.values[..] {
            return report.value(entry, cstr!("consideredValue"), value);
        }
        let mut list = RawArrayBuf::new();
        self.values.iter().for_each(|value| list.push(*value));
        report.value(entry, cstr!("consideredValues"), RawBsonRef::Array(&list));
        if self.more {
            entry.append(cstr!("consideredValuesTruncated"), true);
        }
    }
}

fn at<'d>(array: &'d RawArray, name: &str) -> Option<RawBsonRef<'d>> {
    array.into_iter().nth(crate::path::position(name)?)?.ok()
}

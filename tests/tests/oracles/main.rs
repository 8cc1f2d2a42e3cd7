//! Tailwater against two implementations of MongoDB's semantics that know nothing of it: mingo, in JavaScript, and mongomock, in
//! Python. Random filters, updates, expressions and pipelines are answered by all of them, and the answers compared. Neither has
//! Decimal128; for that there is a third, small one on Python's `decimal`, which has the arithmetic of IEEE 754-2008.
//!
//! Neither is MongoDB. Where one differs from MongoDB's manual, the manual is right, and the difference is in `exclusions.rs`, as
//! narrow as it can be said, with its reason. An exclusion that excuses nothing fails the test, and so does an operator that was
//! never compared, unless it is listed as one that the other has not.
//!
//! The first run installs both from their registries (see `oracle.rs`); later ones do not. Seeds are fixed, so a run says the
//! same each time. To look further:
//!
//! ```text
//! TAILWATER_ORACLE_SEED=7 TAILWATER_ORACLE_CASES=20000 cargo test -p tailwater-tests --test oracles
//! ```
//!
//! What is found becomes a named test of the crate it concerns.

mod case;
mod exclusions;
mod generate;
mod oracle;
mod same;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use case::{Answer, Case, Place};
use exclusions::{Exclusion, NOT_THERE, exclusions, gave_up};
use generate::Random;
use oracle::Oracle;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suite {
    Filters,
    /// On ObjectIds, dates and other scalars.
    TypedFilters,
    Projections,
    Sorts,
    Updates,
    Upserts,
    Expressions,
    Pipelines,
    /// On Decimal128 among other numbers.
    Decimals,
}

/// A case on which there is no agreement.
pub(crate) struct Difference {
    pub(crate) case: Case,
    pub(crate) ours: Answer,
    pub(crate) theirs: Answer,
}

impl Difference {
    /// The differences in the answers to one case: a filter and each of the documents about which they disagree, else the case.
    fn of(case: &Case, ours: &Answer, theirs: &Answer) -> Vec<Difference> {
        if let (Ok(ours), Ok(theirs)) = (ours, theirs)
            && same::answers(case, ours, theirs)
        {
            return Vec::new();
        }
        let (Case::Find { filter, documents }, Ok(ours), Ok(theirs)) = (case, ours, theirs) else {
            let (case, ours, theirs) = (case.clone(), ours.clone(), theirs.clone());
            return vec![Difference { case, ours, theirs }];
        };
        let found = |answer: &[serde_json::Value], id: &bson::Bson| {
            let ids = answer
                .iter()
                .filter(|found| found.as_i64() == id.as_i32().map(i64::from));
            Ok(ids.cloned().collect::<Vec<_>>())
        };
        let alone = |document: &bson::Document| Difference {
            case: Case::Find {
                filter: filter.clone(),
                documents: vec![document.clone()],
            },
            ours: found(ours, &document["_id"]),
            theirs: found(theirs, &document["_id"]),
        };
        let each = documents.iter().map(alone);
        each.filter(|difference| difference.ours != difference.theirs).collect()
    }

    /// Tailwater's code, where it refuses what the other answers.
    pub(crate) fn refused_with(&self) -> Option<i32> {
        self.ours.as_ref().err()?.code
    }
}

/// Differences that are shown.
const SHOWN: usize = 12;

#[test]
fn filters_match_the_same_documents() {
    check(Suite::Filters, 6000, generate::find, &Oracle::ALL);
}

#[test]
fn filters_on_object_ids_and_dates_match_the_same_documents() {
    // mingo has no ObjectIds.
    check(Suite::TypedFilters, 3000, generate::typed_find, &[Oracle::Mongomock]);
}

#[test]
fn projections_leave_the_same_of_documents() {
    check(Suite::Projections, 3000, generate::project, &Oracle::ALL);
}

#[test]
fn orders_put_the_same_documents_first() {
    check(Suite::Sorts, 4000, generate::sort, &Oracle::ALL);
}

#[test]
fn upserts_insert_and_change_the_same_documents() {
    // mingo has no upserts.
    check(Suite::Upserts, 3000, generate::upsert, &[Oracle::Mongomock]);
}

#[test]
fn updates_make_the_same_documents() {
    check(Suite::Updates, 4000, generate::update, &Oracle::ALL);
}

#[test]
fn expressions_have_the_same_values() {
    check(Suite::Expressions, 8000, generate::expression, &Oracle::ALL);
}

#[test]
fn decimals_compare_and_calculate_as_the_standard_has_it() {
    // Neither of the others has them.
    check(Suite::Decimals, 8000, generate::decimals, &[Oracle::Decimal]);
}

#[test]
fn pipelines_have_the_same_results() {
    check(Suite::Pipelines, 3000, generate::pipeline, &Oracle::ALL);
}

fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn check(suite: Suite, cases: u64, make: fn(&mut Random) -> Case, oracles: &[Oracle]) {
    let seed = number_from("TAILWATER_ORACLE_SEED");
    let cases = number_from("TAILWATER_ORACLE_CASES").unwrap_or(cases);
    let mut random = Random::new(seed.unwrap_or(1));
    let cases: Vec<Case> = (0..cases).map(|_| make(&mut random)).collect();
    let place = Place::new();
    let ours: Vec<Answer> = cases.iter().map(|case| case.run(&place)).collect();
    let mut report = String::new();
    for &oracle in oracles {
        let theirs = oracle.ask(&cases);
        let found = Comparison::of(suite, oracle, &cases, &ours, &theirs);
        // Other seeds have other luck.
        found.report(suite, oracle, seed.is_none(), &mut report);
    }
    assert!(report.is_empty(), "{report}");
}

/// What the comparison with one other has come to.
#[derive(Default)]
struct Comparison {
    differences: Vec<Difference>,
    /// Operators of the cases.
    seen: BTreeSet<String>,
    /// Operators of the cases that both have answered alike.
    agreed: BTreeSet<String>,
    /// Which exclusions were needed, by their place in the list.
    needed: BTreeSet<usize>,
}

impl Comparison {
    fn of(suite: Suite, oracle: Oracle, cases: &[Case], ours: &[Answer], theirs: &[Answer]) -> Comparison {
        let mut comparison = Comparison::default();
        for ((case, ours), theirs) in cases.iter().zip(ours).zip(theirs) {
            let operators = case.operators();
            comparison.seen.extend(operators.iter().cloned());
            match (ours, theirs) {
                (Err(_), Err(_)) => continue,
                (_, Err(refusal)) if gave_up(oracle, &refusal.message) => continue,
                _ => {}
            }
            let differences = Difference::of(case, ours, theirs);
            if differences.is_empty() {
                comparison.agreed.extend(operators);
            }
            for difference in differences {
                let excused = |exclusion: &Exclusion| exclusion.oracle == oracle && (exclusion.applies)(&difference);
                match exclusions(suite).iter().position(excused) {
                    Some(index) => {
                        comparison.needed.insert(index);
                    }
                    None => comparison.differences.push(difference),
                }
            }
        }
        comparison
    }

    fn report(&self, suite: Suite, oracle: Oracle, complete: bool, report: &mut String) {
        if !self.differences.is_empty() {
            let count = self.differences.len();
            writeln!(
                report,
                "{suite:?}: {count} differences from {oracle:?}; some of the shortest:"
            )
            .unwrap();
        }
        let mut shown: Vec<&Difference> = self.differences.iter().collect();
        shown.sort_by_key(|difference| difference.case.to_json().to_string().len());
        for difference in shown.iter().take(SHOWN) {
            writeln!(report, "case   {}", difference.case.to_json()).unwrap();
            writeln!(report, "ours   {}", told(&difference.ours)).unwrap();
            writeln!(report, "theirs {}\n", told(&difference.theirs)).unwrap();
        }
        if !complete {
            return;
        }
        for (index, exclusion) in exclusions(suite).iter().enumerate() {
            if exclusion.oracle == oracle && !self.needed.contains(&index) {
                writeln!(
                    report,
                    "{suite:?}, {oracle:?}: an exclusion excuses nothing: {}",
                    exclusion.reason
                )
                .unwrap();
            }
        }
        let listed = |operator: &str| {
            let mut lists = NOT_THERE
                .iter()
                .filter(|(who, what, _)| (*who, *what) == (oracle, suite));
            lists.any(|(_, _, names)| names.contains(&operator))
        };
        for operator in &self.seen {
            match (self.agreed.contains(operator), listed(operator)) {
                (false, false) => writeln!(report, "{suite:?}, {oracle:?}: {operator} was never compared").unwrap(),
                (true, true) => writeln!(report, "{suite:?}, {oracle:?}: {operator} is there").unwrap(),
                _ => {}
            }
        }
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Ok(documents) => serde_json::Value::from(documents.clone()).to_string(),
        Err(refusal) => format!("refused: {} (code {:?})", refusal.message, refusal.code),
    }
}

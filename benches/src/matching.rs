//! Suite `match`: predicates on a document of twelve fields, on one core.
//!
//! The limit is what no matcher can do without: one pass over the document's elements, name by name, as far as the last
//! field that the predicate has to see; written by hand for the types of this document, and comparing nothing.

use std::hint::black_box;

use bson::{RawDocumentBuf, rawdoc};
use tailwater_matcher::{EvaluateError, Expression};

use crate::cli::Arguments;
use crate::guests::Nobody;
use crate::harness::{Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, Unit};
use crate::suite::{self, Workload};

const WORKLOADS: [Workload; 2] = [
    Workload {
        names: &["match-equality-miss"],
        limit: "one pass over the names up to the field",
        long: false,
        run: equality_miss,
    },
    Workload {
        names: &["match-conjunction"],
        limit: "one pass over all names",
        long: false,
        run: conjunction,
    },
];

/// Runs the suite, or those of its workloads that are named.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    suite::run("match", &WORKLOADS, &[], arguments, &Nobody)
}

fn equality_miss(plan: &Plan) -> Result<Vec<Comparison>> {
    let filter = rawdoc! { "status": "closed" };
    measure(plan, "match-equality-miss", &filter, b"status", false)
}

/// Ten predicates, all of which hold.
fn conjunction(plan: &Plan) -> Result<Vec<Comparison>> {
    let filter = rawdoc! {
        "status": "open", "n": { "$gte": 10, "$lt": 1000 }, "price": { "$gt": 1.5 },
        "active": true, "country": { "$in": ["DE", "FR", "NL"] }, "level": { "$ne": 9 },
        "email": { "$exists": true }, "score": { "$lte": 99_i64 }, "city": "Oslo",
    };
    measure(plan, "match-conjunction", &filter, b"active", true)
}

fn document() -> RawDocumentBuf {
    rawdoc! {
        "_id": bson::oid::ObjectId::from_bytes([7; 12]),
        "name": "Ada Lovelace", "email": "ada@example.org", "city": "Oslo", "country": "NL",
        "status": "open", "n": 42, "level": 3, "price": 19.5, "score": 77_i64, "active": true,
        "created": bson::DateTime::from_millis(1_700_000_000_000),
    }
}

/// A predicate whose last field in the document is `last`, and whose answer is known.
fn measure(
    plan: &Plan,
    name: &'static str,
    filter: &RawDocumentBuf,
    last: &[u8],
    matches: bool,
) -> Result<Vec<Comparison>> {
    let (document, filter) = (document(), Expression::parse(filter)?);
    let count = plan.pick(5_000_000_u64, 500_000);
    let limit = || {
        let (time, ()) = timed(|| (0..count).for_each(|_| _ = black_box(pass(black_box(document.as_bytes()), last))));
        Ok(millions_per_second(count, time))
    };
    let engine = || {
        let (time, found) = timed(|| -> std::result::Result<u64, EvaluateError> {
            let mut found = 0;
            for _ in 0..count {
                found += u64::from(filter.matches(black_box(&document))?);
            }
            Ok(found)
        });
        match found? {
            found if found == u64::from(matches) * count => Ok(millions_per_second(count, time)),
            found => Err(format!("{name} matched {found} of {count} times").into()),
        }
    };
    let (limits, engines) = plan.alternate(limit, engine)?;
    Ok(vec![Comparison::new(name, Unit::MillionsPerSecond, limits, engines)])
}

/// Steps over the elements up to the one with a name, and returns the bytes behind that name.
fn pass<'a>(document: &'a [u8], last: &[u8]) -> Option<&'a [u8]> {
    let mut at = 4;
    loop {
        let kind = *document.get(at)?;
        let rest = document.get(at + 1..)?;
        let name_len = rest.iter().position(|byte| *byte == 0)?;
        let value = rest.get(name_len + 1..)?;
        if &rest[..name_len] == last {
            return Some(value);
        }
        let size = match kind {
            0x02 => 4 + i32::from_le_bytes(*value.first_chunk()?) as usize,
            0x07 => 12,
            0x08 => 1,
            0x10 => 4,
            0x01 | 0x09 | 0x12 => 8,
            _ => return None,
        };
        at += 1 + name_len + 1 + size;
    }
}

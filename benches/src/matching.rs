//! Suite `match`: predicates on a document of twelve fields, on one core.
//!
//! The limit is what no matcher can do without: stepping over the elements in front of each field
//! that is asked for, by their lengths, and comparing its bytes; written by hand for this document
//! and this predicate.

use std::hint::black_box;

use bson::{RawDocumentBuf, rawdoc};
use tailwater_matcher::Expression;

use crate::cli::Arguments;
use crate::harness::{Plan, Result, millions_per_second, timed};
use crate::machine;
use crate::report::{Comparison, Printer, Unit};

struct Workload {
    name: &'static str,
    filter: fn() -> RawDocumentBuf,
    /// Which fields the predicate reads before it knows.
    reads: &'static [&'static str],
    matches: bool,
}

const WORKLOADS: [Workload; 2] = [
    Workload {
        name: "match-equality-miss",
        filter: || rawdoc! { "status": "closed" },
        reads: &["status"],
        matches: false,
    },
    Workload {
        name: "match-conjunction",
        filter: || {
            rawdoc! {
                "status": "open", "n": { "$gte": 10, "$lt": 1000 }, "price": { "$gt": 1.5 },
                "active": true, "country": { "$in": ["DE", "FR", "NL"] }, "level": { "$ne": 9 },
                "email": { "$exists": true }, "score": { "$lte": 99_i64 }, "city": "Oslo",
            }
        },
        reads: &[
            "status", "n", "n", "price", "active", "country", "level", "email", "score", "city",
        ],
        matches: true,
    },
];

fn document() -> RawDocumentBuf {
    rawdoc! {
        "_id": bson::oid::ObjectId::from_bytes([7; 12]),
        "name": "Ada Lovelace", "email": "ada@example.org", "city": "Oslo", "country": "NL",
        "status": "open", "n": 42, "level": 3, "price": 19.5, "score": 77_i64, "active": true,
        "created": bson::DateTime::from_millis(1_700_000_000_000),
    }
}

/// Runs the suite, or those of its workloads that are named.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let known: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
    if let Some(unknown) = arguments.workloads.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(format!("no workload \"{unknown}\" in suite match; there are: {known}").into());
    }
    let plan = Plan::new(arguments.quick, arguments.dir.as_deref())?;
    let head = [
        machine::facts(plan.dir()),
        format!("{} rounds, limit and tailwater in turn; ratio of medians", plan.rounds),
        "limit: elements stepped over by hand up to each field that is read, its bytes compared".to_owned(),
    ];
    let printer = Printer::new(arguments.json, "match", &head);
    for workload in &WORKLOADS {
        if arguments.workloads.is_empty() || arguments.workloads.iter().any(|name| name == workload.name) {
            printer.print(&workload.measure(&plan)?);
        }
    }
    Ok(())
}

impl Workload {
    fn measure(&self, plan: &Plan) -> Result<Comparison> {
        let (document, filter) = (document(), Expression::parse(&(self.filter)())?);
        let count = plan.pick(5_000_000_u64, 500_000);
        let limit = || {
            let (time, ()) = timed(|| {
                for _ in 0..count {
                    let bytes = black_box(document.as_bytes());
                    for name in self.reads {
                        black_box(find(bytes, name.as_bytes()) == Some(b"closed\0"));
                    }
                }
            });
            Ok(millions_per_second(count, time))
        };
        let engine = || {
            let (time, found) = timed(|| {
                let mut found = 0;
                for _ in 0..count {
                    found += u64::from(filter.matches(black_box(&document))?);
                }
                Ok::<u64, tailwater_matcher::EvaluateError>(found)
            });
            match found? {
                found if found == u64::from(self.matches) * count => Ok(millions_per_second(count, time)),
                found => Err(format!("{} matched {found} of {count} times", self.name).into()),
            }
        };
        let (limits, engines) = plan.alternate(limit, engine)?;
        Ok(Comparison::new(self.name, Unit::MillionsPerSecond, limits, engines))
    }
}

/// The bytes of a field's value; knows the types of this document only.
fn find<'a>(bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut at = 4;
    loop {
        let kind = *bytes.get(at)?;
        let rest = bytes.get(at + 1..)?;
        let name_len = rest.iter().position(|byte| *byte == 0)?;
        let value = rest.get(name_len + 1..)?;
        let size = match kind {
            0x02 => 4 + i32::from_le_bytes(*value.first_chunk()?) as usize,
            0x07 => 12,
            0x08 => 1,
            0x10 => 4,
            0x01 | 0x09 | 0x12 => 8,
            _ => return None,
        };
        if &rest[..name_len] == name {
            return value.get(if kind == 0x02 { 4 } else { 0 }..size);
        }
        at += 1 + name_len + 1 + size;
    }
}

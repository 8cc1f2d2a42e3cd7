//! Suite `streams`: watches that share one reader of the log. Events are inserts of documents of twelve fields and about 300
//! bytes.
//!
//! The baseline of the workloads with many watches is what everybody does who has no index: every filter is evaluated on every
//! event.

mod crowd;
mod events;
mod flow;
mod lagging;
mod latency;

use crate::cli::Arguments;
use crate::harness::{Plan, Result};
use crate::machine;
use crate::report::{Comparison, Printer, notice};

/// One or a few figures that are taken together.
struct Workload {
    name: &'static str,
    /// What stands beside it.
    limit: &'static str,
    /// Whether it takes too long for a quick run, unless it is asked for by name.
    long: bool,
    run: fn(&Plan) -> Result<Vec<Comparison>>,
}

const WORKLOADS: [Workload; 10] = [
    Workload {
        name: "watch-unfiltered",
        limit: "a change stream with a cursor of its own, read in the same thread",
        long: false,
        run: flow::unfiltered,
    },
    Workload {
        name: "watch-latency",
        limit: "a parked thread unparked, p50 and p99",
        long: false,
        run: latency::write_to_hand,
    },
    Workload {
        name: "watchers-10k",
        limit: "naive: every filter evaluated on every event",
        long: false,
        run: crowd::watchers_10k,
    },
    Workload {
        name: "watchers-100k",
        limit: "naive",
        long: false,
        run: crowd::watchers_100k,
    },
    Workload {
        name: "watchers-1m",
        limit: "naive",
        long: true,
        run: crowd::watchers_1m,
    },
    Workload {
        name: "same-filter-100k",
        limit: "naive",
        long: false,
        run: crowd::same_filter,
    },
    Workload {
        name: "stalled-10k",
        limit: "the writer's p99 with 100 live watches and none stalled",
        long: false,
        run: lagging::stalled,
    },
    Workload {
        name: "churn",
        limit: "a change stream with a cursor of its own, started and dropped",
        long: false,
        run: flow::churn,
    },
    Workload {
        name: "growth",
        limit: "1,000 watches",
        long: true,
        run: crowd::growth,
    },
    Workload {
        name: "catch-up",
        limit: "a cursor over the same entries",
        long: false,
        run: lagging::catch_up,
    },
];

/// Runs the suite, or those of its workloads that are named.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let known: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
    if let Some(unknown) = arguments.workloads.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(format!("no workload \"{unknown}\" in suite streams; there are: {known}").into());
    }
    let chosen: Vec<_> = WORKLOADS
        .iter()
        .filter(|workload| match arguments.workloads.as_slice() {
            [] => !(arguments.quick && workload.long),
            named => named.iter().any(|name| name == workload.name),
        })
        .collect();
    if arguments.workloads.is_empty() && arguments.quick {
        for workload in WORKLOADS.iter().filter(|workload| workload.long) {
            notice(&format!("{} takes too long for --quick and is left out", workload.name));
        }
    }
    let plan = Plan::new(arguments.quick, arguments.dir.as_deref())?;
    plan.sweep()?;
    let mut head = vec![
        machine::facts(plan.dir()),
        format!(
            "{} rounds, limit and tailwater in turn; ratio of medians, more is better",
            plan.rounds
        ),
        "events are appended with durability Memory and seen with read concern Local".to_owned(),
    ];
    head.extend(
        chosen
            .iter()
            .map(|workload| format!("limit of {}: {}", workload.name, workload.limit)),
    );
    let printer = Printer::new(arguments.json, "streams", &head);
    for workload in chosen {
        plan.settle()?;
        for comparison in (workload.run)(&plan)? {
            printer.print(&comparison);
        }
    }
    Ok(())
}

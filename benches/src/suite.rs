//! A suite: workloads by name, which of them run, and what stands above their figures.

use crate::cli::Arguments;
use crate::guests::Guests;
use crate::harness::{Plan, Result};
use crate::machine;
use crate::report::{Comparison, Printer, notice};

/// One or a few figures that are taken together.
pub(crate) struct Workload {
    /// Names of the figures; any of them selects the workload.
    pub(crate) names: &'static [&'static str],
    /// What its limit is.
    pub(crate) limit: &'static str,
    /// Whether it takes too long for a quick run, unless it is asked for by name.
    pub(crate) long: bool,
    pub(crate) run: fn(&Plan) -> Result<Vec<Comparison>>,
}

/// Runs all workloads of a suite, or those that are named. `remarks` go into the head of the output.
pub(crate) fn run(
    suite: &'static str,
    workloads: &[Workload],
    remarks: &[&str],
    arguments: &Arguments,
    guests: &dyn Guests,
) -> Result<()> {
    let chosen = choose(suite, workloads, arguments)?;
    let mut plan = Plan::new(arguments.quick, arguments.dir.as_deref())?;
    plan.state_bytes = arguments.state_bytes;
    plan.sweep()?;
    let mut head = vec![
        machine::facts(plan.dir()),
        format!(
            "{} rounds, limit and tailwater in turn; ratio of medians and median of the ratios of rounds, 1 is the limit, more is better",
            plan.rounds
        ),
    ];
    head.extend(remarks.iter().map(|&remark| remark.to_owned()));
    let limits = chosen.iter();
    head.extend(limits.map(|workload| format!("limit of {}: {}", workload.names[0], workload.limit)));
    head.extend(guests.head());
    let printer = Printer::new(arguments.json, suite, &head);
    for workload in chosen {
        plan.settle()?;
        for mut comparison in (workload.run)(&plan)? {
            printer.print(&comparison);
            comparison.series = guests.measure(&plan, comparison.workload)?;
            printer.print(&comparison);
        }
    }
    Ok(())
}

fn choose<'w>(suite: &str, workloads: &'w [Workload], arguments: &Arguments) -> Result<Vec<&'w Workload>> {
    let known: Vec<_> = workloads.iter().flat_map(|workload| workload.names).copied().collect();
    if let Some(unknown) = arguments.workloads.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(format!("no workload \"{unknown}\" in suite {suite}; there are: {known}").into());
    }
    let wanted = &arguments.workloads;
    if !wanted.is_empty() {
        let is_wanted = |workload: &&Workload| workload.names.iter().any(|name| wanted.iter().any(|w| w == name));
        return Ok(workloads.iter().filter(is_wanted).collect());
    }
    let (left_out, chosen): (Vec<_>, Vec<_>) = workloads.iter().partition(|workload| arguments.quick && workload.long);
    for workload in left_out {
        notice(&format!(
            "{} takes too long for --quick and is left out",
            workload.names[0]
        ));
    }
    Ok(chosen)
}

//! Reading single entries at random positions, through the view of the process that writes the log. Default options.

use std::hint::black_box;

use tailwater_oplog::{OpId, Oplog, OplogView, ReadConcern};

use super::frames::{FRAME_BYTES, payload};
use super::scan::fill;
use crate::harness::{Dice, Plan, Result};
use crate::report::{Comparison, Unit};

pub(crate) fn random(plan: &Plan) -> Result<Vec<Comparison>> {
    let dir = plan.scratch()?;
    let entries = plan.pick(1_000_000, 250_000);
    let log = Oplog::open(dir.path())?;
    fill(&log, entries)?;
    log.sync(OpId::new(entries))?;
    let view = log.view();
    let mut cursor = view.cursor_from_oldest(ReadConcern::Local);
    while let Some(entry) = cursor.try_next()? {
        black_box(entry.payload());
    }

    let array = vec![1u64; entries as usize * FRAME_BYTES / 8];
    let (limits, rates) = plan.alternate(|| Ok(reads(plan, &array)), || lookups(plan, &view, entries))?;
    Ok(vec![Comparison::new("lookup", Unit::MillionsPerSecond, limits, rates)])
}

/// The unavoidable work: a read that misses the caches. Each place depends on the value read before, here and in
/// [`lookups`], so that the misses cannot overlap.
fn reads(plan: &Plan, array: &[u64]) -> f64 {
    let mut dice = Dice::new();
    let mut last = 1;
    let rate = plan.millions_per_second(|| {
        let place = dice.below(array.len() as u64) + last - 1;
        last = array[(place as usize).min(array.len() - 1)];
        Ok(())
    });
    black_box(last);
    rate.unwrap_or(f64::NAN)
}

fn lookups(plan: &Plan, view: &OplogView, entries: u64) -> Result<f64> {
    let mut dice = Dice::new();
    let expected = u64::from(payload()[0]);
    let mut last = expected;
    plan.millions_per_second(|| {
        let op_id = 1 + dice.below(entries) + last - expected;
        last = u64::from(view.get(OpId::new(op_id), ReadConcern::Local)?.payload()[0]);
        Ok(())
    })
}

//! A server that nobody asks anything: its memory, and what it takes of the processor.

use std::thread;
use std::time::Duration;

use super::server::Served;
use crate::harness::{Plan, Result};
use crate::report::{Comparison, Unit};

const MEBIBYTES_MAX: f64 = 30.0;
/// What a processor's clock would notice, in milliseconds.
const TICK: f64 = 10.0;
/// It does not vary as other times do.
const ROUNDS_MAX: usize = 2;
/// What a start leaves to be done behind it is done by then.
const SETTLED: Duration = Duration::from_secs(2);

pub(super) fn waiting(plan: &Plan) -> Result<Vec<Comparison>> {
    let span = plan.pick(Duration::from_secs(20), Duration::from_secs(5));
    let (mut memory, mut time) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds.min(ROUNDS_MAX) {
        let served = Served::start(plan)?;
        thread::sleep(SETTLED);
        let before = served.processor_time()?;
        thread::sleep(span);
        time.push(served.processor_time()? - before);
        memory.push(served.resident() / f64::from(1 << 20));
    }
    // In a tenth of a microsecond nothing runs, and a ratio needs a number.
    time.iter_mut().for_each(|time| *time = time.max(1e-4));
    Ok(vec![
        Comparison::new("idle", Unit::Mebibytes, vec![MEBIBYTES_MAX; memory.len()], memory),
        Comparison::new("idle-cpu", Unit::Milliseconds, vec![TICK; time.len()], time),
    ])
}

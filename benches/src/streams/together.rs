//! Streams that wait for their events, each in a thread of its own, as drivers' do in a server.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use bson::doc;
use tailwater::{ChangeStream, Watch};
use tailwater_oplog::ReadConcern;

use super::events::{Bench, document, insert, scope};
use crate::harness::{Dice, Histogram, Plan, Result};
use crate::report::{Comparison, Unit};

const STREAMS: u64 = 1000;

/// From an append to its event in the hands of the only one of a thousand streams that it is for. The limit is none, but what
/// it is without a dispatcher: each stream waits for the log by itself.
pub(super) fn write_to_one_of_many(plan: &Plan) -> Result<Vec<Comparison>> {
    let (alone, together) = plan.alternate(
        || latency(plan, |bench| Watch::new(bench.log.view(), scope())),
        || latency(plan, |bench| bench.dispatcher.watch(scope())),
    )?;
    Ok(vec![Comparison::new("streams-1k", Unit::Microseconds, alone, together)])
}

fn latency(plan: &Plan, watch: impl Fn(&Bench) -> Watch) -> Result<f64> {
    let bench = Bench::new(plan)?;
    let (told, seen) = mpsc::channel();
    let streams = (0..STREAMS).map(|user| {
        let stage = doc! { "$match": { "fullDocument.userId": user as i64 } };
        let watch = watch(&bench).pipeline([stage]).read_concern(ReadConcern::Local);
        Ok(watch.start()?)
    });
    let streams: Vec<ChangeStream> = streams.collect::<Result<_>>()?;
    let stoppers: Vec<_> = streams.iter().map(ChangeStream::stopper).collect();
    let mut latencies = Histogram::new();
    let mut dice = Dice::new();
    thread::scope(|threads| -> Result<()> {
        for mut stream in streams {
            let told = told.clone();
            threads.spawn(move || {
                while let Ok(Some(event)) = stream.wait_next(None) {
                    let _ = told.send((event.op_id(), Instant::now()));
                }
            });
        }
        let written = (|| -> Result<()> {
            // With the first ones everybody finds its place.
            let warm = 100;
            for n in 0..warm + plan.pick(5000, 500) {
                let user = dice.below(STREAMS);
                let payload = insert(&document(&mut dice, user));
                let begun = Instant::now();
                bench.append(&payload)?;
                let (_, received) = seen.recv()?;
                if n >= warm {
                    latencies.push(received.saturating_duration_since(begun));
                }
            }
            Ok(())
        })();
        stoppers.iter().for_each(tailwater::Stopper::stop);
        written
    })?;
    Ok(latencies.quantile(0.5))
}
